//! `PATCH /spaces/{space}/members/{user} {role}`: makes a member an editor or a viewer, 204. For the owner.
//!
//! Refusals: `space_not_found`, `member_not_found` (404), `forbidden` (403), `private_space`, `is_owner` (409).

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::GivenRole;
use crate::http::bearer::Caller;
use crate::http::json::Json;
use crate::http::openapi::problems;
use crate::http::path::{InSpace, OfUser};
use crate::http::problem::Problem;
use crate::http::state::AppState;

/// What a member becomes.
#[derive(Deserialize, ToSchema)]
pub(in crate::http) struct MemberChange {
    role: GivenRole,
}

problems!(Problems, [TOKEN, BODY, OWNER], 404 "member_not_found", 409 "is_owner");

/// Changes a member's role.
#[utoipa::path(
    patch,
    path = "/spaces/{space}/members/{user}",
    tag = "spaces",
    security(("bearer" = [])),
    params(
        ("space" = String, Path, description = "`me`, or the id of a space."),
        ("user" = String, Path, description = "The id of a member."),
    ),
    request_body = MemberChange,
    responses((status = 204, description = "They have the role."), Problems)
)]
pub(in crate::http) async fn set_member_role(
    State(state): State<AppState>,
    Caller(actor): Caller,
    InSpace(space): InSpace,
    OfUser(user): OfUser,
    Json(MemberChange { role }): Json<MemberChange>,
) -> Result<StatusCode, Problem> {
    state.spaces.set_role(actor, space, user, role.into()).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn the_owner_gives_roles() {
        let bench = Bench::new();
        let (ann, bob, cat) =
            (bench.person("ann").await, bench.person("bob").await, bench.person("cat").await);
        let space = bench.space(&ann, "shared").await;
        bench.join(&space, &ann, &bob, "viewer").await;
        let path = format!("{space}/members/{}", bob.id);
        let editor = json!({"role": "editor"});
        bench.ask(&bob, "PATCH", &path, &editor).await.is_problem(403, "forbidden");
        bench.is_hidden("PATCH", &space, &format!("/members/{}", bob.id), &cat, &editor).await;
        bench.ask(&ann, "PATCH", &path, &editor).await.is(204);
        assert_eq!(bench.hints.take(), [space[1..].replace("spaces/", "space ")]);
        assert_eq!(bench.get(&space, Some(&bob.token)).await.is(200)["role"], "editor");
        bench.ask(&ann, "PATCH", &path, &json!({"role": "owner"})).await.is_problem(400, "bad_request");
        let own = format!("{space}/members/{}", ann.id);
        bench.ask(&ann, "PATCH", &own, &editor).await.is_problem(409, "is_owner");
        for nobody in [&cat.id[..], "x"] {
            let path = format!("{space}/members/{nobody}");
            bench.ask(&ann, "PATCH", &path, &editor).await.is_problem(404, "member_not_found");
        }
        let path = format!("/spaces/me/members/{}", bob.id);
        bench.ask(&ann, "PATCH", &path, &editor).await.is_problem(409, "private_space");
    }
}
