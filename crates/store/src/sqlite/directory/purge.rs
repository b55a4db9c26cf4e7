//! Erasing what deleted spaces held, a little at a time.

use lattice_engine::MAX_SEQ;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use tokio::sync::oneshot;

use crate::StoreError;
use crate::sqlite::group::{Group, in_savepoint};
use crate::sqlite::keys::row_address;
use crate::sqlite::open::{erase_all, erase_by_the_way};
use crate::sqlite::personal_data;
use crate::sqlite::writer::Job;

/// What is erased of a space, for each table: `?1` to `?2` are its row addresses, `?3` its number, `?4` the limit.
pub(super) const ERASE: [&str; 9] = [
    "DELETE FROM member WHERE (space, user) IN (
         SELECT space, user FROM member WHERE space = ?3 AND ?1 < ?2 LIMIT ?4)",
    "DELETE FROM invite WHERE id IN (SELECT id FROM invite WHERE space = ?3 AND ?1 < ?2 LIMIT ?4)",
    "DELETE FROM remembered_view WHERE (space, user, id) IN (
         SELECT space, user, id FROM remembered_view WHERE space = ?3 AND ?1 < ?2 LIMIT ?4)",
    "DELETE FROM refusal WHERE (space, arrived_us, id) IN (
         SELECT space, arrived_us, id FROM refusal WHERE space = ?3 AND ?1 < ?2 LIMIT ?4)",
    "DELETE FROM row_key WHERE (space, key, name) IN (
         SELECT space, key, name FROM row_key WHERE space = ?3 AND ?1 < ?2 LIMIT ?4)",
    "DELETE FROM receipt WHERE (space, id) IN (
         SELECT space, id FROM receipt WHERE space = ?3 AND ?1 < ?2 LIMIT ?4)",
    "DELETE FROM pair WHERE (space, pair) IN (
         SELECT space, pair FROM pair WHERE space = ?3 AND ?1 < ?2 LIMIT ?4)",
    "DELETE FROM row WHERE place IN (
         SELECT place FROM row WHERE place >= ?1 AND place <= ?2 AND ?3 >= 0 LIMIT ?4)",
    "DELETE FROM entry WHERE place IN (
         SELECT place FROM entry WHERE place >= ?1 AND place <= ?2 AND ?3 >= 0 LIMIT ?4)",
];

/// Blocks of a space, and what says that they are: erased pair by pair.
pub(super) const BLOCKS: [(&str, &str); 2] = [
    (
        "SELECT place, block FROM block_place WHERE place >= ?1 AND place <= ?2 AND ?3 >= 0 LIMIT ?4",
        "DELETE FROM block_place WHERE place = ?1 AND ?2 >= 0",
    ),
    (
        "SELECT space, block FROM lineless_block WHERE space = ?3 AND ?1 < ?2 LIMIT ?4",
        "DELETE FROM lineless_block WHERE space = ?1 AND block = ?2",
    ),
];

/// Erases on the writer's thread. What is not flushed yet is flushed first: it would come back.
pub(super) struct Purge {
    limit: u32,
    result: Result<u64, StoreError>,
    answer: oneshot::Sender<Result<u64, StoreError>>,
}

impl Purge {
    pub(super) fn new(limit: u32) -> (Self, oneshot::Receiver<Result<u64, StoreError>>) {
        let (answer, receiver) = oneshot::channel();
        (Self { limit: limit.max(1), result: Err(StoreError::Closed), answer }, receiver)
    }
}

impl Purge {
    fn erase(
        &self,
        transaction: &Transaction<'_>,
        group: &mut Group,
        now_us: i64,
    ) -> Result<u64, StoreError> {
        in_savepoint(transaction, || {
            let limit = u64::from(self.limit);
            let erased = purge(transaction, group, limit)?;
            let left = limit.saturating_sub(erased);
            Ok(erased + if left > 0 { personal_data::erase(transaction, left, now_us)? } else { 0 })
        })
    }
}

impl Job for Purge {
    fn run(&mut self, transaction: &Transaction<'_>, group: &mut Group, now_us: i64) {
        self.result =
            erase_all(transaction).map_err(Into::into).and_then(|()| self.erase(transaction, group, now_us));
        if let Err(error) = erase_by_the_way(transaction) {
            tracing::warn!(%error, "what is deleted goes on being overwritten everywhere");
        }
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        // Whoever waited may be gone; what was erased is erased all the same.
        let _ = self.answer.send(committed.and(self.result));
    }
}

/// Erases at most `limit` records of deleted spaces. A space that holds nothing any more counts as one, and flushing counts
/// as `limit`.
fn purge(connection: &Connection, group: &mut Group, limit: u64) -> Result<u64, StoreError> {
    let mut erased = 0;
    while erased < limit {
        let sql = "SELECT no, purge_after FROM space WHERE deleted_us IS NOT NULL AND purged = 0
                   ORDER BY deleted_us LIMIT 1";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, u32>(0)?, row.get::<_, i64>(1)?));
        let Some((space, after)) = connection.prepare_cached(sql)?.query_row([], read).optional()? else {
            break;
        };
        if group.flush_towards(connection, after, limit as usize)? < after {
            return Ok(limit);
        }
        for sql in ERASE {
            let values =
                params![row_address(space, 0), row_address(space, MAX_SEQ), space, (limit - erased) as i64];
            erased += connection.prepare_cached(sql)?.execute(values)? as u64;
        }
        for (find, erase) in BLOCKS {
            let values =
                params![row_address(space, 0), row_address(space, MAX_SEQ), space, (limit - erased) as i64];
            let mut statement = connection.prepare_cached(find)?;
            let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
            let found: Vec<(i64, i64)> = statement.query_map(values, read)?.collect::<Result<_, _>>()?;
            for (key, block) in found {
                connection.prepare_cached("DELETE FROM block WHERE no = ?1")?.execute([block])?;
                connection.prepare_cached(erase)?.execute([key, block])?;
                erased += 1;
            }
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
