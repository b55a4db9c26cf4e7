//! `PATCH /spaces/{space} {name?, archived?}`: renames a space, archives it or takes it out of the archive. For its owner.
//!
//! Refusals: `space_not_found` (404), `forbidden` (403), `private_space` (409), `bad_name` (422).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use lattice_store::directory::SpaceChange;
use serde::Deserialize;
use utoipa::ToSchema;

use super::SpaceView;
use crate::http::answer;
use crate::http::bearer::Caller;
use crate::http::json::Json;
use crate::http::openapi::problems;
use crate::http::path::InSpace;
use crate::http::problem::Problem;
use crate::http::state::AppState;

/// What changes; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[schema(as = SpaceChange)]
pub(in crate::http) struct Change {
    /// 1 to 200 characters, none of them a control character.
    #[serde(default)]
    #[schema(max_length = 200, min_length = 1)]
    name: Option<String>,
    /// Whether it takes no changes.
    #[serde(default)]
    archived: Option<bool>,
}

problems!(Problems, [TOKEN, BODY, OWNER], 422 "bad_name");

/// Changes a space.
#[utoipa::path(
    patch,
    path = "/spaces/{space}",
    tag = "spaces",
    security(("bearer" = [])),
    params(("space" = String, Path, description = "`me`, or the id of a space.")),
    request_body = Change,
    responses((status = 200, description = "The space as it is now.", body = SpaceView), Problems)
)]
pub(in crate::http) async fn change_space(
    State(state): State<AppState>,
    Caller(user): Caller,
    InSpace(space): InSpace,
    Json(Change { name, archived }): Json<Change>,
) -> Result<Response, Problem> {
    let entry = state.spaces.change(user, space, SpaceChange { name, archived }).await?;
    Ok(answer::private(StatusCode::OK, &SpaceView::from(entry)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn the_owner_renames_and_archives() {
        let bench = Bench::new();
        let (ann, bob) = (bench.person("ann").await, bench.person("bob").await);
        let space = bench.space(&ann, "shared").await;
        bench.hints.take();
        bench.is_hidden("PATCH", &space, "", &bob, &json!({"name": "x"})).await;
        bench.join(&space, &ann, &bob, "editor").await;
        bench.ask(&bob, "PATCH", &space, &json!({"name": "x"})).await.is_problem(403, "forbidden");
        assert!(bench.hints.take().is_empty(), "nothing has changed");
        let renamed = bench.ask(&ann, "PATCH", &space, &json!({"name": "Routes"})).await.is(200);
        assert_eq!((&renamed["name"], &renamed["archived"]), (&json!("Routes"), &json!(false)));
        let archived = bench.ask(&ann, "PATCH", &space, &json!({"archived": true})).await.is(200);
        assert_eq!((&archived["name"], &archived["archivedAt"]), (&json!("Routes"), &json!(1_800_000_000.0)));
        assert_eq!(bench.hints.take(), vec![space[1..].replace("spaces/", "space "); 2]);
        let back = bench.ask(&ann, "PATCH", &space, &json!({"archived": false})).await.is(200);
        assert_eq!(back["archived"], json!(false));
        bench.ask(&ann, "PATCH", &space, &json!({"name": ""})).await.is_problem(422, "bad_name");
        bench.ask(&ann, "PATCH", "/spaces/me", &json!({"name": "x"})).await.is_problem(409, "private_space");
    }
}
