//! Steps of a sign-in that takes several: a token each, good once.

use lattice_store::accounts::UserId;
use lattice_store::one_time::OneTimeToken;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{AuthService, SECOND_US};
use crate::AuthError;
use crate::token::StepToken;

impl AuthService {
    /// Keeps a step of a sign-in that takes several.
    pub(super) async fn put_step(
        &self,
        token: &StepToken,
        purpose: &'static str,
        user: Option<UserId>,
        payload: &impl Serialize,
        life_s: i64,
    ) -> Result<(), AuthError> {
        let now_us = self.clock.now_us();
        let payload =
            serde_json::to_string(payload).map_err(|_| AuthError::Internal("a step could not be written"))?;
        let step = OneTimeToken {
            hash: token.hash(),
            purpose: purpose.to_owned(),
            user,
            payload,
            created_us: now_us,
            expires_us: now_us + life_s * SECOND_US,
        };
        if self.store.put_token(step).await? { Ok(()) } else { Err(AuthError::SessionRevoked) }
    }
}

/// Compares without telling by the time how much is alike.
pub(super) fn same(one: &str, other: &str) -> bool {
    Sha256::digest(one) == Sha256::digest(other)
}
