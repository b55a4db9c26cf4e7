//! `POST /login {email, password}`: upstream's way to log in. Answers `{token, user}` with a device token of 30 days,
//! since native clients hold one token for long and have nowhere to refresh it.
//!
//! Refusals: those of `POST /auth/login`.

use axum::extract::State;
use axum::response::Response;

use super::client::{FromAddress, FromClient};
use super::json::Json;
use super::login::Credentials;
use super::openapi::problems;
use super::problem::Problem;
use super::state::AppState;
use super::{answer, attempts};

problems!(Problems, [BODY], 401 "invalid_credentials", 403 "email_unverified", 403 "second_factor_required", 429 "rate_limited", 503 "busy", 503 "closing");

/// Logs in, as deployed clients do.
#[utoipa::path(
    post,
    path = "/login",
    operation_id = "login_device",
    tag = "accounts",
    request_body = Credentials,
    responses((status = 200, description = "A device token.", body = answer::DeviceAnswer), Problems)
)]
pub(super) async fn login(
    State(state): State<AppState>,
    FromClient(client): FromClient,
    FromAddress(address): FromAddress,
    Json(Credentials { email, password, device_name }): Json<Credentials>,
) -> Result<Response, Problem> {
    attempts::sign_in(&state, &email, address).await?;
    let login = state.auth.login_device(&email, password, client.named(device_name)).await?;
    Ok(answer::device(&login))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn a_login_answers_a_device_token() {
        let bench = Bench::new();
        let ann = bench.ann().await;
        let body = json!({"email": "ann@example.com", "password": "correct horse"});
        let answer = bench.post("/login", None, &body).await.is(200);
        let token = answer["token"].as_str().expect("a token");
        assert!(token.starts_with("ldt_"));
        assert_eq!(answer, json!({"token": token, "user": ann["user"]}));
        bench.clock.forward_s(24 * 3_600);
        bench.get("/profile", Some(token)).await.is(200);
    }

    #[tokio::test]
    async fn wrong_credentials_are_refused() {
        let bench = Bench::new();
        bench.ann().await;
        for email in ["ann@example.com", "bob@example.com"] {
            let body = json!({"email": email, "password": "wrong horse"});
            bench.post("/login", None, &body).await.is_problem(401, "invalid_credentials");
        }
    }
}
