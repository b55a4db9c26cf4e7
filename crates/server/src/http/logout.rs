//! `POST /auth/logout`: revokes the session of the bearer token, or of `{refreshToken}` when the body holds one (so that
//! a client whose access token has expired can log out too), 204.
//!
//! Refusals (401): `token_missing`, `token_invalid`, `token_expired`, `session_revoked`.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::bearer::header_token;
use super::json::MaybeJson;
use super::openapi::problems;
use super::problem::Problem;
use super::state::AppState;

/// Whose session ends when not that of the bearer token.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Logout)]
pub(super) struct Body {
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    refresh_token: Option<SecretString>,
}

problems!(Problems, [TOKEN, BODY]);

/// Ends a session.
#[utoipa::path(
    post,
    path = "/auth/logout",
    tag = "accounts",
    security(("bearer" = [])),
    request_body = Option<Body>,
    responses((status = 204, description = "It is over."), Problems)
)]
pub(super) async fn logout(
    State(state): State<AppState>,
    headers: HeaderMap,
    MaybeJson(body): MaybeJson<Body>,
) -> Result<StatusCode, Problem> {
    let user = if let Some(refresh_token) = body.and_then(|body| body.refresh_token) {
        state.auth.logout_refresh(&refresh_token).await?
    } else {
        let token = header_token(&headers).ok_or_else(Problem::no_token)?;
        state.auth.logout(&token).await?
    };
    state.spaces.hints().user_changed(user);
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn a_session_ends_by_its_access_token() {
        let bench = Bench::new();
        let ann = bench.ann().await;
        let token = ann["token"].as_str();
        let answer = bench.call("POST", "/auth/logout", &Bench::bearer(token), "").await;
        assert_eq!((answer.status, answer.body), (204, json!(null)));
        assert_eq!(bench.hints.take(), [format!("user {}", ann["user"]["id"].as_str().expect("an id"))]);
        bench.get("/profile", token).await.is_problem(401, "session_revoked");
        bench.post("/auth/logout", token, &json!({})).await.is_problem(401, "session_revoked");
        let body = json!({"refreshToken": ann["refreshToken"]});
        bench.post("/auth/refresh", None, &body).await.is_problem(401, "session_revoked");
    }

    #[tokio::test]
    async fn a_session_ends_by_its_refresh_token() {
        let bench = Bench::new();
        let ann = bench.ann().await;
        bench.clock.forward_s(3_600);
        bench.post("/auth/logout", ann["token"].as_str(), &json!({})).await.is_problem(401, "token_expired");
        let body = json!({"refreshToken": ann["refreshToken"]});
        bench.post("/auth/logout", ann["token"].as_str(), &body).await.is(204);
        bench.post("/auth/refresh", None, &body).await.is_problem(401, "session_revoked");
    }

    #[tokio::test]
    async fn a_device_token_ends_as_well() {
        let bench = Bench::new();
        bench.ann().await;
        let body = json!({"email": "ann@example.com", "password": "correct horse"});
        let device = bench.post("/login", None, &body).await.is(200);
        let token = device["token"].as_str();
        bench.post("/auth/logout", token, &json!({})).await.is(204);
        bench.get("/profile", token).await.is_problem(401, "session_revoked");
    }

    #[tokio::test]
    async fn nobody_cannot_log_out() {
        let bench = Bench::new();
        for body in ["", " \n", "{}", "{\"refreshToken\":null}"] {
            bench.call("POST", "/auth/logout", &[], body).await.is_problem(401, "token_missing");
        }
        bench.post("/auth/logout", None, &json!({"refreshToken": 7})).await.is_problem(400, "bad_request");
        bench.call("POST", "/auth/logout", &[], "nonsense").await.is_problem(400, "bad_request");
        bench
            .post("/auth/logout", None, &json!({"refreshToken": "x"}))
            .await
            .is_problem(401, "token_invalid");
    }
}
