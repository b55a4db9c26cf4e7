//! `DELETE /spaces/{space}/members/{user}`: removes a member, 204. For the owner. A link that the member has may still be
//! open: revoke it as well.
//!
//! Refusals: `space_not_found`, `member_not_found` (404), `forbidden` (403), `private_space`, `is_owner` (409).

use axum::extract::State;
use axum::http::StatusCode;

use crate::http::bearer::Caller;
use crate::http::openapi::problems;
use crate::http::path::{InSpace, OfUser};
use crate::http::problem::Problem;
use crate::http::state::AppState;

problems!(Problems, [TOKEN, OWNER], 404 "member_not_found", 409 "is_owner");

/// Removes a member.
#[utoipa::path(
    delete,
    path = "/spaces/{space}/members/{user}",
    tag = "spaces",
    security(("bearer" = [])),
    params(
        ("space" = String, Path, description = "`me`, or the id of a space."),
        ("user" = String, Path, description = "The id of a member."),
    ),
    responses((status = 204, description = "They are a member no more."), Problems)
)]
pub(in crate::http) async fn remove_member(
    State(state): State<AppState>,
    Caller(actor): Caller,
    InSpace(space): InSpace,
    OfUser(user): OfUser,
) -> Result<StatusCode, Problem> {
    state.spaces.remove_member(actor, space, user).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn the_owner_removes_members() {
        let bench = Bench::new();
        let (ann, bob) = (bench.person("ann").await, bench.person("bob").await);
        let space = bench.space(&ann, "shared").await;
        bench.join(&space, &ann, &bob, "editor").await;
        let (of_bob, of_ann) = (format!("{space}/members/{}", bob.id), format!("{space}/members/{}", ann.id));
        bench.ask(&bob, "DELETE", &of_ann, &Value::Null).await.is_problem(403, "forbidden");
        bench.ask(&ann, "DELETE", &of_ann, &Value::Null).await.is_problem(409, "is_owner");
        bench.ask(&ann, "DELETE", &of_bob, &Value::Null).await.is(204);
        assert_eq!(bench.hints.take(), [space[1..].replace("spaces/", "space ")]);
        bench.ask(&ann, "DELETE", &of_bob, &Value::Null).await.is_problem(404, "member_not_found");
        bench.is_hidden("GET", &space, "", &bob, &Value::Null).await;
        bench.is_hidden("DELETE", &space, &format!("/members/{}", ann.id), &bob, &Value::Null).await;
    }
}
