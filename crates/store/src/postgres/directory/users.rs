//! What becomes of spaces when a user goes.

use lattice_engine::SpaceId;
use uuid::Uuid;

use super::granted;
use crate::accounts::UserId;
use crate::directory::Answer;
use crate::postgres::access;
use crate::postgres::accounts::sessions;
use crate::postgres::error::PgError;
use crate::postgres::transaction::{Connection, execute, query, query_opt};
use crate::postgres::values::{space, uuid};
use crate::postgres::{anonymous, factors, identities, one_time, personal_data, quotas};
use crate::rules::departure::{self, Facts, Others};

/// `$1` the user: what they own, are a member of, or have looked at.
pub(super) const CONCERNED: &str =
    "SELECT space_id FROM space WHERE owner = $1 AND kind = 'private' AND deleted_us IS NULL
     UNION SELECT m.space_id FROM member m CROSS JOIN LATERAL (
         SELECT 1 FROM space WHERE space_id = m.space_id AND deleted_us IS NULL OFFSET 0) s WHERE m.user_id = $1
     UNION SELECT v.space_id FROM remembered_view v CROSS JOIN LATERAL (
         SELECT 1 FROM space WHERE space_id = v.space_id AND deleted_us IS NULL OFFSET 0) s WHERE v.user_id = $1";
/// `$1` the user: a space of theirs that somebody else is a member of.
pub(super) const OF_OTHERS: &str = "SELECT 1 FROM member own CROSS JOIN LATERAL (
         SELECT 1 FROM space WHERE space_id = own.space_id AND deleted_us IS NULL OFFSET 0) s
     CROSS JOIN LATERAL (
         SELECT 1 FROM member other WHERE other.space_id = own.space_id AND other.user_id <> $1 LIMIT 1) other
     WHERE own.user_id = $1 AND own.role = 'owner' LIMIT 1";
/// `$1` the user, `$2` the time, `$3` spaces that are locked.
const DELETE_OWNED: &str =
    "UPDATE space SET deleted_us = $2 WHERE space_id = ANY($3::uuid[]) AND deleted_us IS NULL AND owner = $1
     RETURNING space_id, kind = 'private'";
/// `$1` the user: by id, as whoever else locks several invites does.
pub(super) const DELETE_INVITES: &str = "WITH own AS MATERIALIZED (
         SELECT i.id FROM invite i WHERE i.email = (SELECT email FROM users WHERE id = $1) ORDER BY i.id FOR UPDATE)
     DELETE FROM invite i USING own WHERE i.id = own.id";

/// The e-mail address of a user.
pub(super) async fn email_of(connection: &Connection, user: UserId) -> Result<Option<String>, PgError> {
    let row = query_opt(connection, "SELECT email FROM users WHERE id = $1", &[&uuid(user.0)]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.flatten())
}

/// Whether a user owns a space that somebody else is a member of.
async fn owns_spaces(connection: &Connection, user: UserId) -> Result<bool, PgError> {
    Ok(query_opt(connection, OF_OTHERS, &[&uuid(user.0)]).await?.is_some())
}

/// Deletes an account, if it may go, with its sessions, memberships and views, the invites for its address, and what it owns: answers which
/// spaces those were, the private one first. `tombstone` is the id of a private space that is made as a deleted one when
/// they have none.
pub(in super::super) async fn delete(
    connection: &Connection,
    user: UserId,
    tombstone: [u8; 16],
    now_us: i64,
    others: Others,
) -> Result<Answer<Vec<SpaceId>>, PgError> {
    // Before anything is locked for nothing.
    let owns_spaces_of_others = owns_spaces(connection, user).await?;
    granted!(departure::delete(Facts { exists: true, owns_spaces_of_others }, others));
    let exists = access::user_goes(connection, user).await?;
    granted!(departure::delete(Facts { exists, owns_spaces_of_others }, others));
    let (id, tombstone) = (uuid(user.0), uuid(tombstone));
    // A request that is under way must not make a private space for someone who is gone. One that was made, or is just being
    // made, is waited for here, and is found from here on.
    let sql = "INSERT INTO space (space_id, kind, owner, rules, created_us, deleted_us, purged)
               VALUES ($1, 'private', $2, 'field', $3, $3, true) ON CONFLICT DO NOTHING";
    execute(connection, sql, &[&tombstone, &id, &now_us]).await?;
    // Under the account's lock nothing is added to these; what they have lost by the time that all are locked is left alone.
    let rows = query(connection, CONCERNED, &[&id]).await?;
    let concerned = rows.iter().map(|row| space(row, 0)).collect::<Result<Vec<_>, _>>()?;
    let locked: Vec<Uuid> =
        access::spaces(connection, &concerned).await?.iter().map(|space| uuid(space.0)).collect();
    let owns_spaces_of_others = owns_spaces(connection, user).await?;
    if let Err(denied) = departure::delete(Facts { exists, owns_spaces_of_others }, others) {
        execute(connection, "DELETE FROM space WHERE space_id = $1", &[&tombstone]).await?;
        return Ok(Err(denied));
    }
    let rows = query(connection, DELETE_OWNED, &[&id, &now_us, &locked]).await?;
    let read = |row: &tokio_postgres::Row| Ok((!row.try_get::<_, bool>(1)?, space(row, 0)?));
    let mut owned = rows.iter().map(read).collect::<Result<Vec<_>, PgError>>()?;
    owned.sort();
    execute(connection, DELETE_INVITES, &[&id]).await?;
    let sql = "DELETE FROM member WHERE user_id = $1 AND space_id = ANY($2::uuid[])";
    execute(connection, sql, &[&id, &locked]).await?;
    let sql = "DELETE FROM remembered_view WHERE user_id = $1 AND space_id = ANY($2::uuid[])";
    execute(connection, sql, &[&id, &locked]).await?;
    quotas::forget(connection, user, &locked).await?;
    sessions::delete_of_user(connection, user).await?;
    one_time::delete_of_user(connection, user).await?;
    anonymous::forget(connection, user).await?;
    identities::forget(connection, user).await?;
    factors::forget(connection, user).await?;
    personal_data::note(connection, user, now_us).await?;
    execute(connection, "DELETE FROM users WHERE id = $1", &[&id]).await?;
    Ok(Ok(owned.into_iter().map(|(_, space)| space).collect()))
}
