//! `DELETE /spaces/{space}/invites/{invite}`: takes an invite back, 204. For the owner.
//!
//! Refusals: `space_not_found`, `invite_not_found` (404), `forbidden` (403), `private_space` (409).

use axum::extract::State;
use axum::http::StatusCode;

use crate::http::bearer::Caller;
use crate::http::openapi::problems;
use crate::http::path::{InSpace, OfInvite};
use crate::http::problem::Problem;
use crate::http::state::AppState;

problems!(Problems, [TOKEN, OWNER], 404 "invite_not_found");

/// Takes an invite back.
#[utoipa::path(
    delete,
    path = "/spaces/{space}/invites/{invite}",
    tag = "invites",
    security(("bearer" = [])),
    params(
        ("space" = String, Path, description = "`me`, or the id of a space."),
        ("invite" = String, Path, description = "The id of an invite."),
    ),
    responses((status = 204, description = "It is worth nothing."), Problems)
)]
pub(in crate::http) async fn revoke_invite(
    State(state): State<AppState>,
    Caller(actor): Caller,
    InSpace(space): InSpace,
    OfInvite(invite): OfInvite,
) -> Result<StatusCode, Problem> {
    state.spaces.revoke_invite(actor, space, invite).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn a_revoked_link_is_worth_nothing() {
        let bench = Bench::new();
        let (ann, bob) = (bench.person("ann").await, bench.person("bob").await);
        let space = bench.space(&ann, "shared").await;
        let made =
            bench.ask(&ann, "POST", &format!("{space}/invites"), &json!({"role": "viewer"})).await.is(201);
        let rest = format!("/invites/{}", made["id"].as_str().expect("an id"));
        let path = format!("{space}{rest}");
        bench.is_hidden("DELETE", &space, &rest, &bob, &Value::Null).await;
        bench.ask(&ann, "DELETE", &path, &Value::Null).await.is(204);
        bench.ask(&ann, "DELETE", &path, &Value::Null).await.is_problem(404, "invite_not_found");
        bench
            .ask(&ann, "DELETE", &format!("{space}/invites/x"), &Value::Null)
            .await
            .is_problem(404, "invite_not_found");
        let body = json!({"token": made["token"]});
        bench.ask(&bob, "POST", "/invites/accept", &body).await.is_problem(404, "invite_not_found");
    }
}
