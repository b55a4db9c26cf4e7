//! `POST /invites/accept {token}`: becomes a member by a link. For a member it changes nothing and uses nothing up.
//!
//! Refusals: `invite_not_found` (404): unknown, expired, revoked or used up; `too_many_members` (409).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::answer;
use crate::http::bearer::Caller;
use crate::http::json::Json;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::spaces::SpaceView;
use crate::http::state::AppState;

/// What a link holds.
#[derive(Deserialize, ToSchema)]
pub(in crate::http) struct LinkToken {
    #[schema(value_type = String, example = "lit_…")]
    token: SecretString,
}

problems!(Problems, [TOKEN, BODY], 404 "invite_not_found", 409 "too_many_members");

/// Accepts a link.
#[utoipa::path(
    post,
    path = "/invites/accept",
    tag = "invites",
    security(("bearer" = [])),
    request_body = LinkToken,
    responses((status = 200, description = "The space, as one sees it now.", body = SpaceView), Problems)
)]
pub(in crate::http) async fn accept_link(
    State(state): State<AppState>,
    Caller(user): Caller,
    Json(LinkToken { token }): Json<LinkToken>,
) -> Result<Response, Problem> {
    let entry = state.spaces.accept_link(user, &token).await?;
    Ok(answer::private(StatusCode::OK, &SpaceView::from(entry)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn a_link_for_one_use_makes_one_member() {
        let bench = Bench::new();
        let (ann, bob, cat) =
            (bench.person("ann").await, bench.person("bob").await, bench.person("cat").await);
        let space = bench.space(&ann, "shared").await;
        bench.hints.take();
        let invite =
            bench.ask(&ann, "POST", &format!("{space}/invites"), &json!({"role": "editor"})).await.is(201);
        let link = json!({"token": invite["token"]});
        let accept = |who| bench.ask(who, "POST", "/invites/accept", &link);
        let seen = accept(&bob).await.is(200);
        assert_eq!(bench.hints.take(), [space[1..].replace("spaces/", "space "), format!("user {}", bob.id)]);
        assert_eq!((&seen["id"], &seen["role"]), (&invite["spaceId"], &json!("editor")));
        accept(&cat).await.is_problem(404, "invite_not_found");
        assert_eq!(accept(&bob).await.is(200), seen, "the same request is answered as the first time");
        assert_eq!(accept(&ann).await.is(200)["role"], "owner");
    }

    #[tokio::test]
    async fn other_tokens_are_no_invites() {
        let bench = Bench::new();
        let ann = bench.person("ann").await;
        for token in ["", "lit_", "lit_x", &ann.token, &format!("lit_{}", "A".repeat(43))] {
            let answer = bench.ask(&ann, "POST", "/invites/accept", &json!({"token": token})).await;
            answer.is_problem(404, "invite_not_found");
        }
        bench.ask(&ann, "POST", "/invites/accept", &json!({})).await.is_problem(400, "bad_request");
        bench.post("/invites/accept", None, &json!({"token": "x"})).await.is_problem(401, "token_missing");
    }
}
