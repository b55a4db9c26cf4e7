//! The code flow (OpenID Connect Core 1.0, section 3.1) with PKCE (RFC 7636), for browsers.

use std::error::Error;

use lattice_store::BoxFuture;
use openidconnect::core::{CoreClient, CoreResponseType};
use openidconnect::{
    AsyncHttpClient, AuthType, AuthUrl, AuthenticationFlow, AuthorizationCode, ClientId, ClientSecret,
    CsrfToken, HttpRequest, HttpResponse, IssuerUrl, JsonWebKeySet, Nonce, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, TokenResponse, TokenUrl,
};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{ClientAuthentication, Provider};
use crate::AuthError;
use crate::jwks::discovery::{discover, endpoint};
use crate::jwks::{FAILURE_PAUSE_S, FetchError, HttpFetch};

/// For how long the endpoints of a provider are used before it is asked again, in seconds.
pub const ENDPOINTS_FRESH_S: i64 = 3_600;
const SECOND_US: i64 = 1_000_000;

/// Where a provider does what.
#[derive(Clone, Debug)]
struct Endpoints {
    authorization: Url,
    token: Url,
    /// Whether the secret goes into the body, not into a header.
    posts_secret: bool,
    asked_us: i64,
}

/// What is known of where a provider does what.
#[derive(Default)]
pub(super) struct KnownEndpoints {
    held: Option<Endpoints>,
    /// When it was last asked in vain, unless it has answered since.
    failed_us: Option<i64>,
}

/// Sends for the library.
struct Sender<'a>(&'a dyn HttpFetch);

impl<'c> AsyncHttpClient<'c> for Sender<'_> {
    type Error = FetchError;
    type Future = BoxFuture<'c, Result<HttpResponse, FetchError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        self.0.send(request)
    }
}

/// What one sign-in is told apart by, on its way to the provider and back.
pub(crate) struct Secrets {
    pub(crate) state: SecretString,
    pub(crate) nonce: String,
    pub(crate) verifier: SecretString,
}

impl Provider {
    /// Where a browser is sent.
    pub(crate) async fn authorization_url(
        &self,
        callback: &Url,
        Secrets { state, nonce, verifier }: Secrets,
    ) -> Result<Url, AuthError> {
        let endpoints = self.endpoints().await?;
        let verifier = PkceCodeVerifier::new(verifier.expose_secret().to_owned());
        let state = CsrfToken::new(state.expose_secret().to_owned());
        let client = CoreClient::new(self.client_id(), self.issuer_url()?, JsonWebKeySet::default())
            .set_auth_uri(AuthUrl::from_url(endpoints.authorization))
            .set_redirect_uri(RedirectUrl::from_url(callback.clone()));
        let flow = AuthenticationFlow::<CoreResponseType>::AuthorizationCode;
        let mut request = client
            .authorize_url(flow, move || state, move || Nonce::new(nonce))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
        for scope in &self.settings.scopes {
            request = request.add_scope(Scope::new(scope.clone()));
        }
        if self.settings.form_post {
            request = request.add_extra_param("response_mode", "form_post");
        }
        Ok(request.url().0)
    }

    /// The ID token that a code is good for. It is not verified.
    pub(crate) async fn exchange(
        &self,
        callback: &Url,
        code: &SecretString,
        verifier: &SecretString,
    ) -> Result<SecretString, AuthError> {
        let endpoints = self.endpoints().await?;
        let client = CoreClient::new(self.client_id(), self.issuer_url()?, JsonWebKeySet::default())
            .set_token_uri(TokenUrl::from_url(endpoints.token))
            .set_redirect_uri(RedirectUrl::from_url(callback.clone()));
        let client = match self.client_secret()? {
            Some(secret) => client.set_client_secret(secret),
            None => client,
        };
        let in_body = endpoints.posts_secret
            || !matches!(self.settings.authentication, ClientAuthentication::Secret(_));
        let client = client.set_auth_type(if in_body { AuthType::RequestBody } else { AuthType::BasicAuth });
        let sender = Sender(&*self.fetch);
        let answer = client
            .exchange_code(AuthorizationCode::new(code.expose_secret().to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(verifier.expose_secret().to_owned()))
            .request_async(&sender)
            .await
            .map_err(|error| self.refused(&error))?;
        let token = answer.id_token().ok_or_else(|| {
            tracing::warn!(provider = self.name(), "the provider answered a code without an ID token");
            AuthError::ProviderRefused
        })?;
        Ok(token.to_string().into())
    }

    /// What became of an exchange. A provider's own words may hold anything: the log has the kind alone.
    fn refused<T>(&self, error: &RequestTokenError<FetchError, T>) -> AuthError
    where
        T: openidconnect::ErrorResponse + 'static,
    {
        let provider = self.name();
        match error {
            RequestTokenError::Request(error) => {
                tracing::warn!(provider, error = error as &dyn Error, "the provider cannot be reached");
                AuthError::ProviderUnavailable
            }
            RequestTokenError::ServerResponse(_) => {
                tracing::warn!(provider, "the provider refused a code, or this server as its client");
                AuthError::ProviderRefused
            }
            _ => {
                tracing::warn!(provider, "the provider's answer to a code cannot be understood");
                AuthError::ProviderRefused
            }
        }
    }

    /// Its endpoints, from its discovery document. While it cannot be reached, those known last are used, and it is asked again
    /// after [`FAILURE_PAUSE_S`] at the earliest: however many come, they do not wait for one attempt after the other.
    async fn endpoints(&self) -> Result<Endpoints, AuthError> {
        // Held while it is asked: whoever else wants to know waits for the same answer.
        let mut known = self.endpoints.lock().await;
        let now_us = self.clock.now_us();
        let is_recent = |at_us: i64, span_s: i64| (0..span_s * SECOND_US).contains(&(now_us - at_us));
        let is_fresh = known.held.as_ref().is_some_and(|held| is_recent(held.asked_us, ENDPOINTS_FRESH_S));
        let has_just_failed = known.failed_us.is_some_and(|at_us| is_recent(at_us, FAILURE_PAUSE_S));
        if !is_fresh && !has_just_failed {
            match self.ask_endpoints(now_us).await {
                Ok(endpoints) => *known = KnownEndpoints { held: Some(endpoints), failed_us: None },
                Err(reason) => {
                    tracing::warn!(provider = self.name(), reason, "the provider's endpoints are not known");
                    // When it was known: the attempt has taken its time.
                    known.failed_us = Some(self.clock.now_us());
                }
            }
        }
        known.held.clone().ok_or(AuthError::ProviderUnavailable)
    }

    async fn ask_endpoints(&self, asked_us: i64) -> Result<Endpoints, String> {
        let issuer = self.issuer();
        let document = discover(&*self.fetch, issuer).await?;
        let named = |address: Option<String>, name: &str| {
            let address = address.ok_or_else(|| format!("the discovery document has no {name}"))?;
            endpoint(issuer, &address)
        };
        // Without the member it is the header (OpenID Connect Discovery 1.0, section 3).
        let posts_secret = document
            .token_endpoint_auth_methods_supported
            .is_some_and(|methods| !methods.iter().any(|method| method == "client_secret_basic"));
        Ok(Endpoints {
            authorization: named(document.authorization_endpoint, "authorization_endpoint")?,
            token: named(document.token_endpoint, "token_endpoint")?,
            posts_secret,
            asked_us,
        })
    }

    fn client_id(&self) -> ClientId {
        ClientId::new(self.settings.client_ids.first().cloned().unwrap_or_default())
    }

    fn client_secret(&self) -> Result<Option<ClientSecret>, AuthError> {
        let now_s = self.clock.now_us() / SECOND_US;
        let secret = match &self.settings.authentication {
            ClientAuthentication::None => return Ok(None),
            ClientAuthentication::Secret(secret) => secret.clone(),
            ClientAuthentication::Keyed(keyed) => keyed.sign(&self.client_id(), self.issuer(), now_s)?,
        };
        Ok(Some(ClientSecret::new(secret.expose_secret().to_owned())))
    }

    fn issuer_url(&self) -> Result<IssuerUrl, AuthError> {
        IssuerUrl::new(self.issuer().to_owned())
            .map_err(|_| AuthError::Internal("the issuer of a provider is no address"))
    }
}
