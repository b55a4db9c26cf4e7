//! `POST /auth/token {code, codeVerifier, deviceName?, deviceToken?}`: exchanges what a browser has brought back from a provider. A
//! code that is answered `account_exists` stays good, to be linked to that account by `POST /profile/identities`.
//!
//! Refusals: `code_invalid` (401), `account_exists` (409), `second_factor_required` (403).

use axum::extract::State;
use axum::response::Response;
use lattice_auth::Proof;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::sign_in::kind;
use crate::http::answer;
use crate::http::client::{FromAddress, FromClient};
use crate::http::json::Json;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::limits::Class;

/// A code and its verifier.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CodeExchange)]
pub(in crate::http) struct CodeExchange {
    /// `code` of the address that the browser came back to.
    #[schema(value_type = String, example = "lst_…")]
    code: SecretString,
    /// What `code_challenge` was made of (RFC 7636).
    #[schema(value_type = String)]
    code_verifier: SecretString,
    /// What the device is called, for its owner to recognise the session by; what is longer than 128 bytes is cut.
    #[serde(default)]
    device_name: Option<String>,
    /// Whether to answer one long-lived token. If not, an access token and a refresh token are answered.
    #[serde(default)]
    device_token: bool,
}

problems!(Problems, [BODY], 401 "code_invalid", 401 "invalid_credentials", 409 "account_exists", 403 "second_factor_required", 429 "rate_limited", 503 "busy", 503 "closing");

/// Exchanges a code for tokens.
#[utoipa::path(
    post,
    path = "/auth/token",
    tag = "accounts",
    request_body = CodeExchange,
    responses((status = 200, description = "A token of its kind.", body = answer::SignedInAnswer), Problems)
)]
pub(in crate::http) async fn exchange_code(
    State(state): State<AppState>,
    FromClient(client): FromClient,
    FromAddress(address): FromAddress,
    Json(sent): Json<CodeExchange>,
) -> Result<Response, Problem> {
    state.limits.address(Class::SignInAddress, address).await?;
    let CodeExchange { code, code_verifier: verifier, device_name, device_token } = sent;
    let client = client.named(device_name);
    let login =
        state.auth.sign_in_by_proof(Proof::Code { code, verifier }, kind(device_token), client).await?;
    Ok(answer::signed_in(&login))
}
