//! `POST /auth/refresh {refreshToken}`: exchanges a refresh token for an access token and the next refresh token.
//!
//! A token that was exchanged less than a minute ago answers the same refresh token once more, for clients whose answer was
//! lost on the way.
//!
//! Refusals (401): `token_invalid`, `token_expired`, `session_revoked`; `refresh_reused`: exchanged before, the session is
//! revoked and its sockets are closed.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use lattice_auth::AuthError;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

use super::answer;
use super::client::{FromAddress, FromClient};
use super::json::Json;
use super::openapi::problems;
use super::problem::Problem;
use super::state::AppState;
use crate::limits::Class;

/// The part of a refresh token that stays the same for its session: the prefix, and 42 digits of base64 for its first half. The
/// 43rd holds bits of both halves.
const REFRESH_FAMILY_BYTES: usize = 4 + 42;

/// A refresh token.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RefreshToken {
    #[schema(value_type = String, example = "lrt_…")]
    refresh_token: SecretString,
}

problems!(Problems, [BODY], 401 "token_invalid", 401 "token_expired", 401 "session_revoked", 401 "refresh_reused", 429 "rate_limited", 503 "busy", 503 "closing");

/// Exchanges a refresh token.
#[utoipa::path(
    post,
    path = "/auth/refresh",
    tag = "accounts",
    request_body = RefreshToken,
    responses((status = 200, description = "Tokens.", body = answer::SessionAnswer), Problems)
)]
pub(super) async fn refresh(
    State(state): State<AppState>,
    FromClient(client): FromClient,
    FromAddress(address): FromAddress,
    Json(RefreshToken { refresh_token }): Json<RefreshToken>,
) -> Result<Response, Problem> {
    state.limits.address(Class::RefreshAddress, address).await?;
    // Whatever it was exchanged for, its beginning stays.
    let family = refresh_token.expose_secret().get(..REFRESH_FAMILY_BYTES).unwrap_or_default();
    state.limits.token(Class::RefreshSession, family).await?;
    let refreshed = state.auth.refresh(&refresh_token, client).await;
    if let Err(AuthError::RefreshReused(user)) = refreshed {
        state.spaces.hints().user_changed(user);
    }
    Ok(answer::session(StatusCode::OK, &refreshed?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn a_refresh_token_is_good_for_one_exchange() {
        let bench = Bench::new();
        let first = bench.ann().await;
        let body = json!({"refreshToken": first["refreshToken"]});
        let second = bench.post("/auth/refresh", None, &body).await.is(200);
        assert_eq!(second["user"], first["user"]);
        assert_ne!(second["refreshToken"], first["refreshToken"]);
        bench.get("/profile", second["token"].as_str()).await.is(200);
        let again = bench.post("/auth/refresh", None, &body).await.is(200);
        assert_eq!(again["refreshToken"], second["refreshToken"], "the first answer may have been lost");
        bench.clock.forward_s(60);
        bench.hints.take();
        bench.post("/auth/refresh", None, &body).await.is_problem(401, "refresh_reused");
        assert_eq!(bench.hints.take(), [format!("user {}", first["user"]["id"].as_str().expect("an id"))]);
        bench.post("/auth/refresh", None, &body).await.is_problem(401, "session_revoked");
        bench.get("/profile", second["token"].as_str()).await.is_problem(401, "session_revoked");
    }

    #[tokio::test]
    async fn other_tokens_are_refused() {
        let bench = Bench::new();
        let ann = bench.ann().await;
        for token in [json!(""), json!("lrt_x"), ann["token"].clone()] {
            bench
                .post("/auth/refresh", None, &json!({"refreshToken": token}))
                .await
                .is_problem(401, "token_invalid");
        }
        bench
            .post("/auth/refresh", None, &json!({"refresh_token": "x"}))
            .await
            .is_problem(400, "bad_request");
        bench.clock.forward_s(30 * 24 * 3_600);
        let body = json!({"refreshToken": ann["refreshToken"]});
        bench.post("/auth/refresh", None, &body).await.is_problem(401, "token_expired");
    }
}
