//! `GET /invites`: open invites for the e-mail address of one's account.
//!
//! Refusals: `bad_query` (400).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use lattice_store::directory::InviteId;

use super::InvitePage;
use crate::http::answer;
use crate::http::bearer::Caller;
use crate::http::openapi::problems;
use crate::http::page::{PageOf, PageQuery};
use crate::http::problem::Problem;
use crate::http::state::AppState;

problems!(Problems, [TOKEN, PAGE], 403 "email_unverified");

/// Lists one's invites.
#[utoipa::path(
    get,
    path = "/invites",
    tag = "invites",
    security(("bearer" = [])),
    params(PageQuery),
    responses((status = 200, description = "A page of them.", body = InvitePage), Problems)
)]
pub(in crate::http) async fn list_own_invites(
    State(state): State<AppState>,
    Caller(user): Caller,
    page: PageOf<InviteId>,
) -> Result<Response, Problem> {
    state.auth.require_verified_email(user).await?;
    let page = state.spaces.invites_for(user, page.after, page.limit).await?;
    Ok(answer::private(StatusCode::OK, &InvitePage::from(page)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn one_sees_invites_for_one_s_address_alone() {
        let bench = Bench::new();
        let (ann, bob) = (bench.person("ann").await, bench.person("bob").await);
        let mut expected = Vec::new();
        for _ in 0..2 {
            let space = bench.space(&ann, "shared").await;
            let body = json!({"role": "viewer", "email": " BOB@example.com"});
            let mut made = bench.ask(&ann, "POST", &format!("{space}/invites"), &body).await.is(201);
            made.as_object_mut().expect("an object").remove("token");
            expected.push(made);
        }
        expected.sort_by_key(|invite| invite["id"].as_str().map(str::to_owned));
        let first = bench.get("/invites?limit=1", Some(&bob.token)).await.is(200);
        let after = first["next"].as_str().expect("more");
        let second = bench.get(&format!("/invites?limit=1&after={after}"), Some(&bob.token)).await.is(200);
        assert_eq!(json!([first["invites"][0], second["invites"][0]]), json!(expected));
        assert_eq!(second["next"], json!(null));
        let none = bench.get("/invites", Some(&ann.token)).await.is(200);
        assert_eq!(none, json!({"invites": [], "next": null}));
        bench.clock.forward_s(7 * 24 * 3_600);
        let bob = bench.log_in("bob").await;
        assert_eq!(bench.get("/invites", Some(&bob.token)).await.is(200)["invites"], json!([]));
        assert_eq!(bench.spaces.forget_invites().await, Ok(0));
        bench.clock.forward_s(24 * 3_600 + 1);
        assert_eq!(bench.spaces.forget_invites().await, Ok(2));
    }
}
