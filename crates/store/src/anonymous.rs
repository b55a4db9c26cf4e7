//! Accounts that were made without showing who one is: nothing but a session leads to them. An account is anonymous until its
//! owner chooses another way in; one whose sessions have ended is lost to its owner, and deleted after a while.

use crate::accounts::{User, UserId};
use crate::{BoxFuture, StoreError};

/// How the owner of an anonymous account signs in from now on.
#[derive(Clone)]
pub struct Upgrade {
    /// Normalised by the caller.
    pub email: String,
    /// A PHC string.
    pub password_hash: String,
    /// As its owner wrote it; without one, what is known stays.
    pub full_name: Option<String>,
}

/// An anonymous account whose sessions have ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Abandoned {
    /// When the last of its sessions ended, or was found to have ended, in microseconds since 1970.
    pub ended_us: i64,
    /// Whose account it is.
    pub user: UserId,
}

/// Keeps which accounts are anonymous. A write has answered only once it is durable.
pub trait AnonymousAccounts: Send + Sync {
    /// Keeps a new user, whose account is anonymous. `look_us` is when the session that they are about to be given may have ended,
    /// in microseconds since 1970.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the id is taken.
    fn create_anonymous(&self, user: User, look_us: i64) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Whether there is such a user, and their account is anonymous.
    fn is_anonymous(&self, id: UserId) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Gives an anonymous account an address and a password, after which it is anonymous no more. `false`, and nothing changed, when
    /// it is not anonymous or not there: of several that race one gets `true`.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody else has the address.
    fn upgrade_anonymous(&self, id: UserId, upgrade: Upgrade) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// The owner of an anonymous account has another way in that is kept elsewhere. `false` when it was not anonymous.
    fn end_anonymity(&self, id: UserId) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Looks at no more than `limit` anonymous accounts whose session may have ended by now, notes when it did, and says how many
    /// those were. To be called before dead sessions are forgotten, and again while it answers `limit`.
    fn note_ended_anonymous(&self, now_us: i64, limit: u32) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// At most `limit` anonymous accounts whose last session ended before `before_us`, after this one, in order.
    fn abandoned_anonymous(
        &self,
        before_us: i64,
        after: Option<Abandoned>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Abandoned>, StoreError>>;
}
