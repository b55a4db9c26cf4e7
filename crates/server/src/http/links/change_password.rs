//! `POST /auth/password {currentPassword, newPassword}`: changes one's password and ends all other sessions, 204.
//!
//! Refusals: `wrong_password` (403), `weak_password`, `common_password` (422), `rate_limited` (429).

use axum::extract::State;
use axum::http::StatusCode;
use lattice_auth::AuthError;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::bearer::CallerSession;
use crate::http::json::Json;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::limits::Class;

/// One's password, and the one that is to be.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct Passwords {
    #[schema(value_type = String, format = Password)]
    current_password: SecretString,
    /// 8 to 1024 bytes.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 1_024)]
    new_password: SecretString,
}

problems!(Problems, [TOKEN, BODY], 403 "wrong_password", 422 "weak_password", 422 "common_password", 429 "rate_limited", 503 "busy");

/// Changes one's password.
#[utoipa::path(
    post,
    path = "/auth/password",
    tag = "accounts",
    security(("bearer" = [])),
    request_body = Passwords,
    responses((status = 204, description = "It is changed."), Problems)
)]
pub(in crate::http) async fn change_password(
    State(state): State<AppState>,
    CallerSession(caller): CallerSession,
    Json(Passwords { current_password, new_password }): Json<Passwords>,
) -> Result<StatusCode, Problem> {
    state.limits.user(Class::SignInAccount, caller.user).await?;
    confirmed(state.auth.change_password(&caller, current_password, new_password).await)?;
    state.spaces.hints().user_changed(caller.user);
    Ok(StatusCode::NO_CONTENT)
}

/// A password that is asked for once more is not a matter of who somebody is.
pub(super) fn confirmed(result: Result<(), AuthError>) -> Result<(), Problem> {
    match result {
        Err(AuthError::InvalidCredentials) => {
            let detail = "The password is not that of the account.";
            Err(Problem::new(StatusCode::FORBIDDEN, "wrong_password", detail))
        }
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn other_sessions_end_and_the_old_password_is_worth_nothing() {
        let bench = Bench::new();
        let ann = bench.person("ann").await;
        let other = bench.log_in("ann").await;
        bench.hints.take();
        let change = |current: &str, new: &str| json!({"currentPassword": current, "newPassword": new});
        for (body, status, code) in [
            (change("wrong horse", "battery staple"), 403, "wrong_password"),
            (change("correct horse", "short"), 422, "weak_password"),
            (change("correct horse", "password1"), 422, "common_password"),
            (json!({"newPassword": "battery staple"}), 400, "bad_request"),
        ] {
            bench.post("/auth/password", Some(&ann.token), &body).await.is_problem(status, code);
        }
        assert!(bench.hints.take().is_empty());
        let body = change("correct horse", "battery staple");
        bench.post("/auth/password", None, &body).await.is_problem(401, "token_missing");
        bench.post("/auth/password", Some(&ann.token), &body).await.is(204);
        assert_eq!(bench.hints.take(), [format!("user {}", ann.id)]);
        bench.get("/profile", Some(&ann.token)).await.is(200);
        bench.get("/profile", Some(&other.token)).await.is_problem(401, "session_revoked");
        let login = |password: &str| json!({"email": "ann@example.com", "password": password});
        bench.post("/auth/login", None, &login("correct horse")).await.is_problem(401, "invalid_credentials");
        bench.post("/auth/login", None, &login("battery staple")).await.is(200);
    }

    #[tokio::test]
    async fn without_mail_links_are_refused_and_say_so() {
        let bench = Bench::new();
        let ann = bench.person("ann").await;
        let token = Some(ann.token.as_str());
        bench.post("/auth/email/verify/send", token, &json!({})).await.is_problem(403, "mail_unavailable");
        let body = json!({"email": "nobody@example.com"});
        bench.post("/auth/password/reset/send", None, &body).await.is_problem(403, "mail_unavailable");
        let body = json!({"email": "new@example.com", "password": "correct horse"});
        bench.post("/auth/email", token, &body).await.is_problem(403, "mail_unavailable");
        for path in ["/auth/email/verify", "/auth/password/reset", "/auth/email/change"] {
            let body = json!({"token": "llt_x", "password": "battery staple"});
            bench.post(path, None, &body).await.is_problem(422, "link_invalid");
        }
    }
}
