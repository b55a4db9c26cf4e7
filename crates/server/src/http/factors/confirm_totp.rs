//! `POST /profile/totp/confirm {code}`: codes are asked for at every sign-in from now on. Answers recovery codes, this once.
//!
//! Refusals: `code_wrong` (422), `totp_off` (404) when no secret was offered, `totp_on` (409), `session_not_fresh` (403).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{RecoveryCodes, wrong_code};
use crate::http::answer;
use crate::http::bearer::CallerSession;
use crate::http::json::Json;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::limits::Class;

/// A code of the app.
#[derive(Deserialize, ToSchema)]
#[schema(as = TotpCode)]
pub(in crate::http) struct Code {
    #[schema(value_type = String, example = "123456")]
    code: SecretString,
}

problems!(Problems, [TOKEN, BODY], 403 "session_not_fresh", 404 "totp_off", 409 "totp_on", 422 "code_wrong", 429 "rate_limited");

/// Turns codes of an authenticator app on.
#[utoipa::path(
    post,
    path = "/profile/totp/confirm",
    tag = "accounts",
    security(("bearer" = [])),
    request_body = Code,
    responses((status = 200, description = "They are on.", body = RecoveryCodes), Problems)
)]
pub(in crate::http) async fn confirm_totp(
    State(state): State<AppState>,
    CallerSession(caller): CallerSession,
    Json(Code { code }): Json<Code>,
) -> Result<Response, Problem> {
    state.limits.user(Class::SignInAccount, caller.user).await?;
    let codes = state.auth.confirm_totp(&caller, &code).await.map_err(wrong_code)?;
    Ok(answer::private(StatusCode::OK, &RecoveryCodes::new(&codes)))
}
