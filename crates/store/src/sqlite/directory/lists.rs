//! Lists of spaces, page by page.

use lattice_engine::SpaceId;
use rusqlite::{Connection, params};

use super::seen::{self, columns};
use crate::StoreError;
use crate::accounts::UserId;
use crate::directory::{Page, SpaceEntry};

/// Before every id: what follows the private space, which comes first.
const START: SpaceId = SpaceId([0; 16]);

/// `?1` the user, `?2` the id before, `?3` the limit.
pub(super) const OF_USER: &str = concat!(
    "SELECT ",
    columns!(),
    ", s.owner = ?1, m.role FROM member m INDEXED BY member_of_user CROSS JOIN space s ON s.no = m.space
     WHERE m.user = ?1 AND m.space_id > ?2 AND s.deleted_us IS NULL ORDER BY m.space_id LIMIT ?3"
);

/// `?1` the user, `?2` the id before, `?3` the limit.
pub(super) const PUBLIC: &str = concat!(
    "SELECT ",
    columns!(),
    ", s.owner = ?1, m.role FROM space s INDEXED BY public_space
       LEFT JOIN member m ON m.space = s.no AND m.user = ?1
     WHERE s.kind = 'public' AND s.deleted_us IS NULL AND s.id > ?2 ORDER BY s.id LIMIT ?3"
);

/// The private space, then those that the user is a member of.
pub(super) fn of_user(
    connection: &Connection,
    user: UserId,
    after: Option<SpaceId>,
    limit: u32,
) -> Result<Page<SpaceEntry, SpaceId>, StoreError> {
    let limit = limit.max(1) as usize;
    let mut items = Vec::new();
    if after.is_none() {
        items.extend(seen::private(connection, user)?.map(|found| found.seen.entry()));
    }
    let has_private = !items.is_empty();
    let one_more = limit as i64 - items.len() as i64 + 1;
    read(connection, OF_USER, user, after.unwrap_or(START), one_more, &mut items)?;
    let more = items.len() > limit;
    items.truncate(limit);
    // After the private space come the others from the start, whatever its own id is.
    let last = if has_private && items.len() == 1 { Some(START) } else { items.last().map(|item| item.id) };
    Ok(Page { next: last.filter(|_| more), items })
}

/// Public spaces.
pub(super) fn public(
    connection: &Connection,
    user: UserId,
    after: Option<SpaceId>,
    limit: u32,
) -> Result<Page<SpaceEntry, SpaceId>, StoreError> {
    let limit = limit.max(1) as usize;
    let mut items = Vec::new();
    read(connection, PUBLIC, user, after.unwrap_or(START), limit as i64 + 1, &mut items)?;
    Ok(Page::of(items, limit, |item| item.id))
}

fn read(
    connection: &Connection,
    sql: &str,
    user: UserId,
    after: SpaceId,
    limit: i64,
    items: &mut Vec<SpaceEntry>,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![user.0, after.0, limit])?;
    while let Some(row) = rows.next()? {
        items.extend(seen::read(row)?.map(|found| found.seen.entry()));
    }
    Ok(())
}
