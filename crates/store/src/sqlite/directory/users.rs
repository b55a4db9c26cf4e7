//! What becomes of spaces when a user goes.

use lattice_engine::SpaceId;
use rusqlite::{Connection, OptionalExtension, params};

use super::granted;
use crate::StoreError;
use crate::accounts::UserId;
use crate::directory::Answer;
use crate::rules::departure::{self, Facts, Others};
use crate::sqlite::accounts::sessions;
use crate::sqlite::{anonymous, factors, identities, one_time, personal_data, quotas};

/// The e-mail address of a user.
pub(super) fn email_of(connection: &Connection, user: UserId) -> Result<Option<String>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT email FROM users WHERE id = ?1")?;
    Ok(statement.query_row([user.0], |row| row.get(0)).optional()?.flatten())
}

/// Whether there is such a user: one whose account is deleted while they ask must not come into anything new.
pub(super) fn exists(connection: &Connection, user: UserId) -> Result<bool, StoreError> {
    Ok(connection.prepare_cached("SELECT 1 FROM users WHERE id = ?1")?.exists([user.0])?)
}

/// Whether a user owns a space that somebody else is a member of.
fn owns_spaces_of_others(connection: &Connection, user: UserId) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM member own CROSS JOIN space s ON s.no = own.space
               CROSS JOIN member other ON other.space = own.space
               WHERE own.user = ?1 AND own.role = 'owner' AND s.deleted_us IS NULL AND other.user <> ?1 LIMIT 1";
    Ok(connection.prepare_cached(sql)?.exists([user.0])?)
}

/// Deletes an account, if it may go, with its sessions, memberships and views, the invites for its address, and what it owns:
/// answers which spaces those were, the private one first. `tombstone` is the id of a private space that is made as a deleted one
/// when they have none. Does not rely on `foreign_keys`, which each connection may set or not.
pub(in super::super) fn delete(
    connection: &Connection,
    user: UserId,
    tombstone: [u8; 16],
    now_us: i64,
    others: Others,
) -> Result<Answer<Vec<SpaceId>>, StoreError> {
    let facts = Facts {
        exists: exists(connection, user)?,
        owns_spaces_of_others: owns_spaces_of_others(connection, user)?,
    };
    granted!(departure::delete(facts, others));
    let sql = "SELECT id FROM space WHERE owner = ?1 AND kind = 'private' AND deleted_us IS NULL
               UNION ALL
               SELECT s.id FROM member m CROSS JOIN space s ON s.no = m.space
               WHERE m.user = ?1 AND m.role = 'owner' AND s.deleted_us IS NULL";
    let mut statement = connection.prepare_cached(sql)?;
    let spaces = statement.query_map([user.0], |row| Ok(SpaceId(row.get(0)?)))?.collect::<Result<_, _>>()?;
    forget(connection, user, tombstone, now_us)?;
    sessions::delete_of_user(connection, user)?;
    one_time::delete_of_user(connection, user)?;
    anonymous::forget(connection, user)?;
    identities::forget(connection, user)?;
    factors::forget(connection, user)?;
    personal_data::note(connection, user, now_us)?;
    connection.prepare_cached("DELETE FROM users WHERE id = ?1")?.execute([user.0])?;
    Ok(Ok(spaces))
}

/// Deletes the spaces of a user and forgets their memberships, views, and invites for their address, while their account is
/// still there.
fn forget(connection: &Connection, user: UserId, tombstone: [u8; 16], now_us: i64) -> Result<(), StoreError> {
    // A request that is under way must not make a private space for someone who is gone.
    let sql = "INSERT INTO space (id, kind, owner, rules, created_us, deleted_us, purged)
               VALUES (?1, 'private', ?2, 'field', ?3, ?3, 1) ON CONFLICT DO NOTHING";
    connection.prepare_cached(sql)?.execute(params![tombstone, user.0, now_us])?;
    let sql = "UPDATE space SET deleted_us = ?2, purge_after = (SELECT ifnull(max(no), 0) FROM block)
               WHERE deleted_us IS NULL AND no IN (
                   SELECT no FROM space WHERE owner = ?1 AND kind = 'private'
                   UNION ALL SELECT space FROM member WHERE user = ?1 AND role = 'owner')";
    connection.prepare_cached(sql)?.execute(params![user.0, now_us])?;
    quotas::forget_user(connection, user)?;
    let sql = "DELETE FROM invite WHERE email = (SELECT email FROM users WHERE id = ?1)";
    connection.prepare_cached(sql)?.execute([user.0])?;
    connection.prepare_cached("DELETE FROM member WHERE user = ?1")?.execute([user.0])?;
    connection.prepare_cached("DELETE FROM remembered_view WHERE user = ?1")?.execute([user.0])?;
    Ok(())
}
