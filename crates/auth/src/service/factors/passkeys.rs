//! Passkeys (WebAuthn level 3): a way to sign in that is both factors at once, and a second factor for other ways.

use lattice_store::accounts::{PasskeyId, UserId};
use lattice_store::factors::{Added, StoredPasskey};
use lattice_store::identities::Removal;
use lattice_store::time::random_id;
use secrecy::SecretString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;
use webauthn_rs::prelude::{
    AuthenticationResult, CreationChallengeResponse, DiscoverableAuthentication, Passkey,
    PasskeyAuthentication, PasskeyRegistration, PublicKeyCredential, RegisterPublicKeyCredential,
    RequestChallengeResponse, Uuid,
};
use webauthn_rs::{Webauthn, WebauthnBuilder};
use webauthn_rs_proto::ResidentKeyRequirement;

use super::super::{AuthService, Client, Identity, SignedIn, TokenKind, checked_name, method};
use crate::AuthError;
use crate::audit::{Event, Kind, REFUSAL_INTERVAL_S};
use crate::mailer::LetterContent;
use crate::token::StepToken;

/// How long somebody may take with their authenticator, in seconds.
pub const PASSKEY_CEREMONY_LIFE_S: i64 = 5 * 60;
/// Most passkeys of one user.
pub const MAX_PASSKEYS: u32 = 20;
const DEFAULT_NAME: &str = "Passkey";

const REGISTRATION: &str = "passkey_registration";
const SIGN_IN: &str = "passkey_sign_in";

/// Whose passkeys are taken.
#[derive(Clone, Debug)]
pub struct PasskeySettings {
    /// The domain that passkeys belong to (`example.com`).
    pub rp_id: String,
    /// Where pages and apps may use them (`https://app.example.com`); all within the domain but those of apps.
    pub origins: Vec<Url>,
    /// What authenticators call the app.
    pub name: String,
}

/// Checks passkeys.
#[derive(Debug)]
pub struct Passkeys(Webauthn);

impl Passkeys {
    /// Sets it up.
    ///
    /// # Errors
    /// What does not fit together, as a sentence.
    pub fn new(settings: &PasskeySettings) -> Result<Self, String> {
        let PasskeySettings { rp_id, origins, name } = settings;
        let first = origins.first().ok_or("passkeys need the origin of a page")?;
        let unfit = |_| format!("{first} is not within {rp_id}, the domain of passkeys");
        let builder = WebauthnBuilder::new(rp_id, first).map_err(unfit)?.rp_name(name);
        let builder = origins[1..].iter().fold(builder, WebauthnBuilder::append_allowed_origin);
        builder.build().map(Self).map_err(|error| error.to_string())
    }
}

/// Something that is asked of an authenticator.
#[derive(Debug)]
pub struct Ceremony<T> {
    /// What its answer is to be sent with.
    pub challenge: SecretString,
    /// What browsers take.
    pub options: T,
}

/// A passkey that is new, and how to do without it.
#[derive(Debug)]
pub struct NewPasskey {
    /// The passkey.
    pub passkey: StoredPasskey,
    /// Recovery codes, where it is the first second factor.
    pub recovery_codes: Vec<SecretString>,
}

impl AuthService {
    /// With passkeys.
    #[must_use]
    pub fn with_passkeys(self, passkeys: Passkeys) -> Self {
        Self { passkeys: Some(passkeys), ..self }
    }

    /// Asks an authenticator for a new passkey.
    ///
    /// # Errors
    /// [`AuthError::PasskeysOff`], [`AuthError::SessionNotFresh`], [`AuthError::SessionRevoked`], or the store's.
    pub async fn start_passkey(
        &self,
        identity: &Identity,
    ) -> Result<Ceremony<CreationChallengeResponse>, AuthError> {
        let webauthn = self.webauthn()?;
        self.require_may_add(identity).await?;
        let user = self.store.user_by_id(identity.user).await?.ok_or(AuthError::SessionRevoked)?;
        let known = self.store.passkeys(user.id, MAX_PASSKEYS).await?;
        let known = known.into_iter().map(|passkey| passkey.credential_id).collect();
        let name = user.email.as_deref().unwrap_or(DEFAULT_NAME);
        let shown = user.full_name.as_deref().unwrap_or(name);
        let id = Uuid::from_bytes(user.id.0);
        let (mut options, state) =
            webauthn.start_passkey_registration(id, name, shown, Some(known)).map_err(failed)?;
        // So that it can sign in without a name being typed first, where the authenticator has room for that.
        if let Some(selection) = &mut options.public_key.authenticator_selection {
            selection.resident_key = Some(ResidentKeyRequirement::Preferred);
        }
        let challenge = self.begin_ceremony(REGISTRATION, Some(user.id), &state).await?;
        Ok(Ceremony { challenge, options })
    }

    /// Keeps a new passkey.
    ///
    /// # Errors
    /// [`AuthError::PasskeysOff`], [`AuthError::SessionNotFresh`], [`AuthError::ChallengeInvalid`], [`AuthError::PasskeyInvalid`],
    /// [`AuthError::BadName`], [`AuthError::PasskeyKnown`], [`AuthError::TooManyPasskeys`], or the store's.
    pub async fn finish_passkey(
        &self,
        identity: &Identity,
        challenge: &SecretString,
        credential: &RegisterPublicKeyCredential,
        name: Option<&str>,
        second_factor: bool,
    ) -> Result<NewPasskey, AuthError> {
        let webauthn = self.webauthn()?;
        self.require_may_add(identity).await?;
        let name = checked_name(name)?.unwrap_or_else(|| DEFAULT_NAME.to_owned());
        let (owner, state): (_, PasskeyRegistration) = self.end_ceremony(REGISTRATION, challenge).await?;
        if owner != Some(identity.user) {
            return Err(AuthError::ChallengeInvalid);
        }
        let made = webauthn
            .finish_passkey_registration(credential, &state)
            .map_err(|_| AuthError::PasskeyInvalid)?;
        let had_codes = self.store.second_factors(identity.user).await?.recovery_codes > 0;
        let passkey = StoredPasskey {
            id: PasskeyId(random_id(&*self.random)),
            user: identity.user,
            credential_id: made.cred_id().to_vec(),
            name,
            credential: written(&made)?,
            second_factor,
            created_us: self.clock.now_us(),
            last_used_us: None,
        };
        match self.store.add_passkey(passkey.clone(), MAX_PASSKEYS).await? {
            Added::Kept => {}
            Added::Known => return Err(AuthError::PasskeyKnown),
            Added::TooMany => return Err(AuthError::TooManyPasskeys),
            Added::NoUser => return Err(AuthError::SessionRevoked),
        }
        let event = Event::new(Kind::SecondFactorAdded).actor(identity.user).session(identity.session);
        self.audit.record(event.detail("method", "passkey").detail("asked", second_factor));
        self.tell_of_new_way_in(identity.user).await;
        let recovery_codes = match second_factor && !had_codes {
            true => self.new_recovery_codes(identity.user).await?,
            false => Vec::new(),
        };
        Ok(NewPasskey { passkey, recovery_codes })
    }

    /// The passkeys of a user, the oldest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn passkeys(&self, user: UserId) -> Result<Vec<StoredPasskey>, AuthError> {
        Ok(self.store.passkeys(user, MAX_PASSKEYS).await?)
    }

    /// Removes a passkey, unless nothing else leads to the account.
    ///
    /// # Errors
    /// [`AuthError::SessionNotFresh`], [`AuthError::PasskeyNotFound`], [`AuthError::LastWayIn`], or the store's.
    pub async fn remove_passkey(&self, identity: &Identity, id: PasskeyId) -> Result<(), AuthError> {
        self.require_fresh(identity).await?;
        match self.store.delete_passkey(identity.user, id).await? {
            Removal::Removed => {
                let event = Event::new(Kind::SecondFactorRemoved).actor(identity.user);
                self.audit.record(event.session(identity.session).detail("method", "passkey"));
                self.tell(identity.user, LetterContent::SecondFactorRemoved).await;
                Ok(())
            }
            Removal::NotFound => Err(AuthError::PasskeyNotFound),
            Removal::LastWayIn => Err(AuthError::LastWayIn),
        }
    }

    /// Asks any authenticator for a passkey of this server's, whoever's it is.
    ///
    /// # Errors
    /// [`AuthError::PasskeysOff`], or the store's.
    pub async fn start_passkey_sign_in(&self) -> Result<Ceremony<RequestChallengeResponse>, AuthError> {
        let (options, state) = self.webauthn()?.start_discoverable_authentication().map_err(failed)?;
        let challenge = self.begin_ceremony(SIGN_IN, None, &state).await?;
        Ok(Ceremony { challenge, options })
    }

    /// Signs in by a passkey. Nothing else is asked for: it has verified its user.
    ///
    /// # Errors
    /// [`AuthError::PasskeysOff`], [`AuthError::ChallengeInvalid`], [`AuthError::PasskeyInvalid`], or the store's.
    pub async fn sign_in_by_passkey(
        &self,
        challenge: &SecretString,
        credential: &PublicKeyCredential,
        kind: TokenKind,
        client: Client,
    ) -> Result<SignedIn, AuthError> {
        let webauthn = self.webauthn()?;
        let (_, state): (_, DiscoverableAuthentication) = self.end_ceremony(SIGN_IN, challenge).await?;
        let refused = |tried| self.passkey_refused(tried, &client);
        let Ok((user, credential_id)) = webauthn.identify_discoverable_authentication(credential) else {
            return Err(refused(None));
        };
        let user = UserId(user.into_bytes());
        let stored = self.store.passkey(credential_id.to_vec()).await?;
        let Some(stored) = stored.filter(|stored| stored.user == user) else { return Err(refused(None)) };
        let passkey: Passkey = read(&stored.credential)?;
        let Ok(result) = webauthn.finish_discoverable_authentication_v2(credential, state, &passkey) else {
            return Err(refused(Some(user)));
        };
        if !self.note_use(&stored, passkey, &result).await? {
            return Err(refused(Some(user)));
        }
        let user = self.store.user_by_id(user).await?.ok_or_else(|| refused(None))?;
        self.begin(user, method::PASSKEY, kind, client).await
    }

    /// Asks for one of the passkeys that a user has made a second factor.
    pub(super) async fn ask_for_passkey_of(
        &self,
        user: UserId,
    ) -> Result<(RequestChallengeResponse, PasskeyAuthentication), AuthError> {
        let webauthn = self.webauthn()?;
        let stored = self.store.passkeys(user, MAX_PASSKEYS).await?;
        let asked = stored.iter().filter(|passkey| passkey.second_factor);
        let asked = asked.map(|passkey| read(&passkey.credential)).collect::<Result<Vec<Passkey>, _>>()?;
        if asked.is_empty() {
            return Err(AuthError::PasskeyNotFound);
        }
        webauthn.start_passkey_authentication(&asked).map_err(failed)
    }

    /// Whether a passkey of a user's is what was asked for.
    pub(super) async fn finish_second_passkey(
        &self,
        user: UserId,
        credential: &PublicKeyCredential,
        state: &PasskeyAuthentication,
    ) -> Result<bool, AuthError> {
        let Ok(result) = self.webauthn()?.finish_passkey_authentication(credential, state) else {
            return Ok(false);
        };
        let stored = self.store.passkey(result.cred_id().to_vec()).await?;
        let Some(stored) = stored.filter(|stored| stored.user == user && stored.second_factor) else {
            return Ok(false);
        };
        let passkey = read(&stored.credential)?;
        self.note_use(&stored, passkey, &result).await
    }

    /// Notes that a passkey was used, and how often by its own count. `false` when somebody else has just used it as well.
    async fn note_use(
        &self,
        stored: &StoredPasskey,
        mut passkey: Passkey,
        result: &AuthenticationResult,
    ) -> Result<bool, AuthError> {
        passkey.update_credential(result);
        let (current, next) = (stored.credential.clone(), written(&passkey)?);
        Ok(self.store.use_passkey(stored.id, current, next, self.clock.now_us()).await?)
    }

    fn passkey_refused(&self, tried: Option<UserId>, client: &Client) -> AuthError {
        let error = AuthError::PasskeyInvalid;
        let event = Event::new(Kind::SignInFailed).client(client).code(error.code());
        self.audit.record(match tried {
            Some(user) => event.subject(user),
            None => event.at_most_every(REFUSAL_INTERVAL_S),
        });
        error
    }

    async fn begin_ceremony(
        &self,
        purpose: &'static str,
        user: Option<UserId>,
        state: &impl Serialize,
    ) -> Result<SecretString, AuthError> {
        let token = StepToken::random(&*self.random);
        self.put_step(&token, purpose, user, state, PASSKEY_CEREMONY_LIFE_S).await?;
        Ok(token.to_text())
    }

    /// What was asked, once.
    async fn end_ceremony<T: DeserializeOwned>(
        &self,
        purpose: &'static str,
        challenge: &SecretString,
    ) -> Result<(Option<UserId>, T), AuthError> {
        let token = StepToken::parse(challenge).ok_or(AuthError::ChallengeInvalid)?;
        let taken = self.store.take_token(token.hash(), purpose, self.clock.now_us()).await?;
        let taken = taken.ok_or(AuthError::ChallengeInvalid)?;
        let state = serde_json::from_str(&taken.payload).map_err(|_| AuthError::ChallengeInvalid)?;
        Ok((taken.user, state))
    }

    fn webauthn(&self) -> Result<&Webauthn, AuthError> {
        self.passkeys.as_ref().map(|Passkeys(webauthn)| webauthn).ok_or(AuthError::PasskeysOff)
    }
}

fn failed(error: webauthn_rs::prelude::WebauthnError) -> AuthError {
    tracing::warn!(%error, "an authenticator could not be asked");
    AuthError::Internal("an authenticator could not be asked")
}

fn written(passkey: &Passkey) -> Result<String, AuthError> {
    serde_json::to_string(passkey).map_err(|_| AuthError::Internal("a passkey could not be written"))
}

fn read(credential: &str) -> Result<Passkey, AuthError> {
    serde_json::from_str(credential).map_err(|_| AuthError::Internal("a passkey could not be read"))
}
