//! `GET /auth/{provider}/start?redirect_uri=&code_challenge=&state=`: sends a browser to a provider. It comes back to `redirect_uri`
//! with `code` and `state`, or with `error` and `state`.
//!
//! `code_challenge` is the SHA-256, in base64url, of a verifier that the app keeps (RFC 7636): whoever catches the code on its way
//! back can do nothing with it.
//!
//! Refusals: `provider_unknown` (404), `redirect_not_allowed`, `bad_code_challenge`, `state_invalid` (400), `browser_flow_off` (403).

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::cookie::Cookies;
use crate::http::client::FromAddress;
use crate::http::openapi::problems;
use crate::http::path::OfProvider;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::limits::Class;

/// How a browser leaves.
#[derive(Deserialize, Default, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(in crate::http) struct Start {
    /// Where it goes when it has signed in: one of `REDIRECT_URIS`.
    redirect_uri: String,
    /// The SHA-256 of a verifier, in base64url.
    code_challenge: String,
    /// What the app wants to have back; 512 bytes at most.
    state: Option<String>,
}

impl Start {
    fn read(query: Option<&str>) -> Self {
        let mut start = Self::default();
        for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*key {
                "redirect_uri" => start.redirect_uri = value.into_owned(),
                "code_challenge" => start.code_challenge = value.into_owned(),
                "state" => start.state = Some(value.into_owned()),
                _ => {}
            }
        }
        start
    }
}

problems!(Problems, [], 404 "provider_unknown", 400 "redirect_not_allowed", 400 "bad_code_challenge", 400 "state_invalid", 403 "browser_flow_off", 429 "rate_limited", 503 "provider_unavailable", 503 "busy", 503 "closing");

/// Sends a browser to an identity provider.
#[utoipa::path(
    get,
    path = "/auth/{provider}/start",
    tag = "accounts",
    params(("provider" = String, Path, description = "The name of the provider."), Start),
    responses((status = 303, description = "To the provider."), Problems)
)]
pub(in crate::http) async fn start_sign_in(
    State(state): State<AppState>,
    OfProvider(provider): OfProvider,
    FromAddress(address): FromAddress,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    state.limits.address(Class::SignInAddress, address).await?;
    let Start { redirect_uri, code_challenge, state: app_state } = Start::read(query.as_deref());
    let departure =
        state.auth.depart(&provider, &redirect_uri, &code_challenge, app_state.as_deref()).await?;
    let providers = state.auth.providers();
    let cookies = Cookies::new(providers.public_url.as_ref(), providers.comes_back_by_form(&provider));
    let cookie = cookies.set(&departure.name, departure.browser.expose_secret());
    let mut headers = HeaderMap::new();
    headers.extend(cookie.map(|cookie| (header::SET_COOKIE, cookie)));
    headers.extend(HeaderValue::from_str(departure.url.as_str()).ok().map(|url| (header::LOCATION, url)));
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}
