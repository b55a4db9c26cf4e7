//! What the machine can do at best: SQLite alone, with the settings of the server's store.

use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior, params};

use crate::Failure;
use crate::frames::{Ids, Window};

/// The server's own settings (`lattice-store`, `sqlite/open.rs` and `sqlite/wal.rs`), repeated here so that a change
/// there does not move the baseline along.
const WAL_PAGES: i64 = 20_000;
const CACHE_KIB: i32 = 64 << 10;
const MAX_INLINE_PAGES: i64 = 500;

/// The server's table of changes, with its index.
const ENTRY_TABLE: &str = "
    CREATE TABLE entry (
        place INTEGER PRIMARY KEY, space INTEGER NOT NULL, id BLOB NOT NULL, spelling INTEGER NOT NULL,
        writer BLOB NOT NULL, verdict TEXT NOT NULL, clamped INTEGER NOT NULL, time_us INTEGER NOT NULL,
        arrived_us INTEGER NOT NULL, content BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX entry_of_id ON entry (space, id);";

fn failed(error: rusqlite::Error) -> Failure {
    format!("the baseline's database failed: {error}")
}

/// A database without a server.
pub(crate) struct Bare {
    connection: Connection,
    wake: Option<SyncSender<()>>,
    checkpointer: Option<JoinHandle<()>>,
    place: i64,
}

impl Bare {
    /// Makes a database in a folder.
    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("bare.db");
        let connection = connect(&path)?;
        let batch = format!("CREATE TABLE append (id INTEGER PRIMARY KEY, content BLOB);{ENTRY_TABLE}");
        connection.execute_batch(&batch).map_err(failed)?;
        let (wake, waiting) = sync_channel::<()>(1);
        let copying = connect(&path)?;
        let checkpointer = std::thread::spawn(move || {
            while waiting.recv().is_ok() {
                passive(&copying);
            }
        });
        Ok(Self { connection, wake: Some(wake), checkpointer: Some(checkpointer), place: 0 })
    }

    /// Appends each window in a transaction of its own. Answers rows per second.
    pub(crate) fn append(&mut self, windows: &[Window]) -> Result<f64, Failure> {
        let (start, mut rows) = (Instant::now(), 0);
        for window in windows {
            let transaction =
                self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
            {
                let sql = "INSERT INTO append (content) VALUES (?1)";
                let mut statement = transaction.prepare_cached(sql).map_err(failed)?;
                for range in &window.entries {
                    statement.execute([&window.payload[range.clone()]]).map_err(failed)?;
                }
            }
            transaction.commit().map_err(failed)?;
            self.after_commit();
            rows += window.entries.len();
        }
        Ok(rows as f64 / start.elapsed().as_secs_f64())
    }

    /// One change of `content_bytes` in each transaction, for a while. Answers what each took.
    pub(crate) fn one_row(
        &mut self,
        content_bytes: usize,
        time: Duration,
        ids: &mut Ids,
    ) -> Result<Vec<Duration>, Failure> {
        let (content, writer) = (vec![b'x'; content_bytes], ids.bytes());
        let (start, mut took) = (Instant::now(), Vec::with_capacity(1 << 16));
        while start.elapsed() < time {
            let began = Instant::now();
            self.place += 1;
            let transaction =
                self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
            {
                let sql = "INSERT INTO entry VALUES (?1, 1, ?2, 0, ?3, 'applied', 0, ?4, ?4, ?5)";
                let mut statement = transaction.prepare_cached(sql).map_err(failed)?;
                let time_us = 1_800_000_000_000_000 + self.place;
                statement
                    .execute(params![self.place, ids.bytes(), writer, time_us, &content])
                    .map_err(failed)?;
            }
            transaction.commit().map_err(failed)?;
            took.push(began.elapsed());
            self.after_commit();
        }
        Ok(took)
    }

    /// As the server's writer does it.
    fn after_commit(&self) {
        let Some((log, copied)) = backlog(&self.connection).filter(|(log, _)| *log >= WAL_PAGES) else {
            return;
        };
        if log - copied <= MAX_INLINE_PAGES {
            passive(&self.connection);
        } else if let Some(wake) = &self.wake {
            // A full channel means that the thread is at it already.
            let _ = wake.try_send(());
        }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.checkpointer.take() {
            let _ = thread.join();
        }
    }
}

fn connect(path: &Path) -> Result<Connection, Failure> {
    let connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(failed)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB).map_err(failed)?;
    connection.pragma_update(None, "temp_store", "MEMORY").map_err(failed)?;
    Ok(connection)
}

fn passive(connection: &Connection) {
    // When it fails it is tried again after the next commit.
    let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
}

fn backlog(connection: &Connection) -> Option<(i64, i64)> {
    let mut statement = connection.prepare_cached("PRAGMA wal_checkpoint(NOOP)").ok()?;
    statement.query_row([], |row| Ok((row.get(1)?, row.get(2)?))).ok()
}
