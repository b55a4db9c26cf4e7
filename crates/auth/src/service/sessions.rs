//! What becomes of sessions: refresh, the end, and who a token belongs to.

use lattice_store::accounts::{RefreshRotation, Session, SessionId, SessionKind, User, UserId};
use secrecy::{ExposeSecret, SecretString};

use super::sign_in::shortened_address;
use super::{
    AuthService, Client, DEAD_SESSION_RETENTION_S, Identity, MAX_LISTED_SESSIONS, MAX_SESSION_LIFE_S,
    REFRESH_GRACE_S, REFRESH_TOKEN_LIFE_S, SECOND_US, SWEEP_BATCH, SessionTokens, TOUCH_INTERVAL_S, method,
};
use crate::audit::{Event, Kind, REFUSAL_INTERVAL_S, USE_INTERVAL_S};
use crate::token::{Device, Refresh};
use crate::{AuthError, DEVICE_TOKEN_PREFIX, KeyTag, Permissions};

/// What stands behind an access or device token.
struct Behind {
    session: Session,
    expires_us: Option<i64>,
    permissions: Permissions,
    key: Option<KeyTag>,
}

/// What a token is, as the access log calls it.
const ACCESS: &str = "access";
const EXTERNAL: &str = "external";
const REFRESH: &str = "refresh";

impl AuthService {
    /// Exchanges a refresh token for an access token and the next refresh token.
    ///
    /// The next one follows from this one and the server's secret. So the token before the current one answers the very
    /// same for [`REFRESH_GRACE_S`], be it that the first answer was lost or that two requests of one client raced. After
    /// that, or with a token that is older still, two parties hold tokens of the same session, nobody can say which of
    /// them stole it, and the session is revoked for both ([`AuthError::RefreshReused`]).
    ///
    /// # Errors
    /// [`AuthError::TokenInvalid`], [`AuthError::TokenExpired`], [`AuthError::SessionRevoked`], the one above, or the
    /// store's.
    pub async fn refresh(&self, token: &SecretString, client: Client) -> Result<SessionTokens, AuthError> {
        let refused = |error| self.token_refused(error, None, REFRESH);
        let presented =
            Refresh::parse(token.expose_secret()).ok_or_else(|| refused(AuthError::TokenInvalid))?;
        let now_us = self.clock.now_us();
        let session = self.session_of(&presented).await.map_err(refused)?;
        let user = self
            .live_user(&session, now_us)
            .await
            .map_err(|error| self.token_refused(error, Some(&session), REFRESH))?;
        let current = presented.rotation.hash();
        let next = presented.successor(&self.secret);
        let end_of_life_us = self.end_of_life_us(&session).await?;
        let rotation = RefreshRotation {
            session: session.id,
            current,
            next: next.rotation.hash(),
            now_us,
            expires_us: (now_us + REFRESH_TOKEN_LIFE_S * SECOND_US).min(end_of_life_us),
            address: client.address.map(shortened_address),
        };
        let event = |kind| Event::new(kind).actor(session.user).session(session.id);
        if self.store.rotate_refresh(rotation).await? {
            self.audit.record(event(Kind::TokenRefreshed).at_most_every(USE_INTERVAL_S));
            return self.tokens(user, session.id, &next, now_us).await;
        }
        // Read again: whoever was quicker has changed it since.
        let session = self.store.session_by_id(session.id).await?.ok_or(AuthError::SessionRevoked)?;
        if session.revoked_us.is_some() {
            return Err(AuthError::SessionRevoked);
        }
        let grace_ends_us =
            session.rotated_us.map_or(i64::MIN, |rotated_us| rotated_us + REFRESH_GRACE_S * SECOND_US);
        let is_successor_current = session.refresh_hash == Some(next.rotation.hash());
        if session.previous_refresh_hash == Some(current) && is_successor_current && now_us < grace_ends_us {
            return self.tokens(user, session.id, &next, now_us).await;
        }
        tracing::warn!(session = %session.id, user = %session.user, "a refresh token was used twice; session revoked");
        self.store.revoke_session(session.id, now_us).await?;
        // Which of the two had stolen it nobody knows: it is about the account, by nobody.
        self.audit.record(Event::new(Kind::RefreshReused).subject(session.user).session(session.id));
        Err(AuthError::RefreshReused(session.user))
    }

    /// The live sessions of a user, the newest first: at most [`MAX_LISTED_SESSIONS`].
    ///
    /// # Errors
    /// The store's.
    pub async fn sessions(&self, user: UserId) -> Result<Vec<Session>, AuthError> {
        Ok(self.store.live_sessions(user, self.clock.now_us(), MAX_LISTED_SESSIONS).await?)
    }

    /// Revokes one session of a user.
    ///
    /// # Errors
    /// [`AuthError::SessionNotFound`] when they have no such live session, or the store's.
    pub async fn revoke_session(&self, user: UserId, id: SessionId) -> Result<(), AuthError> {
        let now_us = self.clock.now_us();
        let session = self.store.session_by_id(id).await?;
        let is_own = session.is_some_and(|session| session.user == user && session.is_live(now_us));
        if is_own && self.store.revoke_session(id, now_us).await? {
            self.audit.record(Event::new(Kind::SessionRevoked).actor(user).session(id));
            Ok(())
        } else {
            Err(AuthError::SessionNotFound)
        }
    }

    /// Revokes every session of a user, or every one but `keep`, and says how many those were.
    ///
    /// # Errors
    /// The store's.
    pub async fn revoke_sessions(&self, user: UserId, keep: Option<SessionId>) -> Result<u64, AuthError> {
        let now_us = self.clock.now_us();
        let ended = match keep {
            Some(keep) => self.store.revoke_other_sessions(user, keep, now_us).await?,
            None => self.store.revoke_all_sessions(user, now_us).await?,
        };
        self.audit.record(Event::new(Kind::SessionsRevoked).actor(user).detail("sessions", ended));
        Ok(ended)
    }

    /// Revokes the session of an access or device token, and says whose it was.
    ///
    /// # Errors
    /// Those of [`authenticate`](Self::authenticate).
    pub async fn logout(&self, token: &SecretString) -> Result<UserId, AuthError> {
        let identity = self.authenticate(token).await?;
        self.store.revoke_session(identity.session, self.clock.now_us()).await?;
        self.audit.record(Event::new(Kind::SignedOut).actor(identity.user).session(identity.session));
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
        if self.store.revoke_session(session.id, self.clock.now_us()).await? {
            self.audit.record(Event::new(Kind::SignedOut).actor(session.user).session(session.id));
        }
        Ok(session.user)
    }

    /// Who an access or device token belongs to. Its session must be in the store and live, its user must exist.
    ///
    /// # Errors
    /// [`AuthError::TokenInvalid`], [`AuthError::TokenExpired`], [`AuthError::SessionRevoked`], or the store's.
    pub async fn authenticate(&self, token: &SecretString) -> Result<Identity, AuthError> {
        self.identify(token).await.map(|(identity, _)| identity)
    }

    /// The account that an access or device token belongs to, and how its owner may sign in, by name.
    ///
    /// # Errors
    /// Those of [`authenticate`](Self::authenticate).
    pub async fn profile(&self, token: &SecretString) -> Result<(User, Vec<String>), AuthError> {
        let (_, user) = self.identify(token).await?;
        let ways_in = self.ways_in(&user).await?;
        Ok((user, ways_in))
    }

    async fn identify(&self, token: &SecretString) -> Result<(Identity, User), AuthError> {
        let now_us = self.clock.now_us();
        let text = token.expose_secret();
        if let Some(external) = self.external.as_ref().filter(|external| external.claims_to_be_ours(text)) {
            let known = self.identify_external(external, text, now_us).await;
            let (identity, user) = known.map_err(|error| self.token_refused(error, None, EXTERNAL))?;
            let event = Event::new(Kind::TokenUsed).actor(user.id).session(identity.session);
            self.audit.record(event.at_most_every(USE_INTERVAL_S));
            return Ok((identity, user));
        }
        let Behind { session, expires_us, permissions, key } = self
            .session_behind(token, now_us)
            .await
            .map_err(|error| self.token_refused(error, None, ACCESS))?;
        let live = self.live_user(&session, now_us).await;
        let user = live.map_err(|error| self.token_refused(error, Some(&session), ACCESS))?;
        self.touch(&session, now_us).await;
        let event = Event::new(Kind::TokenUsed).actor(user.id).session(session.id);
        self.audit.record(event.at_most_every(USE_INTERVAL_S));
        if !permissions.can_read() {
            return Err(AuthError::PermissionDenied);
        }
        let identity = Identity { user: user.id, session: session.id, expires_us, permissions, key };
        Ok((identity, user))
    }

    /// The session that an access or device token belongs to, whatever its state, and when the token itself expires.
    async fn session_behind(&self, token: &SecretString, now_us: i64) -> Result<Behind, AuthError> {
        let token = token.expose_secret();
        let (session, expires_us, permissions, key) = if token.starts_with(DEVICE_TOKEN_PREFIX) {
            let device = Device::parse(token).ok_or(AuthError::TokenInvalid)?;
            let session = self.store.session_by_token_hash(device.0.hash()).await?;
            (session.filter(|session| session.kind == SessionKind::Device), None, Permissions::ALL, None)
        } else {
            let (claims, key) = self.keys.verify(token, now_us).await?;
            let id = SessionId::parse(&claims.sid).ok_or(AuthError::TokenInvalid)?;
            let user = UserId::parse(&claims.sub).ok_or(AuthError::TokenInvalid)?;
            let session = self.store.session_by_id(id).await?;
            let matches = |session: &Session| session.user == user && session.kind == SessionKind::Access;
            let expires_us = claims.exp.saturating_mul(SECOND_US);
            (session.filter(matches), Some(expires_us), claims.permissions, Some(key))
        };
        Ok(Behind { session: session.ok_or(AuthError::TokenInvalid)?, expires_us, permissions, key })
    }

    /// Notes that a token was refused, if it is the token's fault.
    fn token_refused(&self, error: AuthError, session: Option<&Session>, token: &'static str) -> AuthError {
        if matches!(error, AuthError::TokenInvalid | AuthError::TokenExpired | AuthError::SessionRevoked) {
            let event = Event::new(Kind::TokenRefused).code(error.code()).detail("token", token);
            let event = event.at_most_every(REFUSAL_INTERVAL_S);
            self.audit.record(match session {
                Some(session) => event.subject(session.user).session(session.id),
                None => event,
            });
        }
        error
    }

    /// Whether someone who was let in may stay: their session is live and their user exists. For connections that outlive
    /// a request; the expiry of an access token is the connection's own to watch ([`Identity::expires_us`]).
    ///
    /// # Errors
    /// [`AuthError::SessionRevoked`], [`AuthError::TokenExpired`], [`AuthError::TokenInvalid`] when the key of the token was
    /// taken away, or the store's.
    pub async fn recheck(&self, identity: &Identity) -> Result<(), AuthError> {
        if !self.vouches_for(identity) {
            return Err(AuthError::TokenInvalid);
        }
        let session = self.store.session_by_id(identity.session).await?.ok_or(AuthError::SessionRevoked)?;
        self.live_user(&session, self.clock.now_us()).await.map(|_| ())
    }

    /// Removes sessions that have been dead for a week, and tokens of links and steps that have expired, in small writes,
    /// and says how many. To be called now and then.
    ///
    /// # Errors
    /// The store's.
    pub async fn sweep(&self) -> Result<u64, AuthError> {
        let now_us = self.clock.now_us();
        let before_us = now_us - DEAD_SESSION_RETENTION_S * SECOND_US;
        // While their dead sessions are still there.
        self.note_ended_anonymous(now_us).await?;
        let mut removed = 0;
        loop {
            let batch = self.store.delete_expired_sessions(before_us, SWEEP_BATCH).await?;
            removed += batch;
            if batch < u64::from(SWEEP_BATCH) {
                break;
            }
        }
        loop {
            let batch = self.store.delete_expired_tokens(now_us, SWEEP_BATCH).await?;
            removed += batch;
            if batch < u64::from(SWEEP_BATCH) {
                return Ok(removed);
            }
        }
    }

    async fn session_of(&self, presented: &Refresh) -> Result<Session, AuthError> {
        let session = self.store.session_by_token_hash(presented.family.hash()).await?;
        session.filter(|session| session.kind == SessionKind::Access).ok_or(AuthError::TokenInvalid)
    }

    /// The user of a session, if both are good.
    pub(super) async fn live_user(&self, session: &Session, now_us: i64) -> Result<User, AuthError> {
        if session.revoked_us.is_some() {
            return Err(AuthError::SessionRevoked);
        }
        if !session.is_live(now_us) {
            return Err(AuthError::TokenExpired);
        }
        self.store.user_by_id(session.user).await?.ok_or(AuthError::SessionRevoked)
    }

    pub(super) async fn touch(&self, session: &Session, now_us: i64) {
        if now_us - session.last_used_us < TOUCH_INTERVAL_S * SECOND_US {
            return;
        }
        // Nobody is turned away for it.
        if let Err(error) = self.store.touch_session(session.id, now_us).await {
            tracing::warn!(session = %session.id, %error, "the last use of a session was not noted");
        }
    }

    /// When a session ends however often it is refreshed. Of an anonymous account that would be the end: nothing else leads to it.
    async fn end_of_life_us(&self, session: &Session) -> Result<i64, AuthError> {
        if session.method == method::ANONYMOUS && self.store.is_anonymous(session.user).await? {
            return Ok(i64::MAX);
        }
        Ok(session.created_us + MAX_SESSION_LIFE_S * SECOND_US)
    }
}
