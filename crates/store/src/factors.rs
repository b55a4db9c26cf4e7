//! Second factors and passkeys as they are stored. What a code or a signature must be is decided in `lattice-auth`.

use crate::accounts::{PasskeyId, TokenHash, UserId};
use crate::identities::Removal;
use crate::{BoxFuture, StoreError};

/// A secret from which codes for a moment are made (RFC 6238). A user has one at most.
#[derive(Clone, PartialEq, Eq)]
pub struct Totp {
    /// Whose it is.
    pub user: UserId,
    /// The shared secret.
    pub secret: Vec<u8>,
    /// When it was offered, in microseconds since 1970.
    pub created_us: i64,
    /// When its owner showed that they have it, in microseconds since 1970; none while it is only offered.
    pub confirmed_us: Option<i64>,
    /// The time step of the last code that was taken.
    pub last_step: i64,
}

impl std::fmt::Debug for Totp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Totp").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A passkey.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredPasskey {
    /// Never reused.
    pub id: PasskeyId,
    /// Whose it is.
    pub user: UserId,
    /// How the authenticator calls it; unique.
    pub credential_id: Vec<u8>,
    /// How its owner calls it.
    pub name: String,
    /// Its public key and counter: JSON.
    pub credential: String,
    /// Whether whoever signs in by other means is asked for it, or for another second factor.
    pub second_factor: bool,
    /// When it was made, in microseconds since 1970.
    pub created_us: i64,
    /// When it was used last, in microseconds since 1970.
    pub last_used_us: Option<i64>,
}

/// What became of a passkey that was to be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Added {
    /// It is kept; an anonymous account is anonymous no more.
    Kept,
    /// Its credential id is known already.
    Known,
    /// The user has as many as they may.
    TooMany,
    /// There is no such user (any more).
    NoUser,
}

/// Which second factors somebody has.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct SecondFactors {
    /// A confirmed secret for codes.
    pub totp: bool,
    /// A passkey that is asked for.
    pub passkey: bool,
    /// Recovery codes that are left.
    pub recovery_codes: u32,
}

impl SecondFactors {
    /// Whether whoever signs in is asked for one.
    #[must_use]
    pub fn is_asked(self) -> bool {
        self.totp || self.passkey
    }
}

/// Keeps second factors and passkeys. A write has answered only once it is durable, and of two that race for the same code or
/// counter one wins.
pub trait Factors: Send + Sync {
    /// Which second factors a user has.
    fn second_factors(&self, user: UserId) -> BoxFuture<'_, Result<SecondFactors, StoreError>>;

    /// The secret of a user, confirmed or not.
    fn totp(&self, user: UserId) -> BoxFuture<'_, Result<Option<Totp>, StoreError>>;

    /// Keeps a secret that is offered, in place of one that was. `false` when the user has confirmed one, or is not there.
    fn offer_totp(&self, totp: Totp) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Confirms the secret that is offered, by the code of a time step. `false` when none is, or when it is another one than
    /// `secret`.
    fn confirm_totp(
        &self,
        user: UserId,
        secret: Vec<u8>,
        step: i64,
        now_us: i64,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Takes the code of a time step: `false` when it, or a later one, was taken before.
    fn take_totp_step(&self, user: UserId, step: i64) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Removes the secret of a user, and their recovery codes where no second factor is left. `false` when there is none.
    fn delete_totp(&self, user: UserId) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Replaces the recovery codes of a user who has a second factor. `false` when they have none.
    fn set_recovery_codes(
        &self,
        user: UserId,
        hashes: Vec<TokenHash>,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Takes a recovery code. `false` when there is none such.
    fn take_recovery_code(&self, user: UserId, hash: TokenHash) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Keeps a passkey of a user, who may have at most `limit`.
    fn add_passkey(&self, passkey: StoredPasskey, limit: u32) -> BoxFuture<'_, Result<Added, StoreError>>;

    /// At most `limit` passkeys of a user, the oldest first.
    fn passkeys(&self, user: UserId, limit: u32) -> BoxFuture<'_, Result<Vec<StoredPasskey>, StoreError>>;

    /// The passkey that an authenticator calls so.
    fn passkey(&self, credential_id: Vec<u8>) -> BoxFuture<'_, Result<Option<StoredPasskey>, StoreError>>;

    /// Notes that a passkey was used: replaces its credential if that still is `current`.
    fn use_passkey(
        &self,
        id: PasskeyId,
        current: String,
        next: String,
        now_us: i64,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Removes a passkey of a user unless it is their last way in, see
    /// [`Identities::unlink_identity`](crate::identities::Identities::unlink_identity); and their recovery codes where no second factor
    /// is left.
    fn delete_passkey(&self, user: UserId, id: PasskeyId) -> BoxFuture<'_, Result<Removal, StoreError>>;
}
