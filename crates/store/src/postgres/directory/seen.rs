//! Which space a user sees, and as what.

use std::sync::Arc;

use lattice_engine::{Policy, Role, Seq, SpaceId};
use tokio_postgres::Row;

use crate::accounts::UserId;
use crate::directory::{Answer, Denied, SchemaRule, SpaceEntry, SpaceKind};
use crate::postgres::access;
use crate::postgres::error::PgError;
use crate::postgres::transaction::{Connection, query, query_opt};
use crate::postgres::values::{corrupt, space, uuid};

/// A space as one user sees it.
pub(super) struct Seen {
    pub(super) id: SpaceId,
    pub(super) kind: SpaceKind,
    pub(super) name: String,
    pub(super) rules: String,
    pub(super) policy: Option<String>,
    pub(super) schema_rule: Option<String>,
    pub(super) archived_us: Option<i64>,
    pub(super) created_us: i64,
    pub(super) role: Role,
    /// The user is a member, not merely a reader of a public space.
    pub(super) is_member: bool,
}

impl Seen {
    pub(super) fn entry(self) -> SpaceEntry {
        SpaceEntry {
            id: self.id,
            kind: self.kind,
            name: self.name,
            role: self.role,
            archived_us: self.archived_us,
            created_us: self.created_us,
        }
    }
}

/// Columns of [`read`] but for the last two: role, and whether it is a member's. The table is `s`.
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
    ", m.role, true FROM ",
    of_members!(),
    "WHERE m.user_id = $1 AND m.space_id = $2
     UNION ALL SELECT ",
    columns!(),
    ", 'viewer', false FROM space s WHERE s.public_id = $2
     UNION ALL SELECT ",
    columns!(),
    ", 'owner', false FROM (SELECT * FROM space WHERE owner = $1 AND kind = 'private' OFFSET 0) s
     WHERE s.space_id = $2 AND s.deleted_us IS NULL"
);

const PRIVATE: &str = concat!(
    "SELECT ",
    columns!(),
    ", 'owner', false FROM space s WHERE s.owner = $1 AND s.kind = 'private' AND s.deleted_us IS NULL"
);

/// The space with this id, if the user sees it.
pub(super) async fn seen(
    connection: &Connection,
    user: UserId,
    id: SpaceId,
) -> Result<Option<Seen>, PgError> {
    let mut found: Option<Seen> = None;
    for row in query(connection, SEEN, &[&uuid(user.0), &uuid(id.0)]).await? {
        let next = read(&row)?;
        // A member of a public space finds it twice.
        if found.as_ref().is_none_or(|found| !found.is_member && next.is_member) {
            found = Some(next);
        }
    }
    Ok(found)
}

/// The private space of a user, if it was made and they are not gone.
pub(super) async fn private(connection: &Connection, user: UserId) -> Result<Option<Seen>, PgError> {
    query_opt(connection, PRIVATE, &[&uuid(user.0)]).await?.map(|row| read(&row)).transpose()
}

/// What is asked of a space as a user sees it.
pub(super) type Check = fn(Option<Seen>) -> Answer<Seen>;

/// The space is the user's own.
pub(super) fn owned(seen: Option<Seen>) -> Answer<Seen> {
    match seen {
        None => Err(Denied::NotFound),
        Some(seen) if seen.role == Role::Owner => Ok(seen),
        Some(_) => Err(Denied::Forbidden),
    }
}

/// The space is the user's own, and shared or public.
pub(super) fn owned_with_members(seen: Option<Seen>) -> Answer<Seen> {
    owned(seen).and_then(|seen| match seen.kind {
        SpaceKind::Private => Err(Denied::Private),
        SpaceKind::Shared | SpaceKind::Public => Ok(seen),
    })
}

/// A space that is locked, and its last seq.
pub(super) struct Locked {
    pub(super) seen: Seen,
    pub(super) head: Seq,
}

/// Locks a space, if it passes the check. It is looked at without the lock first: what the user does not see is neither
/// touched nor waited for.
pub(super) async fn locked(
    connection: &Connection,
    user: UserId,
    id: SpaceId,
    check: Check,
) -> Result<Answer<Locked>, PgError> {
    if let Err(denied) = check(seen(connection, user, id).await?) {
        return Ok(Err(denied));
    }
    let Some(head) = access::space(connection, id).await? else { return Ok(Err(Denied::NotFound)) };
    Ok(check(seen(connection, user, id).await?).map(|seen| Locked { seen, head }))
}

/// Reads the columns of [`columns`], role, and membership.
pub(super) fn read(row: &Row) -> Result<Seen, PgError> {
    let id = space(row, 0)?;
    let corrupt = |column| corrupt("space", column, UserId(id.0));
    Ok(Seen {
        id,
        kind: SpaceKind::parse(row.try_get(1)?).ok_or_else(|| corrupt("kind"))?,
        name: row.try_get(2)?,
        rules: row.try_get(3)?,
        policy: row.try_get(4)?,
        schema_rule: row.try_get(5)?,
        archived_us: row.try_get(6)?,
        created_us: row.try_get(7)?,
        role: role(row.try_get(8)?, id)?,
        is_member: row.try_get(9)?,
    })
}

/// Reads a role of a member of a space.
pub(super) fn role(name: &str, space: SpaceId) -> Result<Role, PgError> {
    Role::parse(name).ok_or_else(|| corrupt("member", "role", UserId(space.0)))
}

/// The policy of a space from its JSON; the default when there is none.
pub(super) fn policy_of(space: SpaceId, json: Option<&str>) -> Result<Arc<Policy>, PgError> {
    let policy = json.map(serde_json::from_str).transpose();
    let policy = policy.map_err(|_| corrupt("space", "policy", UserId(space.0)))?;
    Ok(Arc::new(policy.unwrap_or_default()))
}

/// The schema rule of a space from its JSON.
pub(super) fn schema_of(space: SpaceId, json: Option<&str>) -> Result<Option<SchemaRule>, PgError> {
    let rule = json.map(serde_json::from_str).transpose();
    rule.map_err(|_| corrupt("space", "schema_rule", UserId(space.0)))
}
