//! `POST /profile/recovery-codes`: new recovery codes in place of those before, this once. For sessions that began within the last 15
//! minutes.
//!
//! Refusals: `session_not_fresh` (403), `no_second_factor` (409).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::RecoveryCodes;
use crate::http::answer;
use crate::http::bearer::CallerSession;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::state::AppState;

problems!(Problems, [TOKEN], 403 "session_not_fresh", 409 "no_second_factor");

/// Makes new recovery codes.
#[utoipa::path(
    post,
    path = "/profile/recovery-codes",
    tag = "accounts",
    security(("bearer" = [])),
    responses((status = 200, description = "The codes.", body = RecoveryCodes), Problems)
)]
pub(in crate::http) async fn renew_codes(
    State(state): State<AppState>,
    CallerSession(caller): CallerSession,
) -> Result<Response, Problem> {
    let codes = state.auth.renew_recovery_codes(&caller).await?;
    Ok(answer::private(StatusCode::OK, &RecoveryCodes::new(&codes)))
}
