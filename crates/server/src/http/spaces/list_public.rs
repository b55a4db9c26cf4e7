//! `GET /spaces/public`: spaces that every user reads.
//!
//! Refusals: `bad_query` (400).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use lattice_engine::SpaceId;

use super::SpacePage;
use crate::http::answer;
use crate::http::bearer::Caller;
use crate::http::openapi::problems;
use crate::http::page::{PageOf, PageQuery};
use crate::http::problem::Problem;
use crate::http::state::AppState;

problems!(Problems, [TOKEN, PAGE]);

/// Lists public spaces.
#[utoipa::path(
    get,
    path = "/spaces/public",
    tag = "spaces",
    security(("bearer" = [])),
    params(PageQuery),
    responses((status = 200, description = "A page of them.", body = SpacePage), Problems)
)]
pub(in crate::http) async fn list_public_spaces(
    State(state): State<AppState>,
    Caller(user): Caller,
    page: PageOf<SpaceId>,
) -> Result<Response, Problem> {
    let page = state.spaces.list_public(user, page.after, page.limit).await?;
    Ok(answer::private(StatusCode::OK, &SpacePage::from(page)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn everybody_finds_public_spaces() {
        let bench = Bench::new();
        let (ann, bob) = (bench.person("ann").await, bench.person("bob").await);
        bench.space(&ann, "shared").await;
        let mut expected = [bench.space(&ann, "public").await, bench.space(&bob, "public").await];
        expected.sort();
        let first = bench.get("/spaces/public?limit=1", Some(&bob.token)).await.is(200);
        let next = first["next"].as_str().expect("more");
        let second =
            bench.get(&format!("/spaces/public?limit=1&after={next}"), Some(&bob.token)).await.is(200);
        assert_eq!(second["next"], json!(null));
        let found = [&first, &second]
            .map(|page| format!("/spaces/{}", page["spaces"][0]["id"].as_str().expect("an id")));
        assert_eq!(found, expected);
        bench.get("/spaces/public", None).await.is_problem(401, "token_missing");
    }
}
