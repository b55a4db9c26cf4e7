//! What handlers share.

use std::sync::Arc;

use lattice_auth::{AuthService, ServerSecret};
use lattice_store::time::SystemRandom;

use crate::limits::Limits;
use crate::readiness::Readiness;
use crate::spaces::Spaces;

/// What handlers share. Clones are cheap.
#[derive(Clone)]
pub struct AppState {
    /// Accounts and logins.
    pub auth: Arc<AuthService>,
    /// Whether the instance can serve.
    pub readiness: Arc<Readiness>,
    /// Spaces and who is in them.
    pub spaces: Arc<Spaces>,
    /// How often anybody may try.
    pub limits: Arc<Limits>,
    /// What people call the app.
    pub app_name: Arc<str>,
}

impl AppState {
    /// Puts the state together, without limits.
    #[must_use]
    pub fn new(auth: Arc<AuthService>, readiness: Arc<Readiness>, spaces: Arc<Spaces>) -> Self {
        let limits = Arc::new(Limits::off(ServerSecret::random(&SystemRandom)));
        Self { auth, readiness, spaces, limits, app_name: "Lattice".into() }
    }

    /// With what people call the app.
    #[must_use]
    pub fn named(self, app_name: &str) -> Self {
        Self { app_name: app_name.into(), ..self }
    }

    /// With limits.
    #[must_use]
    pub fn with_limits(self, limits: Arc<Limits>) -> Self {
        Self { limits, ..self }
    }
}
