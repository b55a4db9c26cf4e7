//! What handlers share.

use std::sync::Arc;

use lattice_auth::AuthService;

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
}

impl AppState {
    /// Puts the state together.
    #[must_use]
    pub fn new(auth: Arc<AuthService>, readiness: Arc<Readiness>, spaces: Arc<Spaces>) -> Self {
        Self { auth, readiness, spaces }
    }
}
