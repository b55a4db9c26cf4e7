//! Remembered views: what the ids of views in cursors stood for.

use lattice_engine::{Seq, View};
use rusqlite::{Connection, OptionalExtension, params};

use crate::StoreError;
use crate::accounts::UserId;
use crate::directory::{AccessRecord, MAX_REMEMBERED_VIEWS, RememberedView, ViewMemory};

use super::seen;

/// The views of a user in a space, the newest first.
pub fn list(connection: &Connection, space: u32, user: UserId) -> Result<Vec<RememberedView>, StoreError> {
    let sql = "SELECT id, definition, until_seq FROM remembered_view
               WHERE space = ?1 AND user = ?2 ORDER BY turn DESC";
    let mut statement = connection.prepare_cached(sql)?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(RememberedView {
            id: row.get::<_, i64>(0)?.cast_unsigned(),
            definition: row.get(1)?,
            until: row.get::<_, Option<i64>>(2)?.map(i64::cast_unsigned),
        })
    };
    Ok(statement.query_map(params![space, user.0], read)?.collect::<Result<_, _>>()?)
}

/// The newest view of a user in a space, if it has not ended.
pub fn newest(connection: &Connection, space: u32, user: UserId) -> Result<Option<u64>, StoreError> {
    let sql = "SELECT id, until_seq IS NULL FROM remembered_view
               WHERE space = ?1 AND user = ?2 ORDER BY turn DESC LIMIT 1";
    let mut statement = connection.prepare_cached(sql)?;
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get(1)?));
    let newest: Option<(i64, bool)> = statement.query_row(params![space, user.0], read).optional()?;
    Ok(newest.filter(|(_, goes_on)| *goes_on).map(|(id, _)| id.cast_unsigned()))
}

/// What a user, or every user, may do in a space is changing: what was shown until now ends at its head, which
/// [`fill_in_heads`] knows.
pub(super) fn end(connection: &Connection, space: u32, user: Option<UserId>) -> Result<(), StoreError> {
    let sql = "UPDATE remembered_view SET until_seq = -1
               WHERE space = ?1 AND (?2 IS NULL OR user = ?2) AND until_seq IS NULL";
    connection.prepare_cached(sql)?.execute(params![space, user.map(|user| user.0)])?;
    Ok(())
}

/// The last step of a transaction that ended views: `head` tells a space's last seq.
pub(in super::super) fn fill_in_heads(
    connection: &Connection,
    mut head: impl FnMut(u32) -> Result<Seq, StoreError>,
) -> Result<(), StoreError> {
    let sql = "SELECT DISTINCT space FROM remembered_view WHERE until_seq < 0";
    let mut statement = connection.prepare_cached(sql)?;
    let spaces: Vec<u32> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for space in spaces {
        let sql = "UPDATE remembered_view SET until_seq = ?2 WHERE space = ?1 AND until_seq < 0";
        connection.prepare_cached(sql)?.execute(params![space, head(space)?.cast_signed()])?;
    }
    Ok(())
}

/// Makes a view the newest and forgets the oldest ones beyond the limit, if it is still what the user's rights show.
pub fn remember(
    connection: &Connection,
    space: u32,
    user: UserId,
    id: u64,
    definition: &str,
) -> Result<ViewMemory, StoreError> {
    if let Some(view) = View::parse(definition) {
        let access = seen::access_in(connection, space, user.0)?;
        let holds = |access: &AccessRecord| view.is_of(&access.policy, access.role, user.0, access.private);
        if !access.as_ref().is_some_and(holds) {
            return Ok(ViewMemory::Outdated);
        }
    }
    let sql = "INSERT INTO remembered_view (space, user, id, definition, turn)
               VALUES (?1, ?2, ?3, ?4,
                       (SELECT 1 + ifnull(max(turn), 0) FROM remembered_view WHERE space = ?1 AND user = ?2))
               ON CONFLICT (space, user, id) DO UPDATE SET definition = excluded.definition, turn = excluded.turn,
                   until_seq = NULL";
    connection.prepare_cached(sql)?.execute(params![space, user.0, id.cast_signed(), definition])?;
    let sql = "DELETE FROM remembered_view WHERE space = ?1 AND user = ?2 AND id IN (
                   SELECT id FROM remembered_view WHERE space = ?1 AND user = ?2
                   ORDER BY turn DESC LIMIT -1 OFFSET ?3)";
    connection.prepare_cached(sql)?.execute(params![space, user.0, MAX_REMEMBERED_VIEWS as i64])?;
    Ok(ViewMemory::Remembered)
}
