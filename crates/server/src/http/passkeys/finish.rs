//! `POST /profile/passkeys {challenge, credential, name?, secondFactor?}`: keeps a new passkey. It signs in by itself; with
//! `secondFactor` it is also asked for where one signs in otherwise, and the first one to be so brings recovery codes, this once.
//!
//! Refusals: `challenge_invalid`, `passkey_invalid` (422), `passkey_known`, `too_many_passkeys` (409), `session_not_fresh`, `email_unverified` (403).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use lattice_auth::{AuthError, RegisterPublicKeyCredential};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::list::PasskeyView;
use crate::http::answer;
use crate::http::bearer::CallerSession;
use crate::http::json::Json;
use crate::http::openapi::problems;
use crate::http::problem::{Problem, sentence};
use crate::http::state::AppState;

/// What an authenticator has answered.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewPasskey)]
pub(in crate::http) struct Sent {
    /// `challenge` of `POST /profile/passkeys/start`.
    #[schema(value_type = String, example = "lst_…")]
    challenge: SecretString,
    /// What `navigator.credentials.create` has answered, its bytes in base64url.
    #[schema(value_type = Object)]
    credential: RegisterPublicKeyCredential,
    /// What its owner calls it.
    #[serde(default)]
    name: Option<String>,
    /// Whether it is asked for where one signs in otherwise.
    #[serde(default)]
    second_factor: bool,
}

/// A passkey that is new.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = KeptPasskey)]
pub(in crate::http) struct Kept {
    #[serde(flatten)]
    passkey: PasskeyView,
    /// Codes that stand in for a lost second factor; none where there are some already.
    recovery_codes: Vec<String>,
}

problems!(Problems, [TOKEN, BODY], 403 "passkeys_off", 403 "session_not_fresh", 403 "email_unverified", 422 "challenge_invalid", 422 "passkey_invalid", 422 "bad_name", 409 "passkey_known", 409 "too_many_passkeys");

/// Keeps a new passkey.
#[utoipa::path(
    post,
    path = "/profile/passkeys",
    tag = "accounts",
    security(("bearer" = [])),
    request_body = Sent,
    responses((status = 201, description = "It signs in from now on.", body = Kept), Problems)
)]
pub(in crate::http) async fn finish_passkey(
    State(state): State<AppState>,
    CallerSession(caller): CallerSession,
    Json(sent): Json<Sent>,
) -> Result<Response, Problem> {
    let Sent { challenge, credential, name, second_factor } = sent;
    let made =
        state.auth.finish_passkey(&caller, &challenge, &credential, name.as_deref(), second_factor).await;
    let made = match made {
        // The session that it was sent with is good.
        Err(error @ (AuthError::ChallengeInvalid | AuthError::PasskeyInvalid)) => {
            let detail = sentence(&error.to_string());
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.code(), detail));
        }
        made => made?,
    };
    let recovery_codes = made.recovery_codes.iter().map(|code| code.expose_secret().to_owned()).collect();
    let kept = Kept { passkey: made.passkey.into(), recovery_codes };
    Ok(answer::private(StatusCode::CREATED, &kept))
}
