//! Members of shared and public spaces. One of them is the owner, always.

use lattice_engine::{Role, Seq, SpaceId};

use super::granted;
use super::seen::{self, Locked, Seen, locked, owned_with_members};
use super::spaces::owned_by;
use super::views;
use crate::accounts::UserId;
use crate::directory::{Answer, Denied, Member, Page, SpaceKind};
use crate::postgres::access;
use crate::postgres::error::PgError;
use crate::postgres::quotas;
use crate::postgres::transaction::{Connection, execute, query, query_opt};
use crate::postgres::values::{id, uuid};

/// `$1` the space, `$2` the user before, `$3` the limit.
pub(super) const LIST: &str = "SELECT m.user_id, m.role, m.since_us, u.email, u.full_name
     FROM member m LEFT JOIN users u ON u.id = m.user_id
     WHERE m.space_id = $1 AND m.user_id > $2 ORDER BY m.user_id LIMIT $3";
/// `$1` the space, `$2` the limit.
pub(super) const COUNT: &str =
    "SELECT count(*) FROM (SELECT 1 FROM member WHERE space_id = $1 LIMIT $2) found";

/// Members, for one of them.
pub(super) async fn list(
    connection: &Connection,
    actor: UserId,
    space: SpaceId,
    after: Option<UserId>,
    limit: u32,
) -> Result<Answer<Page<Member, UserId>>, PgError> {
    match seen::seen(connection, actor, space).await? {
        None => return Ok(Err(Denied::NotFound)),
        Some(seen) if seen.kind == SpaceKind::Private => return Ok(Err(Denied::Private)),
        Some(seen) if !seen.is_member => return Ok(Err(Denied::Forbidden)),
        Some(_) => {}
    }
    let limit = limit.max(1) as usize;
    let after = after.unwrap_or(UserId([0; 16]));
    let rows = query(connection, LIST, &[&uuid(space.0), &uuid(after.0), &super::one_more(limit)]).await?;
    let mut items = Vec::with_capacity(rows.len());
    for row in &rows {
        items.push(Member {
            user: UserId(id(row, 0)?),
            role: seen::role(row.try_get(1)?, space)?,
            since_us: row.try_get(2)?,
            email: row.try_get(3)?,
            full_name: row.try_get(4)?,
        });
    }
    Ok(Ok(Page::of(items, limit, |item| item.user)))
}

/// What a user is in a space as a member.
pub(super) async fn role_of(
    connection: &Connection,
    space: SpaceId,
    user: UserId,
) -> Result<Option<Role>, PgError> {
    let sql = "SELECT role FROM member WHERE space_id = $1 AND user_id = $2";
    let found = query_opt(connection, sql, &[&uuid(space.0), &uuid(user.0)]).await?;
    found.map(|row| seen::role(row.try_get(0)?, space)).transpose()
}

/// How many members a space has; counted up to `limit`. The caller holds the space's lock.
pub(super) async fn count(connection: &Connection, space: SpaceId, limit: u32) -> Result<u32, PgError> {
    let row = query_opt(connection, COUNT, &[&uuid(space.0), &i64::from(limit)]).await?;
    let members: i64 = row.map_or(Ok(0), |row| row.try_get(0))?;
    Ok(u32::try_from(members).unwrap_or(limit))
}

/// Adds a member who is none yet, to a space that is locked and whose last seq is `head`.
pub(super) async fn add(
    connection: &Connection,
    (space, head): (SpaceId, Seq),
    user: UserId,
    role: Role,
    now_us: i64,
) -> Result<(), PgError> {
    views::end(connection, space, user, head).await?;
    let sql = "INSERT INTO member (space_id, user_id, role, since_us) VALUES ($1, $2, $3, $4)";
    execute(connection, sql, &[&uuid(space.0), &uuid(user.0), &role.as_str(), &now_us]).await?;
    Ok(())
}

/// That `user` is a member other than the owner.
async fn other_member(connection: &Connection, space: SpaceId, user: UserId) -> Result<Answer<()>, PgError> {
    Ok(match role_of(connection, space, user).await? {
        None => Err(Denied::NotMember),
        Some(Role::Owner) => Err(Denied::IsOwner),
        Some(Role::Editor | Role::Viewer) => Ok(()),
    })
}

/// A space of `actor` of which `user` is a member other than its owner, locked.
async fn locked_with_member(
    connection: &Connection,
    actor: UserId,
    space: SpaceId,
    user: UserId,
) -> Result<Answer<Locked>, PgError> {
    let locked = granted!(locked(connection, actor, space, owned_with_members).await?);
    Ok(other_member(connection, space, user).await?.map(|()| locked))
}

async fn update_role(
    connection: &Connection,
    space: &Locked,
    user: UserId,
    role: Role,
) -> Result<(), PgError> {
    views::end(connection, space.seen.id, user, space.head).await?;
    let sql = "UPDATE member SET role = $3 WHERE space_id = $1 AND user_id = $2";
    execute(connection, sql, &[&uuid(space.seen.id.0), &uuid(user.0), &role.as_str()]).await?;
    Ok(())
}

async fn delete(connection: &Connection, space: &Locked, user: UserId) -> Result<(), PgError> {
    views::end(connection, space.seen.id, user, space.head).await?;
    let sql = "DELETE FROM member WHERE space_id = $1 AND user_id = $2";
    execute(connection, sql, &[&uuid(space.seen.id.0), &uuid(user.0)]).await?;
    Ok(())
}

/// Makes a member an editor or a viewer.
pub(super) async fn set_role(
    connection: &Connection,
    actor: UserId,
    space: SpaceId,
    user: UserId,
    role: Role,
) -> Result<Answer<()>, PgError> {
    let space = granted!(locked_with_member(connection, actor, space, user).await?);
    if role == Role::Owner {
        return Ok(Err(Denied::IsOwner));
    }
    update_role(connection, &space, user, role).await.map(Ok)
}

/// Removes a member.
pub(super) async fn remove(
    connection: &Connection,
    actor: UserId,
    space: SpaceId,
    user: UserId,
) -> Result<Answer<()>, PgError> {
    let space = granted!(locked_with_member(connection, actor, space, user).await?);
    delete(connection, &space, user).await.map(Ok)
}

fn may_leave(seen: Option<Seen>) -> Answer<Seen> {
    match seen {
        None => Err(Denied::NotFound),
        Some(seen) if seen.kind == SpaceKind::Private => Err(Denied::Private),
        Some(seen) if !seen.is_member => Err(Denied::NotMember),
        Some(seen) if seen.role == Role::Owner => Err(Denied::IsOwner),
        Some(seen) => Ok(seen),
    }
}

/// A member goes by themselves.
pub(super) async fn leave(
    connection: &Connection,
    user: UserId,
    space: SpaceId,
) -> Result<Answer<()>, PgError> {
    let space = granted!(locked(connection, user, space, may_leave).await?);
    delete(connection, &space, user).await.map(Ok)
}

/// Another member becomes the owner.
pub(super) async fn transfer(
    connection: &Connection,
    actor: UserId,
    space: SpaceId,
    to: UserId,
    max_owned: u32,
) -> Result<Answer<()>, PgError> {
    // Looked at before the account of `to` is locked: nobody may hold up just anybody.
    granted!(owned_with_members(seen::seen(connection, actor, space).await?));
    match other_member(connection, space, to).await? {
        // To oneself: there is nothing to do.
        Err(Denied::IsOwner) if to == actor => return Ok(Ok(())),
        Err(Denied::IsOwner) | Ok(()) => {}
        Err(denied) => return Ok(Err(denied)),
    }
    // An account that is gone by now was a member's no longer, which is found under the space's lock.
    access::user_is_counted(connection, to).await?;
    let space = granted!(locked_with_member(connection, actor, space, to).await?);
    let max_owned = quotas::max_owned(connection, to, max_owned).await?;
    if owned_by(connection, to, max_owned).await? >= max_owned {
        return Ok(Err(Denied::TooManySpaces));
    }
    // In this order: at no moment has a space two owners.
    update_role(connection, &space, actor, Role::Editor).await?;
    update_role(connection, &space, to, Role::Owner).await?;
    let sql = "UPDATE space SET owner = $2 WHERE space_id = $1";
    execute(connection, sql, &[&uuid(space.seen.id.0), &uuid(to.0)]).await?;
    Ok(Ok(()))
}
