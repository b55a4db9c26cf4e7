//! The PostgreSQL backend: any number of instances on one database.
//!
//! What orders everything is the lock of a space's record in `space_head`. Whoever uploads to a space, or changes what
//! anybody may do in it, takes it first, and reads after that. `access.rs` has the order of all locks.

mod access;
mod access_log;
mod accounts;
mod anonymous;
mod backup;
mod channel;
mod connect;
mod copy;
mod directory;
mod error;
mod factors;
mod group;
mod hashes;
mod identities;
mod one_time;
mod overlay;
mod pages;
mod personal_data;
mod place;
mod queue;
mod quotas;
mod schema;
mod space_store;
mod spaces;
mod transaction;
mod values;
mod worker;
mod writes;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deadpool_postgres::Pool;
use lattice_engine::{MintKey, Rules};
use tokio::task::JoinHandle;

use crate::StoreError;
use crate::quotas::Quotas;
use crate::spaces::CommitSink;
use crate::time::{Clock, Random};

pub use backup::{BackupConnection, PutAside};
pub use channel::{ChannelReceiver, ChannelSender, MAX_NOTICE_BYTES};
pub use connect::Target;

use place::Expected;
use queue::Queue;
use transaction::{Mode, attempt};

/// Settings of the backend.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// How far in the future a timestamp may be, in microseconds, before it counts as the time of arrival.
    pub max_skew_us: i64,
    /// Merge rules of spaces made from now on.
    pub new_space_rules: Rules,
    /// Connections for reads and for everything that is no upload.
    pub connections: usize,
    /// Connections that store uploads, each for many spaces at once.
    pub writers: usize,
    /// Spaces whose uploads may share a transaction. 1 where spaces live on different nodes.
    pub max_group_spaces: usize,
    /// How long the start waits for a database that does not answer.
    pub max_start_wait: Duration,
    /// Certificate authorities of the database, as a PEM file; the system's when none is given.
    pub tls_ca: Option<PathBuf>,
    /// How much spaces and their owners may hold.
    pub quotas: Quotas,
    /// It is opened to be copied from or to: no server may use it meanwhile, and it may be unfinished.
    pub for_copy: bool,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            max_skew_us: 5 * 60 * 1_000_000,
            new_space_rules: Rules::default(),
            connections: 12,
            writers: 4,
            max_group_spaces: 64,
            max_start_wait: Duration::from_secs(60),
            tls_ca: None,
            quotas: Quotas::default(),
            for_copy: false,
        }
    }
}

/// Why the database cannot be used: one sentence for the operator.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The address.
    #[error("the database's address cannot be read: {0}")]
    Address(String),
    /// The authorities that its certificate is checked against.
    #[error("cannot read certificate authorities from {0}: {1}")]
    Authorities(String, String),
    /// It does not answer, or does not let us in.
    #[error("cannot reach the database ({database}): {reason}")]
    Unreachable {
        /// Name and host.
        database: String,
        /// What was answered last.
        reason: String,
    },
    /// It holds tables of something else.
    #[error("the database ({0}) holds tables that are not Lattice Server's; give it one of its own")]
    Foreign(String),
    /// A newer version wrote it.
    #[error("the database ({0}) was written by a newer version of Lattice Server")]
    Newer(String),
    /// A copy to it was not finished.
    #[error("the copy to the database ({0}) was not finished; start it again, it goes on where it was")]
    Unfinished(String),
    /// It is to be copied, and a server uses it.
    #[error("a server uses the database ({0}); stop it before it is copied")]
    InUse(String),
    /// The database failed.
    #[error("the database failed: {0}")]
    Failed(StoreError),
}

/// What makes a database itself.
#[derive(Clone, Copy)]
struct Identity {
    mint_key: MintKey,
    epoch: u32,
    /// Since when acknowledged changes may be lost, if an older copy was ever restored.
    restored_since_us: Option<i64>,
}

/// A database. Clones share it.
#[derive(Clone)]
pub struct PostgresStore {
    inner: Arc<Inner>,
}

struct Inner {
    target: Target,
    pool: Pool,
    queue: Arc<Queue>,
    identity: Identity,
    expected: Arc<Expected>,
    new_space_rules: Rules,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    version: Arc<Version>,
    writers: Mutex<Vec<JoinHandle<()>>>,
}

/// The latest `access_version` of the database that this process has seen.
#[derive(Default)]
struct Version(AtomicU64);

impl Version {
    fn seen(&self, version: i64) {
        self.0.fetch_max(version.cast_unsigned(), Ordering::AcqRel);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

impl PostgresStore {
    /// Connects, waiting for the database if need be, and brings its schema up to date.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(
        url: &str,
        options: PostgresOptions,
        sink: Arc<dyn CommitSink>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, OpenError> {
        let target = Target::parse(url, options.tls_ca.as_deref())?;
        let shown = target.shown();
        let expected = Arc::new(Expected::default());
        let pool = target.pool(options.connections, options.for_copy, &expected)?;
        schema::wait_for(&pool, &shown, options.max_start_wait).await?;
        let (identity, place) = schema::prepare(&pool, &shown, options.for_copy, &*random).await?;
        expected.set(place);
        let version = Arc::new(Version::default());
        let queue = Arc::new(Queue::new(options.max_group_spaces));
        let quotas = Arc::new(quotas::Configured::new(options.quotas));
        let writer_pool = target.pool(options.writers, options.for_copy, &expected)?;
        let writers = (0..options.writers.max(1)).map(|_| {
            let worker = worker::Worker {
                queue: Arc::clone(&queue),
                pool: writer_pool.clone(),
                max_skew_us: options.max_skew_us,
                quotas: Arc::clone(&quotas),
                sink: Arc::clone(&sink),
                clock: Arc::clone(&clock),
                random: Arc::clone(&random),
                version: Arc::clone(&version),
            };
            tokio::spawn(worker.run())
        });
        let writers = Mutex::new(writers.collect());
        let new_space_rules = options.new_space_rules;
        let inner = Inner {
            target,
            pool,
            queue,
            identity,
            expected,
            new_space_rules,
            clock,
            random,
            version,
            writers,
        };
        let store = Self { inner: Arc::new(inner) };
        store.look_at_version().await.map_err(OpenError::Failed)?;
        Ok(store)
    }

    /// The secret under which ids are minted.
    #[must_use]
    pub fn mint_key(&self) -> MintKey {
        self.inner.identity.mint_key
    }

    /// A value that all instances share under a name: `fresh` if there was none yet. Of several that bring one at the same
    /// time one is kept, and all are answered that one.
    ///
    /// # Errors
    /// What the database says.
    pub async fn shared_value(&self, name: &str, fresh: &[u8]) -> Result<Vec<u8>, StoreError> {
        attempt!(self, Mode::Single, |connection| schema::meta(connection, name, fresh).await)
    }

    /// A value that all instances share, if there is one.
    ///
    /// # Errors
    /// What the database says.
    pub async fn find_shared_value(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        attempt!(self, Mode::Single, |connection| schema::find_meta(connection, name).await)
    }

    /// Replaces a value that all instances share, if it is `expected`, and says whether it was. Where the answer of the
    /// database was lost, false may be said although it has been replaced.
    ///
    /// # Errors
    /// What the database says.
    pub async fn replace_shared_value(
        &self,
        name: &str,
        expected: &[u8],
        new: &[u8],
    ) -> Result<bool, StoreError> {
        attempt!(self, Mode::Single, |connection| {
            schema::replace_meta(connection, name, expected, new).await
        })
    }

    /// What tells this database from others that may use the same Redis: its own random name, and what its server calls it,
    /// since a copy has the same random name.
    ///
    /// # Errors
    /// What the database says.
    pub async fn deployment(&self) -> Result<String, StoreError> {
        let mut fresh = [0_u8; 8];
        self.inner.random.fill(&mut fresh);
        let own = self.shared_value("deployment", &fresh).await?;
        let sql = "SELECT current_database()::text || '.' || current_schema()::text";
        let called: String = attempt!(self, Mode::Single, |connection| {
            let row = transaction::query_opt(connection, sql, &[]).await?;
            Ok::<_, error::PgError>(row.map_or(Ok(String::new()), |row| row.try_get(0))?)
        })?;
        Ok(own.iter().map(|byte| format!("{byte:02x}")).chain([format!(".{called}")]).collect())
    }

    /// Waits until connections lead to another database than the one that was opened, or to an older state of it, as after a standby
    /// has taken over. Nothing is read or written there: what this process holds belongs to the one that was opened.
    pub async fn moved(&self) {
        self.inner.expected.moved().await;
    }

    /// Looks whether another instance has changed what anybody may do. To be called regularly: hints about it may be lost.
    ///
    /// # Errors
    /// What the database says.
    pub async fn look_at_version(&self) -> Result<(), StoreError> {
        let version = attempt!(self, Mode::Single, |connection| spaces::version(connection).await)?;
        self.inner.version.seen(version);
        Ok(())
    }

    /// Waits until everything that was submitted is durable, and closes the connections. Later calls answer
    /// [`StoreError::Closed`].
    pub async fn close(&self) {
        self.inner.queue.close();
        let writers = self.inner.writers.lock().map(|mut writers| std::mem::take(&mut *writers));
        for writer in writers.unwrap_or_default() {
            let _ = writer.await;
        }
        self.inner.pool.close();
    }
}
