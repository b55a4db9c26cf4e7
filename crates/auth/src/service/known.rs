//! Where the sessions of an account are from.

use std::net::IpAddr;

use lattice_store::accounts::UserId;

use super::AuthService;
use crate::{AuthError, normalise_email};

/// Sessions that are looked at.
const MAX_SESSIONS: u32 = 100;

impl AuthService {
    /// Whether somebody is signed in to the account with this e-mail address from an address that is `near`. Looks at as much
    /// where there is no such account.
    ///
    /// # Errors
    /// The store's.
    pub async fn is_signed_in_from(
        &self,
        email: &str,
        near: impl Fn(IpAddr) -> bool + Send,
    ) -> Result<bool, AuthError> {
        let Ok(email) = normalise_email(email) else { return Ok(false) };
        let user = self.store.user_by_email(&email).await?.map_or(UserId([0; 16]), |user| user.id);
        let sessions = self.store.live_sessions(user, self.clock.now_us(), MAX_SESSIONS).await?;
        let mut addresses = sessions.iter().filter_map(|session| session.address.as_deref()?.parse().ok());
        Ok(addresses.any(near))
    }
}
