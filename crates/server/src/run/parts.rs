//! The parts of a server, and the routes that lead to them.

use std::sync::Arc;

use axum::Router;
use lattice_auth::AuthService;
use lattice_protocol::plain::DerivationKey;
use lattice_store::time::{Clock, Random};
use tokio::sync::Semaphore;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::tasks::Tasks;
use crate::backend::Backend;
use crate::config::Config;
use crate::export::Exporter;
use crate::http::export::ExportState;
use crate::hub::Hub;
use crate::limits::Limits;
use crate::readiness::Readiness;
use crate::refusal_log::RefusalLog;
use crate::spaces::Spaces;
use crate::sync::admission::Admission;
use crate::sync::{SyncLimits, SyncState, changes, handshake};
use crate::{http, net};

/// Compressors that sockets share.
const DEFLATE_POOL: usize = 8;

/// What routes are made of.
pub(super) struct Parts<'a> {
    pub(super) config: &'a Config,
    pub(super) tasks: &'a Tasks,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
    pub(super) hub: &'a Arc<Hub>,
    pub(super) backend: &'a Backend,
    pub(super) auth: &'a Arc<AuthService>,
    pub(super) readiness: &'a Arc<Readiness>,
    pub(super) spaces: &'a Arc<Spaces>,
    pub(super) limits: Arc<Limits>,
    pub(super) refusals: Arc<RefusalLog>,
}

impl Parts<'_> {
    /// All routes, behind what every request passes.
    pub(super) fn router(self) -> Router {
        let config = self.config;
        let sync = OpenApiRouter::new()
            .routes(routes!(handshake::sync_socket))
            .routes(routes!(handshake::sync_space_socket))
            .routes(routes!(changes::poll_changes, changes::upload_changes))
            .with_state(self.sync())
            .merge(self.exports().routes());
        let (auth, readiness) = (Arc::clone(self.auth), Arc::clone(self.readiness));
        let state = http::state::AppState::new(auth, readiness, Arc::clone(self.spaces))
            .with_limits(self.limits)
            .named(&config.mail.app_name);
        let router = http::router(state, sync);
        let router =
            if config.external.local_sign_in { router } else { http::local_sign_in::refused(router) };
        let router = http::origins::restrict(router, &config.allowed_origins);
        let router = http::request_log::watch(router, self.random, self.refusals);
        let router = net::client_address::resolve(router, &config.trusted_proxies);
        net::tls::strict_transport(router, &config.tls)
    }

    fn sync(&self) -> SyncState {
        let config = self.config;
        let max_upload_kib = config.max_upload_mib.saturating_mul(1_024);
        let random = Arc::clone(&self.random);
        SyncState {
            store: Arc::clone(&self.backend.spaces),
            directory: Arc::clone(&self.backend.directory),
            derivation_key: DerivationKey(self.backend.mint_key.0),
            stop: self.tasks.stop.clone(),
            hub: Arc::clone(self.hub),
            auth: Arc::clone(self.auth),
            clock: Arc::clone(&self.clock),
            random: Arc::clone(&self.random),
            tracker: self.tasks.tracker.clone(),
            deflate: yawc::DeflatePool::new(DEFLATE_POOL),
            upload_kib: Arc::new(Semaphore::new(max_upload_kib as usize)),
            admission: Arc::new(Admission::new(config.max_handshakes, config.max_pages, random)),
            uploads: Arc::clone(&self.readiness.uploads),
            pulls: Arc::clone(&self.readiness.pulls),
            unstorable: Arc::default(),
            limits: Arc::new(SyncLimits {
                max_frame_bytes: config.max_frame_bytes,
                ping_interval: config.ping_interval(),
                max_upload_kib,
            }),
            rates: Arc::clone(&self.limits),
        }
    }

    fn exports(&self) -> ExportState {
        let exporter = Exporter {
            accounts: Arc::clone(&self.backend.accounts),
            directory: Arc::clone(&self.backend.directory),
            spaces: Arc::clone(&self.backend.spaces),
            clock: Arc::clone(&self.clock),
        };
        let (tracker, stop) = (self.tasks.tracker.clone(), self.tasks.stop.clone());
        ExportState::new(Arc::clone(self.auth), exporter, tracker, stop)
    }
}
