//! Members of shared and public spaces. One of them is the owner, always.

use lattice_engine::{Role, Seq, SpaceId};

use super::seen::{self, Locked, locked};
use super::spaces::may_own_one_more;
use super::{granted, views};
use crate::accounts::UserId;
use crate::directory::{Answer, Member, Page};
use crate::postgres::access;
use crate::postgres::error::PgError;
use crate::postgres::transaction::{Connection, execute, query, query_opt};
use crate::postgres::values::{id, uuid};
use crate::rules::ownership::{self, Transfer};
use crate::rules::{self, standing};
use crate::stored::seen::role;

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
    granted!(seen::granted(connection, actor, space, standing::is_member).await?);
    let limit = limit.max(1) as usize;
    let after = after.unwrap_or(UserId([0; 16]));
    let rows = query(connection, LIST, &[&uuid(space.0), &uuid(after.0), &super::one_more(limit)]).await?;
    let mut items = Vec::with_capacity(rows.len());
    for row in &rows {
        items.push(Member {
            user: UserId(id(row, 0)?),
            role: role(row.try_get(1)?, space)?,
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
    found.map(|row| Ok(role(row.try_get(0)?, space)?)).transpose()
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

/// A space of `actor`, locked, and what `user` is in it as a member.
async fn locked_with_member(
    connection: &Connection,
    actor: UserId,
    space: SpaceId,
    user: UserId,
) -> Result<Answer<(Locked, Option<Role>)>, PgError> {
    let locked = granted!(locked(connection, actor, space, standing::owns_with_members).await?);
    let member = role_of(connection, space, user).await?;
    Ok(Ok((locked, member)))
}

async fn update_role(
    connection: &Connection,
    space: &Locked,
    user: UserId,
    role: Role,
) -> Result<(), PgError> {
    views::end(connection, space.id, user, space.head).await?;
    let sql = "UPDATE member SET role = $3 WHERE space_id = $1 AND user_id = $2";
    execute(connection, sql, &[&uuid(space.id.0), &uuid(user.0), &role.as_str()]).await?;
    Ok(())
}

async fn delete(connection: &Connection, space: &Locked, user: UserId) -> Result<(), PgError> {
    views::end(connection, space.id, user, space.head).await?;
    let sql = "DELETE FROM member WHERE space_id = $1 AND user_id = $2";
    execute(connection, sql, &[&uuid(space.id.0), &uuid(user.0)]).await?;
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
    let (space, member) = granted!(locked_with_member(connection, actor, space, user).await?);
    granted!(rules::members::set_role(member, role));
    update_role(connection, &space, user, role).await.map(Ok)
}

/// Removes a member.
pub(super) async fn remove(
    connection: &Connection,
    actor: UserId,
    space: SpaceId,
    user: UserId,
) -> Result<Answer<()>, PgError> {
    let (space, member) = granted!(locked_with_member(connection, actor, space, user).await?);
    granted!(rules::members::remove(member));
    delete(connection, &space, user).await.map(Ok)
}

/// A member goes by themselves.
pub(super) async fn leave(
    connection: &Connection,
    user: UserId,
    space: SpaceId,
) -> Result<Answer<()>, PgError> {
    let space = granted!(locked(connection, user, space, standing::may_leave).await?);
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
    granted!(seen::granted(connection, actor, space, standing::owns_with_members).await?);
    if granted!(ownership::transfer(role_of(connection, space, to).await?)) == Transfer::Done && to == actor {
        return Ok(Ok(()));
    }
    // An account that is gone by now was a member's no longer, which is found under the space's lock.
    access::user_is_counted(connection, to).await?;
    let (space, member) = granted!(locked_with_member(connection, actor, space, to).await?);
    let Transfer::To { former_owner } = granted!(ownership::transfer(member)) else { return Ok(Ok(())) };
    granted!(may_own_one_more(connection, to, max_owned).await?);
    // In this order: at no moment has a space two owners.
    update_role(connection, &space, actor, former_owner).await?;
    update_role(connection, &space, to, Role::Owner).await?;
    let sql = "UPDATE space SET owner = $2 WHERE space_id = $1";
    execute(connection, sql, &[&uuid(space.id.0), &uuid(to.0)]).await?;
    Ok(Ok(()))
}
