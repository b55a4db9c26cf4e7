//! `POST /auth/second-factor {challenge, code | recoveryCode | credential}`: ends a sign-in that was answered
//! `second_factor_required`. The answer is the one that was asked for there.
//!
//! Refusals: `challenge_invalid`, `second_factor_invalid` (401); after five wrong ones the sign-in begins anew.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use lattice_auth::{PublicKeyCredential, SecondFactor};
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::answer;
use crate::http::client::FromAddress;
use crate::http::json::Json;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::limits::Class;

/// A second factor: one of `code`, `recoveryCode` and `credential`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SecondFactor)]
pub(in crate::http) struct SentFactor {
    /// `challenge` of the answer to the first factor.
    #[schema(value_type = String, example = "lst_…")]
    challenge: SecretString,
    /// A code of an authenticator app.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "123456")]
    code: Option<SecretString>,
    /// A recovery code.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    recovery_code: Option<SecretString>,
    /// What the authenticator has answered to the options of `POST /auth/second-factor/passkey`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    credential: Option<PublicKeyCredential>,
}

problems!(Problems, [BODY], 401 "challenge_invalid", 401 "second_factor_invalid", 401 "invalid_credentials", 403 "passkeys_off", 429 "rate_limited", 503 "busy", 503 "closing");

/// Ends a sign-in by its second factor.
#[utoipa::path(
    post,
    path = "/auth/second-factor",
    tag = "accounts",
    request_body = SentFactor,
    responses((status = 200, description = "A token of the kind that was asked for.", body = answer::SignedInAnswer), Problems)
)]
pub(in crate::http) async fn answer_second_factor(
    State(state): State<AppState>,
    FromAddress(address): FromAddress,
    Json(SentFactor { challenge, code, recovery_code, credential }): Json<SentFactor>,
) -> Result<Response, Problem> {
    state.limits.address(Class::SignInAddress, address).await?;
    let factor = match (code, recovery_code, credential) {
        (Some(code), None, None) => SecondFactor::Totp(code),
        (None, Some(code), None) => SecondFactor::RecoveryCode(code),
        (None, None, Some(credential)) => SecondFactor::Passkey(Box::new(credential)),
        _ => {
            let detail = "One of code, recoveryCode and credential is needed.";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail));
        }
    };
    // Whoever has the password and guesses at codes does so at an account, from wherever.
    let user = state.auth.challenged(&challenge).await?;
    state.limits.user(Class::SignInAccount, user).await?;
    let login = state.auth.answer_second_factor(&challenge, factor).await?;
    Ok(answer::signed_in(&login))
}
