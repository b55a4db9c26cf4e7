//! Which space a user sees, and as what.

use std::sync::Arc;

use lattice_engine::{Policy, Role, SpaceId};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::StoreError;
use crate::accounts::UserId;
use crate::directory::{AccessRecord, Answer, Denied, SchemaRule, SpaceEntry, SpaceKind};

/// A space as one user sees it.
pub(super) struct Seen {
    pub(super) no: u32,
    pub(super) id: [u8; 16],
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
            id: SpaceId(self.id),
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
        "s.no, s.id, s.kind, s.name, s.rules, s.policy, s.schema_rule, s.archived_us, s.created_us"
    };
}
pub(super) use columns;

/// By my membership, by its being public, by its being my own: whatever the space, each step looks into an index of what
/// this user may see, so that one that they may not see costs the same as one that does not exist.
pub(super) const SEEN: &str = concat!(
    "SELECT ",
    columns!(),
    ", m.role, 1 FROM member m INDEXED BY member_of_user CROSS JOIN space s ON s.no = m.space
     WHERE m.user = ?1 AND m.space_id = ?2 AND s.deleted_us IS NULL
     UNION ALL SELECT ",
    columns!(),
    ", 'viewer', 0 FROM space s INDEXED BY public_space
     WHERE s.id = ?2 AND s.kind = 'public' AND s.deleted_us IS NULL
     UNION ALL SELECT ",
    columns!(),
    ", 'owner', 0 FROM space s INDEXED BY space_of_owner
     WHERE s.owner = ?1 AND s.kind = 'private' AND s.id = ?2 AND s.deleted_us IS NULL"
);

const PRIVATE: &str = concat!(
    "SELECT ",
    columns!(),
    ", 'owner', 0 FROM space s WHERE s.owner = ?1 AND s.kind = 'private' AND s.deleted_us IS NULL"
);

/// The space with this id, if the user sees it.
pub(super) fn seen(connection: &Connection, user: UserId, id: SpaceId) -> Result<Option<Seen>, StoreError> {
    let mut statement = connection.prepare_cached(SEEN)?;
    let mut rows = statement.query(params![user.0, id.0])?;
    let mut found: Option<Seen> = None;
    while let Some(row) = rows.next()? {
        let next = read(row)?;
        // A member of a public space finds it twice.
        if found.as_ref().is_none_or(|found| !found.is_member && next.is_member) {
            found = Some(next);
        }
    }
    Ok(found)
}

/// The private space of a user, if it was made and they are not gone.
pub(super) fn private(connection: &Connection, user: UserId) -> Result<Option<Seen>, StoreError> {
    connection.prepare_cached(PRIVATE)?.query_row([user.0], |row| Ok(read(row))).optional()?.transpose()
}

/// The space with this id as its owner sees it.
pub(super) fn owned(connection: &Connection, actor: UserId, id: SpaceId) -> Result<Answer<Seen>, StoreError> {
    Ok(match seen(connection, actor, id)? {
        None => Err(Denied::NotFound),
        Some(seen) if seen.role == Role::Owner => Ok(seen),
        Some(_) => Err(Denied::Forbidden),
    })
}

/// The shared or public space with this id as its owner sees it.
pub(super) fn owned_with_members(
    connection: &Connection,
    actor: UserId,
    id: SpaceId,
) -> Result<Answer<Seen>, StoreError> {
    Ok(owned(connection, actor, id)?.and_then(|seen| match seen.kind {
        SpaceKind::Private => Err(Denied::Private),
        SpaceKind::Shared | SpaceKind::Public => Ok(seen),
    }))
}

/// Reads the columns of [`columns`], role, and membership.
pub(super) fn read(row: &Row<'_>) -> Result<Seen, StoreError> {
    let no: u32 = row.get(0)?;
    let corrupt = |column| StoreError::Corrupt { table: "space", column, row: no.to_string() };
    Ok(Seen {
        no,
        id: row.get(1).map_err(|_| corrupt("id"))?,
        kind: SpaceKind::parse(&row.get::<_, String>(2)?).ok_or_else(|| corrupt("kind"))?,
        name: row.get(3).map_err(|_| corrupt("name"))?,
        rules: row.get(4)?,
        policy: row.get(5)?,
        schema_rule: row.get(6)?,
        archived_us: row.get(7)?,
        created_us: row.get(8)?,
        role: role(&row.get::<_, String>(9)?, no)?,
        is_member: row.get(10)?,
    })
}

/// Reads a role of a member of a space.
pub(super) fn role(name: &str, space: u32) -> Result<Role, StoreError> {
    let corrupt = || StoreError::Corrupt { table: "member", column: "role", row: space.to_string() };
    Role::parse(name).ok_or_else(corrupt)
}

/// The policy of a space from its JSON; the default when there is none.
pub(super) fn policy_of(space: u32, json: Option<&str>) -> Result<Arc<Policy>, StoreError> {
    let corrupt = |_| StoreError::Corrupt { table: "space", column: "policy", row: space.to_string() };
    let policy = json.map(serde_json::from_str).transpose().map_err(corrupt)?;
    Ok(Arc::new(policy.unwrap_or_default()))
}

/// The schema rule of a space from its JSON.
pub(super) fn schema_of(space: u32, json: Option<&str>) -> Result<Option<SchemaRule>, StoreError> {
    let corrupt = |_| StoreError::Corrupt { table: "space", column: "schema_rule", row: space.to_string() };
    json.map(serde_json::from_str).transpose().map_err(corrupt)
}

/// What decides whether a user's changes to a space are taken, read inside the transaction that would take them. `None`
/// when the space is deleted or the user does not see it (any more).
///
/// # Errors
/// What the database says, or that what it holds cannot be read.
pub fn access_in(
    connection: &Connection,
    space: u32,
    user: [u8; 16],
) -> Result<Option<AccessRecord>, StoreError> {
    let sql = "SELECT s.kind = 'private', s.policy, s.archived_us IS NOT NULL,
                      CASE s.kind WHEN 'private' THEN iif(s.owner = ?2, 'owner', NULL)
                                  WHEN 'public' THEN ifnull(m.role, 'viewer')
                                  ELSE m.role END
               FROM space s LEFT JOIN member m ON m.space = s.no AND m.user = ?2
               WHERE s.no = ?1 AND s.deleted_us IS NULL";
    let mut statement = connection.prepare_cached(sql)?;
    let read = |row: &Row<'_>| {
        Ok((row.get(0)?, row.get::<_, Option<String>>(1)?, row.get(2)?, row.get::<_, Option<String>>(3)?))
    };
    let found = statement.query_row(params![space, user], read).optional()?;
    let Some((private, policy, archived, Some(name))) = found else { return Ok(None) };
    let policy = policy_of(space, policy.as_deref())?;
    Ok(Some(AccessRecord { role: role(&name, space)?, policy, archived, private }))
}
