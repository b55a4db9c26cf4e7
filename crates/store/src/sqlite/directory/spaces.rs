//! Making, changing and deleting shared and public spaces.

use lattice_engine::{Policy, SpaceId};
use rusqlite::{Connection, params};

use super::seen::{self, owned, owned_with_members};
use super::{users, views};
use crate::StoreError;
use crate::accounts::UserId;
use crate::directory::{Answer, Denied, NewSpace, SchemaRule, SpaceChange, SpaceEntry, SpaceKind};
use crate::sqlite::keys::MAX_SPACE_NO;
use crate::sqlite::quotas;

/// A space as a user sees it.
pub(super) fn entry(
    connection: &Connection,
    user: UserId,
    space: SpaceId,
) -> Result<Answer<SpaceEntry>, StoreError> {
    Ok(seen::seen(connection, user, space)?.map(seen::Seen::entry).ok_or(Denied::NotFound))
}

/// Makes a space with its owner.
pub fn create(
    connection: &Connection,
    new: &NewSpace,
    id: [u8; 16],
    rules: &str,
) -> Result<Answer<SpaceEntry>, StoreError> {
    if new.kind == SpaceKind::Private {
        return Ok(Err(Denied::Private));
    }
    if !users::exists(connection, new.owner)? {
        return Ok(Err(Denied::NoUser));
    }
    let max_owned = quotas::max_owned(connection, new.owner, new.max_owned)?;
    if owned_by(connection, new.owner, max_owned)? >= max_owned {
        return Ok(Err(Denied::TooManySpaces));
    }
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

/// How many spaces a user owns, their private one not counted; counted up to `limit`.
pub(super) fn owned_by(connection: &Connection, user: UserId, limit: u32) -> Result<u32, StoreError> {
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
    let seen = match owned_with_members(connection, actor, space)? {
        Ok(seen) => seen,
        Err(denied) => return Ok(Err(denied)),
    };
    if let Some(name) = &change.name {
        let sql = "UPDATE space SET name = ?2 WHERE no = ?1";
        connection.prepare_cached(sql)?.execute(params![seen.no, name])?;
    }
    if let Some(archived) = change.archived {
        // The first time stays.
        let sql = "UPDATE space SET archived_us = iif(?2, ifnull(archived_us, ?3), NULL) WHERE no = ?1";
        connection.prepare_cached(sql)?.execute(params![seen.no, archived, now_us])?;
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
    let seen = match owned_with_members(connection, actor, space)? {
        Ok(seen) => seen,
        Err(denied) => return Ok(Err(denied)),
    };
    let sql = "UPDATE space SET deleted_us = ?2, purge_after = (SELECT ifnull(max(no), 0) FROM block)
               WHERE no = ?1 AND deleted_us IS NULL";
    connection.prepare_cached(sql)?.execute(params![seen.no, now_us])?;
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
    let seen = match owned(connection, actor, space)? {
        Ok(seen) => seen,
        Err(denied) => return Ok(Err(denied)),
    };
    // The default is stored as nothing, which most spaces then are read with.
    let policy = (*policy != Policy::default()).then(|| json(policy)).transpose()?;
    let schema = schema.as_ref().map(json).transpose()?;
    views::end(connection, seen.no, None)?;
    let sql = "UPDATE space SET policy = ?2, schema_rule = ?3 WHERE no = ?1";
    connection.prepare_cached(sql)?.execute(params![seen.no, policy, schema])?;
    Ok(Ok(()))
}

fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Database(error.to_string()))
}
