//! Whoever comes with a token of an external issuer.
//!
//! The first token makes an account, and a session, which stands for all tokens of that user at that issuer (or, where the issuer names sessions,
//! for those of one of them). So what ends sessions ends these as well, sockets follow them as they follow any other, and a token is looked up
//! as quickly as our own. Ending one refuses the tokens that were made before; a newer one begins another.

use lattice_store::StoreError;
use lattice_store::accounts::{IdentityId, Session, SessionKind, TokenHash, User, UserId};
use lattice_store::identities::LinkedIdentity;
use lattice_store::one_time::OneTimeToken;
use lattice_store::time::random_id;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::{AuthService, Client, Identity, REFRESH_TOKEN_LIFE_S, SECOND_US, method};
use crate::AuthError;
use crate::external::{ExternalIssuer, ExternalToken, MAX_EXTERNAL_TOKEN_LIFE_S};

/// How often the first request of a session is tried again when others are first as well.
const MAX_RACES: usize = 4;
/// What is kept of sessions whose user was deleted, so that tokens from before do not make another.
const PURPOSE_DELETED: &str = "external-deleted";
/// Sessions of a user that are looked at when it is deleted.
const MAX_DELETED_SESSIONS: u32 = 1_000;

impl AuthService {
    /// Takes tokens of this issuer as well.
    #[must_use]
    pub fn with_external(mut self, issuer: ExternalIssuer) -> Self {
        self.external = Some(issuer);
        self
    }

    /// The external issuer whose tokens are taken.
    #[must_use]
    pub fn external(&self) -> Option<&ExternalIssuer> {
        self.external.as_ref()
    }

    /// Waits for what a token needs that is not in the store: the key of the external issuer. To be called before a permit for the database is
    /// taken, which must not be held while somebody else's server takes its time.
    ///
    /// # Errors
    /// [`AuthError::TokenInvalid`], [`AuthError::ProviderUnavailable`].
    pub async fn prepare(&self, token: &SecretString) -> Result<(), AuthError> {
        let token = token.expose_secret();
        match self.external.as_ref().filter(|issuer| issuer.claims_to_be_ours(token)) {
            Some(issuer) => issuer.keys().keys_for(token).await.map(drop),
            None => Ok(()),
        }
    }

    /// Whether somebody who has no password to be asked for is to be taken for the owner of their account: their external issuer says
    /// so, or they have signed in a moment ago.
    ///
    /// # Errors
    /// [`AuthError::InvalidCredentials`] when there is a password, [`AuthError::SessionNotFresh`], [`AuthError::SessionRevoked`], those of
    /// [`authenticate`](Self::authenticate), or the store's.
    pub async fn confirm_without_password(
        &self,
        identity: &Identity,
        token: &SecretString,
    ) -> Result<(), AuthError> {
        let user = self.store.user_by_id(identity.user).await?.ok_or(AuthError::SessionRevoked)?;
        if user.password_hash.is_some() {
            return Err(AuthError::InvalidCredentials);
        }
        let token = token.expose_secret();
        match self.external.as_ref().filter(|issuer| issuer.claims_to_be_ours(token)) {
            Some(issuer) => self.identify_external(issuer, token, self.clock.now_us()).await.map(drop),
            None => self.require_fresh(identity).await,
        }
    }

    /// To be called before a user is deleted: tokens of the external issuer that were made until now do not bring the account back.
    ///
    /// # Errors
    /// The store's.
    pub async fn bury_external(&self, user: UserId) -> Result<(), AuthError> {
        if self.external.is_none() {
            return Ok(());
        }
        let now_us = self.clock.now_us();
        for session in self.store.list_sessions(user, MAX_DELETED_SESSIONS).await? {
            if session.method != method::EXTERNAL {
                continue;
            }
            let hash = grave(session.token_hash);
            // From an earlier account of theirs, or an attempt that failed after this: what is newer counts.
            self.store.take_token(hash, PURPOSE_DELETED, now_us).await?;
            let stone = OneTimeToken {
                hash,
                purpose: PURPOSE_DELETED.to_owned(),
                // Not the user's: it stays when the user goes.
                user: None,
                payload: "{}".to_owned(),
                created_us: now_us,
                expires_us: now_us + MAX_EXTERNAL_TOKEN_LIFE_S * SECOND_US,
            };
            self.store.put_token(stone).await?;
        }
        Ok(())
    }

    pub(super) async fn identify_external(
        &self,
        issuer: &ExternalIssuer,
        token: &str,
        now_us: i64,
    ) -> Result<(Identity, User), AuthError> {
        let token = issuer.verify(token, now_us).await?;
        let hash = issuer.session_hash(&token);
        for _ in 0..MAX_RACES {
            let found = self.store.session_by_token_hash(hash).await?;
            let session = match found.filter(|session| session.method == method::EXTERNAL) {
                Some(session) if session.is_live(now_us) => session,
                dead => match self.begin_external(issuer, &token, hash, dead, now_us).await? {
                    Some(session) => session,
                    None => continue,
                },
            };
            if ended_before(&session).is_some_and(|ended_us| !token.is_newer_than(ended_us)) {
                return Err(AuthError::SessionRevoked);
            }
            let user = self.live_user(&session, now_us).await?;
            self.touch(&session, now_us).await;
            let identity = Identity {
                user: user.id,
                session: session.id,
                expires_us: Some(token.expires_us),
                permissions: token.permissions,
                key: None,
            };
            return Ok((identity, user));
        }
        Err(AuthError::Busy)
    }

    /// Begins a session; `None` when somebody else did at the same time.
    async fn begin_external(
        &self,
        issuer: &ExternalIssuer,
        token: &ExternalToken,
        hash: TokenHash,
        dead: Option<Session>,
        now_us: i64,
    ) -> Result<Option<Session>, AuthError> {
        let ended_us = match &dead {
            Some(session) => session.revoked_us.max(ended_before(session)),
            None => {
                let grave = self.store.find_token(grave(hash), PURPOSE_DELETED, now_us).await?;
                grave.map(|grave| grave.created_us)
            }
        };
        if ended_us.is_some_and(|ended_us| !token.is_newer_than(ended_us)) {
            return Err(AuthError::SessionRevoked);
        }
        let user = self.external_user(issuer, token, now_us).await?;
        let session = Session {
            token_hash: hash,
            rotated_us: ended_us,
            expires_us: now_us + REFRESH_TOKEN_LIFE_S * SECOND_US,
            ..self.new_session(&user, SessionKind::Device, method::EXTERNAL, Client::default(), now_us)
        };
        let begun = match dead {
            None => self.store.create_session(session.clone()).await,
            Some(dead) => self.store.replace_session(dead.id, session.clone()).await,
        };
        match begun {
            Ok(true) => Ok(Some(session)),
            Ok(false) | Err(StoreError::Conflict(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The account of whoever the issuer has signed for; made when there is none.
    async fn external_user(
        &self,
        issuer: &ExternalIssuer,
        token: &ExternalToken,
        now_us: i64,
    ) -> Result<User, AuthError> {
        for _ in 0..MAX_RACES {
            if let Some(identity) = self.store.identity(issuer.name(), &token.subject).await? {
                match self.store.user_by_id(identity.user).await? {
                    Some(user) => return Ok(user),
                    // Deleted this very moment.
                    None => continue,
                }
            }
            // The address may belong to another account. That one is not theirs for it: they get their own, without.
            let email = match &token.email {
                Some(email) if self.store.user_by_email(email).await?.is_some() => None,
                email => email.clone(),
            };
            let user = User {
                id: UserId(random_id(&*self.random)),
                email_verified_us: email.as_ref().map(|_| now_us),
                email,
                full_name: token.name.clone(),
                password_hash: None,
                created_us: now_us,
            };
            let identity = LinkedIdentity {
                id: IdentityId(random_id(&*self.random)),
                user: user.id,
                issuer: issuer.name().to_owned(),
                subject: token.subject.clone(),
                email: token.email.clone(),
                created_us: now_us,
            };
            match self.store.create_user_by_identity(user.clone(), identity).await {
                Ok(()) => return Ok(user),
                // Somebody else was quicker with the same token, or has just taken the address.
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(AuthError::Busy)
    }
}

/// When the session before this one was ended: its tokens are not good for this one. It is kept where other sessions keep when their
/// token was last exchanged, which these do not do.
fn ended_before(session: &Session) -> Option<i64> {
    session.rotated_us
}

fn grave(session: TokenHash) -> TokenHash {
    TokenHash(
        Sha256::new().chain_update(b"lattice-server: deleted\0").chain_update(session.0).finalize().into(),
    )
}
