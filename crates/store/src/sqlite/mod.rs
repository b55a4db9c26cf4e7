//! The SQLite backend: one file, one writer thread with group commit, readers apart.

mod access_log;
mod accounts;
mod anonymous;
mod audit;
mod backup;
mod block;
mod columns;
mod copy;
pub mod directory;
mod factors;
mod flush;
mod group;
mod hashes;
mod identities;
mod keys;
mod log;
mod one_time;
mod open;
mod page;
mod personal_data;
mod quotas;
mod readers;
mod recent;
mod space_store;
pub mod spaces;
mod starts;
#[cfg(test)]
mod tests;
mod version;
mod wal;
mod while_running;
mod writer;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use lattice_engine::{MintKey, Rules};
use rusqlite::{Connection, Transaction};
use tokio::sync::mpsc;

use crate::StoreError;
use crate::quotas::Quotas;
use crate::spaces::CommitSink;
use crate::time::{Clock, Random};

pub use backup::{backup, restore};
pub use group::Group;
pub use open::{Identity, OpenError, open_connection, prepare};
pub use quotas::QuotaFile;
pub use recent::{RecentLimits, Snapshot};
pub use while_running::{find_user, read_access_log, snapshot};

use readers::Readers;
use starts::Starts;
use writer::{Call, Job};

/// Settings of the backend.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// How far in the future a timestamp may be, in microseconds, before it counts as the time of arrival.
    pub max_skew_us: i64,
    /// Connections that read at the same time.
    pub readers: usize,
    /// Merge rules of spaces made from now on.
    pub new_space_rules: Rules,
    /// How much is kept in memory before it is flushed.
    pub recent: RecentLimits,
    /// How much spaces and their owners may hold.
    pub quotas: Quotas,
    /// It is opened to be copied to, and may be unfinished.
    pub for_copy: bool,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            max_skew_us: 5 * 60 * 1_000_000,
            readers: 4,
            new_space_rules: Rules::default(),
            recent: RecentLimits::default(),
            quotas: Quotas::default(),
            for_copy: false,
        }
    }
}

/// A database file that is open. Clones share it.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    jobs: mpsc::Sender<Box<dyn Job>>,
    readers: Readers,
    /// Held as long as the store lives.
    _lock: File,
    identity: Identity,
    new_space_rules: Rules,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    /// See [`Directory::version`](crate::directory::Directory::version).
    version: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Jobs that wait for the writer; more wait at their senders.
const MAX_WAITING_JOBS: usize = 1_024;

impl SqliteStore {
    /// Opens a file, makes it when it is not there, and brings its schema up to date.
    ///
    /// # Errors
    /// When the file cannot be opened, is in use by another process, is not ours, or was written by a newer version.
    pub fn open(
        path: &Path,
        options: SqliteOptions,
        sink: Arc<dyn CommitSink>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, OpenError> {
        let lock = open::lock(path)?;
        let mut connection = open_connection(path)?;
        let identity = prepare(&mut connection, &*random)?;
        if !options.for_copy && copy::is_unfinished(&connection)? {
            return Err(OpenError::Unfinished(path.display().to_string()));
        }
        quotas::count_once(&mut connection)?;
        let group = Group::open(&connection, options.max_skew_us, options.recent)?;
        // What a copy brings was admitted before.
        let quotas = if options.for_copy { Quotas::default() } else { options.quotas };
        let group = group.with_quotas(quotas);
        let (identity, starts) =
            Starts::begin(path, &mut connection, identity, group.committed_block(), &*random)?;
        let readers = Readers::open(path, options.readers.max(1), Arc::clone(group.recent()))?;
        let (jobs, waiting) = mpsc::channel(MAX_WAITING_JOBS);
        let thread = writer::spawn(connection, path, group, starts, sink, Arc::clone(&clock), waiting)?;
        let inner = Inner {
            jobs,
            readers,
            _lock: lock,
            identity,
            new_space_rules: options.new_space_rules,
            clock,
            random,
            version: Arc::default(),
            thread: Mutex::new(Some(thread)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The secret under which ids are minted.
    #[must_use]
    pub fn mint_key(&self) -> MintKey {
        self.inner.identity.mint_key
    }

    /// Runs a write in the group commit, under its own savepoint. Resolves after the commit is durable.
    ///
    /// # Errors
    /// What `write` answers, or that the commit failed; then nothing of it was stored.
    pub async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (job, answer) = Call::new(write);
        self.submit(Box::new(job)).await?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Runs reads in one snapshot, on one of the reading connections.
    ///
    /// # Errors
    /// What `read` answers.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.inner.readers.run(read).await
    }

    /// Runs reads of spaces in one snapshot, which takes in what is not flushed yet.
    async fn read_spaces<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection, &Snapshot) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.inner.readers.run_with_recent(read).await
    }

    /// Waits until everything that was submitted is durable, and closes the file. Later calls answer
    /// [`StoreError::Closed`].
    pub async fn close(&self) {
        // The connection that is closed last empties the write-ahead log, which readers cannot.
        self.inner.readers.close().await;
        let (job, answer) = Call::new(|_| Ok(()));
        let stop = writer::Stop(job);
        if self.inner.jobs.send(Box::new(stop)).await.is_ok() {
            let _ = answer.await;
        }
        let thread = self.inner.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    async fn submit(&self, job: Box<dyn Job>) -> Result<(), StoreError> {
        self.inner.jobs.send(job).await.map_err(|_| StoreError::Closed)
    }
}
