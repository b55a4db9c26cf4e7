//! `POST /spaces/{space}/invites {role, email?, maxUses?, expiresInSeconds?}`: invites the account with an e-mail address,
//! or without one makes a link, 201. The token of a link is answered this once. For the owner. An address has one invite to
//! a space: a second one takes the place of the first.
//!
//! Refusals: `space_not_found` (404), `forbidden` (403), `private_space`, `too_many_invites` (409), `bad_email`, `bad_invite`
//! (422).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::GivenRole;
use crate::http::answer;
use crate::http::bearer::Caller;
use crate::http::invites::MadeInvite;
use crate::http::json::Json;
use crate::http::openapi::problems;
use crate::http::path::InSpace;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::spaces::InviteRequest;

/// An invite to be made.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct NewInvite {
    /// What whoever accepts becomes.
    role: GivenRole,
    /// Whose account it is for; without it a link is made.
    #[serde(default)]
    email: Option<String>,
    /// How many may accept a link; 1 when nothing is said.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 10_000)]
    max_uses: Option<u32>,
    /// How long it lasts; a week when nothing is said.
    #[serde(default)]
    #[schema(minimum = 60, maximum = 7_776_000)]
    expires_in_seconds: Option<i64>,
}

problems!(Problems, [TOKEN, BODY, OWNER], 409 "too_many_invites", 422 "bad_email", 422 "bad_invite");

/// Makes an invite.
#[utoipa::path(
    post,
    path = "/spaces/{space}/invites",
    tag = "invites",
    security(("bearer" = [])),
    params(("space" = String, Path, description = "`me`, or the id of a space.")),
    request_body = NewInvite,
    responses((status = 201, description = "The invite, with the token of a link.", body = MadeInvite), Problems)
)]
pub(in crate::http) async fn create_invite(
    State(state): State<AppState>,
    Caller(actor): Caller,
    InSpace(space): InSpace,
    Json(new): Json<NewInvite>,
) -> Result<Response, Problem> {
    let request = InviteRequest {
        role: new.role.into(),
        email: new.email,
        max_uses: new.max_uses,
        life_s: new.expires_in_seconds,
    };
    let (invite, token) = state.spaces.invite(actor, space, request).await?;
    Ok(answer::private(StatusCode::CREATED, &MadeInvite::new(invite, token.as_ref())))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn the_owner_invites() {
        let bench = Bench::new();
        let (ann, bob, cat) =
            (bench.person("ann").await, bench.person("bob").await, bench.person("cat").await);
        let space = bench.space(&ann, "shared").await;
        bench.join(&space, &ann, &bob, "editor").await;
        let path = format!("{space}/invites");
        bench.ask(&bob, "POST", &path, &json!({"role": "viewer"})).await.is_problem(403, "forbidden");
        bench.is_hidden("POST", &space, "/invites", &cat, &json!({"role": "viewer"})).await;
        bench
            .ask(&ann, "POST", "/spaces/me/invites", &json!({"role": "viewer"}))
            .await
            .is_problem(409, "private_space");
        let body = json!({"role": "viewer", "maxUses": 3, "expiresInSeconds": 60});
        let answer = bench.ask(&ann, "POST", &path, &body).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let invite = answer.is(201);
        let token = invite["token"].as_str().expect("a token").to_owned();
        assert!(token.starts_with("lit_") && token.len() == 47);
        assert_eq!(
            invite,
            json!({"id": invite["id"], "spaceId": space["/spaces/".len()..], "spaceName": "Trips", "role": "viewer",
                   "email": null, "uses": 0, "maxUses": 3, "createdAt": 1_800_000_000.0,
                   "expiresAt": 1_800_000_060.0, "token": token})
        );
        let listed = bench.get(&path, Some(&ann.token)).await.is(200);
        assert!(!listed.to_string().contains("lit_"), "the token is shown once");
        let secret = token.clone();
        let stored: i64 = bench
            .sqlite
            .read(move |connection| {
                let sql =
                    "SELECT count(*) FROM invite WHERE instr(quote(token_hash) || ifnull(email, ''), ?1)";
                Ok(connection.query_row(sql, [secret], |row| row.get(0))?)
            })
            .await
            .expect("an answer");
        assert_eq!(stored, 0, "its hash is stored and nothing else");
        let body = json!({"role": "editor", "email": "Cat@example.com"});
        let invite = bench.ask(&ann, "POST", &path, &body).await.is(201);
        assert_eq!((&invite["email"], &invite["token"]), (&json!("cat@example.com"), &Value::Null));
    }

    #[tokio::test]
    async fn refusals_have_codes() {
        let bench = Bench::new();
        let ann = bench.person("ann").await;
        let path = format!("{}/invites", bench.space(&ann, "shared").await);
        for (body, status, code) in [
            (json!({"role": "owner"}), 400, "bad_request"),
            (json!({}), 400, "bad_request"),
            (json!({"role": "viewer", "email": "nobody"}), 422, "bad_email"),
            (json!({"role": "viewer", "maxUses": 0}), 422, "bad_invite"),
            (json!({"role": "viewer", "maxUses": 10_001}), 422, "bad_invite"),
            (json!({"role": "viewer", "maxUses": -1}), 400, "bad_request"),
            (json!({"role": "viewer", "expiresInSeconds": 59}), 422, "bad_invite"),
            (json!({"role": "viewer", "expiresInSeconds": 7_776_001}), 422, "bad_invite"),
            (json!({"role": "viewer", "expiresInSeconds": i64::MAX}), 422, "bad_invite"),
            (json!({"role": "viewer", "email": "bob@example.com", "maxUses": 2}), 422, "bad_invite"),
        ] {
            bench.ask(&ann, "POST", &path, &body).await.is_problem(status, code);
        }
    }
}
