//! `POST /auth/email/verify/send`: sends the link once more by which one's e-mail address is verified, 202.
//!
//! Refusals: `mail_unavailable` (403), `rate_limited` (429).

use axum::extract::State;
use axum::http::StatusCode;

use crate::http::bearer::Caller;
use crate::http::client::FromAddress;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::limits::Class;

problems!(Problems, [TOKEN], 403 "mail_unavailable", 429 "rate_limited");

/// Sends the link that verifies one's address.
#[utoipa::path(
    post,
    path = "/auth/email/verify/send",
    tag = "accounts",
    security(("bearer" = [])),
    responses((status = 202, description = "It is on its way, if it is needed."), Problems)
)]
pub(in crate::http) async fn send_verification(
    State(state): State<AppState>,
    Caller(user): Caller,
    FromAddress(address): FromAddress,
) -> Result<StatusCode, Problem> {
    state.limits.address(Class::MailAddress, address).await?;
    state.limits.user(Class::MailAccount, user).await?;
    state.auth.send_verification(user).await?;
    Ok(StatusCode::ACCEPTED)
}
