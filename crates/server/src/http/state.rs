//! What handlers share.

use std::sync::Arc;

use lattice_auth::AuthService;
use lattice_store::accounts::AccountStore;

/// What handlers share. Clones are cheap.
#[derive(Clone)]
pub struct AppState {
    /// Accounts and logins.
    pub auth: Arc<AuthService>,
    /// Where accounts are kept; asked whether it answers.
    pub accounts: Arc<dyn AccountStore>,
}

impl AppState {
    /// Puts the state together.
    #[must_use]
    pub fn new(auth: Arc<AuthService>, accounts: Arc<dyn AccountStore>) -> Self {
        Self { auth, accounts }
    }
}
