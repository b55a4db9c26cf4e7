//! What is asked of password hashes alone: some came from elsewhere, and all are replaced by better ones in time.

use crate::accounts::UserId;
use crate::{BoxFuture, StoreError};

/// Knows password hashes.
pub trait PasswordHashes: Send + Sync {
    /// Replaces the password hash of a user by another one of the same password, if it still is `current`. `false` when it is not: of
    /// somebody who is just changing their password the new one stays.
    fn replace_hash(
        &self,
        id: UserId,
        current: String,
        next: String,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// The greatest cost of all bcrypt hashes (`$2a$12$…`, here 12), if there are any. Asked at every sign-in by password, so it has
    /// an index.
    fn highest_bcrypt_cost(&self) -> BoxFuture<'_, Result<Option<u32>, StoreError>>;
}
