//! `DELETE /profile/passkeys/{passkey}`: removes a passkey, 204. For sessions that began within the last 15 minutes.
//!
//! Refusals: `passkey_not_found` (404), `session_not_fresh` (403), `last_way_in` (409) while nothing else leads to the account.

use axum::extract::State;
use axum::http::StatusCode;

use crate::http::bearer::CallerSession;
use crate::http::openapi::problems;
use crate::http::path::OfPasskey;
use crate::http::problem::Problem;
use crate::http::state::AppState;

problems!(Problems, [TOKEN], 404 "passkey_not_found", 403 "session_not_fresh", 409 "last_way_in");

/// Removes a passkey.
#[utoipa::path(
    delete,
    path = "/profile/passkeys/{passkey}",
    tag = "accounts",
    security(("bearer" = [])),
    params(("passkey" = String, Path, description = "The id of the passkey.")),
    responses((status = 204, description = "It signs in no more."), Problems)
)]
pub(in crate::http) async fn remove_passkey(
    State(state): State<AppState>,
    CallerSession(caller): CallerSession,
    OfPasskey(passkey): OfPasskey,
) -> Result<StatusCode, Problem> {
    state.auth.remove_passkey(&caller, passkey).await?;
    Ok(StatusCode::NO_CONTENT)
}
