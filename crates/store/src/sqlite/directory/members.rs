//! Members of shared and public spaces. One of them is the owner, always.

use lattice_engine::{Role, SpaceId};
use rusqlite::{Connection, OptionalExtension, params};

use super::spaces::may_own_one_more;
use super::{granted, seen, views};
use crate::StoreError;
use crate::accounts::UserId;
use crate::directory::{Answer, Member, Page};
use crate::rules;
use crate::rules::ownership::{self, Transfer};
use crate::rules::standing;
use crate::stored::seen::role;

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
    let found = granted!(seen::granted(connection, actor, space, standing::is_member)?);
    let limit = limit.max(1) as usize;
    let after = after.unwrap_or(UserId([0; 16]));
    let mut statement = connection.prepare_cached(LIST)?;
    let mut rows = statement.query(params![found.no, after.0, limit as i64 + 1])?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        items.push(Member {
            user: UserId(row.get(0)?),
            role: role(&row.get::<_, String>(1)?, space)?,
            since_us: row.get(2)?,
            email: row.get(3)?,
            full_name: row.get(4)?,
        });
    }
    Ok(Ok(Page::of(items, limit, |item| item.user)))
}

/// What a user is in a space as a member.
pub(super) fn role_of(
    connection: &Connection,
    (space, id): (u32, SpaceId),
    user: UserId,
) -> Result<Option<Role>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT role FROM member WHERE space = ?1 AND user = ?2")?;
    let name: Option<String> = statement.query_row(params![space, user.0], |row| row.get(0)).optional()?;
    name.map(|name| role(&name, id)).transpose()
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

/// The number of a space of `actor`, and what `user` is in it as a member.
fn with_member(
    connection: &Connection,
    actor: UserId,
    space: SpaceId,
    user: UserId,
) -> Result<Answer<(u32, Option<Role>)>, StoreError> {
    let found = granted!(seen::granted(connection, actor, space, standing::owns_with_members)?);
    Ok(Ok((found.no, role_of(connection, (found.no, space), user)?)))
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
    let (no, member) = granted!(with_member(connection, actor, space, user)?);
    granted!(rules::members::set_role(member, role));
    update_role(connection, no, user, role).map(Ok)
}

/// Removes a member.
pub fn remove(
    connection: &Connection,
    actor: UserId,
    space: SpaceId,
    user: UserId,
) -> Result<Answer<()>, StoreError> {
    let (no, member) = granted!(with_member(connection, actor, space, user)?);
    granted!(rules::members::remove(member));
    delete(connection, no, user).map(Ok)
}

/// A member goes by themselves.
pub(super) fn leave(connection: &Connection, user: UserId, space: SpaceId) -> Result<Answer<()>, StoreError> {
    let found = granted!(seen::granted(connection, user, space, standing::may_leave)?);
    delete(connection, found.no, user).map(Ok)
}

/// Another member becomes the owner.
pub fn transfer(
    connection: &Connection,
    actor: UserId,
    space: SpaceId,
    to: UserId,
    max_owned: u32,
) -> Result<Answer<()>, StoreError> {
    let (no, member) = granted!(with_member(connection, actor, space, to)?);
    let Transfer::To { former_owner } = granted!(ownership::transfer(member)) else { return Ok(Ok(())) };
    granted!(may_own_one_more(connection, to, max_owned)?);
    // In this order: at no moment has a space two owners.
    update_role(connection, no, actor, former_owner)?;
    update_role(connection, no, to, Role::Owner)?;
    connection.prepare_cached("UPDATE space SET owner = ?2 WHERE no = ?1")?.execute(params![no, to.0])?;
    Ok(Ok(()))
}
