//! `DELETE /profile/identities/{identity}`: an account elsewhere signs in to one's own no more, 204. For sessions that began within the
//! last 15 minutes.
//!
//! Refusals: `identity_not_found` (404), `session_not_fresh` (403), `last_way_in` (409) while nothing else leads to the account.

use axum::extract::State;
use axum::http::StatusCode;

use crate::http::bearer::CallerSession;
use crate::http::openapi::problems;
use crate::http::path::OfIdentity;
use crate::http::problem::Problem;
use crate::http::state::AppState;

problems!(Problems, [TOKEN], 404 "identity_not_found", 403 "session_not_fresh", 409 "last_way_in");

/// Unlinks an account elsewhere.
#[utoipa::path(
    delete,
    path = "/profile/identities/{identity}",
    tag = "accounts",
    security(("bearer" = [])),
    params(("identity" = String, Path, description = "The id of the identity.")),
    responses((status = 204, description = "It signs in no more."), Problems)
)]
pub(in crate::http) async fn unlink_identity(
    State(state): State<AppState>,
    CallerSession(caller): CallerSession,
    OfIdentity(identity): OfIdentity,
) -> Result<StatusCode, Problem> {
    state.auth.unlink_identity(&caller, identity).await?;
    Ok(StatusCode::NO_CONTENT)
}
