//! Asking whoever signs in for a second factor.

use std::fmt;

use lattice_store::accounts::{User, UserId};
use lattice_store::one_time::OneTimeToken;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use webauthn_rs::prelude::{PasskeyAuthentication, PublicKeyCredential, RequestChallengeResponse};

use super::super::{AuthService, Client, SignedIn, TokenKind};
use crate::AuthError;
use crate::audit::{Event, Kind};
use crate::token::StepToken;

/// How long somebody may take to show a second factor, in seconds.
pub const SECOND_FACTOR_LIFE_S: i64 = 5 * 60;
/// How often they may try before they must sign in again.
pub const MAX_SECOND_FACTOR_TRIES: u32 = 5;

pub(super) const PURPOSE: &str = "second_factor";

/// A second factor that may be shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecondFactorMethod {
    /// A code of an authenticator app.
    Totp,
    /// A passkey that was made for it.
    Passkey,
    /// A recovery code.
    RecoveryCode,
}

impl SecondFactorMethod {
    /// Its stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::Passkey => "passkey",
            Self::RecoveryCode => "recovery_code",
        }
    }
}

/// Half a sign-in.
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge {
    /// What the second factor is to be sent with.
    pub token: String,
    /// Which may be shown.
    pub methods: Vec<SecondFactorMethod>,
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenge").field("methods", &self.methods).finish_non_exhaustive()
    }
}

/// A second factor.
#[derive(Debug)]
pub enum SecondFactor {
    /// A code of an authenticator app.
    Totp(SecretString),
    /// A recovery code.
    RecoveryCode(SecretString),
    /// What an authenticator has answered.
    Passkey(Box<PublicKeyCredential>),
}

impl SecondFactor {
    const fn method(&self) -> SecondFactorMethod {
        match self {
            Self::Totp(_) => SecondFactorMethod::Totp,
            Self::RecoveryCode(_) => SecondFactorMethod::RecoveryCode,
            Self::Passkey(_) => SecondFactorMethod::Passkey,
        }
    }
}

/// What whoever has shown the first factor has asked for.
#[derive(Serialize, Deserialize)]
pub(super) struct Half {
    method: String,
    kind: TokenKind,
    device_name: Option<String>,
    user_agent: Option<String>,
    address: Option<String>,
    tries: u32,
    pub(super) passkey: Option<PasskeyAuthentication>,
}

impl AuthService {
    /// Lets go on whoever has no second factor.
    ///
    /// # Errors
    /// [`AuthError::SecondFactorRequired`], or the store's.
    pub(in super::super) async fn require_second_factor(
        &self,
        user: &User,
        method: &str,
        kind: TokenKind,
        client: &Client,
    ) -> Result<(), AuthError> {
        let factors = self.store.second_factors(user.id).await?;
        if !factors.is_asked() {
            return Ok(());
        }
        let has = [
            (factors.totp, SecondFactorMethod::Totp),
            (factors.passkey && self.passkeys.is_some(), SecondFactorMethod::Passkey),
            (factors.recovery_codes > 0, SecondFactorMethod::RecoveryCode),
        ];
        let methods = has.into_iter().filter_map(|(has, method)| has.then_some(method)).collect();
        let half = Half {
            method: method.to_owned(),
            kind,
            device_name: client.device_name.clone(),
            user_agent: client.user_agent.clone(),
            address: client.address.clone(),
            tries: 0,
            passkey: None,
        };
        let token = StepToken::random(&*self.random);
        self.put_step(&token, PURPOSE, Some(user.id), &half, SECOND_FACTOR_LIFE_S).await?;
        let token = token.to_text().expose_secret().to_owned();
        Err(AuthError::SecondFactorRequired(Challenge { token, methods }))
    }

    /// Whose sign-in a challenge is half of, so that attempts at an account can be counted.
    ///
    /// # Errors
    /// [`AuthError::ChallengeInvalid`], or the store's.
    pub async fn challenged(&self, challenge: &SecretString) -> Result<UserId, AuthError> {
        let (_, found, _) = self.half(challenge).await?;
        found.user.ok_or(AuthError::ChallengeInvalid)
    }

    /// What an authenticator is to be asked, for a passkey as the second factor.
    ///
    /// # Errors
    /// [`AuthError::ChallengeInvalid`], [`AuthError::PasskeysOff`], [`AuthError::PasskeyNotFound`], or the store's.
    pub async fn ask_second_passkey(
        &self,
        challenge: &SecretString,
    ) -> Result<RequestChallengeResponse, AuthError> {
        let (_, found, half) = self.half(challenge).await?;
        let user = found.user.ok_or(AuthError::ChallengeInvalid)?;
        let (options, state) = self.ask_for_passkey_of(user).await?;
        self.rewrite(&found, &Half { passkey: Some(state), ..half }).await?;
        Ok(options)
    }

    /// Ends a sign-in by its second factor.
    ///
    /// # Errors
    /// [`AuthError::ChallengeInvalid`], [`AuthError::SecondFactorInvalid`], or the store's.
    pub async fn answer_second_factor(
        &self,
        challenge: &SecretString,
        factor: SecondFactor,
    ) -> Result<SignedIn, AuthError> {
        let (token, found, half) = self.half(challenge).await?;
        let id = found.user.ok_or(AuthError::ChallengeInvalid)?;
        // Counted before it is looked at: of many that try at once, each is one try.
        let tried = Half { tries: half.tries + 1, passkey: None, ..half };
        self.rewrite(&found, &tried).await?;
        let method = factor.method();
        let is_good = match &factor {
            SecondFactor::Totp(code) => self.take_totp(id, code).await?,
            SecondFactor::RecoveryCode(code) => self.take_recovery(id, code).await?,
            SecondFactor::Passkey(credential) => match half.passkey {
                Some(state) => self.finish_second_passkey(id, credential, &state).await?,
                None => false,
            },
        };
        let client =
            Client { device_name: tried.device_name, user_agent: tried.user_agent, address: tried.address };
        if !is_good {
            if tried.tries >= MAX_SECOND_FACTOR_TRIES {
                self.store.take_token(token.hash(), PURPOSE, self.clock.now_us()).await?;
            }
            let error = AuthError::SecondFactorInvalid;
            let event = Event::new(Kind::SecondFactorFailed).client(&client).subject(id).code(error.code());
            self.audit.record(event.detail("method", method.as_str()));
            return Err(error);
        }
        let taken = self.store.take_token(token.hash(), PURPOSE, self.clock.now_us()).await?;
        taken.ok_or(AuthError::ChallengeInvalid)?;
        let user = self.store.user_by_id(id).await?.ok_or(AuthError::ChallengeInvalid)?;
        self.begin(user, &format!("{}+{}", tried.method, method.as_str()), tried.kind, client).await
    }

    async fn half(&self, challenge: &SecretString) -> Result<(StepToken, OneTimeToken, Half), AuthError> {
        let token = StepToken::parse(challenge).ok_or(AuthError::ChallengeInvalid)?;
        let found = self.store.find_token(token.hash(), PURPOSE, self.clock.now_us()).await?;
        let found = found.ok_or(AuthError::ChallengeInvalid)?;
        let half = serde_json::from_str(&found.payload).map_err(|_| AuthError::ChallengeInvalid)?;
        Ok((token, found, half))
    }

    /// Replaces what is known of half a sign-in, unless somebody else has done so since it was read.
    async fn rewrite(&self, found: &OneTimeToken, half: &Half) -> Result<(), AuthError> {
        let next =
            serde_json::to_string(half).map_err(|_| AuthError::Internal("a step could not be written"))?;
        if self.store.update_token(found.hash, found.payload.clone(), next).await? {
            Ok(())
        } else {
            Err(AuthError::Busy)
        }
    }
}
