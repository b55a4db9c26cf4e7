//! Second factors: showing one at a sign-in, and having them.

pub(super) mod answer;
pub(super) mod ask_passkey;
pub(super) mod confirm_totp;
pub(super) mod offer_totp;
pub(super) mod remove_totp;
pub(super) mod renew_codes;
pub(super) mod show;

use lattice_auth::AuthError;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;

/// Codes that stand in for a lost second factor, each good once. They are told this once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RecoveryCodes)]
pub(super) struct RecoveryCodes {
    recovery_codes: Vec<String>,
}

impl RecoveryCodes {
    fn new(codes: &[SecretString]) -> Self {
        Self { recovery_codes: codes.iter().map(|code| code.expose_secret().to_owned()).collect() }
    }
}

/// A wrong code says nothing of the session that it is sent with: that is still good.
fn wrong_code(error: AuthError) -> Problem {
    match error {
        AuthError::SecondFactorInvalid => {
            let detail = "The code is wrong, or not of this moment.";
            Problem::new(axum::http::StatusCode::UNPROCESSABLE_ENTITY, "code_wrong", detail)
        }
        error => error.into(),
    }
}
