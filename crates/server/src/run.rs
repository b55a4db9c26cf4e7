//! The server as a whole: opening what it needs, serving, and closing in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lattice_auth::jwks::{HttpClient, HttpFetch};
use lattice_auth::{AuthService, PasswordCost, Passwords, ServerSecret};
use lattice_protocol::plain::DerivationKey;
use lattice_store::time::{Clock, Random, SystemClock, SystemRandom};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::abandonment::Abandonment;
use crate::audit::Recorder;
use crate::backend::Backend;
use crate::bus::{Bus, Outbox};
use crate::config::{Config, ConfigError, Database};
use crate::export::Exporter;
use crate::http::export::ExportState;
use crate::hub::Hub;
use crate::instances::Instances;
use crate::limits::Limits;
use crate::mail::{Mail, MailError};
use crate::readiness::Readiness;
use crate::refusal_log::RefusalLog;
use crate::spaces::{AccessHints, Spaces};
use crate::sync::admission::Admission;
use crate::sync::{SyncLimits, SyncState, changes, handshake};
use crate::{http, net, upkeep};

/// How long shutdown waits for clients. With the end of the bus and of the database, a second each, the whole of it stays
/// below the 10 s that orchestrators commonly allow.
const MAX_DRAIN_TIME: Duration = Duration::from_secs(7);
/// How long the end of the bus may take.
const MAX_FAREWELL_TIME: Duration = Duration::from_secs(1);
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
    #[error("{0}")]
    Database(String),
    /// The keys.
    #[error("cannot sign tokens: {0}")]
    Keys(String),
    /// The client that asks other issuers, or how they are set up.
    #[error("cannot ask identity providers: {0}")]
    External(String),
    /// The certificate.
    #[error("cannot serve HTTPS: {0}")]
    Tls(String),
    /// Mail.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// The address.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        reason: std::io::Error,
    },
}

/// A server that listens.
pub struct Server {
    address: SocketAddr,
    redirect_address: Option<SocketAddr>,
    drain: Duration,
    stop: CancellationToken,
    stop_bus: CancellationToken,
    hub: Arc<Hub>,
    readiness: Arc<Readiness>,
    tracker: TaskTracker,
    background: TaskTracker,
    backend: Backend,
    accepting: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Opens the data, and listens.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        config.check()?;
        if let Database::Sqlite(_) = config.database()? {
            let path = config.data_dir.display().to_string();
            std::fs::create_dir_all(&config.data_dir)
                .map_err(|reason| StartError::DataFolder { path, reason })?;
        }
        // The address first: a second server on the same folder should say that the port is taken, not fail on a lock.
        let address = config.address();
        let listener =
            TcpListener::bind(address).await.map_err(|reason| StartError::Listen { address, reason })?;
        let address = listener.local_addr().unwrap_or(address);

        let tls = net::tls::Tls::open(config).map_err(StartError::Tls)?;
        let redirect = match config.redirect_address() {
            Some(address) => Some(
                TcpListener::bind(address).await.map_err(|reason| StartError::Listen { address, reason })?,
            ),
            None => None,
        };

        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let outbox = Arc::new(Outbox::default());
        let hub = match config.database()? {
            Database::Sqlite(_) => Hub::new(),
            Database::Postgres(_) => Hub::with_outbox(Arc::clone(&outbox)),
        };
        let backend = Backend::open(config, Arc::clone(&hub) as _, &clock, &random).await?;
        let keys = backend.keys(config, &random).await?;
        let passwords = Passwords::new(PasswordCost::default());
        let passwords = passwords.map_err(|error| StartError::Keys(error.to_string()))?;
        let log = Arc::clone(&backend.accounts);
        let recorder = Recorder::new(log, Arc::clone(&clock), Arc::clone(&random));
        let accounts = Arc::clone(&backend.accounts);
        let auth = AuthService::new(accounts, keys, passwords, Arc::clone(&clock), Arc::clone(&random))
            .with_secret(ServerSecret::from_root(&backend.mint_key.0))
            .with_anonymous_accounts(config.anonymous_accounts)
            .with_audit(Arc::clone(&recorder) as _);
        let auth = auth.requiring_verified_email(config.mail.require_verified_email);
        let (auth, post) = match Mail::new(&config.mail)? {
            Some((mail, post)) => (auth.with_mailer(mail), Some(post)),
            None => (auth, None),
        };
        let auth = match config.providers.passkeys(&config.mail.app_name).map_err(StartError::External)? {
            Some(passkeys) => auth.with_passkeys(passkeys),
            None => auth,
        };
        let auth = Arc::new(with_others(auth, config, &clock)?);

        let (stop, stop_bus) = (CancellationToken::new(), CancellationToken::new());
        let (tracker, background) = (TaskTracker::new(), TaskTracker::new());
        // Until the last request is answered, and then what still waits is written.
        background.spawn(Arc::clone(&recorder).run(stop_bus.clone()));
        let mut readiness = Readiness::new(Arc::clone(&backend.accounts) as _);
        if let (Some(transport), Some(version)) = (backend.transport(config).await?, backend.version_look()) {
            let spaces = Arc::clone(&backend.spaces);
            let instances = Instances::new(Arc::clone(&hub), spaces, version, Arc::clone(&random));
            let bus = Bus::new(transport, outbox, Arc::clone(&instances) as _, Arc::clone(&random));
            readiness = readiness.shared(bus.status(), instances.looks());
            background.spawn(bus.run(stop_bus.clone()));
            background.spawn(Arc::clone(&instances).watch_version(stop_bus.clone()));
            background.spawn(instances.watch_heads(stop_bus.clone()));
        }
        let readiness = Arc::new(readiness);

        let mut limits = Limits::new(&config.limits, ServerSecret::from_root(&backend.mint_key.0))
            .with_audit(Arc::clone(&recorder) as _);
        if let Some((client, deployment)) = backend.shared_counters(config).await? {
            limits = limits.shared(client, &deployment);
        }
        let limits = Arc::new(limits);
        let max_upload_kib = config.max_upload_mib.saturating_mul(1_024);
        let sync = SyncState {
            store: Arc::clone(&backend.spaces),
            directory: Arc::clone(&backend.directory),
            derivation_key: DerivationKey(backend.mint_key.0),
            stop: stop.clone(),
            hub: Arc::clone(&hub),
            auth: Arc::clone(&auth),
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            tracker: tracker.clone(),
            deflate: yawc::DeflatePool::new(DEFLATE_POOL),
            upload_kib: Arc::new(Semaphore::new(max_upload_kib as usize)),
            admission: Arc::new(Admission::new(config.max_handshakes, config.max_pages, Arc::clone(&random))),
            uploads: Arc::clone(&readiness.uploads),
            pulls: Arc::clone(&readiness.pulls),
            unstorable: Arc::default(),
            limits: Arc::new(SyncLimits {
                max_frame_bytes: config.max_frame_bytes,
                ping_interval: config.ping_interval(),
                max_upload_kib,
            }),
            rates: Arc::clone(&limits),
        };
        let exporter = Exporter {
            accounts: Arc::clone(&backend.accounts),
            directory: Arc::clone(&backend.directory),
            spaces: Arc::clone(&backend.spaces),
            clock: Arc::clone(&clock),
        };
        let exports = ExportState::new(Arc::clone(&auth), exporter, tracker.clone(), stop.clone());
        let sync = OpenApiRouter::new()
            .routes(routes!(handshake::sync_socket))
            .routes(routes!(handshake::sync_space_socket))
            .routes(routes!(changes::poll_changes, changes::upload_changes))
            .with_state(sync)
            .merge(exports.routes());
        let hints: Arc<dyn AccessHints> = Arc::clone(&hub) as _;
        let spaces = Spaces::new(Arc::clone(&backend.directory), hints, clock, Arc::clone(&random))
            .with_max_owned(config.quotas.quota_user_spaces)
            .with_audit(recorder);
        let spaces = Arc::new(spaces);
        let state =
            http::state::AppState::new(Arc::clone(&auth), Arc::clone(&readiness), Arc::clone(&spaces))
                .with_limits(limits)
                .named(&config.mail.app_name);
        let router = http::router(state, sync);
        let router =
            if config.external.local_sign_in { router } else { http::local_sign_in::refused(router) };
        let router = http::origins::restrict(router, &config.allowed_origins);
        let refusals = Arc::new(RefusalLog::default());
        let router = http::request_log::watch(router, Arc::clone(&random), Arc::clone(&refusals));
        let router = net::client_address::resolve(router, &config.trusted_proxies);
        let router = net::tls::strict_transport(router, &config.tls);
        let tls = tls.map(|(tls, upkeep)| {
            tracker.spawn(upkeep.run(stop.clone()));
            tls
        });
        let redirect_address = redirect.as_ref().and_then(|listener| listener.local_addr().ok());
        if let (Some(listener), Some(tls)) = (redirect, &tls) {
            let port = config.tls.http_redirect_to_port.unwrap_or(address.port());
            let router = net::redirect::router(Arc::clone(tls), port);
            let router = http::request_log::watch(router, random, Arc::clone(&refusals));
            let (stop, tracked) = (stop.clone(), tracker.clone());
            let most = net::redirect::MAX_CONNECTIONS;
            tracker.spawn(net::listen::serve(listener, router, None, most, stop, tracked));
        }
        let accepting = tokio::spawn(net::listen::serve(
            listener,
            router,
            tls,
            config.max_connections,
            stop.clone(),
            tracker.clone(),
        ));
        if let Some(post) = post {
            tracker.spawn(post.run(stop.clone()));
        }
        let stopped = stop_bus.clone();
        background.spawn(async move { refusals.watch(stopped).await });
        tracker.spawn(upkeep::pick_up_keys(Arc::clone(&auth), stop.clone()));
        tracker.spawn(upkeep::forget_events(Arc::clone(&auth), config.access_log_days, stop.clone()));
        tracker.spawn(upkeep::sweep(Arc::clone(&auth), stop.clone()));
        if config.anonymous_retention_days > 0 {
            let retention = Abandonment::new(auth, Arc::clone(&spaces), config.anonymous_retention_days);
            tracker.spawn(retention.watch(stop.clone()));
        }
        tracker.spawn(upkeep::forget_invites(Arc::clone(&spaces), stop.clone()));
        tracker.spawn(upkeep::purge(spaces, stop.clone()));
        let drain = Duration::from_secs(config.drain_seconds);
        Ok(Self {
            address,
            redirect_address,
            drain,
            stop,
            stop_bus,
            hub,
            readiness,
            tracker,
            background,
            backend,
            accepting,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for those who come without TLS.
    #[must_use]
    pub fn redirect_address(&self) -> Option<SocketAddr> {
        self.redirect_address
    }

    /// Says that it is not ready, and after the time that load balancers are given takes no further uploads, finishes and
    /// acknowledges what is under way, closes sockets with 1001, and closes the database. Ends within 10 s after that time.
    pub async fn shut_down(self) {
        self.readiness.close();
        tokio::time::sleep(self.drain).await;
        self.stop.cancel();
        self.hub.close();
        let _ = self.accepting.await;
        self.tracker.close();
        if tokio::time::timeout(MAX_DRAIN_TIME, self.tracker.wait()).await.is_err() {
            tracing::warn!(sockets = self.tracker.len(), "some clients did not leave in time");
        }
        // After the last commit, so that the others hear of it.
        self.stop_bus.cancel();
        self.background.close();
        if tokio::time::timeout(MAX_FAREWELL_TIME, self.background.wait()).await.is_err() {
            tracing::warn!(
                "the other instances could not be told of the last changes, or the access log was not written"
            );
        }
        self.backend.close().await;
    }
}

/// Lets the service take tokens of the external issuer and of identity providers, if there are any. Their keys are fetched right
/// away, so that a wrong setting is in the log before the first client comes.
fn with_others(
    auth: AuthService,
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<AuthService, StartError> {
    if config.external.issuer.is_none() && config.providers.is_empty() {
        return Ok(auth);
    }
    let client = HttpClient::new().map_err(|error| StartError::External(error.to_string()))?;
    let client: Arc<dyn HttpFetch> = Arc::new(client);
    let providers = config.providers.build(config.mail.public_url.clone(), &client, clock);
    let providers = providers.map_err(StartError::External)?;
    let external = config.external.build(client, Arc::clone(clock));
    for provider in &providers.list {
        let keys = provider.keys().clone();
        tokio::spawn(async move { keys.keys().await });
    }
    let auth = auth.with_providers(providers);
    let Some(issuer) = external else { return Ok(auth) };
    let keys = issuer.keys().clone();
    tokio::spawn(async move { keys.keys().await });
    Ok(auth.with_external(issuer))
}
