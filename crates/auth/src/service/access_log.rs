//! What the access log holds, and for how long.

use lattice_store::access_log::{AccessEvent, EventCursor, EventQuery};
use lattice_store::directory::Page;

use super::{AuthService, Identity, SECOND_US};
use crate::AuthError;

/// How long ago somebody must have signed in at most to be given everything that is kept of them, in seconds.
pub const FRESH_SESSION_S: i64 = 15 * 60;
/// Events that one write removes.
const EVENTS_BATCH: u32 = 1_000;

impl AuthService {
    /// Events, the last one first. What this instance has noted before is among them.
    ///
    /// # Errors
    /// The store's.
    pub async fn access_events(
        &self,
        query: EventQuery,
    ) -> Result<Page<AccessEvent, EventCursor>, AuthError> {
        self.audit.flush().await;
        Ok(self.store.events(query).await?)
    }

    /// Removes events that are older than so many days, in small writes, and says how many. To be called now and then.
    ///
    /// # Errors
    /// The store's.
    pub async fn forget_events(&self, days: u32) -> Result<u64, AuthError> {
        let before_us = self.clock.now_us() - i64::from(days) * 24 * 3_600 * SECOND_US;
        let mut removed = 0;
        loop {
            let batch = self.store.delete_events(before_us, EVENTS_BATCH).await?;
            removed += batch;
            if batch < u64::from(EVENTS_BATCH) {
                return Ok(removed);
            }
        }
    }

    /// Whether whoever asks has signed in a moment ago: a token that was found or stolen should not open everything.
    ///
    /// # Errors
    /// [`AuthError::SessionNotFresh`], [`AuthError::SessionRevoked`], or the store's.
    pub async fn require_fresh(&self, identity: &Identity) -> Result<(), AuthError> {
        let session = self.store.session_by_id(identity.session).await?.ok_or(AuthError::SessionRevoked)?;
        let fresh = self.clock.now_us() - session.created_us < FRESH_SESSION_S * SECOND_US;
        if fresh { Ok(()) } else { Err(AuthError::SessionNotFresh) }
    }

    /// Whether whoever asks may add to how the account is signed in to: they have signed in a moment ago, or have an anonymous account,
    /// which nobody can sign in to again; and the address is theirs, where they can show that. Else somebody could make an account
    /// with the address of another, add a way in of their own, and keep it when the owner of the address takes the account over.
    pub(super) async fn require_may_add(&self, identity: &Identity) -> Result<(), AuthError> {
        match self.require_fresh(identity).await {
            Err(AuthError::SessionNotFresh) if self.store.is_anonymous(identity.user).await? => {}
            fresh => fresh?,
        }
        self.require_verified_email(identity.user).await
    }
}
