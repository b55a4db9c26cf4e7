//! Second factors and passkeys.
//!
//! Whoever signs in by a password or by an identity provider is asked for a second factor where the account has one: a code of an
//! authenticator app, a passkey that was made for it, or a recovery code in place of either. A passkey alone is both factors: what
//! somebody has, and what they know or are, since none is taken that has not verified its user.

mod challenge;
mod passkeys;
mod recovery;
mod totp;

pub use challenge::{
    Challenge, MAX_SECOND_FACTOR_TRIES, SECOND_FACTOR_LIFE_S, SecondFactor, SecondFactorMethod,
};
pub use passkeys::{Ceremony, MAX_PASSKEYS, NewPasskey, PASSKEY_CEREMONY_LIFE_S, PasskeySettings, Passkeys};
pub use recovery::RECOVERY_CODES;
pub use totp::TotpOffer;

use lattice_store::accounts::UserId;
use lattice_store::factors::SecondFactors;

use super::AuthService;
use crate::AuthError;

impl AuthService {
    /// Which second factors a user has.
    ///
    /// # Errors
    /// The store's.
    pub async fn second_factors(&self, user: UserId) -> Result<SecondFactors, AuthError> {
        Ok(self.store.second_factors(user).await?)
    }
}
