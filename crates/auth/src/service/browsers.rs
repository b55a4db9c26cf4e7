//! Browsers that go to an identity provider and come back with a code of ours.
//!
//! Nonce, verifier and what the browser must still have when it comes back follow from the state and the server's secret: none of them
//! is stored.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

use super::providers::{CODE, PROVIDER_CODE_LIFE_S, Stood};
use super::steps::same;
use super::{AuthService, checked_name};
use crate::AuthError;
use crate::openid::{Nonce, Provider, Secrets};
use crate::token::StepToken;

/// How long somebody may take at a provider, in seconds.
pub const PROVIDER_STATE_LIFE_S: i64 = 10 * 60;
/// Length of a challenge and of a state's browser secret: 256 bits in base64url.
const CHALLENGE_CHARS: usize = 43;
/// Longest state of an app, in bytes.
const MAX_STATE_BYTES: usize = 512;
/// Longest code of a provider, in bytes.
const MAX_CODE_BYTES: usize = 4_096;

const STATE: &str = "provider_state";

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

/// A sign-in under way.
#[derive(Serialize, Deserialize)]
struct Underway {
    provider: String,
    redirect_uri: String,
    challenge: String,
    state: Option<String>,
}

impl AuthService {
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
