//! `POST /register {email, password, fullName?}`: upstream's way to make an account. Answers `{token, user}` with a
//! device token of 30 days, and beside them the keys of the user, which is all that upstream's own server answers.
//!
//! Refusals: those of `POST /auth/signup`.

use axum::extract::State;
use axum::response::Response;

use super::answer;
use super::client::{FromAddress, FromClient};
use super::json::Json;
use super::openapi::problems;
use super::problem::Problem;
use super::signup::NewAccount;
use super::state::AppState;
use crate::limits::Class;

problems!(Problems, [BODY], 422 "bad_email", 422 "weak_password", 422 "common_password", 422 "bad_name", 409 "email_taken", 401 "invalid_credentials", 403 "email_unverified", 429 "rate_limited", 503 "busy", 503 "closing");

/// Makes an account, as deployed clients do.
#[utoipa::path(
    post,
    path = "/register",
    operation_id = "register_device",
    tag = "accounts",
    request_body = NewAccount,
    responses((status = 200, description = "A device token.", body = answer::RegistrationAnswer), Problems)
)]
pub(super) async fn register(
    State(state): State<AppState>,
    FromClient(client): FromClient,
    FromAddress(address): FromAddress,
    Json(account): Json<NewAccount>,
) -> Result<Response, Problem> {
    state.limits.address(Class::SignUpAddress, address).await?;
    let NewAccount { email, password, full_name, device_name } = account;
    let login =
        state.auth.register_device(&email, password, full_name.as_deref(), client.named(device_name)).await?;
    Ok(answer::registration(&login))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn a_registration_answers_both_readings() {
        let bench = Bench::new();
        let body = json!({"email": "ann@example.com", "password": "correct horse", "fullName": "Ann"});
        let answer = bench.post("/register", None, &body).await.is(200);
        let user = bench.get("/profile", answer["token"].as_str()).await.is(200);
        assert_eq!(answer["user"], user);
        for (key, value) in user.as_object().expect("an object") {
            assert_eq!(&answer[key], value, "{key}");
        }
        assert_eq!(answer.as_object().map(serde_json::Map::len), Some(7));
        bench.post("/register", None, &body).await.is_problem(409, "email_taken");
    }

    #[tokio::test]
    async fn a_device_token_lives_for_thirty_days() {
        let bench = Bench::new();
        let body = json!({"email": "ann@example.com", "password": "correct horse"});
        let answer = bench.post("/register", None, &body).await.is(200);
        bench.clock.forward_s(30 * 24 * 3_600 - 1);
        bench.get("/profile", answer["token"].as_str()).await.is(200);
        bench.clock.forward_s(1);
        bench.get("/profile", answer["token"].as_str()).await.is_problem(401, "token_expired");
    }
}
