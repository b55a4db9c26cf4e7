//! `GET /profile/access-log`: what happened with one's account, and what one did that changes rights; the last event first.
//!
//! Refusals: `bad_query` (400).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use lattice_store::access_log::{AccessEvent, EventCursor, EventQuery};
use lattice_store::accounts::UserId;
use lattice_store::directory::Page;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer;
use super::bearer::Caller;
use super::openapi::problems;
use super::page::{Cursor, PageOf, PageQuery, uuid};
use super::problem::Problem;
use super::spaces::seconds;
use super::state::AppState;

/// An event of the access log.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AccessEvent)]
pub(crate) struct EventView {
    /// The event's own id.
    #[schema(format = "uuid")]
    id: String,
    /// When it was, in seconds since 1970.
    at: f64,
    /// What it was; README.md has the names.
    kind: String,
    /// Why it was refused or came to an end; null when it was done as asked.
    #[schema(required)]
    code: Option<String>,
    /// Who did it; null while that is not known.
    #[schema(required, format = "uuid")]
    actor_id: Option<String>,
    /// Whose account or membership it is about, where that is not the actor's.
    #[schema(required, format = "uuid")]
    subject_id: Option<String>,
    /// The space that it is about.
    #[schema(required, format = "uuid")]
    space_id: Option<String>,
    /// The session, for whoever has it.
    #[schema(required, format = "uuid")]
    session_id: Option<String>,
    /// The network address, for whoever it is theirs; null when the account of whoever had it is gone.
    #[schema(required)]
    address: Option<String>,
    /// What the client calls itself, likewise.
    #[schema(required)]
    user_agent: Option<String>,
    /// More about it.
    #[schema(required, value_type = Option<Object>)]
    detail: Option<Box<serde_json::value::RawValue>>,
}

impl EventView {
    /// The event as this user may see it: where others come from is nobody's business, but where somebody comes from who tries
    /// to get into an account is its owner's.
    pub(crate) fn for_user(event: AccessEvent, viewer: UserId) -> Self {
        let own = event.actor.or(event.subject) == Some(viewer);
        Self::of(event, own)
    }

    /// The event with all that is known of it, for operators.
    pub(crate) fn whole(event: AccessEvent) -> Self {
        Self::of(event, true)
    }

    fn of(event: AccessEvent, with_origin: bool) -> Self {
        Self {
            id: uuid(&event.id),
            at: seconds(event.at_us),
            kind: event.kind,
            code: event.code,
            actor_id: event.actor.map(|user| user.to_string()),
            subject_id: event.subject.map(|user| user.to_string()),
            space_id: event.space.map(|space| uuid(&space.0)),
            session_id: event.session.filter(|_| with_origin).map(|session| session.to_string()),
            address: event.address.filter(|_| with_origin),
            user_agent: event.user_agent.filter(|_| with_origin),
            detail: event.detail.and_then(|detail| serde_json::value::RawValue::from_string(detail).ok()),
        }
    }
}

/// Events, and where the list goes on.
#[derive(Serialize, ToSchema)]
pub(super) struct EventPage {
    events: Vec<EventView>,
    /// `after` of the next page; null at the end.
    #[schema(required)]
    next: Option<String>,
}

impl EventPage {
    pub(super) fn for_user(page: Page<AccessEvent, EventCursor>, viewer: UserId) -> Self {
        Self {
            next: page.next.map(|next| next.write()),
            events: page.items.into_iter().map(|event| EventView::for_user(event, viewer)).collect(),
        }
    }
}

problems!(Problems, [TOKEN, PAGE]);

/// Lists what happened with one's account.
#[utoipa::path(
    get,
    path = "/profile/access-log",
    tag = "accounts",
    security(("bearer" = [])),
    params(PageQuery),
    responses((status = 200, description = "A page of it.", body = EventPage), Problems)
)]
pub(super) async fn list_own_events(
    State(state): State<AppState>,
    Caller(user): Caller,
    page: PageOf<EventCursor>,
) -> Result<Response, Problem> {
    let query =
        EventQuery { user: Some(user), after: page.after, limit: page.limit, ..EventQuery::default() };
    let events = state.auth.access_events(query).await?;
    Ok(answer::private(StatusCode::OK, &EventPage::for_user(events, user)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::http::testing::{Bench, kinds};

    #[tokio::test]
    async fn one_sees_what_happened_with_one_s_account_and_no_other_s() {
        let bench = Bench::new();
        let (ann, bob) = (bench.person("ann").await, bench.person("bob").await);
        let wrong = json!({"email": "ann@example.com", "password": "a wrong guess"});
        let headers = [("user-agent", "Trips/3".to_owned())];
        bench
            .call("POST", "/auth/login", &headers, &wrong.to_string())
            .await
            .is_problem(401, "invalid_credentials");
        let nobody = json!({"email": "a wrong guess@example.com", "password": "correct horse"});
        bench.post("/auth/login", None, &nobody).await.is_problem(401, "invalid_credentials");
        bench.clock.forward_s(1);
        let space = bench.space(&ann, "shared").await;
        bench.join(&space, &ann, &bob, "editor").await;
        let page = bench.get("/profile/access-log", Some(&ann.token)).await.is(200);
        assert_eq!(
            kinds(&page),
            ["invite_created", "sign_in", "sign_in_failed", "sign_up", "space_created", "token_used"]
        );
        let failed = find(&page, "sign_in_failed");
        assert_eq!(
            failed,
            json!({
                "id": failed["id"], "at": 1_800_000_000.0, "kind": "sign_in_failed", "code": "invalid_credentials",
                "actorId": null, "subjectId": ann.id, "spaceId": null, "sessionId": null, "address": null,
                "userAgent": "Trips/3", "detail": null,
            })
        );
        let made = find(&page, "invite_created");
        assert_eq!((&made["spaceId"], &made["actorId"]), (&json!(space["/spaces/".len()..]), &json!(ann.id)));
        let of_bob = bench.get("/profile/access-log", Some(&bob.token)).await.is(200);
        assert_eq!(kinds(&of_bob), ["invite_accepted", "sign_in", "sign_up", "token_used"]);
        assert!(!page.to_string().contains("wrong guess") && !page.to_string().contains("@example.com"));
        bench.get("/profile/access-log?after=x", Some(&ann.token)).await.is_problem(400, "bad_query");
        bench.get("/profile/access-log", None).await.is_problem(401, "token_missing");
    }

    fn find(page: &Value, kind: &str) -> Value {
        let events = page["events"].as_array().expect("events");
        events.iter().find(|event| event["kind"] == kind).expect("an event").clone()
    }

    #[tokio::test]
    async fn pages_follow_one_another() {
        let bench = Bench::new();
        let ann = bench.person("ann").await;
        for _ in 0..5 {
            bench.clock.forward_s(1);
            bench.log_in("ann").await;
        }
        let (mut times, mut path) = (Vec::new(), "/profile/access-log?limit=2".to_owned());
        loop {
            let page = bench.get(&path, Some(&ann.token)).await.is(200);
            let events = page["events"].as_array().expect("events");
            assert!(events.len() <= 2);
            times.extend(events.iter().map(|event| event["at"].as_f64().expect("a time")));
            let Some(next) = page["next"].as_str() else { break };
            path = format!("/profile/access-log?limit=2&after={next}");
        }
        // Five more sign-ins, the first one, the sign-up, and that the token is used.
        assert_eq!(times.len(), 8);
        assert!(times.is_sorted_by(|one, other| one >= other), "{times:?}");
    }
}
