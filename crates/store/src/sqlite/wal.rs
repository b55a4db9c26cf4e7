//! Keeping the write-ahead log short without stalling the writer: a thread of its own copies it into the database.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::open::{OpenError, WAL_PAGES, open_connection};

/// Pages that the writer copies itself, to let the log start over, once the thread has copied the rest: a few milliseconds.
const MAX_INLINE_PAGES: i64 = 500;

/// The writer's handle on the checkpointing thread.
pub(super) struct Checkpointer {
    wake: SyncSender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    pub(super) fn spawn(path: &Path) -> Result<Self, OpenError> {
        let connection = open_connection(path)?;
        let (wake, waiting) = sync_channel(1);
        let name = PathBuf::from(path);
        let thread = std::thread::Builder::new()
            .name("lattice-checkpoint".into())
            .spawn(move || run(&connection, &waiting))
            .map_err(|error| OpenError::Unusable {
                path: name.display().to_string(),
                reason: error.to_string(),
            })?;
        Ok(Self { wake, thread: Some(thread) })
    }

    /// Called by the writer after a commit.
    pub(super) fn after_commit(&self, connection: &Connection) {
        let Some((log, copied)) = backlog(connection).filter(|(log, _)| *log >= WAL_PAGES) else { return };
        if log - copied <= MAX_INLINE_PAGES {
            passive(connection);
        } else if let Err(TrySendError::Disconnected(())) = self.wake.try_send(()) {
            // A full channel means that the thread is at it already; a closed one that it is gone.
            tracing::error!("the checkpoint thread has stopped; the writer checkpoints itself");
            passive(connection);
        }
    }

    pub(super) fn stop(mut self) {
        let (closed, _) = sync_channel(0);
        self.wake = closed;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(connection: &Connection, waiting: &Receiver<()>) {
    while waiting.recv().is_ok() {
        passive(connection);
    }
}

/// Copies what can be copied without waiting for anyone.
fn passive(connection: &Connection) {
    if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
        tracing::warn!(%error, "checkpoint failed; it is tried again after the next commit");
    }
}

/// The log's length and what of it is copied already, in pages.
fn backlog(connection: &Connection) -> Option<(i64, i64)> {
    let mut statement = connection.prepare_cached("PRAGMA wal_checkpoint(NOOP)").ok()?;
    statement.query_row([], |row| Ok((row.get(1)?, row.get(2)?))).ok()
}
