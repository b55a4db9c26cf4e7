//! `GET /profile`: the account of the bearer token, `{id, email, fullName, providers}`.
//!
//! Refusals (401): `token_missing`, `token_invalid`, `token_expired`, `session_revoked`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::answer::{self, PublicUser};
use super::bearer::Bearer;
use super::openapi::problems;
use super::problem::Problem;
use super::state::AppState;

problems!(Problems, [TOKEN]);

/// Shows one's account.
#[utoipa::path(
    get,
    path = "/profile",
    tag = "accounts",
    security(("bearer" = [])),
    responses((status = 200, description = "The account.", body = PublicUser), Problems)
)]
pub(super) async fn profile(
    State(state): State<AppState>,
    Bearer(token): Bearer,
) -> Result<Response, Problem> {
    let (user, ways_in) = state.auth.profile(&token).await?;
    Ok(answer::private(StatusCode::OK, &PublicUser::new(&user, &ways_in)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn the_owner_of_a_token_is_shown() {
        let bench = Bench::new();
        let ann = bench.ann().await;
        let profile = bench.get("/profile", ann["token"].as_str()).await.is(200);
        assert_eq!(
            profile,
            json!({"id": ann["user"]["id"], "email": "ann@example.com", "emailVerified": false, "fullName": null, "providers": ["email"]})
        );
        assert_eq!(profile, ann["user"]);
    }

    #[tokio::test]
    async fn without_a_good_token_nobody_is_shown() {
        let bench = Bench::new();
        let ann = bench.ann().await;
        let token = ann["token"].as_str().expect("a token");
        bench.get("/profile", None).await.is_problem(401, "token_missing");
        bench.get(&format!("/profile?token={token}"), None).await.is_problem(401, "token_missing");
        for bad in ["x", "ldt_x", ann["refreshToken"].as_str().expect("a token")] {
            bench.get("/profile", Some(bad)).await.is_problem(401, "token_invalid");
        }
        bench.clock.forward_s(905);
        bench.get("/profile", Some(token)).await.is_problem(401, "token_expired");
    }
}
