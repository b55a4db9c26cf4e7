//! `POST /profile/passkeys/start`: what an authenticator is to be asked for a new passkey. For sessions that began within the last 15
//! minutes.
//!
//! Refusals: `passkeys_off`, `session_not_fresh`, `email_unverified` (403).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::Options;
use crate::http::answer;
use crate::http::bearer::CallerSession;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::state::AppState;

problems!(Problems, [TOKEN], 403 "passkeys_off", 403 "session_not_fresh", 403 "email_unverified");

/// Asks for a new passkey.
#[utoipa::path(
    post,
    path = "/profile/passkeys/start",
    tag = "accounts",
    security(("bearer" = [])),
    responses((status = 200, description = "What browsers take.", body = Options), Problems)
)]
pub(in crate::http) async fn start_passkey(
    State(state): State<AppState>,
    CallerSession(caller): CallerSession,
) -> Result<Response, Problem> {
    let ceremony = state.auth.start_passkey(&caller).await?;
    Ok(answer::private(StatusCode::OK, &Options::new(&ceremony.challenge, &ceremony.options)))
}
