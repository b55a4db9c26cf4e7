//! `POST /spaces/{space}/leave`: one is a member no more, 204.
//!
//! Refusals: `space_not_found`, `member_not_found` (404; one merely reads the public space), `private_space`, `is_owner`
//! (409).

use axum::extract::State;
use axum::http::StatusCode;

use crate::http::bearer::Caller;
use crate::http::openapi::problems;
use crate::http::path::InSpace;
use crate::http::problem::Problem;
use crate::http::state::AppState;

problems!(Problems, [TOKEN, SPACE], 404 "member_not_found", 409 "private_space", 409 "is_owner");

/// Leaves a space.
#[utoipa::path(
    post,
    path = "/spaces/{space}/leave",
    tag = "spaces",
    security(("bearer" = [])),
    params(("space" = String, Path, description = "`me`, or the id of a space.")),
    responses((status = 204, description = "One is a member no more."), Problems)
)]
pub(in crate::http) async fn leave_space(
    State(state): State<AppState>,
    Caller(user): Caller,
    InSpace(space): InSpace,
) -> Result<StatusCode, Problem> {
    state.spaces.leave(user, space).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn everybody_but_the_owner_leaves() {
        let bench = Bench::new();
        let (ann, bob) = (bench.person("ann").await, bench.person("bob").await);
        let (shared, public) = (bench.space(&ann, "shared").await, bench.space(&ann, "public").await);
        bench.is_hidden("POST", &shared, "/leave", &bob, &Value::Null).await;
        bench.join(&shared, &ann, &bob, "viewer").await;
        bench.ask(&bob, "POST", &format!("{shared}/leave"), &Value::Null).await.is(204);
        assert_eq!(bench.hints.take(), [shared[1..].replace("spaces/", "space ")]);
        bench.is_hidden("POST", &shared, "/leave", &bob, &Value::Null).await;
        bench
            .ask(&bob, "POST", &format!("{public}/leave"), &Value::Null)
            .await
            .is_problem(404, "member_not_found");
        bench.ask(&ann, "POST", &format!("{shared}/leave"), &Value::Null).await.is_problem(409, "is_owner");
        bench.ask(&ann, "POST", "/spaces/me/leave", &Value::Null).await.is_problem(409, "private_space");
    }
}
