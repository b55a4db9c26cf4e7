//! What routes and sockets ask for: sign up, log in, refresh, log out, and who a token belongs to.

use std::fmt;
use std::sync::Arc;

use lattice_store::StoreError;
use lattice_store::accounts::{AccountStore, RefreshRotation, Session, SessionId, SessionKind, User, UserId};
use lattice_store::time::{Clock, Random, random_id};
use secrecy::{ExposeSecret, SecretString};

use crate::password::Verdict;
use crate::token::{Device, Refresh, Secret};
use crate::{
    AUDIENCE, AuthError, Claims, DEVICE_TOKEN_PREFIX, ISSUER, Keys, MAX_PASSWORD_BYTES, MIN_PASSWORD_BYTES,
    Passwords, normalise_email,
};

/// How long an access token lives, in seconds. Short, since whoever verifies it by our public key alone cannot know that
/// its session was revoked.
pub const ACCESS_TOKEN_LIFE_S: i64 = 15 * 60;
/// How long a session lives after its refresh token was last used, in seconds.
pub const REFRESH_TOKEN_LIFE_S: i64 = 30 * 24 * 3_600;
/// How long a device token lives, in seconds.
pub const DEVICE_TOKEN_LIFE_S: i64 = 30 * 24 * 3_600;
/// For how long after a rotation the token before it is taken for a second request of the same client rather than for a
/// stolen one, in seconds.
pub const REFRESH_GRACE_S: i64 = 10;
/// How exactly a session's last use is known, in seconds: noting it is a write.
const TOUCH_INTERVAL_S: i64 = 5 * 60;
/// How long a dead session stays in its owner's list, in seconds.
const DEAD_SESSION_RETENTION_S: i64 = 7 * 24 * 3_600;
/// Dead sessions removed by one write.
const SWEEP_BATCH: u32 = 500;
const MAX_NAME_CHARS: usize = 200;
const MAX_USER_AGENT_BYTES: usize = 256;
const MAX_ADDRESS_BYTES: usize = 64;

const SECOND_US: i64 = 1_000_000;

/// Where a request comes from, for the owner of a session to recognise it by. Nothing is decided by it.
#[derive(Clone, Default, Debug)]
pub struct Client {
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// The network address.
    pub address: Option<String>,
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
}

/// A login with one long-lived token.
#[derive(Debug)]
pub struct DeviceToken {
    /// The token.
    pub token: SecretString,
    /// Who logged in.
    pub user: User,
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
}

/// Accounts and logins.
pub struct AuthService {
    store: Arc<dyn AccountStore>,
    keys: Keys,
    passwords: Passwords,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
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
        store: Arc<dyn AccountStore>,
        keys: Keys,
        passwords: Passwords,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        Self { store, keys, passwords, clock, random }
    }

    /// The keys that sign access tokens.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The password workers.
    #[must_use]
    pub fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// Makes an account and logs in.
    ///
    /// # Errors
    /// [`AuthError::BadEmail`], [`AuthError::WeakPassword`], [`AuthError::BadName`], [`AuthError::EmailTaken`],
    /// [`AuthError::Busy`], or the store's.
    pub async fn signup(
        &self,
        email: &str,
        password: SecretString,
        full_name: Option<&str>,
        client: Client,
    ) -> Result<SessionTokens, AuthError> {
        let user = self.create_user(email, password, full_name).await?;
        self.open_session(user, client).await
    }

    /// Makes an account and gives out a device token.
    ///
    /// # Errors
    /// Those of [`signup`](Self::signup).
    pub async fn register_device(
        &self,
        email: &str,
        password: SecretString,
        full_name: Option<&str>,
        client: Client,
    ) -> Result<DeviceToken, AuthError> {
        let user = self.create_user(email, password, full_name).await?;
        self.open_device(user, client).await
    }

    /// Logs in by e-mail address and password.
    ///
    /// # Errors
    /// [`AuthError::InvalidCredentials`], [`AuthError::Busy`], or the store's.
    pub async fn login(
        &self,
        email: &str,
        password: SecretString,
        client: Client,
    ) -> Result<SessionTokens, AuthError> {
        let user = self.check_password(email, password).await?;
        self.open_session(user, client).await
    }

    /// Logs in by e-mail address and password for a device token.
    ///
    /// # Errors
    /// Those of [`login`](Self::login).
    pub async fn login_device(
        &self,
        email: &str,
        password: SecretString,
        client: Client,
    ) -> Result<DeviceToken, AuthError> {
        let user = self.check_password(email, password).await?;
        self.open_device(user, client).await
    }

    /// Exchanges a refresh token for an access token and the next refresh token.
    ///
    /// The exchange is a compare-and-swap, so of several requests with the same token one succeeds. Another one within
    /// [`REFRESH_GRACE_S`] gets [`AuthError::RefreshSuperseded`], and nothing else happens: two tabs of one client do
    /// this. After that, or with a token that is older still, two parties hold tokens of the same session, nobody can
    /// say which of them stole it, and the session is revoked for both ([`AuthError::RefreshReused`]).
    ///
    /// # Errors
    /// [`AuthError::TokenInvalid`], [`AuthError::TokenExpired`], [`AuthError::SessionRevoked`], the two above, or the
    /// store's.
    pub async fn refresh(&self, token: &SecretString) -> Result<SessionTokens, AuthError> {
        let presented = Refresh::parse(token.expose_secret()).ok_or(AuthError::TokenInvalid)?;
        let now_us = self.clock.now_us();
        let session = self.session_of(&presented).await?;
        let user = self.live_user(&session, now_us).await?;
        let next = Refresh { family: presented.family, turn: Secret::random(&*self.random) };
        let rotation = RefreshRotation {
            session: session.id,
            current: presented.turn.hash(),
            next: next.turn.hash(),
            now_us,
            expires_us: now_us + REFRESH_TOKEN_LIFE_S * SECOND_US,
        };
        if self.store.rotate_refresh(rotation).await? {
            return self.tokens(user, session.id, &next, now_us);
        }
        // Read again: whoever was quicker has changed it since.
        let session = self.store.session_by_id(session.id).await?.ok_or(AuthError::SessionRevoked)?;
        if session.revoked_us.is_some() {
            return Err(AuthError::SessionRevoked);
        }
        let grace_ends_us =
            session.rotated_us.map_or(i64::MIN, |rotated_us| rotated_us + REFRESH_GRACE_S * SECOND_US);
        if session.previous_refresh_hash == Some(rotation.current) && now_us < grace_ends_us {
            return Err(AuthError::RefreshSuperseded);
        }
        tracing::warn!(session = %session.id, user = %session.user, "a refresh token was used twice; session revoked");
        self.store.revoke_session(session.id, now_us).await?;
        Err(AuthError::RefreshReused)
    }

    /// Revokes the session of an access or device token, and says whose it was.
    ///
    /// # Errors
    /// Those of [`authenticate`](Self::authenticate).
    pub async fn logout(&self, token: &SecretString) -> Result<UserId, AuthError> {
        let identity = self.authenticate(token).await?;
        self.store.revoke_session(identity.session, self.clock.now_us()).await?;
        Ok(identity.user)
    }

    /// Revokes the session of a refresh token, whether or not that was exchanged, expired or revoked since, and says whose
    /// it was.
    ///
    /// # Errors
    /// [`AuthError::TokenInvalid`], or the store's.
    pub async fn logout_refresh(&self, token: &SecretString) -> Result<UserId, AuthError> {
        let presented = Refresh::parse(token.expose_secret()).ok_or(AuthError::TokenInvalid)?;
        let session = self.session_of(&presented).await?;
        self.store.revoke_session(session.id, self.clock.now_us()).await?;
        Ok(session.user)
    }

    /// Whether this is the password of a user who is logged in: asked again before what cannot be undone.
    ///
    /// # Errors
    /// [`AuthError::InvalidCredentials`], [`AuthError::SessionRevoked`], [`AuthError::Busy`], or the store's.
    pub async fn confirm_password(&self, user: UserId, password: SecretString) -> Result<(), AuthError> {
        if password.expose_secret().len() > MAX_PASSWORD_BYTES {
            return Err(AuthError::InvalidCredentials);
        }
        let user = self.store.user_by_id(user).await?.ok_or(AuthError::SessionRevoked)?;
        let hash = user.password_hash.as_deref();
        let verdict = self.passwords.verify(password, hash).await?;
        if hash.is_some() && verdict != Verdict::Wrong { Ok(()) } else { Err(AuthError::InvalidCredentials) }
    }

    /// Who an access or device token belongs to. Its session must be in the store and live, its user must exist.
    ///
    /// # Errors
    /// [`AuthError::TokenInvalid`], [`AuthError::TokenExpired`], [`AuthError::SessionRevoked`], or the store's.
    pub async fn authenticate(&self, token: &SecretString) -> Result<Identity, AuthError> {
        self.identify(token).await.map(|(identity, _)| identity)
    }

    /// The account that an access or device token belongs to.
    ///
    /// # Errors
    /// Those of [`authenticate`](Self::authenticate).
    pub async fn profile(&self, token: &SecretString) -> Result<User, AuthError> {
        self.identify(token).await.map(|(_, user)| user)
    }

    async fn identify(&self, token: &SecretString) -> Result<(Identity, User), AuthError> {
        let now_us = self.clock.now_us();
        let token = token.expose_secret();
        let (session, expires_us) = if token.starts_with(DEVICE_TOKEN_PREFIX) {
            let device = Device::parse(token).ok_or(AuthError::TokenInvalid)?;
            let session = self.store.session_by_token_hash(device.0.hash()).await?;
            (session.filter(|session| session.kind == SessionKind::Device), None)
        } else {
            let claims = self.keys.verify(token, now_us)?;
            let id = SessionId::parse(&claims.sid).ok_or(AuthError::TokenInvalid)?;
            let user = UserId::parse(&claims.sub).ok_or(AuthError::TokenInvalid)?;
            let session = self.store.session_by_id(id).await?;
            let matches = |session: &Session| session.user == user && session.kind == SessionKind::Access;
            (session.filter(matches), Some(claims.exp.saturating_mul(SECOND_US)))
        };
        let session = session.ok_or(AuthError::TokenInvalid)?;
        let user = self.live_user(&session, now_us).await?;
        self.touch(&session, now_us).await;
        let identity = Identity { user: user.id, session: session.id, expires_us };
        Ok((identity, user))
    }

    /// Whether someone who was let in may stay: their session is live and their user exists. For connections that outlive
    /// a request; the expiry of an access token is the connection's own to watch ([`Identity::expires_us`]).
    ///
    /// # Errors
    /// [`AuthError::SessionRevoked`], [`AuthError::TokenExpired`], or the store's.
    pub async fn recheck(&self, identity: &Identity) -> Result<(), AuthError> {
        let session = self.store.session_by_id(identity.session).await?.ok_or(AuthError::SessionRevoked)?;
        self.live_user(&session, self.clock.now_us()).await.map(|_| ())
    }

    /// Removes sessions that have been dead for a week, in small writes, and says how many. To be called now and then.
    ///
    /// # Errors
    /// The store's.
    pub async fn sweep(&self) -> Result<u64, AuthError> {
        let before_us = self.clock.now_us() - DEAD_SESSION_RETENTION_S * SECOND_US;
        let mut removed = 0;
        loop {
            let batch = self.store.delete_expired_sessions(before_us, SWEEP_BATCH).await?;
            removed += batch;
            if batch < u64::from(SWEEP_BATCH) {
                return Ok(removed);
            }
        }
    }

    async fn create_user(
        &self,
        email: &str,
        password: SecretString,
        full_name: Option<&str>,
    ) -> Result<User, AuthError> {
        let email = normalise_email(email)?;
        if !(MIN_PASSWORD_BYTES..=MAX_PASSWORD_BYTES).contains(&password.expose_secret().len()) {
            return Err(AuthError::WeakPassword);
        }
        let full_name = full_name.map(str::trim).filter(|name| !name.is_empty());
        if full_name
            .is_some_and(|name| name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control))
        {
            return Err(AuthError::BadName);
        }
        let mut salt = [0; 16];
        self.random.fill(&mut salt);
        // Hashed before the address is looked up: a taken one costs as much as a free one.
        let password_hash = self.passwords.hash(password, salt).await?;
        let user = User {
            id: UserId(random_id(&*self.random)),
            email,
            full_name: full_name.map(str::to_owned),
            password_hash: Some(password_hash),
            created_us: self.clock.now_us(),
        };
        match self.store.create_user(user.clone()).await {
            Err(StoreError::Conflict(_)) => Err(AuthError::EmailTaken),
            result => Ok(result.map(|()| user)?),
        }
    }

    /// The user with these credentials. An address without an account costs the same work as one with.
    async fn check_password(&self, email: &str, password: SecretString) -> Result<User, AuthError> {
        let email = normalise_email(email).map_err(|_| AuthError::InvalidCredentials)?;
        if password.expose_secret().len() > MAX_PASSWORD_BYTES {
            return Err(AuthError::InvalidCredentials);
        }
        let user = self.store.user_by_email(&email).await?;
        let hash = user.as_ref().and_then(|user| user.password_hash.as_deref());
        let has_hash = hash.is_some();
        let verdict = self.passwords.verify(password.clone(), hash).await?;
        let user =
            user.filter(|_| has_hash && verdict != Verdict::Wrong).ok_or(AuthError::InvalidCredentials)?;
        if verdict == Verdict::RightButOutdated {
            let mut salt = [0; 16];
            self.random.fill(&mut salt);
            let hash = self.passwords.hash(password, salt).await?;
            self.store.set_password_hash(user.id, hash).await?;
        }
        Ok(user)
    }

    async fn open_session(&self, user: User, client: Client) -> Result<SessionTokens, AuthError> {
        let now_us = self.clock.now_us();
        let refresh = Refresh { family: Secret::random(&*self.random), turn: Secret::random(&*self.random) };
        let session = Session {
            token_hash: refresh.family.hash(),
            refresh_hash: Some(refresh.turn.hash()),
            expires_us: now_us + REFRESH_TOKEN_LIFE_S * SECOND_US,
            ..self.new_session(&user, SessionKind::Access, client, now_us)
        };
        let id = session.id;
        self.keep(session).await?;
        self.tokens(user, id, &refresh, now_us)
    }

    async fn open_device(&self, user: User, client: Client) -> Result<DeviceToken, AuthError> {
        let now_us = self.clock.now_us();
        let device = Device(Secret::random(&*self.random));
        let session = Session {
            token_hash: device.0.hash(),
            expires_us: now_us + DEVICE_TOKEN_LIFE_S * SECOND_US,
            ..self.new_session(&user, SessionKind::Device, client, now_us)
        };
        self.keep(session).await?;
        Ok(DeviceToken { token: device.to_text(), user })
    }

    fn new_session(&self, user: &User, kind: SessionKind, client: Client, now_us: i64) -> Session {
        Session {
            id: SessionId(random_id(&*self.random)),
            user: user.id,
            kind,
            token_hash: lattice_store::accounts::TokenHash([0; 32]),
            refresh_hash: None,
            previous_refresh_hash: None,
            rotated_us: None,
            expires_us: now_us,
            created_us: now_us,
            last_used_us: now_us,
            revoked_us: None,
            user_agent: client.user_agent.map(|text| shortened(text, MAX_USER_AGENT_BYTES)),
            address: client.address.map(|text| shortened(text, MAX_ADDRESS_BYTES)),
        }
    }

    /// Persists a session before its tokens are given out.
    async fn keep(&self, session: Session) -> Result<(), AuthError> {
        // The user was there a moment ago; if not any more, there is nobody to log in.
        if self.store.create_session(session).await? { Ok(()) } else { Err(AuthError::InvalidCredentials) }
    }

    fn tokens(
        &self,
        user: User,
        session: SessionId,
        refresh: &Refresh,
        now_us: i64,
    ) -> Result<SessionTokens, AuthError> {
        let iat = now_us.div_euclid(SECOND_US);
        let access = self.keys.sign(&Claims {
            sub: user.id.to_string(),
            sid: session.to_string(),
            iat,
            exp: iat + ACCESS_TOKEN_LIFE_S,
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
        })?;
        Ok(SessionTokens { access, refresh: refresh.to_text(), expires_in_s: ACCESS_TOKEN_LIFE_S, user })
    }

    async fn session_of(&self, presented: &Refresh) -> Result<Session, AuthError> {
        let session = self.store.session_by_token_hash(presented.family.hash()).await?;
        session.filter(|session| session.kind == SessionKind::Access).ok_or(AuthError::TokenInvalid)
    }

    /// The user of a session, if both are good.
    async fn live_user(&self, session: &Session, now_us: i64) -> Result<User, AuthError> {
        if session.revoked_us.is_some() {
            return Err(AuthError::SessionRevoked);
        }
        if !session.is_live(now_us) {
            return Err(AuthError::TokenExpired);
        }
        self.store.user_by_id(session.user).await?.ok_or(AuthError::SessionRevoked)
    }

    async fn touch(&self, session: &Session, now_us: i64) {
        if now_us - session.last_used_us < TOUCH_INTERVAL_S * SECOND_US {
            return;
        }
        // Nobody is turned away for it.
        if let Err(error) = self.store.touch_session(session.id, now_us).await {
            tracing::warn!(session = %session.id, %error, "the last use of a session was not noted");
        }
    }
}

/// Text of a client's that is shown to nobody but the owner of a session: cut at a character's border, without control
/// characters, which are of no use there and which not every database keeps.
fn shortened(mut text: String, max_bytes: usize) -> String {
    text.retain(|c| !c.is_control());
    text.truncate(text.floor_char_boundary(max_bytes));
    text
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
