//! Identity providers that speak OpenID Connect (Core 1.0): Google, Apple, and any other by discovery.
//!
//! A provider vouches for somebody by an ID token. Apps bring one that they got themselves, or send a browser here, and then it is
//! fetched by the code flow (`flow`). One function checks both (`Provider::verify`), with the algorithms of the provider's own
//! keys and against a clock that is a parameter.

mod client_secret;
mod flow;
mod presets;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use lattice_store::accounts::TokenHash;
use lattice_store::time::Clock;
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use url::Url;

use crate::claims::Claims;
use crate::jwks::{HttpFetch, JwksCache, JwksSource, MAX_STALE_S};
use crate::{AuthError, CLOCK_LEEWAY_S};

pub use client_secret::{CLIENT_SECRET_LIFE_S, KeyedSecret};
pub use flow::ENDPOINTS_FRESH_S;
pub(crate) use flow::Secrets;
pub use presets::{apple, google};

/// Longest nonce, in bytes.
pub const MAX_NONCE_BYTES: usize = 256;
/// Names that mean something else in addresses, or as the method of a session.
const RESERVED_NAMES: &[&str] = &[
    "anonymous",
    "email",
    "external",
    "login",
    "logout",
    "passkey",
    "passkeys",
    "password",
    "providers",
    "refresh",
    "second-factor",
    "sessions",
    "signup",
    "token",
    "upgrade",
];
const MAX_NAME_BYTES: usize = 32;
const SECOND_US: i64 = 1_000_000;

/// How this server shows a provider who it is, when it exchanges a code.
#[derive(Clone, Debug)]
pub enum ClientAuthentication {
    /// Not at all, but by PKCE.
    None,
    /// By a secret that both know.
    Secret(SecretString),
    /// By a JWT that is signed anew each time, as Apple wants it.
    Keyed(KeyedSecret),
}

/// Which ID tokens of a provider are taken, and how to get them.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// How addresses and sessions call it: `google`.
    pub name: String,
    /// Its `iss`, at which its discovery document is found.
    pub issuer: String,
    /// Other spellings of its `iss`.
    pub issuer_spellings: Vec<String>,
    /// For whom its tokens must be (`aud`): the apps' ids there. The first is that of the browser flow.
    pub client_ids: Vec<String>,
    /// How this server shows who it is.
    pub authentication: ClientAuthentication,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// Whether the browser comes back by posting a form.
    pub form_post: bool,
}

impl ProviderSettings {
    /// What cannot be used, as the end of a sentence.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let is_word = |name: &str| {
            name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && name.starts_with(|c: char| c.is_ascii_lowercase())
        };
        if !is_word(&self.name) || self.name.len() > MAX_NAME_BYTES {
            return Some(format!(
                "has the name {:?}; it must be 1 to {MAX_NAME_BYTES} of a-z, 0-9 and -, a letter first",
                self.name
            ));
        }
        if RESERVED_NAMES.contains(&self.name.as_str()) {
            return Some(format!("has the name {:?}, which means something else", self.name));
        }
        if self.client_ids.is_empty() || self.client_ids.iter().any(String::is_empty) {
            return Some("has no client id: tokens that were made for others must not be taken".to_owned());
        }
        if let Err(error) = crate::jwks::check_address(&self.issuer) {
            return Some(format!("has an issuer that cannot be used: {error}"));
        }
        match &self.authentication {
            ClientAuthentication::Keyed(secret) => secret.problem(),
            _ => None,
        }
    }
}

/// An identity provider.
pub struct Provider {
    settings: ProviderSettings,
    keys: JwksCache,
    fetch: Arc<dyn HttpFetch>,
    clock: Arc<dyn Clock>,
    endpoints: tokio::sync::Mutex<flow::KnownEndpoints>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("name", &self.settings.name).finish_non_exhaustive()
    }
}

/// Whom a provider vouches for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Vouched {
    /// The provider's own name for itself.
    pub(crate) issuer: String,
    /// How it calls the account.
    pub(crate) subject: String,
    /// An address that it has verified, in its normal form.
    pub(crate) email: Option<String>,
    pub(crate) name: Option<String>,
    /// From when on the token is worth nothing, in microseconds since 1970.
    pub(crate) expires_us: i64,
}

/// What the `nonce` of a token must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Nonce<'a> {
    /// What the app has chosen, or its SHA-256 in hex, as apps give it to Apple. Where it has chosen none, none.
    OfApp(Option<&'a str>),
    /// This.
    Exactly(&'a str),
}

impl Nonce<'_> {
    fn matches(self, claim: Option<&str>) -> bool {
        match (self, claim) {
            (Self::OfApp(None), None) => true,
            (Self::OfApp(Some(chosen)), Some(claim)) => {
                !chosen.is_empty()
                    && chosen.len() <= MAX_NONCE_BYTES
                    && (claim == chosen || claim == hex(&Sha256::digest(chosen)))
            }
            (Self::Exactly(nonce), Some(claim)) => claim == nonce,
            _ => false,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Provider {
    /// A provider that is asked by `fetch`.
    #[must_use]
    pub fn new(settings: ProviderSettings, fetch: Arc<dyn HttpFetch>, clock: Arc<dyn Clock>) -> Self {
        let source = JwksSource::Issuer(settings.issuer.clone());
        let keys = JwksCache::with_max_stale(source, Arc::clone(&fetch), Arc::clone(&clock), MAX_STALE_S);
        Self { settings, keys, fetch, clock, endpoints: tokio::sync::Mutex::default() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Its `iss`.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.settings.issuer
    }

    /// Its keys.
    #[must_use]
    pub fn keys(&self) -> &JwksCache {
        &self.keys
    }

    /// Checks everything about an ID token (OpenID Connect Core 1.0, section 3.1.3.7).
    pub(crate) async fn verify(
        &self,
        token: &str,
        nonce: Nonce<'_>,
        now_us: i64,
    ) -> Result<Vouched, AuthError> {
        let settings = &self.settings;
        let claims = match self.keys.verify_signature(token).await {
            Ok(claims) => Claims(claims),
            Err(AuthError::TokenInvalid) => {
                return Err(AuthError::IdTokenInvalid("no key of the provider has signed it"));
            }
            Err(error) => return Err(error),
        };
        let is_own = |issuer: &str| {
            issuer == settings.issuer || settings.issuer_spellings.iter().any(|other| other == issuer)
        };
        if !claims.text("iss").is_some_and(is_own) {
            return Err(AuthError::IdTokenInvalid("it is another issuer's"));
        }
        let audiences: HashSet<&str> = settings.client_ids.iter().map(String::as_str).collect();
        if !claims.is_for_nobody_else(&audiences) {
            return Err(AuthError::IdTokenInvalid("it was made for another app"));
        }
        let (issued_us, expires_us) = match claims.times(now_us) {
            Err(AuthError::TokenExpired) => return Err(AuthError::IdTokenExpired),
            times => times.map_err(|_| AuthError::IdTokenInvalid("its times make no sense"))?,
        };
        if issued_us.is_none() {
            return Err(AuthError::IdTokenInvalid("it does not say when it was made"));
        }
        if !nonce.matches(claims.text("nonce")) {
            return Err(AuthError::NonceMismatch);
        }
        let subject =
            claims.subject("sub").map_err(|_| AuthError::IdTokenInvalid("it does not say whose it is"))?;
        Ok(Vouched {
            issuer: settings.issuer.clone(),
            subject,
            email: claims.verified_email("email"),
            name: claims.name("name"),
            expires_us: expires_us + CLOCK_LEEWAY_S * SECOND_US,
        })
    }
}

/// What is kept of an ID token that was used.
pub(crate) fn used_hash(token: &str) -> TokenHash {
    let hash = Sha256::new().chain_update(b"lattice-server: an ID token that was used\0").chain_update(token);
    TokenHash(hash.finalize().into())
}

/// The providers of a server, and where browsers may be sent.
#[derive(Debug, Default)]
pub struct Providers {
    /// The providers.
    pub list: Vec<Provider>,
    /// How browsers reach this server; without it there is no browser flow.
    pub public_url: Option<Url>,
    /// Where browsers may be sent when they have signed in: exactly these.
    pub redirect_uris: Vec<String>,
}

impl Providers {
    /// The one of this name.
    pub(crate) fn get(&self, name: &str) -> Result<&Provider, AuthError> {
        self.list.iter().find(|provider| provider.name() == name).ok_or(AuthError::ProviderUnknown)
    }

    /// Where the browser comes back from a provider.
    pub(crate) fn callback(&self, provider: &Provider) -> Option<Url> {
        let base = self.public_url.as_ref()?.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}/auth/{}/callback", provider.name())).ok()
    }

    /// Whether browsers come back from the one of this name by posting a form.
    #[must_use]
    pub fn comes_back_by_form(&self, name: &str) -> bool {
        self.get(name).is_ok_and(|provider| provider.settings.form_post)
    }

    /// Whether a browser can sign in by this provider.
    #[must_use]
    pub fn has_browser_flow(&self, provider: &Provider) -> bool {
        !self.redirect_uris.is_empty() && self.callback(provider).is_some()
    }
}

#[cfg(test)]
mod tests;
