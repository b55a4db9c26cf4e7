//! `POST /auth/second-factor/passkey {challenge}`: what an authenticator is to be asked, for a passkey as the second factor.
//!
//! Refusals: `challenge_invalid` (401), `passkey_not_found` (404), `passkeys_off` (403).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::answer;
use crate::http::client::FromAddress;
use crate::http::json::Json;
use crate::http::openapi::problems;
use crate::http::passkeys::Options;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::limits::Class;

/// Half a sign-in.
#[derive(Deserialize, ToSchema)]
#[schema(as = SecondFactorChallenge)]
pub(in crate::http) struct HalfSignIn {
    /// `challenge` of the answer to the first factor.
    #[schema(value_type = String, example = "lst_…")]
    challenge: SecretString,
}

problems!(Problems, [BODY], 401 "challenge_invalid", 403 "passkeys_off", 404 "passkey_not_found", 429 "rate_limited", 503 "busy", 503 "closing");

/// Asks for a passkey as the second factor.
#[utoipa::path(
    post,
    path = "/auth/second-factor/passkey",
    tag = "accounts",
    request_body = HalfSignIn,
    responses((status = 200, description = "What browsers take.", body = Options), Problems)
)]
pub(in crate::http) async fn ask_second_passkey(
    State(state): State<AppState>,
    FromAddress(address): FromAddress,
    Json(HalfSignIn { challenge }): Json<HalfSignIn>,
) -> Result<Response, Problem> {
    state.limits.address(Class::SignInAddress, address).await?;
    let options = state.auth.ask_second_passkey(&challenge).await?;
    Ok(answer::private(StatusCode::OK, &Options::new(&challenge, &options)))
}
