//! Making, changing and deleting shared and public spaces.

use lattice_engine::{Policy, SpaceId};

use super::seen::{self, locked};
use super::{granted, views};
use crate::StoreError;
use crate::accounts::UserId;
use crate::directory::{Answer, Denied, NewSpace, SchemaRule, SpaceChange, SpaceEntry};
use crate::postgres::access;
use crate::postgres::error::PgError;
use crate::postgres::quotas;
use crate::postgres::transaction::{Connection, execute, query_opt};
use crate::postgres::values::uuid;
use crate::rules::{ownership, standing};
use crate::stored::seen::{Seen, policy_json, schema_json};

/// `$1` the user, `$2` the limit.
pub(super) const OWNED_BY: &str = "SELECT count(*) FROM (
         SELECT 1 FROM member m CROSS JOIN LATERAL (
             SELECT 1 FROM space WHERE space_id = m.space_id AND deleted_us IS NULL OFFSET 0) s
         WHERE m.user_id = $1 AND m.role = 'owner' LIMIT $2) owned";

/// A space as a user sees it.
pub(super) async fn entry(
    connection: &Connection,
    user: UserId,
    space: SpaceId,
) -> Result<Answer<SpaceEntry>, PgError> {
    Ok(seen::granted(connection, user, space, standing::sees).await?.map(Seen::entry))
}

/// Makes a space with its counters and its owner.
pub(super) async fn create(
    connection: &Connection,
    new: &NewSpace,
    id: SpaceId,
    rules: &str,
) -> Result<Answer<SpaceEntry>, PgError> {
    granted!(ownership::make(new.kind));
    if !access::user_is_counted(connection, new.owner).await? {
        return Ok(Err(Denied::NoUser));
    }
    granted!(may_own_one_more(connection, new.owner, new.max_owned).await?);
    let (space, owner) = (uuid(id.0), uuid(new.owner.0));
    let sql =
        "INSERT INTO space (space_id, kind, owner, rules, name, created_us) VALUES ($1, $2, $3, $4, $5, $6)
               ON CONFLICT DO NOTHING";
    let made =
        execute(connection, sql, &[&space, &new.kind.as_str(), &owner, &rules, &new.name, &new.now_us])
            .await?;
    if made == 0 {
        return Err(StoreError::Conflict("space").into());
    }
    execute(connection, "INSERT INTO space_head (space_id) VALUES ($1)", &[&space]).await?;
    let sql = "INSERT INTO member (space_id, user_id, role, since_us) VALUES ($1, $2, 'owner', $3)";
    execute(connection, sql, &[&space, &owner, &new.now_us]).await?;
    entry(connection, new.owner, id).await
}

/// Whether a user may own one more space, where the settings say that so many are too few. The caller holds the lock under which
/// that is counted.
pub(super) async fn may_own_one_more(
    connection: &Connection,
    user: UserId,
    configured: u32,
) -> Result<Answer<()>, PgError> {
    let max_owned = ownership::max_owned(quotas::set_for_user(connection, user).await?, configured);
    Ok(ownership::own_one_more(owned_by(connection, user, max_owned).await?, max_owned))
}

/// How many spaces a user owns, their private one not counted; counted up to `limit`.
async fn owned_by(connection: &Connection, user: UserId, limit: u32) -> Result<u32, PgError> {
    let row = query_opt(connection, OWNED_BY, &[&uuid(user.0), &i64::from(limit)]).await?;
    let owned: i64 = row.map_or(Ok(0), |row| row.try_get(0))?;
    Ok(u32::try_from(owned).unwrap_or(limit))
}

/// Renames, archives, takes out of the archive.
pub(super) async fn change(
    connection: &Connection,
    actor: UserId,
    space: SpaceId,
    change: &SpaceChange,
    now_us: i64,
) -> Result<Answer<SpaceEntry>, PgError> {
    granted!(locked(connection, actor, space, standing::owns_with_members).await?);
    if let Some(name) = &change.name {
        let sql = "UPDATE space SET name = $2 WHERE space_id = $1";
        execute(connection, sql, &[&uuid(space.0), name]).await?;
    }
    if let Some(archived) = change.archived {
        // The first time stays.
        let sql = "UPDATE space SET archived_us = CASE WHEN $2 THEN coalesce(archived_us, $3) END
                   WHERE space_id = $1";
        execute(connection, sql, &[&uuid(space.0), &archived, &now_us]).await?;
    }
    entry(connection, actor, space).await
}

/// Marks a space as deleted. Uploads that wait for its lock are refused.
pub(super) async fn delete(
    connection: &Connection,
    actor: UserId,
    space: SpaceId,
    now_us: i64,
) -> Result<Answer<()>, PgError> {
    granted!(locked(connection, actor, space, standing::owns_with_members).await?);
    let sql = "UPDATE space SET deleted_us = $2 WHERE space_id = $1 AND deleted_us IS NULL";
    execute(connection, sql, &[&uuid(space.0), &now_us]).await?;
    quotas::forget_space(connection, space).await?;
    Ok(Ok(()))
}

/// Replaces policy and schema rule.
pub(super) async fn set_policy(
    connection: &Connection,
    actor: UserId,
    space: SpaceId,
    policy: &Policy,
    schema: Option<SchemaRule>,
) -> Result<Answer<()>, PgError> {
    let space = granted!(locked(connection, actor, space, standing::owns).await?);
    let (policy, schema) = (policy_json(policy)?, schema_json(schema)?);
    views::end_all(connection, space.id, space.head).await?;
    let sql = "UPDATE space SET policy = $2, schema_rule = $3 WHERE space_id = $1";
    execute(connection, sql, &[&uuid(space.id.0), &policy, &schema]).await?;
    Ok(Ok(()))
}
