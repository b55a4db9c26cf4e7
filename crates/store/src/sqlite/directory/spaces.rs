//! Making, changing and deleting shared and public spaces.

use lattice_engine::{Policy, SpaceId};
use rusqlite::{Connection, params};

use super::granted;
use super::seen;
use super::{users, views};
use crate::StoreError;
use crate::accounts::UserId;
use crate::directory::{Answer, Denied, NewSpace, SchemaRule, SpaceChange, SpaceEntry};
use crate::rules::{ownership, standing};
use crate::sqlite::keys::MAX_SPACE_NO;
use crate::sqlite::quotas;
use crate::stored::seen::{policy_json, schema_json};

/// A space as a user sees it.
pub(super) fn entry(
    connection: &Connection,
    user: UserId,
    space: SpaceId,
) -> Result<Answer<SpaceEntry>, StoreError> {
    Ok(seen::granted(connection, user, space, standing::sees)?.map(|found| found.seen.entry()))
}

/// Makes a space with its owner.
pub fn create(
    connection: &Connection,
    new: &NewSpace,
    id: [u8; 16],
    rules: &str,
) -> Result<Answer<SpaceEntry>, StoreError> {
    granted!(ownership::make(new.kind));
    if !users::exists(connection, new.owner)? {
        return Ok(Err(Denied::NoUser));
    }
    granted!(may_own_one_more(connection, new.owner, new.max_owned)?);
    let sql = "INSERT INTO space (id, kind, owner, rules, name, created_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT DO NOTHING";
    let values = params![id, new.kind.as_str(), new.owner.0, rules, new.name, new.now_us];
    if connection.prepare_cached(sql)?.execute(values)? == 0 {
        return Err(StoreError::Conflict("space"));
    }
    let no = connection.last_insert_rowid();
    if no > i64::from(MAX_SPACE_NO) {
        return Err(StoreError::SpaceFull);
    }
    let sql = "INSERT INTO member (space, user, space_id, role, since_us) VALUES (?1, ?2, ?3, 'owner', ?4)";
    connection.prepare_cached(sql)?.execute(params![no, new.owner.0, id, new.now_us])?;
    entry(connection, new.owner, SpaceId(id))
}

/// Whether a user may own one more space, where the settings say that so many are too few.
pub(super) fn may_own_one_more(
    connection: &Connection,
    user: UserId,
    configured: u32,
) -> Result<Answer<()>, StoreError> {
    let max_owned = ownership::max_owned(quotas::set_for_user(connection, user)?, configured);
    Ok(ownership::own_one_more(owned_by(connection, user, max_owned)?, max_owned))
}

/// How many spaces a user owns, their private one not counted; counted up to `limit`.
fn owned_by(connection: &Connection, user: UserId, limit: u32) -> Result<u32, StoreError> {
    let sql = "SELECT count(*) FROM (
                   SELECT 1 FROM member m CROSS JOIN space s ON s.no = m.space
                   WHERE m.user = ?1 AND m.role = 'owner' AND s.deleted_us IS NULL LIMIT ?2)";
    Ok(connection.prepare_cached(sql)?.query_row(params![user.0, limit], |row| row.get(0))?)
}

/// Renames, archives, takes out of the archive.
pub fn change(
    connection: &Connection,
    actor: UserId,
    space: SpaceId,
    change: &SpaceChange,
    now_us: i64,
) -> Result<Answer<SpaceEntry>, StoreError> {
    let found = granted!(seen::granted(connection, actor, space, standing::owns_with_members)?);
    if let Some(name) = &change.name {
        let sql = "UPDATE space SET name = ?2 WHERE no = ?1";
        connection.prepare_cached(sql)?.execute(params![found.no, name])?;
    }
    if let Some(archived) = change.archived {
        // The first time stays.
        let sql = "UPDATE space SET archived_us = iif(?2, ifnull(archived_us, ?3), NULL) WHERE no = ?1";
        connection.prepare_cached(sql)?.execute(params![found.no, archived, now_us])?;
    }
    entry(connection, actor, space)
}

/// Marks a space as deleted.
pub(super) fn delete(
    connection: &Connection,
    actor: UserId,
    space: SpaceId,
    now_us: i64,
) -> Result<Answer<()>, StoreError> {
    let found = granted!(seen::granted(connection, actor, space, standing::owns_with_members)?);
    let sql = "UPDATE space SET deleted_us = ?2, purge_after = (SELECT ifnull(max(no), 0) FROM block)
               WHERE no = ?1 AND deleted_us IS NULL";
    connection.prepare_cached(sql)?.execute(params![found.no, now_us])?;
    quotas::forget_space(connection, space)?;
    Ok(Ok(()))
}

/// Replaces policy and schema rule.
pub fn set_policy(
    connection: &Connection,
    actor: UserId,
    space: SpaceId,
    policy: &Policy,
    schema: Option<SchemaRule>,
) -> Result<Answer<()>, StoreError> {
    let found = granted!(seen::granted(connection, actor, space, standing::owns)?);
    let (policy, schema) = (policy_json(policy)?, schema_json(schema)?);
    views::end(connection, found.no, None)?;
    let sql = "UPDATE space SET policy = ?2, schema_rule = ?3 WHERE no = ?1";
    connection.prepare_cached(sql)?.execute(params![found.no, policy, schema])?;
    Ok(Ok(()))
}
