//! What the tests of the endpoints share: the router on a database in a folder of its own, and a clock that stands still.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use lattice_auth::{AuthService, Keys, PasswordCost, Passwords};
use lattice_store::spaces::{CommitSink, Committed};
use lattice_store::sqlite::{SqliteOptions, SqliteStore};
use lattice_store::time::{Clock, SystemRandom};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::state::AppState;

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

struct Nobody;
impl CommitSink for Nobody {
    fn committed(&self, _: Committed) {}
}

pub(super) struct Bench {
    pub(super) clock: Arc<TestClock>,
    pub(super) sqlite: SqliteStore,
    router: axum::Router,
    _folder: tempfile::TempDir,
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
    headers: HeaderMap,
}

impl Bench {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(TestClock(AtomicI64::new(1_800_000_000_000_000)));
        let random = Arc::new(SystemRandom);
        let path = folder.path().join("lattice.db");
        let (sink, options) = (Arc::new(Nobody), SqliteOptions::default());
        let sqlite =
            SqliteStore::open(&path, options, sink, clock.clone(), random.clone()).expect("a new database");
        let store = Arc::new(sqlite.clone());
        let keys = Keys::load_or_create(folder.path(), &SystemRandom).expect("keys");
        let cheap = PasswordCost { memory_kib: 8, passes: 1, lanes: 1 };
        let passwords = Passwords::new(cheap).expect("allowed");
        let auth = AuthService::new(store.clone(), keys, passwords, clock.clone(), random);
        let router = super::router(AppState::new(Arc::new(auth), store), axum::Router::new());
        Self { clock, sqlite, router, _folder: folder }
    }

    /// Signs Ann up and says what she was answered.
    pub(super) async fn ann(&self) -> Value {
        let body = json!({"email": "ann@example.com", "password": "correct horse"});
        self.post("/auth/signup", None, &body).await.is(201)
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

    pub(super) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: &str,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Body::from(body.to_owned())).expect("a request");
        let (parts, body) = self.router.clone().oneshot(request).await.expect("an answer").into_parts();
        let body = to_bytes(body, 1 << 20).await.expect("a body");
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).expect("JSON") };
        Answer { status: parts.status.as_u16(), body, headers: parts.headers }
    }
}

impl Answer {
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
