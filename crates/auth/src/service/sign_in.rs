//! The end of every way to sign in: a session, and the tokens of it.

use lattice_store::accounts::{Session, SessionId, SessionKind, TokenHash, User};
use lattice_store::time::random_id;
use serde::{Deserialize, Serialize};

use super::{
    ACCESS_TOKEN_LIFE_S, AuthService, Client, DEVICE_TOKEN_LIFE_S, DeviceToken, REFRESH_TOKEN_LIFE_S,
    SECOND_US, SessionTokens,
};
use crate::audit::{Event, Kind};
use crate::token::{Device, Refresh, Secret};
use crate::{AUDIENCE, AuthError, Claims, ISSUER, Permissions};

const MAX_USER_AGENT_BYTES: usize = 256;
const MAX_ADDRESS_BYTES: usize = 64;
const MAX_DEVICE_NAME_BYTES: usize = 128;

/// Which token whoever signs in asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// Short access tokens, and a refresh token.
    Session,
    /// One long-lived token.
    Device,
}

/// A login.
#[derive(Debug)]
pub enum SignedIn {
    /// With short access tokens.
    Session(SessionTokens),
    /// With one long-lived token.
    Device(DeviceToken),
}

impl AuthService {
    /// Opens what whoever signs in asks for.
    pub(super) async fn open(
        &self,
        user: User,
        method: &str,
        kind: TokenKind,
        client: Client,
    ) -> Result<SignedIn, AuthError> {
        self.require_second_factor(&user, method, kind, &client).await?;
        self.begin(user, method, kind, client).await
    }

    /// The same for whoever has shown all that is asked for.
    pub(super) async fn begin(
        &self,
        user: User,
        method: &str,
        kind: TokenKind,
        client: Client,
    ) -> Result<SignedIn, AuthError> {
        match kind {
            TokenKind::Session => self.begin_session(user, method, client).await.map(SignedIn::Session),
            TokenKind::Device => self.begin_device(user, method, client).await.map(SignedIn::Device),
        }
    }

    /// Opens a session with short access tokens for a user who has shown by `method` who they are, if no second factor is asked for.
    pub(crate) async fn open_session(
        &self,
        user: User,
        method: &str,
        client: Client,
    ) -> Result<SessionTokens, AuthError> {
        self.require_second_factor(&user, method, TokenKind::Session, &client).await?;
        self.begin_session(user, method, client).await
    }

    /// The same for whoever has shown all that is asked for, or has just made the account.
    pub(super) async fn begin_session(
        &self,
        user: User,
        method: &str,
        client: Client,
    ) -> Result<SessionTokens, AuthError> {
        let now_us = self.clock.now_us();
        let refresh =
            Refresh { family: Secret::random(&*self.random), rotation: Secret::random(&*self.random) };
        let session = Session {
            token_hash: refresh.family.hash(),
            refresh_hash: Some(refresh.rotation.hash()),
            expires_us: now_us + REFRESH_TOKEN_LIFE_S * SECOND_US,
            ..self.new_session(&user, SessionKind::Access, method, client, now_us)
        };
        let id = session.id;
        self.keep(session).await?;
        self.tokens(user, id, &refresh, now_us).await
    }

    /// Opens a session with one long-lived token for a user who has shown by `method` who they are, if no second factor is asked for.
    pub(crate) async fn open_device(
        &self,
        user: User,
        method: &str,
        client: Client,
    ) -> Result<DeviceToken, AuthError> {
        self.require_second_factor(&user, method, TokenKind::Device, &client).await?;
        self.begin_device(user, method, client).await
    }

    /// The same for whoever has shown all that is asked for, or has just made the account.
    pub(super) async fn begin_device(
        &self,
        user: User,
        method: &str,
        client: Client,
    ) -> Result<DeviceToken, AuthError> {
        let now_us = self.clock.now_us();
        let device = Device(Secret::random(&*self.random));
        let session = Session {
            token_hash: device.0.hash(),
            expires_us: now_us + DEVICE_TOKEN_LIFE_S * SECOND_US,
            ..self.new_session(&user, SessionKind::Device, method, client, now_us)
        };
        self.keep(session).await?;
        let ways_in = self.ways_in(&user).await?;
        Ok(DeviceToken { token: device.to_text(), user, ways_in })
    }

    pub(super) fn new_session(
        &self,
        user: &User,
        kind: SessionKind,
        method: &str,
        client: Client,
        now_us: i64,
    ) -> Session {
        Session {
            id: SessionId(random_id(&*self.random)),
            user: user.id,
            kind,
            method: method.to_owned(),
            token_hash: TokenHash([0; 32]),
            refresh_hash: None,
            previous_refresh_hash: None,
            rotated_us: None,
            expires_us: now_us,
            created_us: now_us,
            last_used_us: now_us,
            revoked_us: None,
            device_name: client.device_name.map(|text| shortened(text, MAX_DEVICE_NAME_BYTES)),
            user_agent: client.user_agent.map(|text| shortened(text, MAX_USER_AGENT_BYTES)),
            address: client.address.map(shortened_address),
        }
    }

    /// Persists a session before its tokens are given out.
    async fn keep(&self, session: Session) -> Result<(), AuthError> {
        let client = Client {
            device_name: None,
            user_agent: session.user_agent.clone(),
            address: session.address.clone(),
        };
        let event = Event::new(Kind::SignIn).client(&client).actor(session.user).session(session.id);
        let event = event.detail("method", session.method.as_str());
        // The user was there a moment ago; if not any more, there is nobody to log in.
        if !self.store.create_session(session).await? {
            return Err(AuthError::InvalidCredentials);
        }
        self.audit.record(event);
        Ok(())
    }

    pub(super) async fn tokens(
        &self,
        user: User,
        session: SessionId,
        refresh: &Refresh,
        now_us: i64,
    ) -> Result<SessionTokens, AuthError> {
        let iat = now_us.div_euclid(SECOND_US);
        let access = self.keys.current().sign(&Claims {
            sub: user.id.to_string(),
            sid: session.to_string(),
            iat,
            exp: iat + ACCESS_TOKEN_LIFE_S,
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            permissions: Permissions::ALL,
        })?;
        let ways_in = self.ways_in(&user).await?;
        let (refresh, expires_in_s) = (refresh.to_text(), ACCESS_TOKEN_LIFE_S);
        Ok(SessionTokens { access, refresh, expires_in_s, user, ways_in })
    }
}

pub(super) fn shortened_address(text: String) -> String {
    shortened(text, MAX_ADDRESS_BYTES)
}

/// Text of a client's that is shown to nobody but the owner of a session: cut at a character's border, without control
/// characters, which are of no use there and which not every database keeps.
fn shortened(mut text: String, max_bytes: usize) -> String {
    text.retain(|c| !c.is_control());
    text.truncate(text.floor_char_boundary(max_bytes));
    text
}
