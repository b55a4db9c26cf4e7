//! The server as a whole: opening what it needs, serving, and closing in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lattice_auth::{AuthService, Keys, PasswordCost, Passwords};
use lattice_protocol::plain::DerivationKey;
use lattice_store::sqlite::{OpenError, SqliteOptions, SqliteStore};
use lattice_store::time::{Clock, Random, SystemClock, SystemRandom};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::config::{Config, ConfigError};
use crate::hub::Hub;
use crate::spaces::{AccessHints, Spaces};
use crate::sync::admission::Admission;
use crate::sync::{SyncLimits, SyncState, changes, handshake};
use crate::{http, net};

/// How long shutdown waits for clients. The whole of it stays below the 10 s that orchestrators commonly allow.
const MAX_DRAIN_TIME: Duration = Duration::from_secs(8);
/// How often ended sessions and invites are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3_600);
/// How often deleted spaces are looked for.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);
/// Compressors that sockets share.
const DEFLATE_POOL: usize = 8;

/// Why the server cannot start: one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data folder.
    #[error("cannot use the data folder {path}: {reason}")]
    DataFolder {
        /// The folder.
        path: String,
        /// What the system says.
        reason: std::io::Error,
    },
    /// The database.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// The keys.
    #[error("cannot sign tokens: {0}")]
    Keys(String),
    /// The address.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        reason: std::io::Error,
    },
}

fn auth_service(
    config: &Config,
    store: &SqliteStore,
    clock: &Arc<dyn Clock>,
    random: &Arc<dyn Random>,
) -> Result<Arc<AuthService>, StartError> {
    let keys = match &config.jwt_secret {
        Some(secret) => Keys::from_secrets(secret, config.jwt_secret_previous.as_ref()),
        None => Keys::load_or_create(&config.data_dir, &**random),
    };
    let keys = keys.map_err(|error| StartError::Keys(error.to_string()))?;
    let passwords =
        Passwords::new(PasswordCost::default()).map_err(|error| StartError::Keys(error.to_string()))?;
    let accounts = Arc::new(store.clone());
    Ok(Arc::new(AuthService::new(accounts, keys, passwords, Arc::clone(clock), Arc::clone(random))))
}

/// Forgets sessions that ended long ago, until `stop` is cancelled.
async fn sweep(auth: Arc<AuthService>, stop: CancellationToken) {
    let mut due = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = due.tick() => {}
        }
        match auth.sweep().await {
            Ok(0) => {}
            Ok(sessions) => tracing::info!(sessions, "forgot sessions that ended long ago"),
            Err(error) => tracing::warn!(%error, "cannot forget old sessions; it is tried again later"),
        }
    }
}

/// Forgets invites that expired long ago, until `stop` is cancelled.
async fn forget_invites(spaces: Arc<Spaces>, stop: CancellationToken) {
    let mut due = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = due.tick() => {}
        }
        if let Err(error) = spaces.forget_invites().await {
            tracing::warn!(%error, "cannot forget expired invites; it is tried again later");
        }
    }
}

/// Erases what deleted spaces held, until `stop` is cancelled: whatever is left then is erased after the next start.
async fn purge(spaces: Arc<Spaces>, stop: CancellationToken) {
    let mut due = tokio::time::interval(PURGE_INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = due.tick() => {}
        }
        let purged = tokio::select! {
            () = stop.cancelled() => return,
            purged = spaces.purge() => purged,
        };
        match purged {
            Ok(0) => {}
            Ok(records) => tracing::info!(records, "erased what deleted spaces held"),
            Err(error) => tracing::warn!(%error, "cannot erase deleted spaces; it is tried again later"),
        }
    }
}

/// A server that listens.
pub struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    hub: Arc<Hub>,
    tracker: TaskTracker,
    store: SqliteStore,
    accepting: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Opens the data, and listens.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        config.check()?;
        let path = config.database_path()?;
        let folder_error =
            |reason| StartError::DataFolder { path: config.data_dir.display().to_string(), reason };
        std::fs::create_dir_all(&config.data_dir).map_err(folder_error)?;
        // The address first: a second server on the same folder should say that the port is taken, not fail on a lock.
        let address = config.address();
        let listener =
            TcpListener::bind(address).await.map_err(|reason| StartError::Listen { address, reason })?;
        let address = listener.local_addr().unwrap_or(address);

        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let hub = Hub::new();
        let options = SqliteOptions {
            max_skew_us: i64::from(config.max_skew_seconds) * 1_000_000,
            new_space_rules: config.rules(),
            ..SqliteOptions::default()
        };
        let store = SqliteStore::open(
            &path,
            options,
            Arc::clone(&hub) as _,
            Arc::clone(&clock),
            Arc::clone(&random),
        )?;
        let auth = auth_service(config, &store, &clock, &random)?;
        let max_upload_kib = config.max_upload_mib.saturating_mul(1_024);
        let tracker = TaskTracker::new();
        let stop = CancellationToken::new();
        let sync = SyncState {
            store: Arc::new(store.clone()),
            directory: Arc::new(store.clone()),
            derivation_key: DerivationKey(store.mint_key().0),
            stop: stop.clone(),
            hub: Arc::clone(&hub),
            auth: Arc::clone(&auth),
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            tracker: tracker.clone(),
            deflate: yawc::DeflatePool::new(DEFLATE_POOL),
            upload_kib: Arc::new(Semaphore::new(max_upload_kib as usize)),
            admission: Arc::new(Admission::new(config.max_handshakes, config.max_pages, Arc::clone(&random))),
            limits: Arc::new(SyncLimits {
                max_frame_bytes: config.max_frame_bytes,
                ping_interval: config.ping_interval(),
                max_upload_kib,
            }),
        };
        let sync = OpenApiRouter::new()
            .routes(routes!(handshake::sync_socket))
            .routes(routes!(handshake::sync_space_socket))
            .routes(routes!(changes::poll_changes, changes::upload_changes))
            .with_state(sync);
        let directory = Arc::new(store.clone());
        let hints: Arc<dyn AccessHints> = Arc::clone(&hub) as _;
        let spaces = Arc::new(Spaces::new(directory, hints, clock, random));
        let state =
            http::state::AppState::new(Arc::clone(&auth), Arc::new(store.clone()), Arc::clone(&spaces));
        let router = http::router(state, sync);
        let accepting = tokio::spawn(net::listen::serve(
            listener,
            router,
            config.max_connections,
            stop.clone(),
            tracker.clone(),
        ));
        tracker.spawn(sweep(auth, stop.clone()));
        tracker.spawn(forget_invites(Arc::clone(&spaces), stop.clone()));
        tracker.spawn(purge(spaces, stop.clone()));
        Ok(Self { address, stop, hub, tracker, store, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no further uploads, finishes and acknowledges what is under way, closes sockets with 1001, and closes the
    /// database. Ends within 10 s.
    pub async fn shut_down(self) {
        self.stop.cancel();
        self.hub.close();
        let _ = self.accepting.await;
        self.tracker.close();
        if tokio::time::timeout(MAX_DRAIN_TIME, self.tracker.wait()).await.is_err() {
            tracing::warn!(sockets = self.tracker.len(), "some clients did not leave in time");
        }
        self.store.close().await;
    }
}
