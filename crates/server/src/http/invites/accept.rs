//! `POST /invites/{invite}/accept`: becomes a member by an invite for the e-mail address of one's account. For a member it
//! changes nothing and uses nothing up.
//!
//! Refusals: `email_unverified` (403) where the server sends mail and the address is not known to be one's own;
//! `invite_not_found` (404): unknown, another's, expired, revoked or used up; `too_many_members` (409).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::http::answer;
use crate::http::bearer::Caller;
use crate::http::openapi::problems;
use crate::http::path::OfInvite;
use crate::http::problem::Problem;
use crate::http::spaces::SpaceView;
use crate::http::state::AppState;

problems!(Problems, [TOKEN], 403 "email_unverified", 404 "invite_not_found", 409 "too_many_members");

/// Accepts an invite.
#[utoipa::path(
    post,
    path = "/invites/{invite}/accept",
    tag = "invites",
    security(("bearer" = [])),
    params(("invite" = String, Path, description = "The id of an invite for one's e-mail address.")),
    responses((status = 200, description = "The space, as one sees it now.", body = SpaceView), Problems)
)]
pub(in crate::http) async fn accept_invite(
    State(state): State<AppState>,
    Caller(user): Caller,
    OfInvite(invite): OfInvite,
) -> Result<Response, Problem> {
    state.auth.require_verified_email(user).await?;
    let entry = state.spaces.accept_invite(user, invite).await?;
    Ok(answer::private(StatusCode::OK, &SpaceView::from(entry)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn only_the_account_with_the_address_accepts() {
        let bench = Bench::new();
        let (ann, bob, cat) =
            (bench.person("ann").await, bench.person("bob").await, bench.person("cat").await);
        let space = bench.space(&ann, "shared").await;
        let path = format!("{space}/invites");
        let body = json!({"role": "viewer", "email": "bob@example.com"});
        let invite = bench.ask(&ann, "POST", &path, &body).await.is(201);
        let accept = format!("/invites/{}/accept", invite["id"].as_str().expect("an id"));
        bench.ask(&cat, "POST", &accept, &Value::Null).await.is_problem(404, "invite_not_found");
        bench.ask(&cat, "POST", "/invites/x/accept", &Value::Null).await.is_problem(404, "invite_not_found");
        let link = bench.ask(&ann, "POST", &path, &json!({"role": "viewer"})).await.is(201);
        let by_id = format!("/invites/{}/accept", link["id"].as_str().expect("an id"));
        bench.ask(&cat, "POST", &by_id, &Value::Null).await.is_problem(404, "invite_not_found");
        let seen = bench.ask(&bob, "POST", &accept, &Value::Null).await.is(200);
        assert_eq!(seen["role"], "viewer");
        assert_eq!(bench.ask(&bob, "POST", &accept, &Value::Null).await.is(200), seen);
        bench.call("POST", &accept, &[], "").await.is_problem(401, "token_missing");
    }
}
