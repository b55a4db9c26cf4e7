//! `DELETE /profile {password}`: deletes the account of the bearer token with everything that is its own alone, 204.
//!
//! Whoever has no password must have signed in within the last 15 minutes, or come with a token of the external issuer, and is taken at
//! that issuer's word.
//!
//! Refusals: `wrong_password`, `session_not_fresh` (403), `owns_spaces` (409) while it owns shared or public spaces with other members.

use axum::extract::State;
use axum::http::StatusCode;
use lattice_auth::AuthError;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::bearer::{Bearer, CallerSession};
use super::json::Json;
use super::openapi::problems;
use super::problem::Problem;
use super::state::AppState;
use crate::limits::Class;

/// Asked again, since what is deleted does not come back.
#[derive(Deserialize, ToSchema)]
pub(super) struct Confirmation {
    /// Not asked for where the account has none.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<SecretString>,
}

problems!(Problems, [TOKEN, BODY], 403 "wrong_password", 403 "session_not_fresh", 429 "rate_limited", 409 "owns_spaces");

/// Deletes one's account.
#[utoipa::path(
    delete,
    path = "/profile",
    tag = "accounts",
    security(("bearer" = [])),
    request_body = Confirmation,
    responses((status = 204, description = "It is gone."), Problems)
)]
pub(super) async fn delete_profile(
    State(state): State<AppState>,
    CallerSession(caller): CallerSession,
    Bearer(token): Bearer,
    Json(Confirmation { password }): Json<Confirmation>,
) -> Result<StatusCode, Problem> {
    let user = caller.user;
    state.limits.user(Class::SignInAccount, user).await?;
    let confirmed = match password {
        Some(password) => state.auth.confirm_password(user, password).await,
        None => state.auth.confirm_without_password(&caller, &token).await,
    };
    match confirmed {
        Err(AuthError::InvalidCredentials) => {
            let detail = "The password is not that of the account.";
            return Err(Problem::new(StatusCode::FORBIDDEN, "wrong_password", detail));
        }
        confirmed => confirmed?,
    }
    state.auth.bury_external(user).await?;
    state.spaces.delete_account(user).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn an_account_goes_with_what_is_its_own() {
        let bench = Bench::new();
        let (ann, bob) = (bench.person("ann").await, bench.person("bob").await);
        let (alone, with_bob) = (bench.space(&ann, "public").await, bench.space(&ann, "shared").await);
        bench.join(&with_bob, &ann, &bob, "editor").await;
        let body = json!({"password": "correct horse"});
        // Who has a password is asked for it.
        bench.ask(&ann, "DELETE", "/profile", &json!({})).await.is_problem(403, "wrong_password");
        for wrong in ["", "incorrect horse", &"x".repeat(2_000)] {
            let answer = bench.ask(&ann, "DELETE", "/profile", &json!({"password": wrong})).await;
            answer.is_problem(403, "wrong_password");
        }
        bench.call("DELETE", "/profile", &[], &body.to_string()).await.is_problem(401, "token_missing");
        bench.ask(&ann, "DELETE", "/profile", &body).await.is_problem(409, "owns_spaces");
        bench.get(&alone, Some(&bob.token)).await.is(200);
        bench.ask(&ann, "POST", &format!("{with_bob}/transfer"), &json!({"userId": bob.id})).await.is(204);
        let me = bench.get("/spaces/me", Some(&ann.token)).await.is(200)["id"].clone();
        bench.hints.take();
        bench.ask(&ann, "DELETE", "/profile", &body).await.is(204);
        let me = format!("space {}", me.as_str().expect("an id"));
        assert_eq!(
            bench.hints.take(),
            [me, alone[1..].replace("spaces/", "space "), format!("user {}", ann.id)]
        );
        bench.get("/profile", Some(&ann.token)).await.is_problem(401, "token_invalid");
        bench.is_hidden("GET", &alone, "", &bob, &Value::Null).await;
        let left = bench.get(&format!("{with_bob}/members"), Some(&bob.token)).await.is(200);
        assert_eq!(left["members"].as_array().map(Vec::len), Some(1));
        let login = json!({"email": "ann@example.com", "password": "correct horse"});
        bench.post("/auth/login", None, &login).await.is_problem(401, "invalid_credentials");
        bench.ann().await;
    }
}
