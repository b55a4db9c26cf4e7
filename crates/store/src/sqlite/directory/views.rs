//! Remembered views: what the ids of views in cursors stood for.

use rusqlite::{Connection, OptionalExtension, params};

use crate::StoreError;
use crate::accounts::UserId;
use crate::directory::MAX_REMEMBERED_VIEWS;

/// The views of a user in a space, the newest first.
pub(super) fn list(
    connection: &Connection,
    space: u32,
    user: UserId,
) -> Result<Vec<(u64, String)>, StoreError> {
    let sql = "SELECT id, definition FROM remembered_view WHERE space = ?1 AND user = ?2 ORDER BY turn DESC";
    let mut statement = connection.prepare_cached(sql)?;
    let read =
        |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, String>(1)?));
    Ok(statement.query_map(params![space, user.0], read)?.collect::<Result<_, _>>()?)
}

/// The newest view of a user in a space.
pub(super) fn newest(connection: &Connection, space: u32, user: UserId) -> Result<Option<u64>, StoreError> {
    let sql = "SELECT id FROM remembered_view WHERE space = ?1 AND user = ?2 ORDER BY turn DESC LIMIT 1";
    let mut statement = connection.prepare_cached(sql)?;
    let id: Option<i64> = statement.query_row(params![space, user.0], |row| row.get(0)).optional()?;
    Ok(id.map(i64::cast_unsigned))
}

/// Makes a view the newest and forgets the oldest ones beyond the limit.
pub(super) fn remember(
    connection: &Connection,
    space: u32,
    user: UserId,
    id: u64,
    definition: &str,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO remembered_view (space, user, id, definition, turn)
               VALUES (?1, ?2, ?3, ?4,
                       (SELECT 1 + ifnull(max(turn), 0) FROM remembered_view WHERE space = ?1 AND user = ?2))
               ON CONFLICT (space, user, id) DO UPDATE SET definition = excluded.definition, turn = excluded.turn";
    connection.prepare_cached(sql)?.execute(params![space, user.0, id.cast_signed(), definition])?;
    let sql = "DELETE FROM remembered_view WHERE space = ?1 AND user = ?2 AND id IN (
                   SELECT id FROM remembered_view WHERE space = ?1 AND user = ?2
                   ORDER BY turn DESC LIMIT -1 OFFSET ?3)";
    connection.prepare_cached(sql)?.execute(params![space, user.0, MAX_REMEMBERED_VIEWS as i64])?;
    Ok(())
}
