//! Which database the server uses. Backends are named here, in `backend/keys.rs`, `bus/postgres.rs`, `commands/copy.rs` and
//! `commands/quota.rs` only.

mod keys;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lattice_engine::MintKey;
use lattice_store::auth::AuthStore;
use lattice_store::directory::Directory;
use lattice_store::postgres::{self, PostgresOptions, PostgresStore};
use lattice_store::spaces::{CommitSink, SpaceStore};
use lattice_store::sqlite::{self, SqliteOptions, SqliteStore};
use lattice_store::time::{Clock, Random};
use lattice_store::{BoxFuture, StoreError};

use crate::bus::Transport;
use crate::bus::postgres::PostgresTransport;
use crate::bus::redis::RedisTransport;
use crate::config::{Config, ConfigError, Database};
use crate::run::StartError;

pub(crate) use keys::STORED_KEYS;

/// How long PostgreSQL may take to store what still waits at the end.
const MAX_CLOSE_TIME: Duration = Duration::from_secs(1);

/// Sees changes of rights that other instances have made.
pub trait VersionLook: Send + Sync {
    /// Brings [`Directory::version`] up to what other instances have made of it.
    fn look_at_version(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}

impl VersionLook for PostgresStore {
    fn look_at_version(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(Self::look_at_version(self))
    }
}

/// An open database.
pub struct Backend {
    /// Spaces.
    pub spaces: Arc<dyn SpaceStore>,
    /// Who may use which space, and how.
    pub directory: Arc<dyn Directory>,
    /// Accounts.
    pub accounts: Arc<dyn AuthStore>,
    /// The secret under which ids are minted.
    pub mint_key: MintKey,
    kind: Kind,
}

enum Kind {
    Sqlite(SqliteStore),
    Postgres(PostgresStore),
}

impl Backend {
    /// Opens the database that the settings name.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub async fn open(
        config: &Config,
        sink: Arc<dyn CommitSink>,
        clock: &Arc<dyn Clock>,
        random: &Arc<dyn Random>,
    ) -> Result<Self, StartError> {
        let max_skew_us = i64::from(config.max_skew_seconds) * 1_000_000;
        let new_space_rules = config.rules();
        let quotas = config.quotas.quotas();
        match config.database()? {
            Database::Sqlite(path) => {
                let options =
                    SqliteOptions { max_skew_us, new_space_rules, quotas, ..SqliteOptions::default() };
                Self::open_sqlite(path, options, sink, clock, random)
            }
            Database::Postgres(url) => {
                let (connections, writers) = config.database_connections();
                let options = PostgresOptions {
                    max_skew_us,
                    new_space_rules,
                    quotas,
                    connections,
                    writers,
                    max_group_spaces: config.database_group_spaces,
                    max_start_wait: Duration::from_secs(config.database_wait_seconds),
                    tls_ca: config.database_tls_ca.clone(),
                    ..PostgresOptions::default()
                };
                let opened =
                    PostgresStore::open(&url, options, sink, Arc::clone(clock), Arc::clone(random)).await;
                Ok(Self::postgres(opened.map_err(|error| postgres_error(config, error))?))
            }
        }
    }

    fn open_sqlite(
        path: PathBuf,
        options: SqliteOptions,
        sink: Arc<dyn CommitSink>,
        clock: &Arc<dyn Clock>,
        random: &Arc<dyn Random>,
    ) -> Result<Self, StartError> {
        let store = SqliteStore::open(&path, options, sink, Arc::clone(clock), Arc::clone(random))?;
        Ok(Self {
            spaces: Arc::new(store.clone()),
            directory: Arc::new(store.clone()),
            accounts: Arc::new(store.clone()),
            mint_key: store.mint_key(),
            kind: Kind::Sqlite(store),
        })
    }

    fn postgres(store: PostgresStore) -> Self {
        Self {
            spaces: Arc::new(store.clone()),
            directory: Arc::new(store.clone()),
            accounts: Arc::new(store.clone()),
            mint_key: store.mint_key(),
            kind: Kind::Postgres(store),
        }
    }

    /// How other instances on the same database are reached; `None` when there can be none.
    ///
    /// # Errors
    /// When the settings name a way that cannot be.
    pub async fn transport(&self, config: &Config) -> Result<Option<Box<dyn Transport>>, StartError> {
        let Kind::Postgres(store) = &self.kind else { return Ok(None) };
        let Some(url) = config.redis_url() else {
            return Ok(Some(Box::new(PostgresTransport(store.clone()))));
        };
        let deployment = store.deployment().await.map_err(postgres::OpenError::Failed)?;
        let transport = RedisTransport::new(url, &deployment);
        Ok(Some(Box::new(transport.map_err(|error| ConfigError::redis(&error))?)))
    }

    /// The Redis in which instances on the same database count attempts, and what they call the database; `None` without one.
    ///
    /// # Errors
    /// When the settings name one that cannot be.
    pub async fn shared_counters(
        &self,
        config: &Config,
    ) -> Result<Option<(::redis::Client, String)>, StartError> {
        let (Kind::Postgres(store), Some(url)) = (&self.kind, config.redis_url()) else { return Ok(None) };
        let deployment = store.deployment().await.map_err(postgres::OpenError::Failed)?;
        let client = crate::bus::redis::client(url).map_err(|error| ConfigError::redis(&error))?;
        Ok(Some((client, deployment.to_string())))
    }

    /// Sees changes of rights that other instances have made; `None` when there can be none.
    #[must_use]
    pub fn version_look(&self) -> Option<Arc<dyn VersionLook>> {
        match &self.kind {
            Kind::Sqlite(_) => None,
            Kind::Postgres(store) => Some(Arc::new(store.clone())),
        }
    }

    /// Waits until the database is not the one any more that was opened: it went back to an older state under this process, which must
    /// give nothing out any more.
    pub async fn moved(&self) {
        match &self.kind {
            Kind::Sqlite(_) => std::future::pending().await,
            Kind::Postgres(store) => store.moved().await,
        }
    }

    /// Waits until everything that was submitted is durable, and closes the database. One that does not answer is not waited
    /// for: whoever sent what still waits was told nothing of it.
    pub async fn close(&self) {
        match &self.kind {
            Kind::Sqlite(store) => store.close().await,
            Kind::Postgres(store) => {
                if tokio::time::timeout(MAX_CLOSE_TIME, store.close()).await.is_err() {
                    tracing::warn!("PostgreSQL did not answer in time; what waited may not be stored");
                }
            }
        }
    }
}

/// Errors of settings name the setting.
fn postgres_error(config: &Config, error: postgres::OpenError) -> StartError {
    match error {
        postgres::OpenError::Address(reason) => ConfigError::database_address(&reason).into(),
        postgres::OpenError::Authorities(..) if config.database_tls_ca.is_some() => {
            ConfigError::tls_ca(&error).into()
        }
        error => error.into(),
    }
}

impl From<sqlite::OpenError> for StartError {
    fn from(error: sqlite::OpenError) -> Self {
        Self::Database(error.to_string())
    }
}

impl From<postgres::OpenError> for StartError {
    fn from(error: postgres::OpenError) -> Self {
        Self::Database(error.to_string())
    }
}
