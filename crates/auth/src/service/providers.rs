//! Signing in by identity providers: apps bring an ID token, browsers go there and come back with a code.
//!
//! What a browser brings back is not a session but a code of ours, which the app exchanges together with a verifier that only it
//! has. So both ways end in a [`Proof`], and a proof either signs in or is linked to an account whose owner is signed in already.

use lattice_store::StoreError;
use lattice_store::accounts::TokenHash;
use lattice_store::one_time::OneTimeToken;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{AuthService, Client, SECOND_US, SignedIn, TokenKind, checked_name};
use crate::AuthError;
use crate::openid::{Nonce, Provider, Providers, Secrets, Vouched, used_hash};
use crate::token::StepToken;

/// How long somebody may take at a provider, in seconds.
pub const PROVIDER_STATE_LIFE_S: i64 = 10 * 60;
/// How long a code is good that a browser has brought back, in seconds: long enough to sign in to the account that is there already
/// and to link it.
pub const PROVIDER_CODE_LIFE_S: i64 = 5 * 60;
/// Length of a challenge and of a state's browser secret: 256 bits in base64url.
const CHALLENGE_CHARS: usize = 43;
/// Lengths of a verifier (RFC 7636, section 4.1).
const VERIFIER_CHARS: std::ops::RangeInclusive<usize> = 43..=128;
/// Longest state of an app, in bytes.
const MAX_STATE_BYTES: usize = 512;
/// Longest code of a provider, in bytes.
const MAX_CODE_BYTES: usize = 4_096;

const STATE: &str = "provider_state";
const CODE: &str = "provider_code";
const USED: &str = "id_token_used";

/// How somebody shows who they are elsewhere.
#[derive(Debug)]
pub enum Proof {
    /// An ID token that the app has got.
    IdToken {
        /// The provider's name.
        provider: String,
        /// The token.
        token: SecretString,
        /// The nonce that the app has chosen for it.
        nonce: Option<String>,
        /// What they are called, where the provider tells the app alone; for new accounts.
        full_name: Option<String>,
    },
    /// What a browser has brought back.
    Code {
        /// The code.
        code: SecretString,
        /// What the challenge was made of.
        verifier: SecretString,
    },
}

/// Somebody on their way to a provider.
#[derive(Debug)]
pub struct Departure {
    /// Where the browser is to be sent.
    pub url: Url,
    /// What the browser must have when it comes back: only then was it this one that left.
    pub browser: SecretString,
    /// The name of that, of hexadecimal digits: several may be under way.
    pub name: String,
}

/// What a browser comes back with.
#[derive(Default)]
pub struct Arrival {
    /// The state that it left with.
    pub state: Option<String>,
    /// The provider's code.
    pub code: Option<SecretString>,
    /// Why there is none.
    pub error: Option<String>,
    /// What Apple tells of somebody the first time: JSON.
    pub user: Option<String>,
}

/// A sign-in under way. Nonce, verifier and the browser's secret follow from the state and the server's secret.
#[derive(Serialize, Deserialize)]
struct Underway {
    provider: String,
    redirect_uri: String,
    challenge: String,
    state: Option<String>,
}

/// Whom a code stands for.
#[derive(Serialize, Deserialize)]
struct Stood {
    provider: String,
    issuer: String,
    subject: String,
    email: Option<String>,
    name: Option<String>,
    challenge: String,
}

/// What is used up when a proof has had its effect.
enum Used {
    Nothing,
    IdToken { hash: TokenHash, expires_us: i64 },
    Code(TokenHash),
}

/// A proof that is good.
pub(super) struct Proven {
    pub(super) provider: String,
    pub(super) vouched: Vouched,
    used: Used,
}

impl AuthService {
    /// With identity providers.
    #[must_use]
    pub fn with_providers(self, providers: Providers) -> Self {
        Self { providers, ..self }
    }

    /// The identity providers.
    #[must_use]
    pub fn providers(&self) -> &Providers {
        &self.providers
    }

    /// Waits for what an ID token needs that is not in the store. To be called before a turn at the database is taken.
    ///
    /// # Errors
    /// [`AuthError::ProviderUnknown`], [`AuthError::IdTokenInvalid`], [`AuthError::ProviderUnavailable`].
    pub async fn prepare_provider(&self, provider: &str, token: &SecretString) -> Result<(), AuthError> {
        let keys = self.providers.get(provider)?.keys();
        match keys.keys_for(token.expose_secret()).await {
            Err(AuthError::TokenInvalid) => {
                Err(AuthError::IdTokenInvalid("no key of the provider has signed it"))
            }
            found => found.map(drop),
        }
    }

    /// Signs in whoever shows who they are elsewhere; the first time that makes an account.
    ///
    /// # Errors
    /// Why the proof is not good, [`AuthError::AccountExists`] when the address that is vouched for is that of an account which the
    /// identity does not belong to, [`AuthError::SecondFactorRequired`], or the store's. Only what has succeeded, or wants a second
    /// factor, uses the proof up.
    pub async fn sign_in_by_proof(
        &self,
        proof: Proof,
        kind: TokenKind,
        client: Client,
    ) -> Result<SignedIn, AuthError> {
        let proven = self.prove(proof).await.map_err(|error| self.proof_refused(error, &client))?;
        let user = self.user_of(&proven, &client).await?;
        self.use_up(&proven).await.map_err(|error| self.proof_refused(error, &client))?;
        self.open(user, &proven.provider, kind, client).await
    }

    /// Sends a browser to a provider. It comes back to `redirect_uri` with a code, which `challenge` ties to the app (RFC 7636, S256).
    ///
    /// # Errors
    /// [`AuthError::ProviderUnknown`], [`AuthError::BrowserFlowOff`], [`AuthError::RedirectNotAllowed`], [`AuthError::BadChallenge`],
    /// [`AuthError::ProviderUnavailable`], or the store's.
    pub async fn depart(
        &self,
        provider: &str,
        redirect_uri: &str,
        challenge: &str,
        state: Option<&str>,
    ) -> Result<Departure, AuthError> {
        let provider = self.providers.get(provider)?;
        let callback = self.callback(provider)?;
        // Exactly as they were named: prefixes and patterns are how browsers are led astray.
        if !self.providers.redirect_uris.iter().any(|allowed| allowed == redirect_uri) {
            return Err(AuthError::RedirectNotAllowed);
        }
        let is_digit = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if challenge.len() != CHALLENGE_CHARS || !challenge.bytes().all(is_digit) {
            return Err(AuthError::BadChallenge);
        }
        if state.is_some_and(|state| state.len() > MAX_STATE_BYTES) {
            return Err(AuthError::StateInvalid);
        }
        let underway = Underway {
            provider: provider.name().to_owned(),
            redirect_uri: redirect_uri.to_owned(),
            challenge: challenge.to_owned(),
            state: state.map(str::to_owned),
        };
        let token = StepToken::random(&*self.random);
        let secrets = self.secrets_of(&token);
        let url = provider.authorization_url(&callback, secrets).await?;
        self.put_step(&token, STATE, None, &underway, PROVIDER_STATE_LIFE_S).await?;
        let (name, browser) = self.browser_of(&token);
        Ok(Departure { url, browser, name })
    }

    /// Under which name a browser has what it was given when it left with this state.
    #[must_use]
    pub fn browser_name(&self, state: &str) -> Option<String> {
        StepToken::parse(&state.into()).map(|token| self.browser_of(&token).0)
    }

    /// Takes a browser that comes back from a provider, and says where it goes on to, with a code or with an error. `browser` is what
    /// it still has of what it was given when it left, under the name that [`browser_name`](Self::browser_name) tells.
    ///
    /// # Errors
    /// [`AuthError::StateInvalid`] when this browser has not left for there, so that nobody knows where to send it, or the store's.
    pub async fn arrive(
        &self,
        provider: &str,
        arrival: Arrival,
        browser: Option<String>,
    ) -> Result<(Url, String), AuthError> {
        let provider = self.providers.get(provider)?;
        let token = arrival.state.as_deref().and_then(|state| StepToken::parse(&state.into()));
        let token = token.ok_or(AuthError::StateInvalid)?;
        // Before the state is used up: somebody else's browser must not end what this one has begun.
        let (name, secret) = self.browser_of(&token);
        let is_same = browser.is_some_and(|given| same(&given, secret.expose_secret()));
        if !is_same {
            return Err(AuthError::StateInvalid);
        }
        let taken = self.store.take_token(token.hash(), STATE, self.clock.now_us()).await?;
        let underway = taken.and_then(|taken| serde_json::from_str::<Underway>(&taken.payload).ok());
        let underway = underway.filter(|underway| underway.provider == provider.name());
        let underway = underway.ok_or(AuthError::StateInvalid)?;
        let mut url = Url::parse(&underway.redirect_uri)
            .map_err(|_| AuthError::Internal("a redirect is no address"))?;
        let came = self.fetch_code(provider, &token, arrival, &underway.challenge).await;
        {
            let mut query = url.query_pairs_mut();
            match &came {
                Ok(code) => query.append_pair("code", code.expose_secret()),
                Err(error) => query.append_pair("error", error.code()),
            };
            if let Some(state) = &underway.state {
                query.append_pair("state", state);
            }
        }
        match came {
            Err(AuthError::Store(error)) => Err(AuthError::Store(error)),
            _ => Ok((url, name)),
        }
    }

    /// Exchanges the provider's code, and makes one of our own of what it stands for.
    async fn fetch_code(
        &self,
        provider: &Provider,
        state: &StepToken,
        arrival: Arrival,
        challenge: &str,
    ) -> Result<SecretString, AuthError> {
        let code = match (arrival.code, arrival.error) {
            (Some(code), None) if code.expose_secret().len() <= MAX_CODE_BYTES => code,
            (_, Some(error)) if error == "access_denied" || error == "user_cancelled_authorize" => {
                return Err(AuthError::AccessDenied);
            }
            _ => return Err(AuthError::ProviderRefused),
        };
        let Secrets { nonce, verifier, .. } = self.secrets_of(state);
        let token = provider.exchange(&self.callback(provider)?, &code, &verifier).await?;
        let now_us = self.clock.now_us();
        let vouched = provider.verify(token.expose_secret(), Nonce::Exactly(&nonce), now_us).await?;
        let stood = Stood {
            provider: provider.name().to_owned(),
            issuer: vouched.issuer,
            subject: vouched.subject,
            email: vouched.email,
            name: vouched.name.or_else(|| name_in(arrival.user.as_deref()?)),
            challenge: challenge.to_owned(),
        };
        let code = StepToken::random(&*self.random);
        self.put_step(&code, CODE, None, &stood, PROVIDER_CODE_LIFE_S).await?;
        Ok(code.to_text())
    }

    /// Checks a proof, which stays good.
    pub(super) async fn prove(&self, proof: Proof) -> Result<Proven, AuthError> {
        match proof {
            Proof::IdToken { provider, token, nonce, full_name } => {
                let provider = self.providers.get(&provider)?;
                let full_name = checked_name(full_name.as_deref())?;
                let (token, now_us) = (token.expose_secret(), self.clock.now_us());
                let mut vouched = provider.verify(token, Nonce::OfApp(nonce.as_deref()), now_us).await?;
                vouched.name = vouched.name.or(full_name);
                let provider = provider.name().to_owned();
                // Without a nonce it may be one that the provider's library keeps, and hands out again for an hour.
                if nonce.is_none() {
                    return Ok(Proven { provider, vouched, used: Used::Nothing });
                }
                let (hash, expires_us) = (used_hash(token), vouched.expires_us);
                if self.store.find_token(hash, USED, now_us).await?.is_some() {
                    return Err(AuthError::IdTokenUsed);
                }
                Ok(Proven { provider, vouched, used: Used::IdToken { hash, expires_us } })
            }
            Proof::Code { code, verifier } => {
                let token = StepToken::parse(&code).ok_or(AuthError::CodeInvalid)?;
                let now_us = self.clock.now_us();
                let found = self.store.find_token(token.hash(), CODE, now_us).await?;
                let found = found.ok_or(AuthError::CodeInvalid)?;
                let stood: Stood =
                    serde_json::from_str(&found.payload).map_err(|_| AuthError::CodeInvalid)?;
                let verifier = verifier.expose_secret();
                let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
                if !VERIFIER_CHARS.contains(&verifier.len()) || !same(&challenge, &stood.challenge) {
                    // Whoever has the code and not the verifier has caught it on the way: it is worth nothing any more.
                    self.store.take_token(token.hash(), CODE, now_us).await?;
                    return Err(AuthError::CodeInvalid);
                }
                let Stood { provider, issuer, subject, email, name, .. } = stood;
                let vouched = Vouched { issuer, subject, email, name, expires_us: found.expires_us };
                Ok(Proven { provider, vouched, used: Used::Code(token.hash()) })
            }
        }
    }

    /// Uses a proof up. Of several that use the same one at once, one may go on.
    pub(super) async fn use_up(&self, proven: &Proven) -> Result<(), AuthError> {
        let now_us = self.clock.now_us();
        match proven.used {
            Used::Nothing => Ok(()),
            Used::IdToken { hash, expires_us } => {
                let used = OneTimeToken {
                    hash,
                    purpose: USED.to_owned(),
                    // Not the user's: it stays when the user goes.
                    user: None,
                    payload: "{}".to_owned(),
                    created_us: now_us,
                    expires_us,
                };
                match self.store.put_token(used).await {
                    Err(StoreError::Conflict(_)) => Err(AuthError::IdTokenUsed),
                    kept => Ok(kept.map(drop)?),
                }
            }
            Used::Code(hash) => {
                self.store.take_token(hash, CODE, now_us).await?.map(drop).ok_or(AuthError::CodeInvalid)
            }
        }
    }

    fn callback(&self, provider: &Provider) -> Result<Url, AuthError> {
        if self.providers.redirect_uris.is_empty() {
            return Err(AuthError::BrowserFlowOff);
        }
        self.providers.callback(provider).ok_or(AuthError::BrowserFlowOff)
    }

    fn secrets_of(&self, state: &StepToken) -> Secrets {
        let text = state.to_text();
        let derived =
            |purpose| URL_SAFE_NO_PAD.encode(self.secret.derive(purpose, &[text.expose_secret().as_bytes()]));
        let (nonce, verifier) = (derived("nonce of a sign-in"), derived("verifier of a sign-in").into());
        Secrets { state: text.clone(), nonce, verifier }
    }

    /// What the browser that has left with this state must have, and the name of it.
    fn browser_of(&self, state: &StepToken) -> (String, SecretString) {
        let text = state.to_text();
        let secret = self.secret.derive("browser of a sign-in", &[text.expose_secret().as_bytes()]);
        let name =
            state.hash().0.iter().take(8).fold(String::new(), |name, byte| format!("{name}{byte:02x}"));
        (name, URL_SAFE_NO_PAD.encode(secret).into())
    }

    /// Keeps a step of a sign-in that takes several.
    pub(super) async fn put_step(
        &self,
        token: &StepToken,
        purpose: &'static str,
        user: Option<lattice_store::accounts::UserId>,
        payload: &impl Serialize,
        life_s: i64,
    ) -> Result<(), AuthError> {
        let now_us = self.clock.now_us();
        let payload =
            serde_json::to_string(payload).map_err(|_| AuthError::Internal("a step could not be written"))?;
        let step = OneTimeToken {
            hash: token.hash(),
            purpose: purpose.to_owned(),
            user,
            payload,
            created_us: now_us,
            expires_us: now_us + life_s * SECOND_US,
        };
        if self.store.put_token(step).await? { Ok(()) } else { Err(AuthError::SessionRevoked) }
    }
}

/// Compares without telling by the time how much is alike.
fn same(one: &str, other: &str) -> bool {
    Sha256::digest(one) == Sha256::digest(other)
}

/// The name in what Apple tells the first time: `{"name": {"firstName": …, "lastName": …}}`. Nobody has signed it.
fn name_in(user: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct User {
        name: Name,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Name {
        #[serde(default)]
        first_name: String,
        #[serde(default)]
        last_name: String,
    }
    let Name { first_name, last_name } = serde_json::from_str::<User>(user).ok()?.name;
    checked_name(Some(&format!("{} {}", first_name.trim(), last_name.trim()))).ok().flatten()
}
