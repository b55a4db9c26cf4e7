//! What the tests of the endpoints share: the router on a database in a folder of its own, and a clock that stands still.

pub(super) mod captured;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use lattice_auth::{AuthService, Keys, PasswordCost, Passwords};
use lattice_engine::{SpaceId, WriterId};
use lattice_protocol::id::parse_uuid;
use lattice_protocol::{Code, EntryId, Incoming, Refused, Spelling};
use lattice_store::accounts::UserId;
use lattice_store::directory::Selector;
use lattice_store::spaces::{NoSink, Origin, SpaceStore, Upload};
use lattice_store::sqlite::{SqliteOptions, SqliteStore};
use lattice_store::time::{Clock, SystemRandom, random_id};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use utoipa_axum::router::OpenApiRouter;

use super::state::AppState;
use crate::audit::Recorder;
use crate::readiness::Readiness;
use crate::spaces::{AccessHints, Spaces};

/// Goes when it is told to.
pub(super) struct TestClock(AtomicI64);

impl TestClock {
    pub(super) fn forward_s(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now_us(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Keeps the hints that were given, as text, for tests to look at.
#[derive(Default)]
pub(super) struct RecordedHints(Mutex<Vec<String>>);

impl RecordedHints {
    /// What was told since the last time.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("a lock"))
    }
}

impl AccessHints for RecordedHints {
    fn access_changed(&self, space: SpaceId) {
        self.0.lock().expect("a lock").push(format!("space {}", super::page::uuid(&space.0)));
    }

    fn user_changed(&self, user: UserId) {
        self.0.lock().expect("a lock").push(format!("user {user}"));
    }
}

pub(super) struct Bench {
    pub(super) clock: Arc<TestClock>,
    pub(super) sqlite: SqliteStore,
    pub(super) hints: Arc<RecordedHints>,
    pub(super) auth: Arc<AuthService>,
    pub(super) spaces: Arc<Spaces>,
    pub(super) readiness: Arc<Readiness>,
    router: axum::Router,
    _folder: tempfile::TempDir,
}

/// The kinds of the events of a page, in alphabetical order.
pub(super) fn kinds(page: &Value) -> Vec<&str> {
    let events = page["events"].as_array().expect("events");
    let mut kinds: Vec<_> = events.iter().map(|event| event["kind"].as_str().expect("a kind")).collect();
    kinds.sort_unstable();
    kinds
}

/// Somebody who is logged in.
pub(super) struct Person {
    pub(super) token: String,
    pub(super) id: String,
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
    headers: HeaderMap,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(|auth| auth)
    }

    /// With accounts that are made otherwise.
    pub(super) fn with(change: impl FnOnce(AuthService) -> AuthService) -> Self {
        captured::start();
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(TestClock(AtomicI64::new(1_800_000_000_000_000)));
        let random = Arc::new(SystemRandom);
        let path = folder.path().join("lattice.db");
        let (sink, options) = (Arc::new(NoSink), SqliteOptions::default());
        let sqlite =
            SqliteStore::open(&path, options, sink, clock.clone(), random.clone()).expect("a new database");
        let store = Arc::new(sqlite.clone());
        let keys = Keys::load_or_create(folder.path(), &SystemRandom).expect("keys");
        let cheap = PasswordCost { memory_kib: 8, passes: 1, lanes: 1 };
        let passwords = Passwords::new(cheap).expect("allowed");
        let recorder = Recorder::new(store.clone(), clock.clone(), random.clone());
        tokio::spawn(recorder.clone().run(CancellationToken::new()));
        let auth = AuthService::new(store.clone(), keys, passwords, clock.clone(), random.clone());
        let auth = Arc::new(change(auth.with_audit(recorder.clone())));
        let hints = Arc::new(RecordedHints::default());
        let spaces = Spaces::new(store.clone(), hints.clone(), clock.clone(), random);
        let spaces = Arc::new(spaces.with_audit(recorder));
        let readiness = Arc::new(Readiness::new(store));
        let state = AppState::new(Arc::clone(&auth), Arc::clone(&readiness), Arc::clone(&spaces));
        let router = super::router(state, OpenApiRouter::new());
        let router = super::request_log::watch(router, Arc::new(SystemRandom), Arc::default());
        Self { clock, sqlite, hints, auth, spaces, readiness, router, _folder: folder }
    }

    /// Signs Ann up and says what she was answered.
    pub(super) async fn ann(&self) -> Value {
        self.sign_up("ann").await
    }

    async fn sign_up(&self, name: &str) -> Value {
        let body = json!({"email": format!("{name}@example.com"), "password": "correct horse"});
        self.post("/auth/signup", None, &body).await.is(201)
    }

    /// Signs somebody up.
    pub(super) async fn person(&self, name: &str) -> Person {
        let answer = self.sign_up(name).await;
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        Person { token: text(&answer["token"]), id: text(&answer["user"]["id"]) }
    }

    /// Somebody with an anonymous account.
    pub(super) async fn somebody(&self) -> Person {
        let answer = self.post("/auth/anonymous", None, &json!({})).await.is(201);
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        Person { token: text(&answer["token"]), id: text(&answer["user"]["id"]) }
    }

    /// Logs somebody in again.
    pub(super) async fn log_in(&self, name: &str) -> Person {
        let body = json!({"email": format!("{name}@example.com"), "password": "correct horse"});
        let answer = self.post("/auth/login", None, &body).await.is(200);
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        Person { token: text(&answer["token"]), id: text(&answer["user"]["id"]) }
    }

    /// A change of somebody that was refused: its id. Its content is `raw`.
    pub(super) async fn refused(&self, who: &Person, space: &str, raw: &'static str) -> String {
        let user = UserId::parse(&who.id).expect("an id");
        let selector =
            parse_uuid(&space["/spaces/".len()..]).map_or(Selector::Me, |(id, _)| Selector::Id(SpaceId(id)));
        let access = self.spaces.access(user, selector).await.expect("a space");
        let origin = Origin {
            writer: WriterId(random_id(&SystemRandom)),
            user: user.0,
            session: [0; 16],
            address: String::new(),
            user_agent: String::new(),
            opened_us: 0,
        };
        let id = random_id(&SystemRandom);
        let refused = Refused {
            ack: None,
            id: Some((EntryId(id), Spelling::default())),
            target: None,
            code: Code::BadValue,
            detail: "a test".into(),
            raw: bytes::Bytes::from_static(raw.as_bytes()),
        };
        let incoming = vec![Incoming::Refused(refused)];
        let upload = Upload {
            space: access.space,
            origin: Arc::new(origin),
            incoming,
            plain: true,
            echoes: false,
            read_only: false,
            applied: None,
            bytes: raw.len(),
        };
        let answer = self.sqlite.upload(upload).await.expect("the queue takes it");
        answer.await.expect("an answer").expect("it is stored");
        super::page::uuid(&id)
    }

    /// A space of somebody: its address.
    pub(super) async fn space(&self, owner: &Person, kind: &str) -> String {
        let body = json!({"name": "Trips", "kind": kind});
        let space = self.post("/spaces", Some(&owner.token), &body).await.is(201);
        format!("/spaces/{}", space["id"].as_str().expect("an id"))
    }

    /// Makes somebody a member of a space, and forgets the hints of it.
    pub(super) async fn join(&self, space: &str, owner: &Person, who: &Person, role: &str) {
        let body = json!({"role": role});
        let invite = self.post(&format!("{space}/invites"), Some(&owner.token), &body).await.is(201);
        let body = json!({"token": invite["token"]});
        self.post("/invites/accept", Some(&who.token), &body).await.is(200);
        self.hints.take();
    }

    /// What is answered to who may not see a space, whether there is one or not, must be the same to the byte.
    pub(super) async fn is_hidden(&self, method: &str, space: &str, rest: &str, who: &Person, body: &Value) {
        let headers = Self::bearer(Some(&who.token));
        let unknown = format!("/spaces/{}", UserId(random_id(&SystemRandom)));
        let mut bodies = Vec::new();
        for space in [space, &unknown, "/spaces/nonsense", "/spaces/%ff"] {
            let answer = self.call(method, &format!("{space}{rest}"), &headers, &body.to_string()).await;
            bodies.push((answer.status, answer.body.to_string()));
            answer.is_problem(404, "space_not_found");
        }
        assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:?}");
    }

    pub(super) fn bearer(token: Option<&str>) -> Vec<(&'static str, String)> {
        token.map(|token| ("authorization", format!("Bearer {token}"))).into_iter().collect()
    }

    pub(super) async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        self.call("GET", path, &Self::bearer(token), "").await
    }

    pub(super) async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> Answer {
        self.call("POST", path, &Self::bearer(token), &body.to_string()).await
    }

    /// A request of somebody with a body.
    pub(super) async fn ask(&self, who: &Person, method: &str, path: &str, body: &Value) -> Answer {
        self.call(method, path, &Self::bearer(Some(&who.token)), &body.to_string()).await
    }

    pub(super) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: &str,
    ) -> Answer {
        let id = super::page::uuid(&random_id(&SystemRandom));
        let mut request = Request::builder().method(method).uri(path).header("x-request-id", &id);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Body::from(body.to_owned())).expect("a request");
        let (parts, body) = self.router.clone().oneshot(request).await.expect("an answer").into_parts();
        let body = to_bytes(body, 1 << 20).await.expect("a body");
        let is_page =
            parts.headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
        let body = match &*body {
            [] => Value::Null,
            page if is_page => Value::String(String::from_utf8_lossy(page).into_owned()),
            body => serde_json::from_slice(body).expect("JSON"),
        };
        let answer = Answer { status: parts.status.as_u16(), body, headers: parts.headers };
        answer.is_logged(&id, method, headers);
        answer
    }
}

impl Answer {
    /// Whether the log has one line of it if it is a refusal, and none if it is not.
    #[track_caller]
    fn is_logged(&self, id: &str, method: &str, headers: &[(&str, String)]) {
        assert_eq!(self.header("x-request-id"), Some(id));
        let lines = captured::take(id);
        let of_refusals = lines.iter().filter(|line| line["target"] == super::request_log::TARGET);
        let lines: Vec<&Value> = of_refusals.collect();
        if self.status < 400 {
            assert_eq!(lines, [&Value::Null; 0], "nothing was refused");
            return;
        }
        let [line] = lines[..] else { panic!("one line for one refusal: {lines:?}") };
        let (fields, span) = (&line["fields"], &line["span"]);
        let code = fields["code"].as_str().expect("a code");
        assert_eq!((fields["status"].as_u64(), &span["method"]), (Some(self.status.into()), &json!(method)));
        assert!(self.body.is_string() || self.body["code"] == code, "{} {line}", self.body);
        assert_eq!(fields["reason"].is_string(), self.status == 500 || code == "not_ready", "{line}");
        assert!(code != "none" && fields["duration_ms"].is_u64(), "{line}");
        let route = span["route"].as_str().expect("a route");
        assert_eq!(route == "none", code == "not_found", "{line}");
        // Whoever has shown who they are is named.
        let known = headers.iter().any(|(name, _)| *name == "authorization") && self.status < 500;
        if known && ![401, 405].contains(&self.status) && route != "none" {
            assert!(span["user"].is_string() && span["session"].is_string(), "{line}");
        }
        // So is the space, where the address can be one's, seen or not.
        let shown = span["space"].is_string();
        assert!(!shown || route.contains("{space}"), "{line}");
        let asked = known && route.contains("{space}") && self.status != 401;
        assert!(shown || !asked || code == "space_not_found", "{line}");
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    /// The body, once the status is as expected.
    #[track_caller]
    pub(super) fn is(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }

    #[track_caller]
    pub(super) fn is_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{}", self.body);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.body["status"], json!(status));
        for key in ["type", "title", "detail"] {
            assert!(self.body[key].as_str().is_some_and(|text| !text.is_empty()), "{key}");
        }
    }
}
