//! `POST /spaces {name, kind}`: makes a shared or public space, 201.
//!
//! Refusals: `bad_name` (422), `too_many_spaces` (409).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use lattice_store::directory::SpaceKind;
use serde::Deserialize;
use utoipa::ToSchema;

use super::SpaceView;
use crate::http::answer;
use crate::http::bearer::Caller;
use crate::http::json::Json;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::state::AppState;

/// What a space can be made as: a private one is there by itself.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum NewKind {
    /// Its members see it.
    Shared,
    /// Every user reads it.
    Public,
}

/// A space to be made.
#[derive(Deserialize, ToSchema)]
pub(in crate::http) struct NewSpace {
    /// 1 to 200 characters, none of them a control character.
    #[schema(max_length = 200, min_length = 1)]
    name: String,
    kind: NewKind,
}

problems!(Problems, [TOKEN, BODY], 422 "bad_name", 409 "too_many_spaces");

/// Makes a space.
#[utoipa::path(
    post,
    path = "/spaces",
    tag = "spaces",
    security(("bearer" = [])),
    request_body = NewSpace,
    responses((status = 201, description = "The space.", body = SpaceView), Problems)
)]
pub(in crate::http) async fn create_space(
    State(state): State<AppState>,
    Caller(user): Caller,
    Json(NewSpace { name, kind }): Json<NewSpace>,
) -> Result<Response, Problem> {
    let kind = match kind {
        NewKind::Shared => SpaceKind::Shared,
        NewKind::Public => SpaceKind::Public,
    };
    let entry = state.spaces.create(user, kind, &name).await?;
    Ok(answer::private(StatusCode::CREATED, &SpaceView::from(entry)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn a_space_is_made_by_its_owner() {
        let bench = Bench::new();
        let ann = bench.person("ann").await;
        let answer =
            bench.post("/spaces", Some(&ann.token), &json!({"name": " Trips é ", "kind": "shared"})).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let space = answer.is(201);
        let id = space["id"].as_str().expect("an id").to_owned();
        assert_eq!(
            space,
            json!({"id": id, "kind": "shared", "name": "Trips é", "role": "owner", "archived": false,
                   "archivedAt": null, "createdAt": 1_800_000_000.0})
        );
        assert_eq!(bench.get(&format!("/spaces/{id}"), Some(&ann.token)).await.is(200), space);
        assert_eq!(bench.hints.take(), [format!("user {}", ann.id)]);
    }

    #[tokio::test]
    async fn refusals_have_codes() {
        let bench = Bench::new();
        let ann = bench.person("ann").await;
        for (body, status, code) in [
            (json!({"name": "", "kind": "shared"}), 422, "bad_name"),
            (json!({"name": " \n", "kind": "shared"}), 422, "bad_name"),
            (json!({"name": "a\u{7}", "kind": "shared"}), 422, "bad_name"),
            (json!({"name": "a\0b", "kind": "shared"}), 422, "bad_name"),
            (json!({"name": "é".repeat(201), "kind": "shared"}), 422, "bad_name"),
            (json!({"name": "x", "kind": "private"}), 400, "bad_request"),
            (json!({"kind": "shared"}), 400, "bad_request"),
        ] {
            bench.post("/spaces", Some(&ann.token), &body).await.is_problem(status, code);
        }
        let longest = json!({"name": "é".repeat(200), "kind": "public"});
        bench.post("/spaces", Some(&ann.token), &longest).await.is(201);
        bench.post("/spaces", None, &longest).await.is_problem(401, "token_missing");
    }

    #[tokio::test]
    async fn a_user_owns_so_many_and_no_more() {
        let bench = Bench::new();
        let ann = bench.person("ann").await;
        let id = ann.id.replace('-', "");
        bench
            .sqlite
            .write(move |transaction| {
                transaction.execute_batch(&format!(
                    "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 999)
                     INSERT INTO space (no, id, kind, owner, rules, created_us)
                       SELECT 1000 + n, randomblob(16), 'shared', x'{id}', 'field', 0 FROM n;
                     INSERT INTO member SELECT no, owner, id, 'owner', 0 FROM space WHERE no > 1000;"
                ))?;
                Ok(())
            })
            .await
            .expect("999 spaces");
        let body = json!({"name": "x", "kind": "shared"});
        bench.post("/spaces", Some(&ann.token), &body).await.is(201);
        bench.post("/spaces", Some(&ann.token), &body).await.is_problem(409, "too_many_spaces");
    }
}
