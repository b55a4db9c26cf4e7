//! `GET /spaces/{space}`: a space as one sees it.
//!
//! Refusals: `space_not_found` (404).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::SpaceView;
use crate::http::answer;
use crate::http::bearer::Caller;
use crate::http::openapi::problems;
use crate::http::path::InSpace;
use crate::http::problem::Problem;
use crate::http::state::AppState;

problems!(Problems, [TOKEN, SPACE]);

/// Shows a space.
#[utoipa::path(
    get,
    path = "/spaces/{space}",
    tag = "spaces",
    security(("bearer" = [])),
    params(("space" = String, Path, description = "`me`, or the id of a space.")),
    responses((status = 200, description = "The space.", body = SpaceView), Problems)
)]
pub(in crate::http) async fn show_space(
    State(state): State<AppState>,
    Caller(user): Caller,
    InSpace(space): InSpace,
) -> Result<Response, Problem> {
    let entry = state.spaces.show(user, space).await?;
    Ok(answer::private(StatusCode::OK, &SpaceView::from(entry)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn one_sees_what_is_shared_with_one() {
        let bench = Bench::new();
        let (ann, bob) = (bench.person("ann").await, bench.person("bob").await);
        let (shared, public) = (bench.space(&ann, "shared").await, bench.space(&ann, "public").await);
        bench.is_hidden("GET", &shared, "", &bob, &Value::Null).await;
        let seen = bench.get(&public, Some(&bob.token)).await.is(200);
        assert_eq!((&seen["role"], &seen["kind"]), (&json!("viewer"), &json!("public")));
        bench.join(&shared, &ann, &bob, "editor").await;
        assert_eq!(
            bench.get(&shared.to_uppercase().replace("/SPACES", "/spaces"), Some(&bob.token)).await.is(200)["role"],
            "editor"
        );
        let me = bench.get("/spaces/me", Some(&ann.token)).await.is(200);
        let own = format!("/spaces/{}", me["id"].as_str().expect("an id"));
        assert_eq!(bench.get(&own, Some(&ann.token)).await.is(200), me);
        bench.is_hidden("GET", &own, "", &bob, &Value::Null).await;
    }
}
