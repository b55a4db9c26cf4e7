//! Erasing what deleted spaces held, a little at a time.

use lattice_engine::MAX_SEQ;
use rusqlite::{Connection, OptionalExtension, params};

use crate::StoreError;
use crate::sqlite::spaces::place;

/// What is erased of a space, for each table: `?1` to `?2` are its places, `?3` its number, `?4` the limit.
pub(super) const ERASE: [&str; 8] = [
    "DELETE FROM member WHERE (space, user) IN (
         SELECT space, user FROM member WHERE space = ?3 AND ?1 < ?2 LIMIT ?4)",
    "DELETE FROM invite WHERE id IN (SELECT id FROM invite WHERE space = ?3 AND ?1 < ?2 LIMIT ?4)",
    "DELETE FROM remembered_view WHERE (space, user, id) IN (
         SELECT space, user, id FROM remembered_view WHERE space = ?3 AND ?1 < ?2 LIMIT ?4)",
    "DELETE FROM refusal WHERE (space, arrived_us, id) IN (
         SELECT space, arrived_us, id FROM refusal WHERE space = ?3 AND ?1 < ?2 LIMIT ?4)",
    "DELETE FROM row_key WHERE (space, key, name) IN (
         SELECT space, key, name FROM row_key WHERE space = ?3 AND ?1 < ?2 LIMIT ?4)",
    "DELETE FROM pair WHERE (space, pair) IN (
         SELECT space, pair FROM pair WHERE space = ?3 AND ?1 < ?2 LIMIT ?4)",
    "DELETE FROM row WHERE place IN (
         SELECT place FROM row WHERE place >= ?1 AND place <= ?2 AND ?3 >= 0 LIMIT ?4)",
    "DELETE FROM entry WHERE place IN (
         SELECT place FROM entry WHERE place >= ?1 AND place <= ?2 AND ?3 >= 0 LIMIT ?4)",
];

/// Erases at most `limit` records of deleted spaces. A space that holds nothing any more counts as one.
pub(super) fn purge(connection: &Connection, limit: u32) -> Result<u64, StoreError> {
    let limit = u64::from(limit);
    let mut erased = 0;
    while erased < limit {
        let sql =
            "SELECT no FROM space WHERE deleted_us IS NOT NULL AND purged = 0 ORDER BY deleted_us LIMIT 1";
        let space: Option<u32> =
            connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?;
        let Some(space) = space else { break };
        for sql in ERASE {
            let values = params![place(space, 0), place(space, MAX_SEQ), space, (limit - erased) as i64];
            erased += connection.prepare_cached(sql)?.execute(values)? as u64;
        }
        if erased < limit {
            let sql =
                "UPDATE space SET purged = 1, name = '', policy = NULL, schema_rule = NULL WHERE no = ?1";
            connection.prepare_cached(sql)?.execute([space])?;
            erased += 1;
        }
    }
    Ok(erased)
}
