//! `POST /auth/passkey {challenge, credential, deviceName?, deviceToken?}`: signs in by a passkey. It is both factors at once: nothing
//! else is asked for.
//!
//! Refusals: `challenge_invalid`, `passkey_invalid` (401), `passkeys_off` (403).

use axum::extract::State;
use axum::response::Response;
use lattice_auth::{PublicKeyCredential, TokenKind};
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::answer;
use crate::http::client::{FromAddress, FromClient};
use crate::http::json::Json;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::limits::Class;

/// What an authenticator has answered.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PasskeySignIn)]
pub(in crate::http) struct Sent {
    /// `challenge` of `POST /auth/passkey/start`.
    #[schema(value_type = String, example = "lst_…")]
    challenge: SecretString,
    /// What `navigator.credentials.get` has answered, its bytes in base64url.
    #[schema(value_type = Object)]
    credential: PublicKeyCredential,
    /// What the device is called, for its owner to recognise the session by; what is longer than 128 bytes is cut.
    #[serde(default)]
    device_name: Option<String>,
    /// Whether to answer one long-lived token. If not, an access token and a refresh token are answered.
    #[serde(default)]
    device_token: bool,
}

problems!(Problems, [BODY], 401 "challenge_invalid", 401 "passkey_invalid", 401 "invalid_credentials", 403 "passkeys_off", 429 "rate_limited", 503 "busy", 503 "closing");

/// Signs in by a passkey.
#[utoipa::path(
    post,
    path = "/auth/passkey",
    tag = "accounts",
    request_body = Sent,
    responses((status = 200, description = "A token of its kind.", body = answer::SignedInAnswer), Problems)
)]
pub(in crate::http) async fn sign_in_by_passkey(
    State(state): State<AppState>,
    FromClient(client): FromClient,
    FromAddress(address): FromAddress,
    Json(Sent { challenge, credential, device_name, device_token }): Json<Sent>,
) -> Result<Response, Problem> {
    state.limits.address(Class::SignInAddress, address).await?;
    let kind = if device_token { TokenKind::Device } else { TokenKind::Session };
    let client = client.named(device_name);
    let login = state.auth.sign_in_by_passkey(&challenge, &credential, kind, client).await?;
    Ok(answer::signed_in(&login))
}
