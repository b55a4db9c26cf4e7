//! `POST /spaces/{space}/transfer {userId}`: makes another member the owner, and the owner an editor, 204.
//!
//! Refusals: `space_not_found`, `member_not_found` (404), `forbidden` (403), `private_space`, `too_many_spaces` (409; the
//! other one owns as many as one may).

use axum::extract::State;
use axum::http::StatusCode;
use lattice_store::accounts::UserId;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::bearer::Caller;
use crate::http::json::Json;
use crate::http::openapi::problems;
use crate::http::path::InSpace;
use crate::http::problem::Problem;
use crate::http::state::AppState;

/// Who becomes the owner.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct Transfer {
    /// The id of a member.
    user_id: String,
}

problems!(Problems, [TOKEN, BODY, OWNER], 404 "member_not_found", 409 "too_many_spaces");

/// Transfers ownership.
#[utoipa::path(
    post,
    path = "/spaces/{space}/transfer",
    tag = "spaces",
    security(("bearer" = [])),
    params(("space" = String, Path, description = "`me`, or the id of a space.")),
    request_body = Transfer,
    responses((status = 204, description = "They are the owner."), Problems)
)]
pub(in crate::http) async fn transfer_space(
    State(state): State<AppState>,
    Caller(actor): Caller,
    InSpace(space): InSpace,
    Json(Transfer { user_id }): Json<Transfer>,
) -> Result<StatusCode, Problem> {
    // What is no id is looked for like the id of nobody, after who asks was looked at: it tells nothing about the space.
    let to = UserId::parse(&user_id).unwrap_or(UserId([0; 16]));
    state.spaces.transfer(actor, space, to).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn ownership_goes_to_a_member() {
        let bench = Bench::new();
        let (ann, bob, cat) =
            (bench.person("ann").await, bench.person("bob").await, bench.person("cat").await);
        let space = bench.space(&ann, "shared").await;
        bench.join(&space, &ann, &bob, "viewer").await;
        let path = format!("{space}/transfer");
        let to_bob = json!({"userId": bob.id});
        bench.ask(&bob, "POST", &path, &to_bob).await.is_problem(403, "forbidden");
        bench.is_hidden("POST", &space, "/transfer", &cat, &to_bob).await;
        for nobody in [&cat.id[..], "nonsense", ""] {
            let body = json!({"userId": nobody});
            bench.ask(&ann, "POST", &path, &body).await.is_problem(404, "member_not_found");
        }
        assert!(bench.hints.take().is_empty());
        bench.ask(&ann, "POST", &path, &to_bob).await.is(204);
        assert_eq!(bench.hints.take(), [space[1..].replace("spaces/", "space ")]);
        assert_eq!(bench.get(&space, Some(&bob.token)).await.is(200)["role"], "owner");
        assert_eq!(bench.get(&space, Some(&ann.token)).await.is(200)["role"], "editor");
        bench.ask(&ann, "POST", &path, &to_bob).await.is_problem(403, "forbidden");
        bench.ask(&ann, "POST", "/spaces/me/transfer", &to_bob).await.is_problem(409, "private_space");
    }
}
