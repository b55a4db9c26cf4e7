//! `POST /auth/signup {email, password, fullName?, deviceName?}`: makes an account and logs in, 201.
//!
//! Refusals: `bad_email`, `weak_password`, `common_password`, `bad_name` (422), `email_taken` (409), `busy` (503).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::answer;
use super::client::{FromAddress, FromClient};
use super::json::Json;
use super::openapi::problems;
use super::problem::Problem;
use super::state::AppState;
use crate::limits::Class;

/// An account to be made; also what `POST /register` takes.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewAccount {
    #[schema(format = "email", max_length = 254)]
    pub(super) email: String,
    /// 8 to 1024 bytes.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 1_024)]
    pub(super) password: SecretString,
    /// At most 200 characters, none of them a control character.
    #[serde(default)]
    #[schema(max_length = 200)]
    pub(super) full_name: Option<String>,
    /// What the device is called, for its owner to recognise the session by; what is longer than 128 bytes is cut.
    #[serde(default)]
    pub(super) device_name: Option<String>,
}

problems!(Problems, [BODY], 422 "bad_email", 422 "weak_password", 422 "common_password", 422 "bad_name", 409 "email_taken", 401 "invalid_credentials", 403 "email_unverified", 429 "rate_limited", 503 "busy", 503 "closing");

/// Makes an account and logs in.
#[utoipa::path(
    post,
    path = "/auth/signup",
    tag = "accounts",
    request_body = NewAccount,
    responses((status = 201, description = "Tokens.", body = answer::SessionAnswer), Problems)
)]
pub(super) async fn signup(
    State(state): State<AppState>,
    FromClient(client): FromClient,
    FromAddress(address): FromAddress,
    Json(account): Json<NewAccount>,
) -> Result<Response, Problem> {
    state.limits.address(Class::SignUpAddress, address).await?;
    let NewAccount { email, password, full_name, device_name } = account;
    let tokens = state.auth.signup(&email, password, full_name.as_deref(), client.named(device_name)).await?;
    Ok(answer::session(StatusCode::CREATED, &tokens))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn a_new_account_is_logged_in() {
        let bench = Bench::new();
        let body = json!({"email": " Ann@Example.com ", "password": "correct horse", "fullName": "Ann"});
        let answer = bench.post("/auth/signup", None, &body).await;
        assert_eq!((answer.status, answer.header("cache-control")), (201, Some("no-store")));
        let answer = answer.body;
        let keys: Vec<_> = answer.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(keys, ["accessToken", "expiresIn", "refreshToken", "token", "tokenType", "user"]);
        assert_eq!(answer["token"], answer["accessToken"]);
        assert_eq!((&answer["tokenType"], &answer["expiresIn"]), (&json!("Bearer"), &json!(900)));
        let user = &answer["user"];
        assert_eq!((&user["email"], &user["fullName"]), (&json!("ann@example.com"), &json!("Ann")));
        assert_eq!(user["id"].as_str().map(str::len), Some(36));
        bench.get("/profile", answer["token"].as_str()).await.is(200);
    }

    #[tokio::test]
    async fn refusals_have_codes() {
        let bench = Bench::new();
        bench.ann().await;
        for (body, status, code) in [
            (json!({"email": "ANN@example.com", "password": "correct horse"}), 409, "email_taken"),
            (json!({"email": "bob", "password": "correct horse"}), 422, "bad_email"),
            (json!({"email": "bob@example.com", "password": "short"}), 422, "weak_password"),
            (json!({"email": "bob@example.com", "password": "password1"}), 422, "common_password"),
            (json!({"email": "bob@example.com", "password": "x".repeat(1_025)}), 422, "weak_password"),
            (
                json!({"email": "bob@example.com", "password": "correct horse", "fullName": "\u{7}"}),
                422,
                "bad_name",
            ),
            (json!({"email": "bob@example.com"}), 400, "bad_request"),
            (json!({"email": "bob@example.com", "password": 12345678}), 400, "bad_request"),
            (json!([]), 400, "bad_request"),
            (json!({"email": "x".repeat(70_000), "password": "correct horse"}), 413, "body_too_large"),
        ] {
            bench.post("/auth/signup", None, &body).await.is_problem(status, code);
        }
        bench.call("POST", "/auth/signup", &[], "{").await.is_problem(400, "bad_request");
    }
}
