//! What routes and sockets ask for: sign up, log in, refresh, log out, and who a token belongs to.

mod access_log;
mod anonymous;
mod browsers;
mod external;
mod factors;
mod identities;
mod known;
mod links;
mod passwords;
mod providers;
mod sessions;
mod sign_in;
mod steps;

use std::fmt;
use std::sync::Arc;

use lattice_store::accounts::{SessionId, User, UserId};
use lattice_store::auth::AuthStore;
use lattice_store::time::{Clock, Random};
use secrecy::SecretString;
use serde_json::Value;

use crate::audit::{AccessAudit, NoAudit};
use crate::external::ExternalIssuer;
use crate::keyring::KeyRing;
use crate::mailer::{Mailer, NoMailer};
use crate::openid::Providers;
use crate::{KeyTag, Keys, Passwords, Permissions, ServerSecret};

pub(crate) use passwords::checked_name;

pub use access_log::FRESH_SESSION_S;

pub use browsers::{Arrival, Departure, PROVIDER_STATE_LIFE_S};
pub use factors::{
    Ceremony, Challenge, MAX_PASSKEYS, MAX_SECOND_FACTOR_TRIES, NewPasskey, PASSKEY_CEREMONY_LIFE_S,
    PasskeySettings, Passkeys, RECOVERY_CODES, SECOND_FACTOR_LIFE_S, SecondFactor, SecondFactorMethod,
    TotpOffer,
};
pub use identities::{KnownIdentity, MAX_IDENTITIES};
pub use providers::{PROVIDER_CODE_LIFE_S, Proof};
pub use sign_in::{SignedIn, TokenKind};

pub use links::{EMAIL_LINK_LIFE_S, RESET_LINK_LIFE_S, VERIFY_LINK_LIFE_S};

/// How long an access token lives, in seconds. Short, since whoever verifies it by our public key alone cannot know that
/// its session was revoked.
pub const ACCESS_TOKEN_LIFE_S: i64 = 15 * 60;
/// How long a session lives after its refresh token was last used, in seconds.
pub const REFRESH_TOKEN_LIFE_S: i64 = 30 * 24 * 3_600;
/// How long a session lives at most, however often it is refreshed, in seconds: once a year people show who they are.
pub const MAX_SESSION_LIFE_S: i64 = 365 * 24 * 3_600;
/// How long a device token lives, in seconds.
pub const DEVICE_TOKEN_LIFE_S: i64 = 30 * 24 * 3_600;
/// For how long after a rotation the token before it still answers, in seconds: a client whose answer was lost on the way asks
/// again within a minute, and so do two tabs that were woken at once.
pub const REFRESH_GRACE_S: i64 = 60;
/// Sessions that are listed, the newest ones.
pub const MAX_LISTED_SESSIONS: u32 = 500;
/// How exactly a session's last use is known, in seconds: noting it is a write.
const TOUCH_INTERVAL_S: i64 = 5 * 60;
/// How long a dead session stays in its owner's list, in seconds.
const DEAD_SESSION_RETENTION_S: i64 = 7 * 24 * 3_600;
/// Dead sessions removed by one write.
const SWEEP_BATCH: u32 = 500;
const MAX_NAME_CHARS: usize = 200;

const SECOND_US: i64 = 1_000_000;

/// Ways to sign in, as sessions name them.
pub mod method {
    /// E-mail address and password.
    pub const PASSWORD: &str = "password";
    /// Nothing: the account was made with the session, and nothing else leads to it.
    pub const ANONYMOUS: &str = "anonymous";
    /// A passkey.
    pub const PASSKEY: &str = "passkey";
    /// A token of an external issuer.
    pub const EXTERNAL: &str = "external";
}

/// Where a request comes from, for the owner of a session to recognise it by. Nothing is decided by it.
#[derive(Clone, Default, Debug)]
pub struct Client {
    /// What the client calls the device.
    pub device_name: Option<String>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// The network address.
    pub address: Option<String>,
}

impl Client {
    /// With what the client calls the device, if it says so.
    #[must_use]
    pub fn named(self, device_name: Option<String>) -> Self {
        Self { device_name, ..self }
    }
}

/// A login with short access tokens.
#[derive(Debug)]
pub struct SessionTokens {
    /// The access token, a JWT.
    pub access: SecretString,
    /// The refresh token; good for one exchange.
    pub refresh: SecretString,
    /// How long the access token lives, in seconds.
    pub expires_in_s: i64,
    /// Who logged in.
    pub user: User,
    /// How they may sign in, by name.
    pub ways_in: Vec<String>,
}

/// A login with one long-lived token.
#[derive(Debug)]
pub struct DeviceToken {
    /// The token.
    pub token: SecretString,
    /// Who logged in.
    pub user: User,
    /// How they may sign in, by name.
    pub ways_in: Vec<String>,
}

/// Who a token belongs to. Small, since every open connection keeps one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The user.
    pub user: UserId,
    /// The session.
    pub session: SessionId,
    /// When the access token expires, in microseconds since 1970. None for a device token, which a connection may go on
    /// with until [`AuthService::recheck`] refuses.
    pub expires_us: Option<i64>,
    /// What the token may be used for.
    pub permissions: Permissions,
    /// The key that the access token was signed with. None for a device token.
    pub key: Option<KeyTag>,
}

/// Accounts and logins.
pub struct AuthService {
    store: Arc<dyn AuthStore>,
    keys: Arc<KeyRing>,
    passwords: Passwords,
    secret: ServerSecret,
    makes_anonymous: bool,
    audit: Arc<dyn AccessAudit>,
    mailer: Arc<dyn Mailer>,
    requires_verified_email: bool,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    external: Option<ExternalIssuer>,
    providers: Providers,
    passkeys: Option<factors::Passkeys>,
}

impl fmt::Debug for AuthService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthService").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl AuthService {
    /// Puts the service together.
    #[must_use]
    pub fn new(
        store: Arc<dyn AuthStore>,
        keys: impl Into<KeyRing>,
        passwords: Passwords,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        let secret = ServerSecret::random(&*random);
        let (keys, audit) = (Arc::new(keys.into()), Arc::new(NoAudit));
        Self {
            store,
            keys,
            passwords,
            secret,
            mailer: Arc::new(NoMailer),
            requires_verified_email: false,
            makes_anonymous: false,
            audit,
            external: None,
            providers: Providers::default(),
            passkeys: None,
            clock,
            random,
        }
    }

    /// With a way to send letters.
    #[must_use]
    pub fn with_mailer(self, mailer: Arc<dyn Mailer>) -> Self {
        Self { mailer, ..self }
    }

    /// Lets nobody in by password before their e-mail address is verified.
    #[must_use]
    pub fn requiring_verified_email(self, requires_verified_email: bool) -> Self {
        Self { requires_verified_email, ..self }
    }

    /// With a secret that outlives this process and that other instances have as well.
    #[must_use]
    pub fn with_secret(self, secret: ServerSecret) -> Self {
        Self { secret, ..self }
    }

    /// Makes accounts for those who do not show who they are, or does not.
    #[must_use]
    pub fn with_anonymous_accounts(self, makes_anonymous: bool) -> Self {
        Self { makes_anonymous, ..self }
    }

    /// With somebody who notes who comes in and who does not.
    #[must_use]
    pub fn with_audit(self, audit: Arc<dyn AccessAudit>) -> Self {
        Self { audit, ..self }
    }

    /// Who notes what happens.
    #[must_use]
    pub fn audit(&self) -> &Arc<dyn AccessAudit> {
        &self.audit
    }

    /// The keys that sign access tokens, as they are now.
    #[must_use]
    pub fn keys(&self) -> Arc<Keys> {
        self.keys.current()
    }

    /// The keys while they change.
    #[must_use]
    pub fn keyring(&self) -> &Arc<KeyRing> {
        &self.keys
    }

    /// The public keys as a JSON Web Key Set.
    #[must_use]
    pub fn jwks(&self) -> Value {
        self.keys.current().jwks(self.clock.now_us().div_euclid(SECOND_US))
    }

    /// Whether the key by which somebody was let in is still one of ours: one that has leaked is taken away.
    #[must_use]
    pub fn vouches_for(&self, identity: &Identity) -> bool {
        identity.key.is_none_or(|key| self.keys.current().has(key))
    }

    /// The password workers.
    #[must_use]
    pub fn passwords(&self) -> &Passwords {
        &self.passwords
    }
}

#[cfg(test)]
mod anonymous_tests;
#[cfg(test)]
mod browsers_tests;
#[cfg(test)]
mod factors_tests;
#[cfg(test)]
mod legacy_tests;
#[cfg(test)]
mod tests;
