//! `POST /auth/upgrade {email, password, fullName?, deviceName?}`: gives the anonymous account of the bearer token an address and a
//! password. It stays the same account with all that is in it. Answers tokens of a new session; the anonymous one ends.
//!
//! Refusals: `not_anonymous`, `email_taken` (409), and those of `POST /auth/signup`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::http::answer;
use crate::http::bearer::Caller;
use crate::http::client::{FromAddress, FromClient};
use crate::http::json::Json;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::signup::NewAccount;
use crate::http::state::AppState;
use crate::limits::Class;

problems!(Problems, [TOKEN, BODY], 422 "bad_email", 422 "weak_password", 422 "common_password", 422 "bad_name", 409 "email_taken", 409 "not_anonymous", 401 "invalid_credentials", 403 "email_unverified", 429 "rate_limited");

/// Makes an anonymous account one that its owner can sign in to.
#[utoipa::path(
    post,
    path = "/auth/upgrade",
    tag = "accounts",
    security(("bearer" = [])),
    request_body = NewAccount,
    responses((status = 200, description = "Tokens of a new session.", body = answer::SessionAnswer), Problems)
)]
pub(in crate::http) async fn upgrade_account(
    State(state): State<AppState>,
    Caller(user): Caller,
    FromClient(client): FromClient,
    FromAddress(address): FromAddress,
    Json(account): Json<NewAccount>,
) -> Result<Response, Problem> {
    state.limits.address(Class::SignUpAddress, address).await?;
    let NewAccount { email, password, full_name, device_name } = account;
    let client = client.named(device_name);
    let upgraded = state.auth.upgrade(user, &email, password, full_name.as_deref(), client).await;
    // Whatever was answered: if the account was upgraded, its sockets are those of a session that has ended.
    state.spaces.hints().user_changed(user);
    Ok(answer::session(StatusCode::OK, &upgraded?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::{Bench, Person};

    #[tokio::test]
    async fn the_account_and_what_is_in_it_stay() {
        let bench = Bench::with(|auth| auth.with_anonymous_accounts(true));
        let somebody = bench.somebody().await;
        let space = bench.space(&somebody, "shared").await;
        let body = json!({"email": "ann@example.com", "password": "correct horse", "fullName": "Ann"});
        bench.hints.take();
        let answer = bench.post("/auth/upgrade", Some(&somebody.token), &body).await.is(200);
        assert_eq!(bench.hints.take(), [format!("user {}", somebody.id)]);
        let user = &answer["user"];
        assert_eq!((&user["id"], &user["email"]), (&json!(somebody.id), &json!("ann@example.com")));
        assert_eq!((&user["providers"], &user["fullName"]), (&json!(["email"]), &json!("Ann")));
        bench.get("/profile", Some(&somebody.token)).await.is_problem(401, "session_revoked");
        let token = answer["token"].as_str().expect("a token");
        bench.get(&space, Some(token)).await.is(200);
        let login = bench.log_in("ann").await;
        assert_eq!(login.id, somebody.id);
        bench.post("/auth/upgrade", Some(token), &body).await.is_problem(409, "not_anonymous");
    }

    #[tokio::test]
    async fn refusals_have_codes_and_change_nothing() {
        let bench = Bench::with(|auth| auth.with_anonymous_accounts(true));
        bench.ann().await;
        let Person { token, .. } = bench.somebody().await;
        for (body, status, code) in [
            (json!({"email": "ANN@example.com", "password": "correct horse"}), 409, "email_taken"),
            (json!({"email": "bob", "password": "correct horse"}), 422, "bad_email"),
            (json!({"email": "bob@example.com", "password": "short"}), 422, "weak_password"),
            (json!({"email": "bob@example.com", "password": "password1"}), 422, "common_password"),
            (json!({"email": "bob@example.com"}), 400, "bad_request"),
        ] {
            bench.post("/auth/upgrade", Some(&token), &body).await.is_problem(status, code);
        }
        bench.get("/profile", Some(&token)).await.is(200);
        let body = json!({"email": "bob@example.com", "password": "correct horse"});
        bench.post("/auth/upgrade", None, &body).await.is_problem(401, "token_missing");
    }
}
