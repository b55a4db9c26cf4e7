//! `GET /spaces/{space}/members`: who is a member, for members. E-mail addresses are the owner's to see.
//!
//! Refusals: `space_not_found` (404), `forbidden` (403) for those who merely read a public space, `private_space` (409),
//! `bad_query` (400).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use lattice_engine::Role;
use lattice_store::accounts::UserId;
use serde::Serialize;
use utoipa::ToSchema;

use super::{RoleName, seconds};
use crate::http::answer;
use crate::http::bearer::Caller;
use crate::http::openapi::problems;
use crate::http::page::{Cursor, PageOf, PageQuery};
use crate::http::path::InSpace;
use crate::http::problem::Problem;
use crate::http::state::AppState;

/// A member.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Member)]
struct MemberView {
    #[schema(format = "uuid")]
    user_id: String,
    role: RoleName,
    #[schema(required)]
    full_name: Option<String>,
    /// Null but for the owner.
    #[schema(required)]
    email: Option<String>,
    /// When they became a member, in seconds since 1970.
    since: f64,
}

/// Members, and where the list goes on.
#[derive(Serialize, ToSchema)]
struct MemberPage {
    members: Vec<MemberView>,
    /// `after` of the next page; null at the end.
    #[schema(required)]
    next: Option<String>,
}

problems!(Problems, [TOKEN, PAGE, OWNER]);

/// Lists members.
#[utoipa::path(
    get,
    path = "/spaces/{space}/members",
    tag = "spaces",
    security(("bearer" = [])),
    params(("space" = String, Path, description = "`me`, or the id of a space."), PageQuery),
    responses((status = 200, description = "A page of them.", body = MemberPage), Problems)
)]
pub(in crate::http) async fn list_members(
    State(state): State<AppState>,
    Caller(user): Caller,
    InSpace(space): InSpace,
    page: PageOf<UserId>,
) -> Result<Response, Problem> {
    let sees_addresses = state.spaces.access(user, space).await?.role == Role::Owner;
    let page = state.spaces.members(user, space, page.after, page.limit).await?;
    let members = page.items.into_iter().map(|member| MemberView {
        email: member.email.filter(|_| sees_addresses || member.user == user),
        user_id: member.user.to_string(),
        role: member.role.into(),
        full_name: member.full_name,
        since: seconds(member.since_us),
    });
    let answer = MemberPage { members: members.collect(), next: page.next.map(|next| next.write()) };
    Ok(answer::private(StatusCode::OK, &answer))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn members_list_members() {
        let bench = Bench::new();
        let (ann, bob, cat) =
            (bench.person("ann").await, bench.person("bob").await, bench.person("cat").await);
        let space = bench.space(&ann, "public").await;
        bench.join(&space, &ann, &bob, "viewer").await;
        let path = format!("{space}/members");
        let seen = bench.get(&path, Some(&ann.token)).await.is(200);
        let mut expected = [(&ann, "owner", "ann@example.com"), (&bob, "viewer", "bob@example.com")];
        expected.sort_by_key(|(who, ..)| who.id.clone());
        let expected = expected.map(|(who, role, email)| {
            json!({"userId": who.id, "role": role, "fullName": null, "email": email, "since": 1_800_000_000.0})
        });
        assert_eq!(seen, json!({"members": expected, "next": null}));
        let seen = bench.get(&path, Some(&bob.token)).await.is(200);
        for member in seen["members"].as_array().expect("members") {
            let own = member["userId"] == json!(bob.id);
            assert_eq!(member["email"], if own { json!("bob@example.com") } else { Value::Null });
        }
        bench.get(&path, Some(&cat.token)).await.is_problem(403, "forbidden");
        bench.get("/spaces/me/members", Some(&ann.token)).await.is_problem(409, "private_space");
        let shared = bench.space(&ann, "shared").await;
        bench.is_hidden("GET", &shared, "/members", &cat, &Value::Null).await;
        let first = bench.get(&format!("{path}?limit=1"), Some(&ann.token)).await.is(200);
        let next = first["next"].as_str().expect("more");
        let second = bench.get(&format!("{path}?limit=1&after={next}"), Some(&ann.token)).await.is(200);
        assert_eq!(json!([first["members"][0], second["members"][0]]), json!(expected));
    }
}
