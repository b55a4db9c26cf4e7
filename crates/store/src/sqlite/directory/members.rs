//! Members of shared and public spaces. One of them is the owner, always.

use lattice_engine::{Role, SpaceId};
use rusqlite::{Connection, OptionalExtension, params};

use super::seen::{self, owned_with_members};
use super::spaces::owned_by;
use super::views;
use crate::StoreError;
use crate::accounts::UserId;
use crate::directory::{Answer, Denied, Member, Page, SpaceKind};
use crate::sqlite::quotas;

/// `?1` the space, `?2` the user before, `?3` the limit.
pub(super) const LIST: &str = "SELECT m.user, m.role, m.since_us, u.email, u.full_name
     FROM member m LEFT JOIN users u ON u.id = m.user
     WHERE m.space = ?1 AND m.user > ?2 ORDER BY m.user LIMIT ?3";

/// Members, for one of them.
pub(super) fn list(
    connection: &Connection,
    actor: UserId,
    space: SpaceId,
    after: Option<UserId>,
    limit: u32,
) -> Result<Answer<Page<Member, UserId>>, StoreError> {
    let seen = match seen::seen(connection, actor, space)? {
        None => return Ok(Err(Denied::NotFound)),
        Some(seen) if seen.kind == SpaceKind::Private => return Ok(Err(Denied::Private)),
        Some(seen) if !seen.is_member => return Ok(Err(Denied::Forbidden)),
        Some(seen) => seen,
    };
    let limit = limit.max(1) as usize;
    let after = after.unwrap_or(UserId([0; 16]));
    let mut statement = connection.prepare_cached(LIST)?;
    let mut rows = statement.query(params![seen.no, after.0, limit as i64 + 1])?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        items.push(Member {
            user: UserId(row.get(0)?),
            role: seen::role(&row.get::<_, String>(1)?, seen.no)?,
            since_us: row.get(2)?,
            email: row.get(3)?,
            full_name: row.get(4)?,
        });
    }
    Ok(Ok(Page::of(items, limit, |item| item.user)))
}

/// What a user is in a space as a member.
pub(super) fn role_of(connection: &Connection, space: u32, user: UserId) -> Result<Option<Role>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT role FROM member WHERE space = ?1 AND user = ?2")?;
    let name: Option<String> = statement.query_row(params![space, user.0], |row| row.get(0)).optional()?;
    name.map(|name| seen::role(&name, space)).transpose()
}

/// How many members a space has; counted up to `limit`.
pub(super) fn count(connection: &Connection, space: u32, limit: u32) -> Result<u32, StoreError> {
    let sql = "SELECT count(*) FROM (SELECT 1 FROM member WHERE space = ?1 LIMIT ?2)";
    Ok(connection.prepare_cached(sql)?.query_row(params![space, limit], |row| row.get(0))?)
}

/// Adds a member who is none yet.
pub fn add(
    connection: &Connection,
    (space, id): (u32, [u8; 16]),
    user: UserId,
    role: Role,
    now_us: i64,
) -> Result<(), StoreError> {
    views::end(connection, space, Some(user))?;
    let sql = "INSERT INTO member (space, user, space_id, role, since_us) VALUES (?1, ?2, ?3, ?4, ?5)";
    connection.prepare_cached(sql)?.execute(params![space, user.0, id, role.as_str(), now_us])?;
    Ok(())
}

/// A space of `actor` of which `user` is a member other than its owner: its number.
fn with_member(
    connection: &Connection,
    actor: UserId,
    space: SpaceId,
    user: UserId,
) -> Result<Answer<u32>, StoreError> {
    let seen = match owned_with_members(connection, actor, space)? {
        Ok(seen) => seen,
        Err(denied) => return Ok(Err(denied)),
    };
    Ok(match role_of(connection, seen.no, user)? {
        None => Err(Denied::NotMember),
        Some(Role::Owner) => Err(Denied::IsOwner),
        Some(Role::Editor | Role::Viewer) => Ok(seen.no),
    })
}

fn update_role(connection: &Connection, space: u32, user: UserId, role: Role) -> Result<(), StoreError> {
    views::end(connection, space, Some(user))?;
    let sql = "UPDATE member SET role = ?3 WHERE space = ?1 AND user = ?2";
    connection.prepare_cached(sql)?.execute(params![space, user.0, role.as_str()])?;
    Ok(())
}

fn delete(connection: &Connection, space: u32, user: UserId) -> Result<(), StoreError> {
    views::end(connection, space, Some(user))?;
    let sql = "DELETE FROM member WHERE space = ?1 AND user = ?2";
    connection.prepare_cached(sql)?.execute(params![space, user.0])?;
    Ok(())
}

/// Makes a member an editor or a viewer.
pub fn set_role(
    connection: &Connection,
    actor: UserId,
    space: SpaceId,
    user: UserId,
    role: Role,
) -> Result<Answer<()>, StoreError> {
    match with_member(connection, actor, space, user)? {
        Err(denied) => Ok(Err(denied)),
        Ok(_) if role == Role::Owner => Ok(Err(Denied::IsOwner)),
        Ok(no) => update_role(connection, no, user, role).map(Ok),
    }
}

/// Removes a member.
pub fn remove(
    connection: &Connection,
    actor: UserId,
    space: SpaceId,
    user: UserId,
) -> Result<Answer<()>, StoreError> {
    match with_member(connection, actor, space, user)? {
        Err(denied) => Ok(Err(denied)),
        Ok(no) => delete(connection, no, user).map(Ok),
    }
}

/// A member goes by themselves.
pub(super) fn leave(connection: &Connection, user: UserId, space: SpaceId) -> Result<Answer<()>, StoreError> {
    let seen = match seen::seen(connection, user, space)? {
        None => return Ok(Err(Denied::NotFound)),
        Some(seen) if seen.kind == SpaceKind::Private => return Ok(Err(Denied::Private)),
        Some(seen) if !seen.is_member => return Ok(Err(Denied::NotMember)),
        Some(seen) if seen.role == Role::Owner => return Ok(Err(Denied::IsOwner)),
        Some(seen) => seen,
    };
    delete(connection, seen.no, user).map(Ok)
}

/// Another member becomes the owner.
pub fn transfer(
    connection: &Connection,
    actor: UserId,
    space: SpaceId,
    to: UserId,
    max_owned: u32,
) -> Result<Answer<()>, StoreError> {
    let no = match with_member(connection, actor, space, to)? {
        // To oneself: there is nothing to do.
        Err(Denied::IsOwner) => return Ok(Ok(())),
        Err(denied) => return Ok(Err(denied)),
        Ok(no) => no,
    };
    let max_owned = quotas::max_owned(connection, to, max_owned)?;
    if owned_by(connection, to, max_owned)? >= max_owned {
        return Ok(Err(Denied::TooManySpaces));
    }
    // In this order: at no moment has a space two owners.
    update_role(connection, no, actor, Role::Editor)?;
    update_role(connection, no, to, Role::Owner)?;
    connection.prepare_cached("UPDATE space SET owner = ?2 WHERE no = ?1")?.execute(params![no, to.0])?;
    Ok(Ok(()))
}
