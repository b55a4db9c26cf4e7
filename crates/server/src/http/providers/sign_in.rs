//! `POST /auth/{provider} {idToken|identityToken, nonce?, fullName?, deviceName?, deviceToken?}`: signs in by an ID token that the app
//! has got from the provider; the first time makes an account. `/auth/google` and `/auth/apple` are upstream's, and like there one
//! long-lived token is answered, `{token, user}`, unless `deviceToken` is false.
//!
//! Refusals: `provider_unknown` (404), `id_token_invalid`, `id_token_expired`, `id_token_used`, `nonce_mismatch` (401),
//! `account_exists` (409), `second_factor_required` (403), `provider_unavailable` (503).

use axum::extract::State;
use axum::response::Response;
use lattice_auth::{Proof, TokenKind};
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::answer;
use crate::http::client::{FromAddress, FromClient};
use crate::http::json::Json;
use crate::http::openapi::problems;
use crate::http::path::OfProvider;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::limits::Class;

/// An ID token.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = IdTokenSignIn)]
pub(in crate::http) struct IdTokenSignIn {
    /// The ID token; `identityToken` is another name for it.
    #[serde(alias = "identityToken")]
    #[schema(value_type = String)]
    id_token: SecretString,
    /// What the app has chosen as the nonce of the token. The token holds it, or its SHA-256 in hex. Needed where the token has one.
    #[serde(default)]
    nonce: Option<String>,
    /// What they are called, where the provider tells the app alone, as Apple does; for new accounts.
    #[serde(default)]
    full_name: Option<String>,
    /// What the device is called, for its owner to recognise the session by; what is longer than 128 bytes is cut.
    #[serde(default)]
    device_name: Option<String>,
    /// Whether to answer one long-lived token. If not, an access token and a refresh token are answered.
    #[serde(default = "yes")]
    #[schema(default = true)]
    device_token: bool,
}

fn yes() -> bool {
    true
}

pub(super) fn kind(device_token: bool) -> TokenKind {
    if device_token { TokenKind::Device } else { TokenKind::Session }
}

problems!(Problems, [BODY], 404 "provider_unknown", 401 "id_token_invalid", 401 "id_token_expired", 401 "id_token_used", 401 "nonce_mismatch", 401 "invalid_credentials", 409 "account_exists", 403 "second_factor_required", 422 "bad_name", 429 "rate_limited", 503 "provider_unavailable", 503 "busy", 503 "closing");

/// Signs in by an ID token.
#[utoipa::path(
    post,
    path = "/auth/{provider}",
    tag = "accounts",
    params(("provider" = String, Path, description = "The name of the provider: `google`.")),
    request_body = IdTokenSignIn,
    responses((status = 200, description = "A token of its kind.", body = answer::SignedInAnswer), Problems)
)]
pub(in crate::http) async fn sign_in_by_id_token(
    State(state): State<AppState>,
    OfProvider(provider): OfProvider,
    FromClient(client): FromClient,
    FromAddress(address): FromAddress,
    Json(sent): Json<IdTokenSignIn>,
) -> Result<Response, Problem> {
    state.limits.address(Class::SignInAddress, address).await?;
    let IdTokenSignIn { id_token: token, nonce, full_name, device_name, device_token } = sent;
    let proof = Proof::IdToken { provider, token, nonce, full_name };
    let client = client.named(device_name);
    let login = state.auth.sign_in_by_proof(proof, kind(device_token), client).await?;
    Ok(answer::signed_in(&login))
}
