//! Tokens that are good once: links in e-mails, steps of a sign-in that takes several. What a token looks like, what it is for
//! and how long it lives is decided in `lattice-auth`.

use crate::accounts::{TokenHash, UserId};
use crate::{BoxFuture, StoreError};

/// A token that is good once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OneTimeToken {
    /// Finds it; unique.
    pub hash: TokenHash,
    /// What it is for. Nobody finds it who looks for another purpose.
    pub purpose: String,
    /// Whose it is; none while that is not known.
    pub user: Option<UserId>,
    /// What whoever takes it needs to know: JSON.
    pub payload: String,
    /// When it was made, in microseconds since 1970.
    pub created_us: i64,
    /// From when on it is worth nothing, in microseconds since 1970.
    pub expires_us: i64,
}

/// Keeps tokens that are good once. A write has answered only once it is durable.
pub trait OneTimeTokens: Send + Sync {
    /// Keeps a new token. `false`, and nothing kept, when its user does not exist (any more).
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the hash is taken.
    fn put_token(&self, token: OneTimeToken) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// The token with this hash and purpose if it has not expired; it stays.
    fn find_token(
        &self,
        hash: TokenHash,
        purpose: &'static str,
        now_us: i64,
    ) -> BoxFuture<'_, Result<Option<OneTimeToken>, StoreError>>;

    /// Removes the token with this hash and purpose if it has not expired, and answers it: of several that take it at once
    /// one gets it.
    fn take_token(
        &self,
        hash: TokenHash,
        purpose: &'static str,
        now_us: i64,
    ) -> BoxFuture<'_, Result<Option<OneTimeToken>, StoreError>>;

    /// Replaces the payload of a token if it is still `current`. `false` when there is no such token, or another payload.
    fn update_token(
        &self,
        hash: TokenHash,
        current: String,
        next: String,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Removes the tokens of a user for a purpose, and says how many those were.
    fn delete_tokens(&self, user: UserId, purpose: &'static str) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Removes at most `limit` tokens that expired before `before_us`, and says how many those were. Call again while it
    /// answers `limit`.
    fn delete_expired_tokens(&self, before_us: i64, limit: u32) -> BoxFuture<'_, Result<u64, StoreError>>;
}
