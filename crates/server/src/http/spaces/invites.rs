//! `GET /spaces/{space}/invites`: open invites of a space, for its owner. Tokens are not among what is listed.
//!
//! Refusals: `space_not_found` (404), `forbidden` (403), `private_space` (409), `bad_query` (400).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use lattice_store::directory::InviteId;

use crate::http::answer;
use crate::http::bearer::Caller;
use crate::http::invites::InvitePage;
use crate::http::openapi::problems;
use crate::http::page::{PageOf, PageQuery};
use crate::http::path::InSpace;
use crate::http::problem::Problem;
use crate::http::state::AppState;

problems!(Problems, [TOKEN, PAGE, OWNER]);

/// Lists a space's invites.
#[utoipa::path(
    get,
    path = "/spaces/{space}/invites",
    tag = "invites",
    security(("bearer" = [])),
    params(("space" = String, Path, description = "`me`, or the id of a space."), PageQuery),
    responses((status = 200, description = "A page of them.", body = InvitePage), Problems)
)]
pub(in crate::http) async fn list_invites(
    State(state): State<AppState>,
    Caller(actor): Caller,
    InSpace(space): InSpace,
    page: PageOf<InviteId>,
) -> Result<Response, Problem> {
    let page = state.spaces.invites(actor, space, page.after, page.limit).await?;
    Ok(answer::private(StatusCode::OK, &InvitePage::from(page)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn the_owner_lists_open_invites() {
        let bench = Bench::new();
        let (ann, bob, cat) =
            (bench.person("ann").await, bench.person("bob").await, bench.person("cat").await);
        let space = bench.space(&ann, "shared").await;
        bench.join(&space, &ann, &bob, "editor").await;
        let path = format!("{space}/invites");
        assert_eq!(bench.get(&path, Some(&ann.token)).await.is(200)["invites"], json!([]), "it is used up");
        let made = bench.ask(&ann, "POST", &path, &json!({"role": "viewer"})).await.is(201);
        let listed = bench.get(&path, Some(&ann.token)).await.is(200);
        assert_eq!((&listed["invites"][0]["id"], &listed["next"]), (&made["id"], &Value::Null));
        bench.get(&path, Some(&bob.token)).await.is_problem(403, "forbidden");
        bench.is_hidden("GET", &space, "/invites", &cat, &Value::Null).await;
        bench.get("/spaces/me/invites", Some(&ann.token)).await.is_problem(409, "private_space");
        bench.get(&format!("{path}?limit=x"), Some(&ann.token)).await.is_problem(400, "bad_query");
    }
}
