//! `POST /auth/password/reset/send {email}`: sends a link for a new password if there is such an account, 202 whether or not there
//! is. What is done for it is done after the answer, so that neither the answer nor its time tells.
//!
//! Refusals: `mail_unavailable` (403), `rate_limited` (429).

use axum::extract::State;
use axum::http::StatusCode;
use lattice_auth::AuthError;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::client::FromAddress;
use crate::http::json::Json;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::limits::Class;

/// Whose password it is.
#[derive(Deserialize, ToSchema)]
pub(in crate::http) struct ForgottenBy {
    email: String,
}

problems!(Problems, [BODY], 403 "mail_unavailable", 429 "rate_limited");

/// Sends a link for a new password.
#[utoipa::path(
    post,
    path = "/auth/password/reset/send",
    tag = "accounts",
    request_body = ForgottenBy,
    responses((status = 202, description = "It is on its way, if there is such an account."), Problems)
)]
pub(in crate::http) async fn send_reset(
    State(state): State<AppState>,
    FromAddress(address): FromAddress,
    Json(ForgottenBy { email }): Json<ForgottenBy>,
) -> Result<StatusCode, Problem> {
    if !state.auth.sends_mail() {
        return Err(AuthError::MailUnavailable.into());
    }
    state.limits.address(Class::MailAddress, address).await?;
    state.limits.email(Class::MailAccount, &email).await?;
    // As many as the limits let through, each a few statements.
    tokio::spawn(async move {
        if let Err(error) = state.auth.send_reset(&email).await {
            tracing::warn!(%error, "a link for a new password could not be made");
        }
    });
    Ok(StatusCode::ACCEPTED)
}
