//! `POST /auth/email {password, email}`: sends a link to another e-mail address, by which it becomes that of one's account, 202.
//! Whether somebody else has it is not said.
//!
//! Refusals: `wrong_password` (403), `bad_email` (422), `mail_unavailable` (403), `rate_limited` (429).

use axum::extract::State;
use axum::http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::bearer::CallerSession;
use crate::http::client::FromAddress;
use crate::http::json::Json;
use crate::http::links::change_password::confirmed;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::limits::Class;

/// The address that is to be one's own.
#[derive(Deserialize, ToSchema)]
pub(in crate::http) struct NewEmail {
    #[schema(value_type = String, format = Password)]
    password: SecretString,
    #[schema(format = "email", max_length = 254)]
    email: String,
}

problems!(Problems, [TOKEN, BODY], 403 "wrong_password", 422 "bad_email", 403 "mail_unavailable", 429 "rate_limited", 503 "busy");

/// Asks for another e-mail address.
#[utoipa::path(
    post,
    path = "/auth/email",
    tag = "accounts",
    security(("bearer" = [])),
    request_body = NewEmail,
    responses((status = 202, description = "A link is on its way to it."), Problems)
)]
pub(in crate::http) async fn send_email_change(
    State(state): State<AppState>,
    CallerSession(caller): CallerSession,
    FromAddress(address): FromAddress,
    Json(NewEmail { password, email }): Json<NewEmail>,
) -> Result<StatusCode, Problem> {
    state.limits.user(Class::SignInAccount, caller.user).await?;
    state.limits.address(Class::MailAddress, address).await?;
    state.limits.email(Class::MailAccount, &email).await?;
    confirmed(state.auth.send_email_change(&caller, password, &email).await)?;
    Ok(StatusCode::ACCEPTED)
}
