//! `GET /spaces/{space}/refusals`: refused changes of everybody in a space, the last that arrived first. For the owner.
//!
//! Refusals: `space_not_found` (404), `forbidden` (403), `bad_query` (400).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use lattice_store::directory::RefusalCursor;

use crate::http::answer;
use crate::http::bearer::Caller;
use crate::http::openapi::problems;
use crate::http::page::{PageOf, PageQuery};
use crate::http::path::InSpace;
use crate::http::problem::Problem;
use crate::http::refusals::RefusalPage;
use crate::http::state::AppState;

problems!(Problems, [TOKEN, PAGE, SPACE], 403 "forbidden");

/// Lists a space's refused changes.
#[utoipa::path(
    get,
    path = "/spaces/{space}/refusals",
    tag = "sync",
    security(("bearer" = [])),
    params(("space" = String, Path, description = "`me`, or the id of a space."), PageQuery),
    responses((status = 200, description = "A page of them.", body = RefusalPage), Problems)
)]
pub(in crate::http) async fn list_refusals(
    State(state): State<AppState>,
    Caller(actor): Caller,
    InSpace(space): InSpace,
    page: PageOf<RefusalCursor>,
) -> Result<Response, Problem> {
    let page = state.spaces.refusals_in(actor, space, page.after, page.limit).await?;
    Ok(answer::private(StatusCode::OK, &RefusalPage::from(page)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn the_owner_finds_everybody_s() {
        let bench = Bench::new();
        let (ann, bob, cat) =
            (bench.person("ann").await, bench.person("bob").await, bench.person("cat").await);
        let space = bench.space(&ann, "shared").await;
        bench.join(&space, &ann, &bob, "editor").await;
        let of_bob = bench.refused(&bob, &space, "{}").await;
        let of_ann = bench.refused(&ann, &space, "{}").await;
        let at_home = bench.refused(&ann, "/spaces/me", "{}").await;
        let path = format!("{space}/refusals");
        let page = bench.get(&path, Some(&ann.token)).await.is(200);
        let found: Vec<_> = page["refusals"]
            .as_array()
            .expect("refusals")
            .iter()
            .map(|one| (&one["id"], &one["userId"]))
            .collect();
        assert_eq!(found, [(&json!(of_ann), &json!(ann.id)), (&json!(of_bob), &json!(bob.id))]);
        let own = bench.get("/spaces/me/refusals", Some(&ann.token)).await.is(200);
        assert_eq!(own["refusals"][0]["id"], json!(at_home));
        bench.get(&path, Some(&bob.token)).await.is_problem(403, "forbidden");
        bench.is_hidden("GET", &space, "/refusals", &cat, &Value::Null).await;
    }
}
