//! What handlers share.

use std::sync::Arc;

use lattice_auth::AuthService;
use lattice_store::accounts::AccountStore;

use crate::spaces::Spaces;

/// What handlers share. Clones are cheap.
#[derive(Clone)]
pub struct AppState {
    /// Accounts and logins.
    pub auth: Arc<AuthService>,
    /// Where accounts are kept; asked whether it answers.
    pub accounts: Arc<dyn AccountStore>,
    /// Spaces and who is in them.
    pub spaces: Arc<Spaces>,
}

impl AppState {
    /// Puts the state together.
    #[must_use]
    pub fn new(auth: Arc<AuthService>, accounts: Arc<dyn AccountStore>, spaces: Arc<Spaces>) -> Self {
        Self { auth, accounts, spaces }
    }
}
