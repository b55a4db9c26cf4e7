//! `GET /spaces`: one's own spaces, the private one first, and those that one is a member of.
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

/// Lists one's spaces.
#[utoipa::path(
    get,
    path = "/spaces",
    tag = "spaces",
    security(("bearer" = [])),
    params(PageQuery),
    responses((status = 200, description = "A page of them.", body = SpacePage), Problems)
)]
pub(in crate::http) async fn list_spaces(
    State(state): State<AppState>,
    Caller(user): Caller,
    page: PageOf<SpaceId>,
) -> Result<Response, Problem> {
    let page = state.spaces.list(user, page.after, page.limit).await?;
    Ok(answer::private(StatusCode::OK, &SpacePage::from(page)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn the_private_space_comes_first_and_pages_follow() {
        let bench = Bench::new();
        let (ann, bob) = (bench.person("ann").await, bench.person("bob").await);
        let mut expected = Vec::new();
        for kind in ["shared", "public", "shared"] {
            expected.push(bench.space(&ann, kind).await);
        }
        let bobs = bench.space(&bob, "shared").await;
        bench.join(&bobs, &bob, &ann, "editor").await;
        expected.push(bobs);
        expected.sort();
        let mut path = "/spaces?limit=2".to_owned();
        let mut found = Vec::new();
        loop {
            let page = bench.get(&path, Some(&ann.token)).await.is(200);
            found.extend(page["spaces"].as_array().expect("spaces").clone());
            let Some(next) = page["next"].as_str() else { break };
            path = format!("/spaces?limit=2&after={next}");
        }
        assert_eq!((&found[0]["kind"], &found[0]["role"]), (&json!("private"), &json!("owner")));
        let ids: Vec<_> = found[1..]
            .iter()
            .map(|space| format!("/spaces/{}", space["id"].as_str().expect("an id")))
            .collect();
        assert_eq!(ids, expected);
        assert_eq!(found.iter().filter(|space| space["role"] == "editor").count(), 1);
        assert_eq!(bench.get("/spaces/me", Some(&ann.token)).await.is(200), found[0]);
    }

    #[tokio::test]
    async fn refusals_have_codes() {
        let bench = Bench::new();
        let ann = bench.person("ann").await;
        for query in ["limit=0", "limit=201", "after=x"] {
            let path = format!("/spaces?{query}");
            bench.get(&path, Some(&ann.token)).await.is_problem(400, "bad_query");
        }
        bench.get("/spaces", None).await.is_problem(401, "token_missing");
        bench.get("/spaces", Some("x")).await.is_problem(401, "token_invalid");
    }
}
