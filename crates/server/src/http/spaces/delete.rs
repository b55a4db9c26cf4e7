//! `DELETE /spaces/{space}`: deletes a space, 204. For its owner. From then on nobody sees it.
//!
//! Refusals: `space_not_found` (404), `forbidden` (403), `private_space` (409).

use axum::extract::State;
use axum::http::StatusCode;

use crate::http::bearer::Caller;
use crate::http::openapi::problems;
use crate::http::path::InSpace;
use crate::http::problem::Problem;
use crate::http::state::AppState;

problems!(Problems, [TOKEN, OWNER]);

/// Deletes a space.
#[utoipa::path(
    delete,
    path = "/spaces/{space}",
    tag = "spaces",
    security(("bearer" = [])),
    params(("space" = String, Path, description = "`me`, or the id of a space.")),
    responses((status = 204, description = "It is gone."), Problems)
)]
pub(in crate::http) async fn delete_space(
    State(state): State<AppState>,
    Caller(user): Caller,
    InSpace(space): InSpace,
) -> Result<StatusCode, Problem> {
    state.spaces.delete(user, space).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn a_deleted_space_is_like_one_that_never_was() {
        let bench = Bench::new();
        let (ann, bob) = (bench.person("ann").await, bench.person("bob").await);
        let space = bench.space(&ann, "public").await;
        bench.join(&space, &ann, &bob, "editor").await;
        bench.ask(&bob, "DELETE", &space, &Value::Null).await.is_problem(403, "forbidden");
        bench.ask(&ann, "DELETE", "/spaces/me", &Value::Null).await.is_problem(409, "private_space");
        let answer = bench.ask(&ann, "DELETE", &space, &Value::Null).await;
        assert_eq!((answer.status, answer.body), (204, json!(null)));
        assert_eq!(bench.hints.take(), [space[1..].replace("spaces/", "space ")]);
        for (method, rest) in [("GET", ""), ("DELETE", ""), ("GET", "/members"), ("GET", "/policy")] {
            bench.is_hidden(method, &space, rest, &ann, &Value::Null).await;
            bench.is_hidden(method, &space, rest, &bob, &Value::Null).await;
        }
        assert_eq!(bench.spaces.purge().await, Ok(4), "two members, an invite, and the space itself");
        assert_eq!(bench.spaces.purge().await, Ok(0));
    }
}
