//! `GET /spaces/{space}/access-log`: who came and went, who changed what may be done, and who was refused; the last event first.
//! For the owner.
//!
//! Refusals: `space_not_found` (404), `forbidden` (403), `bad_query` (400).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use lattice_store::access_log::{EventCursor, EventQuery};

use crate::http::access_log::EventPage;
use crate::http::answer;
use crate::http::bearer::Caller;
use crate::http::openapi::problems;
use crate::http::page::{PageOf, PageQuery};
use crate::http::path::InSpace;
use crate::http::problem::Problem;
use crate::http::state::AppState;

problems!(Problems, [TOKEN, PAGE, SPACE], 403 "forbidden");

/// Lists what happened with the rights in a space.
#[utoipa::path(
    get,
    path = "/spaces/{space}/access-log",
    tag = "spaces",
    security(("bearer" = [])),
    params(("space" = String, Path, description = "`me`, or the id of a space."), PageQuery),
    responses((status = 200, description = "A page of it.", body = EventPage), Problems)
)]
pub(in crate::http) async fn list_events(
    State(state): State<AppState>,
    Caller(actor): Caller,
    InSpace(space): InSpace,
    page: PageOf<EventCursor>,
) -> Result<Response, Problem> {
    let space = state.spaces.owned(actor, space).await?;
    let query =
        EventQuery { space: Some(space), after: page.after, limit: page.limit, ..EventQuery::default() };
    let events = state.auth.access_events(query).await?;
    Ok(answer::private(StatusCode::OK, &EventPage::for_user(events, actor)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::http::testing::{Bench, kinds};

    #[tokio::test]
    async fn the_owner_sees_who_may_do_what_and_who_was_refused() {
        let bench = Bench::new();
        let (ann, bob, cat) =
            (bench.person("ann").await, bench.person("bob").await, bench.person("cat").await);
        let space = bench.space(&ann, "shared").await;
        bench.join(&space, &ann, &bob, "editor").await;
        let member = format!("{space}/members/{}", bob.id);
        bench.ask(&ann, "PATCH", &member, &json!({"role": "viewer"})).await.is(204);
        bench.ask(&bob, "PATCH", &member, &json!({"role": "editor"})).await.is_problem(403, "forbidden");
        bench.ask(&cat, "DELETE", &space, &Value::Null).await.is_problem(404, "space_not_found");
        bench.ask(&ann, "DELETE", &member, &Value::Null).await.is(204);
        let path = format!("{space}/access-log");
        let page = bench.get(&path, Some(&ann.token)).await.is(200);
        assert_eq!(
            kinds(&page),
            [
                "access_refused",
                "access_refused",
                "invite_accepted",
                "invite_created",
                "member_removed",
                "role_changed",
                "space_created",
            ]
        );
        let events = page["events"].as_array().expect("events");
        let changed = events.iter().find(|event| event["kind"] == "role_changed").expect("an event");
        assert_eq!(changed["detail"], json!({"role": "viewer"}));
        assert_eq!((&changed["actorId"], &changed["subjectId"]), (&json!(ann.id), &json!(bob.id)));
        let refused = events.iter().find(|event| event["actorId"] == json!(cat.id)).expect("an event");
        assert_eq!(
            (&refused["code"], &refused["detail"]["asked"], &refused["sessionId"]),
            (&json!("space_not_found"), &json!("space_deleted"), &json!(null))
        );
        // Others see no more than that it is there, or not even that.
        bench.join(&space, &ann, &bob, "editor").await;
        bench.get(&path, Some(&bob.token)).await.is_problem(403, "forbidden");
        bench.is_hidden("GET", &space, "/access-log", &cat, &Value::Null).await;
        bench.get("/spaces/me/access-log", Some(&cat.token)).await.is(200);
    }
}
