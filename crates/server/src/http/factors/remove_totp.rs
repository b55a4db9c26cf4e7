//! `DELETE /profile/totp`: codes of an authenticator app are asked for no more, 204. For sessions that began within the last 15
//! minutes.
//!
//! Refusals: `session_not_fresh` (403), `totp_off` (404).

use axum::extract::State;
use axum::http::StatusCode;

use crate::http::bearer::CallerSession;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::state::AppState;

problems!(Problems, [TOKEN], 403 "session_not_fresh", 404 "totp_off");

/// Turns codes of an authenticator app off.
#[utoipa::path(
    delete,
    path = "/profile/totp",
    tag = "accounts",
    security(("bearer" = [])),
    responses((status = 204, description = "They are off."), Problems)
)]
pub(in crate::http) async fn remove_totp(
    State(state): State<AppState>,
    CallerSession(caller): CallerSession,
) -> Result<StatusCode, Problem> {
    state.auth.remove_totp(&caller).await?;
    Ok(StatusCode::NO_CONTENT)
}
