//! Lists of spaces, page by page.

use lattice_engine::SpaceId;

use super::seen::{self, columns, of_members};
use crate::accounts::UserId;
use crate::directory::{Page, SpaceEntry};
use crate::postgres::error::PgError;
use crate::postgres::transaction::{Connection, query};
use crate::postgres::values::uuid;
use crate::stored::seen::Seen;

/// Before every id: what follows the private space, which comes first.
const START: SpaceId = SpaceId([0; 16]);

/// `$1` the user, `$2` the id before, `$3` the limit.
pub(super) const OF_USER: &str = concat!(
    "SELECT ",
    columns!(),
    ", s.owner = $1, m.role FROM ",
    of_members!(),
    "WHERE m.user_id = $1 AND m.space_id > $2 ORDER BY m.space_id LIMIT $3"
);

/// `$1` the user, `$2` the id before, `$3` the limit.
pub(super) const PUBLIC: &str = concat!(
    "SELECT ",
    columns!(),
    ", s.owner = $1, m.role FROM space s
       LEFT JOIN member m ON m.space_id = s.public_id AND m.user_id = $1
     WHERE s.public_id > $2 ORDER BY s.public_id LIMIT $3"
);

/// The private space, then those that the user is a member of.
pub(super) async fn of_user(
    connection: &Connection,
    user: UserId,
    after: Option<SpaceId>,
    limit: u32,
) -> Result<Page<SpaceEntry, SpaceId>, PgError> {
    let limit = limit.max(1) as usize;
    let mut items = Vec::new();
    if after.is_none() {
        items.extend(seen::private(connection, user).await?.map(Seen::entry));
    }
    let has_private = !items.is_empty();
    read(connection, OF_USER, user, after.unwrap_or(START), limit - items.len(), &mut items).await?;
    let more = items.len() > limit;
    items.truncate(limit);
    // After the private space come the others from the start, whatever its own id is.
    let last = if has_private && items.len() == 1 { Some(START) } else { items.last().map(|item| item.id) };
    Ok(Page { next: last.filter(|_| more), items })
}

/// Public spaces.
pub(super) async fn public(
    connection: &Connection,
    user: UserId,
    after: Option<SpaceId>,
    limit: u32,
) -> Result<Page<SpaceEntry, SpaceId>, PgError> {
    let limit = limit.max(1) as usize;
    let mut items = Vec::new();
    read(connection, PUBLIC, user, after.unwrap_or(START), limit, &mut items).await?;
    Ok(Page::of(items, limit, |item| item.id))
}

async fn read(
    connection: &Connection,
    sql: &str,
    user: UserId,
    after: SpaceId,
    limit: usize,
    items: &mut Vec<SpaceEntry>,
) -> Result<(), PgError> {
    let one_more = super::one_more(limit);
    for row in query(connection, sql, &[&uuid(user.0), &uuid(after.0), &one_more]).await? {
        items.extend(seen::read(&row)?.map(Seen::entry));
    }
    Ok(())
}
