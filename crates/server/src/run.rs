//! The server as a whole: opening what it needs, serving, and closing in order.

mod listening;
mod parts;
mod signing_in;
mod tasks;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lattice_auth::ServerSecret;
use lattice_store::time::{Clock, Random, SystemClock, SystemRandom};

use crate::audit::Recorder;
use crate::backend::Backend;
use crate::bus::{Bus, Outbox};
use crate::config::{Config, ConfigError, Database};
use crate::http;
use crate::hub::Hub;
use crate::instances::Instances;
use crate::limits::Limits;
use crate::mail::MailError;
use crate::readiness::Readiness;
use crate::refusal_log::RefusalLog;
use crate::spaces::{AccessHints, Spaces};
use listening::{Listening, Serving};
use parts::Parts;
use tasks::Tasks;

/// How long shutdown waits for clients. With the end of the bus and of the database, a second each, the whole of it stays
/// below the 10 s that orchestrators commonly allow.
const MAX_DRAIN_TIME: Duration = Duration::from_secs(7);
/// How long the end of the bus may take.
const MAX_FAREWELL_TIME: Duration = Duration::from_secs(1);

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
    serving: Serving,
    drain: Duration,
    tasks: Tasks,
    hub: Arc<Hub>,
    readiness: Arc<Readiness>,
    backend: Backend,
}

impl Server {
    /// Opens the data, and listens.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        config.check()?;
        make_data_folder(config)?;
        // The address first: a second server on the same folder should say that the port is taken, not fail on a lock.
        let listening = Listening::open(config).await?;
        let tasks = Tasks::default();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let outbox = Arc::new(Outbox::default());
        let hub = match config.database()? {
            Database::Sqlite(_) => Hub::new(),
            Database::Postgres(_) => Hub::with_outbox(Arc::clone(&outbox)),
        };
        let backend = Backend::open(config, Arc::clone(&hub) as _, &clock, &random).await?;
        let log = Arc::clone(&backend.accounts);
        let recorder = Recorder::new(log, Arc::clone(&clock), Arc::clone(&random));
        let (auth, post) = signing_in::open(config, &backend, &recorder, (&clock, &random)).await?;
        // Until the last request is answered, and then what still waits is written.
        tasks.background.spawn(Arc::clone(&recorder).run(tasks.stop_background.clone()));
        let readiness = Readiness::new(Arc::clone(&backend.accounts) as _);
        let readiness = join_others(config, &backend, &hub, outbox, readiness, &random, &tasks).await?;
        let limits = limits(config, &backend, &recorder).await?;
        let hints: Arc<dyn AccessHints> = Arc::clone(&hub) as _;
        let spaces =
            Spaces::new(Arc::clone(&backend.directory), hints, Arc::clone(&clock), Arc::clone(&random))
                .with_max_owned(config.quotas.quota_user_spaces)
                .with_audit(recorder);
        let spaces = Arc::new(spaces);
        let refusals = Arc::new(RefusalLog::default());
        let parts = Parts {
            config,
            tasks: &tasks,
            clock,
            random: Arc::clone(&random),
            hub: &hub,
            backend: &backend,
            auth: &auth,
            readiness: &readiness,
            spaces: &spaces,
            limits,
            refusals: Arc::clone(&refusals),
        };
        let router = parts.router();
        let serving = listening.serve(config, router, &tasks, |router| {
            http::request_log::watch(router, random, Arc::clone(&refusals))
        });
        let stopped = tasks.stop_background.clone();
        tasks.background.spawn(async move { refusals.watch(stopped).await });
        if let Some(post) = post {
            tasks.tracker.spawn(post.run(tasks.stop.clone()));
        }
        tasks.start_upkeep(config, &auth, &spaces);
        let drain = Duration::from_secs(config.drain_seconds);
        Ok(Self { serving, drain, tasks, hub, readiness, backend })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.serving.address
    }

    /// Where it listens for those who come without TLS.
    #[must_use]
    pub fn redirect_address(&self) -> Option<SocketAddr> {
        self.serving.redirect_address
    }

    /// Waits until it cannot go on, and says why in one sentence.
    pub async fn failed(&self) -> String {
        self.backend.moved().await;
        "the database went back to an older state, as when a standby takes over; start again to go on with it"
            .to_owned()
    }

    /// Says that it is not ready, and after the time that load balancers are given takes no further uploads, finishes and
    /// acknowledges what is under way, closes sockets with 1001, and closes the database. Ends within 10 s after that time.
    pub async fn shut_down(self) {
        let Tasks { stop, tracker, stop_background, background } = self.tasks;
        self.readiness.close();
        tokio::time::sleep(self.drain).await;
        stop.cancel();
        self.hub.close();
        let _ = self.serving.accepting.await;
        tracker.close();
        if tokio::time::timeout(MAX_DRAIN_TIME, tracker.wait()).await.is_err() {
            tracing::warn!(sockets = tracker.len(), "some clients did not leave in time");
        }
        // After the last commit, so that the others hear of it.
        stop_background.cancel();
        background.close();
        if tokio::time::timeout(MAX_FAREWELL_TIME, background.wait()).await.is_err() {
            tracing::warn!(
                "the other instances could not be told of the last changes, or the access log was not written"
            );
        }
        self.backend.close().await;
    }
}

fn make_data_folder(config: &Config) -> Result<(), StartError> {
    if let Database::Sqlite(_) = config.database()? {
        let path = config.data_dir.display().to_string();
        std::fs::create_dir_all(&config.data_dir)
            .map_err(|reason| StartError::DataFolder { path, reason })?;
    }
    Ok(())
}

/// Starts what instances tell one another, and looks for what none has told, where there may be several.
async fn join_others(
    config: &Config,
    backend: &Backend,
    hub: &Arc<Hub>,
    outbox: Arc<Outbox>,
    readiness: Readiness,
    random: &Arc<dyn Random>,
    tasks: &Tasks,
) -> Result<Arc<Readiness>, StartError> {
    let (Some(transport), Some(version)) = (backend.transport(config).await?, backend.version_look()) else {
        return Ok(Arc::new(readiness));
    };
    let spaces = Arc::clone(&backend.spaces);
    let instances = Instances::new(Arc::clone(hub), spaces, version, Arc::clone(random));
    let bus = Bus::new(transport, outbox, Arc::clone(&instances) as _, Arc::clone(random));
    let readiness = readiness.shared(bus.status(), instances.looks());
    let stop = &tasks.stop_background;
    tasks.background.spawn(bus.run(stop.clone()));
    tasks.background.spawn(Arc::clone(&instances).watch_version(stop.clone()));
    tasks.background.spawn(instances.watch_heads(stop.clone()));
    Ok(Arc::new(readiness))
}

async fn limits(
    config: &Config,
    backend: &Backend,
    recorder: &Arc<Recorder>,
) -> Result<Arc<Limits>, StartError> {
    let limits = Limits::new(&config.limits, ServerSecret::from_root(&backend.mint_key.0))
        .with_audit(Arc::clone(recorder) as _);
    Ok(Arc::new(match backend.shared_counters(config).await? {
        Some((client, deployment)) => limits.shared(client, &deployment),
        None => limits,
    }))
}
