//! `POST /auth/passkey/start`: what any authenticator is to be asked, for a sign-in by a passkey without a name.
//!
//! Refusals: `passkeys_off` (403).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::Options;
use crate::http::answer;
use crate::http::client::FromAddress;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::limits::Class;

problems!(Problems, [], 403 "passkeys_off", 429 "rate_limited", 503 "busy", 503 "closing");

/// Asks for a passkey to sign in by.
#[utoipa::path(
    post,
    path = "/auth/passkey/start",
    tag = "accounts",
    responses((status = 200, description = "What browsers take.", body = Options), Problems)
)]
pub(in crate::http) async fn start_passkey_sign_in(
    State(state): State<AppState>,
    FromAddress(address): FromAddress,
) -> Result<Response, Problem> {
    state.limits.address(Class::SignInAddress, address).await?;
    let ceremony = state.auth.start_passkey_sign_in().await?;
    Ok(answer::private(StatusCode::OK, &Options::new(&ceremony.challenge, &ceremony.options)))
}
