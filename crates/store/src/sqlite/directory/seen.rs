//! Which space a user sees, and as what.

use lattice_engine::SpaceId;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::StoreError;
use crate::accounts::UserId;
use crate::directory::{AccessRecord, Answer, Denied};
use crate::rules::standing::{Rule, Standing};
use crate::stored::seen::{self, Seen, as_member, corrupt};

/// A space as one user sees it, with its number.
pub(super) struct Numbered {
    pub(super) no: u32,
    pub(super) seen: Seen,
}

/// Columns of [`read`] but for the last two: whether the user is the owner, and the role of their membership. The table is `s`.
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
    ", s.owner = ?1, m.role FROM member m INDEXED BY member_of_user CROSS JOIN space s ON s.no = m.space
     WHERE m.user = ?1 AND m.space_id = ?2 AND s.deleted_us IS NULL
     UNION ALL SELECT ",
    columns!(),
    ", s.owner = ?1, NULL FROM space s INDEXED BY public_space
     WHERE s.id = ?2 AND s.kind = 'public' AND s.deleted_us IS NULL
     UNION ALL SELECT ",
    columns!(),
    ", s.owner = ?1, NULL FROM space s INDEXED BY space_of_owner
     WHERE s.owner = ?1 AND s.kind = 'private' AND s.id = ?2 AND s.deleted_us IS NULL"
);

const PRIVATE: &str = concat!(
    "SELECT ",
    columns!(),
    ", s.owner = ?1, NULL FROM space s WHERE s.owner = ?1 AND s.kind = 'private' AND s.deleted_us IS NULL"
);

/// The space with this id, if the user sees it.
pub(super) fn seen(
    connection: &Connection,
    user: UserId,
    id: SpaceId,
) -> Result<Option<Numbered>, StoreError> {
    let mut statement = connection.prepare_cached(SEEN)?;
    let mut rows = statement.query(params![user.0, id.0])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.extend(read(row)?);
    }
    Ok(as_member(found, |found| found.seen.standing))
}

/// The private space of a user, if it was made and they are not gone.
pub(super) fn private(connection: &Connection, user: UserId) -> Result<Option<Numbered>, StoreError> {
    let found = connection.prepare_cached(PRIVATE)?.query_row([user.0], |row| Ok(read(row))).optional()?;
    Ok(found.transpose()?.flatten())
}

/// The space with this id, if the rule lets the user do what they ask for.
pub(super) fn granted(
    connection: &Connection,
    user: UserId,
    id: SpaceId,
    rule: Rule,
) -> Result<Answer<Numbered>, StoreError> {
    let found = seen(connection, user, id)?;
    let answer = rule(found.as_ref().map(|found| found.seen.standing));
    Ok(answer.and_then(|()| found.ok_or(Denied::NotFound)))
}

/// Reads the columns of [`columns`], whether the user is the owner, and the role of their membership. `None` when the user does
/// not see the space.
pub(super) fn read(row: &Row<'_>) -> Result<Option<Numbered>, StoreError> {
    let id = SpaceId(row.get(1)?);
    let kind = seen::kind(&row.get::<_, String>(2)?, id)?;
    let member: Option<String> = row.get(10)?;
    let member = member.map(|name| seen::role(&name, id)).transpose()?;
    let Some(standing) = Standing::of(kind, row.get(9)?, member) else { return Ok(None) };
    let seen = Seen {
        id,
        standing,
        name: row.get(3).map_err(|_| corrupt("space", "name", id))?,
        rules: row.get(4)?,
        policy: row.get(5)?,
        schema_rule: row.get(6)?,
        archived_us: row.get(7)?,
        created_us: row.get(8)?,
    };
    Ok(Some(Numbered { no: row.get(0)?, seen }))
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
    let sql = "SELECT s.id, s.kind, s.owner = ?2, m.role, s.policy, s.archived_us IS NOT NULL
               FROM space s LEFT JOIN member m ON m.space = s.no AND m.user = ?2
               WHERE s.no = ?1 AND s.deleted_us IS NULL";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![space, user])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let id = SpaceId(row.get(0)?);
    let member: Option<String> = row.get(3)?;
    let member = member.map(|name| seen::role(&name, id)).transpose()?;
    let standing = Standing::of(seen::kind(&row.get::<_, String>(1)?, id)?, row.get(2)?, member);
    let Some(standing) = standing else { return Ok(None) };
    let policy: Option<String> = row.get(4)?;
    seen::access(id, standing, policy.as_deref(), row.get(5)?).map(Some)
}
