//! Passkeys: signing in by them, and having them.

pub(super) mod finish;
pub(super) mod list;
pub(super) mod remove;
pub(super) mod sign_in;
pub(super) mod start;
pub(super) mod start_sign_in;

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// What is asked of an authenticator.
#[derive(Serialize, ToSchema)]
#[schema(as = PasskeyOptions)]
pub(super) struct Options {
    /// What its answer is to be sent with.
    challenge: String,
    /// What `navigator.credentials` takes, its bytes in base64url.
    #[schema(value_type = Object)]
    options: Value,
}

impl Options {
    pub(super) fn new(challenge: &SecretString, options: &impl Serialize) -> Self {
        // Text, numbers and bytes in base64url cannot fail to be written.
        let options = serde_json::to_value(options).unwrap_or_default();
        Self { challenge: challenge.expose_secret().to_owned(), options }
    }
}
