//! Which space a user sees, and as what.

use lattice_engine::{Seq, SpaceId};
use tokio_postgres::Row;

use crate::accounts::UserId;
use crate::directory::{Answer, Denied};
use crate::postgres::access;
use crate::postgres::error::PgError;
use crate::postgres::transaction::{Connection, query, query_opt};
use crate::postgres::values::{space, uuid};
use crate::rules::standing::{Rule, Standing};
use crate::stored::seen::{self, Seen, as_member};

/// Columns of [`read`] but for the last two: whether the user is the owner, and the role of their membership. The table is `s`.
macro_rules! columns {
    () => {
        "s.space_id, s.kind, s.name, s.rules, s.policy, s.schema_rule, s.archived_us, s.created_us"
    };
}
pub(super) use columns;

/// The spaces of members `m` that are not deleted, as `s`. `OFFSET 0` keeps the planner from beginning with the space.
macro_rules! of_members {
    () => {
        " member m CROSS JOIN LATERAL (
             SELECT * FROM space WHERE space_id = m.space_id AND deleted_us IS NULL OFFSET 0) s "
    };
}
pub(super) use of_members;

/// By my membership, by its being public, by its being my own: whatever the space, each step looks into an index of what
/// this user may see, so that one that they may not see costs the same as one that does not exist. `$1` the user, `$2` the
/// space.
pub(super) const SEEN: &str = concat!(
    "SELECT ",
    columns!(),
    ", s.owner = $1, m.role FROM ",
    of_members!(),
    "WHERE m.user_id = $1 AND m.space_id = $2
     UNION ALL SELECT ",
    columns!(),
    ", s.owner = $1, NULL FROM space s WHERE s.public_id = $2
     UNION ALL SELECT ",
    columns!(),
    ", s.owner = $1, NULL FROM (SELECT * FROM space WHERE owner = $1 AND kind = 'private' OFFSET 0) s
     WHERE s.space_id = $2 AND s.deleted_us IS NULL"
);

const PRIVATE: &str = concat!(
    "SELECT ",
    columns!(),
    ", s.owner = $1, NULL::text FROM space s WHERE s.owner = $1 AND s.kind = 'private' AND s.deleted_us IS NULL"
);

/// The space with this id, if the user sees it.
pub(super) async fn seen(
    connection: &Connection,
    user: UserId,
    id: SpaceId,
) -> Result<Option<Seen>, PgError> {
    let mut found = Vec::new();
    for row in query(connection, SEEN, &[&uuid(user.0), &uuid(id.0)]).await? {
        found.extend(read(&row)?);
    }
    Ok(as_member(found, |seen| seen.standing))
}

/// The private space of a user, if it was made and they are not gone.
pub(super) async fn private(connection: &Connection, user: UserId) -> Result<Option<Seen>, PgError> {
    let row = query_opt(connection, PRIVATE, &[&uuid(user.0)]).await?;
    Ok(row.map(|row| read(&row)).transpose()?.flatten())
}

/// The space with this id, if the rule lets the user do what they ask for.
pub(super) async fn granted(
    connection: &Connection,
    user: UserId,
    id: SpaceId,
    rule: Rule,
) -> Result<Answer<Seen>, PgError> {
    let found = seen(connection, user, id).await?;
    let answer = rule(found.as_ref().map(|seen| seen.standing));
    Ok(answer.and_then(|()| found.ok_or(Denied::NotFound)))
}

/// A space that is locked, and its last seq.
pub(super) struct Locked {
    pub(super) id: SpaceId,
    pub(super) head: Seq,
}

/// Locks a space, if the rule lets the user do what they ask for. It is looked at without the lock first: what the user does not
/// see is neither touched nor waited for.
pub(super) async fn locked(
    connection: &Connection,
    user: UserId,
    id: SpaceId,
    rule: Rule,
) -> Result<Answer<Locked>, PgError> {
    if let Err(denied) = granted(connection, user, id, rule).await? {
        return Ok(Err(denied));
    }
    let Some(head) = access::space(connection, id).await? else { return Ok(Err(Denied::NotFound)) };
    Ok(granted(connection, user, id, rule).await?.map(|_| Locked { id, head }))
}

/// Reads the columns of [`columns`], whether the user is the owner, and the role of their membership. `None` when the user does
/// not see the space.
pub(super) fn read(row: &Row) -> Result<Option<Seen>, PgError> {
    let id = space(row, 0)?;
    let member: Option<&str> = row.try_get(9)?;
    let member = member.map(|name| seen::role(name, id)).transpose()?;
    let Some(standing) = Standing::of(seen::kind(row.try_get(1)?, id)?, row.try_get(8)?, member) else {
        return Ok(None);
    };
    Ok(Some(Seen {
        id,
        standing,
        name: row.try_get(2)?,
        rules: row.try_get(3)?,
        policy: row.try_get(4)?,
        schema_rule: row.try_get(5)?,
        archived_us: row.try_get(6)?,
        created_us: row.try_get(7)?,
    }))
}
