//! Accounts elsewhere, at identity providers and other issuers, by which people sign in to accounts here. Whose word is taken, and
//! what it must say, is decided in `lattice-auth`.

use crate::accounts::{IdentityId, User, UserId};
use crate::{BoxFuture, StoreError};

/// An account elsewhere that signs in to one here.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkedIdentity {
    /// Never reused.
    pub id: IdentityId,
    /// Whose account it signs in to.
    pub user: UserId,
    /// Who vouches for it: the `iss` of its tokens.
    pub issuer: String,
    /// How the issuer calls the account; never given to somebody else.
    pub subject: String,
    /// The verified address that the issuer told when it was linked.
    pub email: Option<String>,
    /// When it was linked, in microseconds since 1970.
    pub created_us: i64,
}

impl std::fmt::Debug for LinkedIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("LinkedIdentity");
        shown
            .field("id", &self.id)
            .field("user", &self.user)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// What became of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// It was made.
    Made,
    /// There is one already to this very user.
    Known,
    /// It signs in to somebody else's account.
    Taken,
    /// The user has as many as they may.
    TooMany,
    /// There is no such user (any more).
    NoUser,
}

/// What became of a way to sign in that was to be removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Removal {
    /// It is gone.
    Removed,
    /// The user has none of this id.
    NotFound,
    /// Without it nothing would lead to the account any more.
    LastWayIn,
}

/// Keeps which accounts elsewhere sign in to which here. A write has answered only once it is durable.
pub trait Identities: Send + Sync {
    /// Keeps a new user together with the identity that signs in to the account.
    ///
    /// # Errors
    /// [`StoreError::Conflict`]: `user` when the id or the e-mail address is taken, `identity` when it signs in to an account already.
    fn create_user_by_identity(
        &self,
        user: User,
        identity: LinkedIdentity,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Lets an identity sign in to the account of its user, who may have at most `limit`; an anonymous account is anonymous no more.
    fn link_identity(&self, identity: LinkedIdentity, limit: u32) -> BoxFuture<'_, Result<Link, StoreError>>;

    /// The identity of this name at this issuer.
    fn identity(
        &self,
        issuer: &str,
        subject: &str,
    ) -> BoxFuture<'_, Result<Option<LinkedIdentity>, StoreError>>;

    /// At most `limit` identities of a user, the oldest first.
    fn identities(&self, user: UserId, limit: u32) -> BoxFuture<'_, Result<Vec<LinkedIdentity>, StoreError>>;

    /// Removes an identity of a user, unless it is their last way in: a password to an e-mail address, another identity and a passkey
    /// are others. Of several removals that race, one is the last.
    fn unlink_identity(&self, user: UserId, id: IdentityId) -> BoxFuture<'_, Result<Removal, StoreError>>;
}
