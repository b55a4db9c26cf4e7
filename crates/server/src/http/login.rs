//! `POST /auth/login {email, password, deviceName?}`: logs in with short access tokens and a refresh token.
//!
//! Refusals: `invalid_credentials` (401) whether or not there is such an account, `rate_limited` (429), `busy` (503).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::client::{FromAddress, FromClient};
use super::json::Json;
use super::openapi::problems;
use super::problem::Problem;
use super::state::AppState;
use super::{answer, attempts};

/// Who logs in; also what `POST /login` takes.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Credentials {
    pub(super) email: String,
    #[schema(value_type = String, format = Password)]
    pub(super) password: SecretString,
    /// What the device is called, for its owner to recognise the session by; what is longer than 128 bytes is cut.
    #[serde(default)]
    pub(super) device_name: Option<String>,
}

problems!(Problems, [BODY], 401 "invalid_credentials", 403 "email_unverified", 403 "second_factor_required", 429 "rate_limited", 503 "busy", 503 "closing");

/// Logs in.
#[utoipa::path(
    post,
    path = "/auth/login",
    tag = "accounts",
    request_body = Credentials,
    responses((status = 200, description = "Tokens.", body = answer::SessionAnswer), Problems)
)]
pub(super) async fn login(
    State(state): State<AppState>,
    FromClient(client): FromClient,
    FromAddress(address): FromAddress,
    Json(Credentials { email, password, device_name }): Json<Credentials>,
) -> Result<Response, Problem> {
    attempts::sign_in(&state, &email, address).await?;
    let tokens = state.auth.login(&email, password, client.named(device_name)).await?;
    Ok(answer::session(StatusCode::OK, &tokens))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn the_right_password_logs_in() {
        let bench = Bench::new();
        let ann = bench.ann().await;
        let answer = bench
            .post("/auth/login", None, &json!({"email": "ann@example.com", "password": "correct horse"}))
            .await;
        assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
        assert_eq!(answer.body["user"], ann["user"]);
        assert_ne!(answer.body["token"], ann["token"]);
    }

    #[tokio::test]
    async fn a_wrong_password_and_an_unknown_address_are_answered_alike() {
        let bench = Bench::new();
        bench.ann().await;
        let mut answers = Vec::new();
        for email in ["ann@example.com", "bob@example.com", "not an address"] {
            let answer =
                bench.post("/auth/login", None, &json!({"email": email, "password": "wrong horse"})).await;
            answer.is_problem(401, "invalid_credentials");
            answers.push(answer.body);
        }
        assert_eq!(answers[0], answers[1]);
        assert_eq!(answers[0], answers[2]);
        bench
            .post("/auth/login", None, &json!({"email": "ann@example.com"}))
            .await
            .is_problem(400, "bad_request");
    }
}
