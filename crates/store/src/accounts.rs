//! Accounts as they are stored: users and their sessions. No driver and no policy: who may log in, for how long, and
//! what a token looks like is decided in `lattice-auth`.

use core::fmt;

use lattice_protocol::id::{Spelling, format_uuid, parse_uuid};

use crate::{BoxFuture, StoreError};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident,)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// Reads the id from its hyphenated text, in any letter case.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                parse_uuid(text).map(|(bytes, _)| Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&String::from_utf8_lossy(&format_uuid(&self.0, Spelling::default())))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

ids! {
    /// The id of a user: 16 random bytes, outside the text of a version-4 UUID.
    UserId,
    /// The id of a session: 16 random bytes, outside the text of a version-4 UUID.
    SessionId,
    /// The id of an identity: 16 random bytes, outside the text of a version-4 UUID.
    IdentityId,
    /// The id of a passkey: 16 random bytes, outside the text of a version-4 UUID.
    PasskeyId,
}

/// The SHA-256 of a secret of at least 256 random bits. Such a hash needs neither salt nor stretching.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// Someone with an account.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Never reused.
    pub id: UserId,
    /// Normalised by the caller; unique as these very bytes. None for accounts without one.
    pub email: Option<String>,
    /// When the user showed that the e-mail address is theirs, in microseconds since 1970; none while they have not.
    pub email_verified_us: Option<i64>,
    /// As its owner wrote it.
    pub full_name: Option<String>,
    /// A PHC string; none when the account has no password (for those who come from an identity provider).
    pub password_hash: Option<String>,
    /// When the account was made, in microseconds since 1970.
    pub created_us: i64,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What a session's token is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SessionKind {
    /// Short access tokens, renewed by a refresh token that changes each time.
    Access,
    /// One long-lived opaque token, as native clients hold it.
    Device,
}

/// One login of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Never reused.
    pub id: SessionId,
    /// Whose session it is.
    pub user: UserId,
    /// What its token is.
    pub kind: SessionKind,
    /// How the user showed who they are: `password`, or the name of what did instead.
    pub method: String,
    /// Finds the session; unique. For [`SessionKind::Device`] the hash of the whole token, for [`SessionKind::Access`]
    /// the hash of that part of the refresh token that stays the same when it rotates.
    pub token_hash: TokenHash,
    /// The hash of the part of the refresh token that rotates. None for [`SessionKind::Device`].
    pub refresh_hash: Option<TokenHash>,
    /// What `refresh_hash` was before the last rotation.
    pub previous_refresh_hash: Option<TokenHash>,
    /// When the last rotation was, in microseconds since 1970. For sessions of an external issuer, when the one before was ended.
    pub rotated_us: Option<i64>,
    /// From when on the session is worth nothing, in microseconds since 1970.
    pub expires_us: i64,
    /// When it was made, in microseconds since 1970.
    pub created_us: i64,
    /// When it was last seen in use, in microseconds since 1970; callers write it rarely.
    pub last_used_us: i64,
    /// When it was revoked, in microseconds since 1970.
    pub revoked_us: Option<i64>,
    /// What the client calls the device, for its owner to recognise it by.
    pub device_name: Option<String>,
    /// The `User-Agent` it was made with, for the same purpose.
    pub user_agent: Option<String>,
    /// The network address it was made or last refreshed from, as text.
    pub address: Option<String>,
}

impl Session {
    /// Whether the session is neither revoked nor expired.
    #[must_use]
    pub fn is_live(&self, now_us: i64) -> bool {
        self.revoked_us.is_none() && now_us < self.expires_us
    }
}

/// One change of a session's refresh token, see [`AccountStore::rotate_refresh`].
#[derive(Clone, Debug)]
pub struct RefreshRotation {
    /// The session.
    pub session: SessionId,
    /// What its `refresh_hash` must be for the rotation to happen.
    pub current: TokenHash,
    /// What its `refresh_hash` becomes.
    pub next: TokenHash,
    /// The time of the rotation, in microseconds since 1970.
    pub now_us: i64,
    /// When the session expires from now on, in microseconds since 1970.
    pub expires_us: i64,
    /// The network address it is used from now, as text; without one the last known stays.
    pub address: Option<String>,
}

/// Keeps users and sessions. Not found is `Ok(None)` or `Ok(false)`. A write has answered only once it is durable, and
/// two writes that race have one winner.
pub trait AccountStore: Send + Sync {
    /// Keeps a new user.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the e-mail address or the id is taken.
    fn create_user(&self, user: User) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The user with this e-mail address, compared byte by byte.
    fn user_by_email(&self, email: &str) -> BoxFuture<'_, Result<Option<User>, StoreError>>;

    /// The user with this id.
    fn user_by_id(&self, id: UserId) -> BoxFuture<'_, Result<Option<User>, StoreError>>;

    /// Replaces the password hash of a user. `false` when there is no such user.
    fn set_password_hash(&self, id: UserId, hash: String) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Gives a user this e-mail address, verified. `false` when there is no such user.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody else has it.
    fn set_email(
        &self,
        id: UserId,
        email: String,
        verified_us: i64,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Notes that a user has shown that this e-mail address is theirs; the first time stays. `false` when there is no such user
    /// or when they have another address.
    fn verify_email(&self, id: UserId, email: String, now_us: i64)
    -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Removes a user, every session and membership of theirs, and the spaces that they own: others lose those too, so
    /// callers ask [`Directory::delete_account`](crate::directory::Directory::delete_account) where that matters. `false`
    /// when there is no such user.
    fn delete_user(&self, id: UserId) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Keeps a new session. `false`, and nothing kept, when its user does not exist (any more).
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the id or the token hash is taken.
    fn create_session(&self, session: Session) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Keeps a new session in the place of a dead one, which goes: they may have the same token hash. `false`, and nothing changed,
    /// when the old one is gone or live at the time at which the new one was made, or when the user does not exist (any more).
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the id or the token hash is taken by yet another.
    fn replace_session(&self, dead: SessionId, session: Session) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// The session with this id, be it live, expired or revoked.
    fn session_by_id(&self, id: SessionId) -> BoxFuture<'_, Result<Option<Session>, StoreError>>;

    /// The session with this token hash, be it live, expired or revoked.
    fn session_by_token_hash(&self, hash: TokenHash) -> BoxFuture<'_, Result<Option<Session>, StoreError>>;

    /// Compare and swap: if the session is live at `now_us` and its refresh hash is `current`, then `current` becomes
    /// the previous one, `next` the current one, and the session was last used now. `false`, and nothing changed,
    /// otherwise: of two that race with the same `current` one gets `true`.
    fn rotate_refresh(&self, rotation: RefreshRotation) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Revokes a session. `false` when there is none, or when it is revoked already (its first time stays).
    fn revoke_session(&self, id: SessionId, now_us: i64) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Revokes every session of a user that is not yet revoked and says how many those were.
    fn revoke_all_sessions(&self, user: UserId, now_us: i64) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Revokes every session of a user but this one that is not yet revoked, and says how many those were.
    fn revoke_other_sessions(
        &self,
        user: UserId,
        keep: SessionId,
        now_us: i64,
    ) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Notes that a session was used; an earlier time than the one known changes nothing.
    fn touch_session(&self, id: SessionId, now_us: i64) -> BoxFuture<'_, Result<(), StoreError>>;

    /// At most `limit` sessions of a user, whatever their state, the newest first.
    fn list_sessions(&self, user: UserId, limit: u32) -> BoxFuture<'_, Result<Vec<Session>, StoreError>>;

    /// At most `limit` sessions of a user that are live at `now_us`, the newest first.
    fn live_sessions(
        &self,
        user: UserId,
        now_us: i64,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Session>, StoreError>>;

    /// Removes at most `limit` sessions that expired or were revoked before `before_us`, and says how many those were.
    /// Call again while it answers `limit`: the writer is never held for long.
    fn delete_expired_sessions(&self, before_us: i64, limit: u32) -> BoxFuture<'_, Result<u64, StoreError>>;
}
