//! Accounts over a real socket, as clients use them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use lattice_auth::{AuthService, Keys, PasswordCost, Passwords};
use lattice_server::http;
use lattice_server::http::state::AppState;
use lattice_server::readiness::Readiness;
use lattice_server::spaces::{NoHints, Spaces};
use lattice_store::spaces::NoSink;
use lattice_store::sqlite::{SqliteOptions, SqliteStore};
use lattice_store::time::{Clock, SystemRandom};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use utoipa_axum::router::OpenApiRouter;

const EMAIL: &str = "ann@example.com";
const PASSWORD: &str = "correct horse";
const DAY_S: i64 = 24 * 3_600;

#[derive(Default)]
struct TestClock(AtomicI64);

impl TestClock {
    fn forward_s(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now_us(&self) -> i64 {
        1_800_000_000_000_000 + self.0.load(Ordering::SeqCst)
    }
}

/// A server on a folder. Dropping it is the end of the process, as far as the folder can tell.
struct Server {
    address: SocketAddr,
    auth: Arc<AuthService>,
    agent: ureq::Agent,
    store: SqliteStore,
    runtime: tokio::runtime::Runtime,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<tokio::task::JoinHandle<()>>,
}

impl Server {
    fn start(folder: &Path, clock: &Arc<TestClock>) -> Self {
        Self::with_keys(folder, clock, Keys::load_or_create(folder, &SystemRandom).expect("keys"))
    }

    fn with_secrets(folder: &Path, clock: &Arc<TestClock>, current: &str, previous: Option<&str>) -> Self {
        let previous = previous.map(Into::into);
        Self::with_keys(folder, clock, Keys::from_secrets(&current.into(), previous.as_ref()).expect("keys"))
    }

    fn with_keys(folder: &Path, clock: &Arc<TestClock>, keys: Keys) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let random = Arc::new(SystemRandom);
        let path = folder.join("lattice.db");
        let (sink, options) = (Arc::new(NoSink), SqliteOptions::default());
        let store =
            SqliteStore::open(&path, options, sink, clock.clone(), random.clone()).expect("a database");
        let accounts = Arc::new(store.clone());
        let cheap = PasswordCost { memory_kib: 8, passes: 1, lanes: 1 };
        let passwords = Passwords::new(cheap).expect("allowed");
        let auth =
            Arc::new(AuthService::new(accounts.clone(), keys, passwords, clock.clone(), random.clone()));
        let spaces = Arc::new(Spaces::new(Arc::new(store.clone()), Arc::new(NoHints), clock.clone(), random));
        let router = http::router(
            AppState::new(Arc::clone(&auth), Arc::new(Readiness::new(accounts)), spaces),
            OpenApiRouter::new(),
        );

        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move {
            let _ = stopped.await;
        };
        let serving = runtime.spawn(async move {
            axum::serve(listener, router).with_graceful_shutdown(stopped).await.expect("served");
        });
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        Self { address, auth, agent, store, runtime, stop: Some(stop), serving: Some(serving) }
    }

    fn stop(mut self) {
        drop(self.stop.take());
        // Connections that are kept alive would hold the server.
        self.agent = ureq::Agent::new_with_defaults();
        let serving = self.serving.take().expect("it serves until now");
        self.runtime.block_on(async {
            serving.await.expect("served");
            self.store.close().await;
        });
    }

    fn post(&self, path: &str, token: Option<&str>, body: &Value) -> (u16, Value) {
        self.post_text(path, token, &body.to_string())
    }

    fn post_text(&self, path: &str, token: Option<&str>, body: &str) -> (u16, Value) {
        let mut request = self.agent.post(format!("http://{}{path}", self.address));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        read(request.header("content-type", "application/json").send(body).expect("an answer"))
    }

    fn get(&self, path: &str, token: Option<&str>) -> (u16, Value) {
        let mut request = self.agent.get(format!("http://{}{path}", self.address));
        if let Some(token) = token {
            request = request.header("authorization", format!("bearer {token}"));
        }
        read(request.call().expect("an answer"))
    }

    fn ann(&self) -> Value {
        let (status, answer) = self.post("/auth/signup", None, &credentials(PASSWORD));
        assert_eq!(status, 201, "{answer}");
        answer
    }

    /// The code of what a token is refused with.
    fn refusal(&self, token: &str) -> (u16, String) {
        code(self.get("/profile", Some(token)))
    }
}

/// Status and body; a refusal must be a problem document.
fn read(mut response: ureq::http::Response<ureq::Body>) -> (u16, Value) {
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type").map(|kind| kind.to_str().expect("text").to_owned());
    let text = response.body_mut().read_to_string().expect("a body");
    let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") };
    if status >= 400 {
        assert_eq!(kind.as_deref(), Some("application/problem+json"), "{text}");
        assert_eq!(body["status"], json!(status));
        assert!(
            body["code"].is_string() && body["detail"].is_string() && body["title"].is_string(),
            "{text}"
        );
        assert!(!text.contains(PASSWORD) && !text.contains("wrong horse"), "{text}");
    }
    (status, body)
}

fn code((status, body): (u16, Value)) -> (u16, String) {
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

fn credentials(password: &str) -> Value {
    json!({"email": EMAIL, "password": password})
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

fn folder_and_clock() -> (tempfile::TempDir, Arc<TestClock>) {
    (tempfile::tempdir().expect("a folder"), Arc::new(TestClock::default()))
}

#[test]
fn the_life_of_a_session() {
    let (folder, clock) = folder_and_clock();
    let server = Server::start(folder.path(), &clock);
    assert_eq!(server.get("/healthz", None).0, 200);
    assert_eq!(server.get("/readyz", None).0, 200);

    let ann = server.ann();
    assert_eq!(
        code(server.post("/auth/signup", None, &credentials("another horse"))),
        refused(409, "email_taken")
    );
    assert_eq!(
        code(server.post("/register", None, &credentials("another horse"))),
        refused(409, "email_taken")
    );

    let (status, profile) = server.get("/profile", Some(text(&ann, "token")));
    assert_eq!((status, &profile), (200, &ann["user"]));
    assert_eq!(code(server.get("/profile", None)), refused(401, "token_missing"));

    let (status, login) = server.post("/auth/login", None, &credentials(PASSWORD));
    assert_eq!((status, &login["user"]), (200, &ann["user"]));

    clock.forward_s(905);
    assert_eq!(server.refusal(text(&login, "accessToken")), refused(401, "token_expired"));
    let spent = json!({"refreshToken": login["refreshToken"]});
    let (status, refreshed) = server.post("/auth/refresh", None, &spent);
    assert_eq!((status, &refreshed["expiresIn"]), (200, &json!(900)));
    assert_eq!(server.get("/profile", Some(text(&refreshed, "accessToken"))).0, 200);

    assert_eq!(server.post("/auth/logout", Some(text(&refreshed, "token")), &Value::Null).0, 400);
    assert_eq!(server.post_text("/auth/logout", Some(text(&refreshed, "token")), ""), (204, Value::Null));
    assert_eq!(server.refusal(text(&refreshed, "token")), refused(401, "session_revoked"));
    let next = json!({"refreshToken": refreshed["refreshToken"]});
    assert_eq!(code(server.post("/auth/refresh", None, &next)), refused(401, "session_revoked"));
    let of_ann = json!({"refreshToken": ann["refreshToken"]});
    assert_eq!(server.post("/auth/refresh", None, &of_ann).0, 200, "the other session lives on");
    server.stop();
}

#[test]
fn a_stolen_refresh_token_ends_the_session() {
    let (folder, clock) = folder_and_clock();
    let server = Server::start(folder.path(), &clock);
    let ann = server.ann();
    let stolen = json!({"refreshToken": ann["refreshToken"]});
    let (status, owner) = server.post("/auth/refresh", None, &stolen);
    assert_eq!(status, 200);
    let (status, again) = server.post("/auth/refresh", None, &stolen);
    assert_eq!((status, &again["refreshToken"]), (200, &owner["refreshToken"]), "an answer may be lost");
    clock.forward_s(60);
    assert_eq!(code(server.post("/auth/refresh", None, &stolen)), refused(401, "refresh_reused"));
    assert_eq!(server.refusal(text(&owner, "token")), refused(401, "session_revoked"));
    server.stop();
}

#[test]
fn upstream_s_clients_hold_one_token_for_thirty_days() {
    let (folder, clock) = folder_and_clock();
    let server = Server::start(folder.path(), &clock);
    let (status, registered) = server.post("/register", None, &credentials(PASSWORD));
    assert_eq!(status, 200);
    let (status, login) = server.post("/login", None, &credentials(PASSWORD));
    assert_eq!((status, &login["user"]), (200, &registered["user"]));
    assert_eq!(
        code(server.post("/login", None, &credentials("wrong horse"))),
        refused(401, "invalid_credentials")
    );

    clock.forward_s(29 * DAY_S);
    for answer in [&registered, &login] {
        assert_eq!(server.get("/profile", Some(text(answer, "token"))).1, registered["user"]);
    }
    assert_eq!(server.post_text("/auth/logout", Some(text(&login, "token")), "").0, 204);
    assert_eq!(server.refusal(text(&login, "token")), refused(401, "session_revoked"));
    clock.forward_s(DAY_S);
    assert_eq!(server.refusal(text(&registered, "token")), refused(401, "token_expired"));
    server.stop();
}

#[test]
fn a_restart_with_the_same_folder_keeps_tokens_valid() {
    let (folder, clock) = folder_and_clock();
    let server = Server::start(folder.path(), &clock);
    let ann = server.ann();
    let (_, device) = server.post("/login", None, &credentials(PASSWORD));
    let keys = server.get("/.well-known/jwks.json", None).1;
    server.stop();

    let server = Server::start(folder.path(), &clock);
    assert_eq!(server.get("/.well-known/jwks.json", None).1, keys);
    for token in [text(&ann, "token"), text(&device, "token")] {
        assert_eq!(server.get("/profile", Some(token)), (200, ann["user"].clone()));
    }
    let refresh = json!({"refreshToken": ann["refreshToken"]});
    assert_eq!(server.post("/auth/refresh", None, &refresh).0, 200);
    assert_eq!(server.post("/auth/login", None, &credentials(PASSWORD)).0, 200);
    server.stop();

    // The database without its keys: access tokens are void, everything else goes on.
    std::fs::remove_file(folder.path().join("keys.json")).expect("removed");
    let server = Server::start(folder.path(), &clock);
    assert_eq!(server.refusal(text(&ann, "token")), refused(401, "token_invalid"));
    assert_eq!(server.get("/profile", Some(text(&device, "token"))).0, 200);
    server.stop();
}

#[test]
fn a_secret_can_be_rotated() {
    let (folder, clock) = folder_and_clock();
    let (old, new) = ("o".repeat(32), "n".repeat(32));
    let server = Server::with_secrets(folder.path(), &clock, &old, None);
    assert_eq!(server.get("/.well-known/jwks.json", None), (200, json!({"keys": []})));
    let ann = server.ann();
    server.stop();

    let server = Server::with_secrets(folder.path(), &clock, &new, Some(&old));
    assert_eq!(server.get("/profile", Some(text(&ann, "token"))).0, 200);
    let (_, login) = server.post("/auth/login", None, &credentials(PASSWORD));
    server.stop();

    let server = Server::with_secrets(folder.path(), &clock, &new, None);
    assert_eq!(server.refusal(text(&ann, "token")), refused(401, "token_invalid"));
    assert_eq!(server.get("/profile", Some(text(&login, "token"))).0, 200);
    server.stop();
}

#[test]
fn forged_tokens_are_refused() {
    let (folder, clock) = folder_and_clock();
    let server = Server::start(folder.path(), &clock);
    let ann = server.ann();
    let good = text(&ann, "token");
    let parts: Vec<&str> = good.split('.').collect();
    let decode = |part: &str| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
    };
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let (header, claims) = (decode(parts[0]), decode(parts[1]));
    assert_eq!(header["alg"], json!("EdDSA"));
    assert_eq!(claims["exp"].as_i64().zip(claims["iat"].as_i64()).map(|(exp, iat)| exp - iat), Some(900));

    for algorithm in ["none", "NONE", "HS256"] {
        let mut header = header.clone();
        header["alg"] = json!(algorithm);
        for signature in ["", parts[2]] {
            let forged = format!("{}.{}.{signature}", encode(&header), parts[1]);
            assert_eq!(server.refusal(&forged), refused(401, "token_invalid"), "{algorithm}");
        }
    }
    // The public key, from where everyone can read it, as a shared secret.
    let keys = server.get("/.well-known/jwks.json", None).1;
    let public = text(&keys["keys"][0], "x");
    let raw = URL_SAFE_NO_PAD.decode(public).expect("base64url");
    for secret in [public.as_bytes(), &raw] {
        let header =
            Header { kid: header["kid"].as_str().map(str::to_owned), ..Header::new(Algorithm::HS256) };
        let forged =
            jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret)).expect("signed");
        assert_eq!(server.refusal(&forged), refused(401, "token_invalid"));
    }
    // Another user in the claims.
    let mut claims = claims;
    claims["sub"] = json!("00000000-0000-4000-8000-000000000000");
    let forged = format!("{}.{}.{}", parts[0], encode(&claims), parts[2]);
    assert_eq!(server.refusal(&forged), refused(401, "token_invalid"));
    assert_eq!(server.get("/profile", Some(good)).0, 200, "the real one is good all the while");
    server.stop();
}

#[test]
fn an_unknown_address_costs_the_same_work() {
    let (folder, clock) = folder_and_clock();
    let server = Server::start(folder.path(), &clock);
    server.ann();
    for path in ["/auth/login", "/login"] {
        let mut answers = Vec::new();
        for email in [EMAIL, "nobody@example.com"] {
            let before = server.auth.passwords().hashes_computed();
            let answer = server.post(path, None, &json!({"email": email, "password": "wrong horse"}));
            answers.push((answer, server.auth.passwords().hashes_computed() - before));
        }
        assert_eq!(answers[0], answers[1]);
        assert_eq!((answers[0].0.0, answers[0].1), (401, 1));
    }
    server.stop();
}

#[test]
fn what_cannot_be_read_is_a_problem() {
    let (folder, clock) = folder_and_clock();
    let server = Server::start(folder.path(), &clock);
    let posts = ["/auth/signup", "/auth/login", "/auth/refresh", "/auth/logout", "/register", "/login"];
    for path in posts {
        for body in ["{", "[]", "\"x\"", "nonsense", "{\"email\":1,\"refreshToken\":1}"] {
            assert_eq!(
                code(server.post_text(path, None, body)),
                refused(400, "bad_request"),
                "{path} {body}"
            );
        }
        let large = format!("{{\"email\":\"{}\"}}", "a".repeat(http::MAX_BODY_BYTES));
        assert_eq!(code(server.post_text(path, None, &large)), refused(413, "body_too_large"), "{path}");
        assert_eq!(code(server.get(path, None)), refused(405, "method_not_allowed"), "{path}");
    }
    for path in ["/profile", "/healthz", "/readyz", "/.well-known/jwks.json"] {
        assert_eq!(code(server.post_text(path, None, "")), refused(405, "method_not_allowed"), "{path}");
    }
    assert_eq!(code(server.get("/nothing", None)), refused(404, "not_found"));
    server.stop();
}

#[test]
fn a_server_that_is_closing_takes_no_accounts() {
    let (folder, clock) = folder_and_clock();
    let server = Server::start(folder.path(), &clock);
    server.ann();
    server.runtime.block_on(server.store.close());
    assert_eq!(server.get("/healthz", None).0, 200);
    let (status, answer) =
        server.post("/auth/signup", None, &json!({"email": "bob@example.com", "password": PASSWORD}));
    assert_eq!((status, text(&answer, "code")), (503, "closing"));
    server.stop();
}

/// Everything that is logged while it lives, by whatever crate, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn no_log_line_holds_a_password_or_a_token() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .init();
    let (folder, clock) = folder_and_clock();
    let server = Server::start(folder.path(), &clock);
    let ann = server.ann();
    let (_, device) = server.post("/login", None, &credentials(PASSWORD));
    let refresh = json!({"refreshToken": ann["refreshToken"]});
    let (_, refreshed) = server.post("/auth/refresh", None, &refresh);
    server.get(&format!("/profile?token={}", text(&device, "token")), None);
    server.post("/auth/login", None, &credentials("wrong horse"));
    server.post_text(
        "/auth/login",
        None,
        &format!("{{\"email\":\"{EMAIL}\",\"password\":[\"{PASSWORD}\"]}}"),
    );
    clock.forward_s(60);
    assert_eq!(code(server.post("/auth/refresh", None, &refresh)), refused(401, "refresh_reused"));
    assert_eq!(server.refusal(text(&refreshed, "token")), refused(401, "session_revoked"));
    server.runtime.block_on(server.store.close());
    server.post("/auth/signup", None, &json!({"email": "bob@example.com", "password": PASSWORD}));
    server.stop();

    let log = String::from_utf8_lossy(&log.0.lock().expect("no panic")).into_owned();
    assert!(log.contains("a refresh token was used twice"), "the log is listened to");
    let tokens = [&ann, &device, &refreshed].map(|answer| text(answer, "token").to_owned());
    let refreshes = [&ann, &refreshed].map(|answer| text(answer, "refreshToken").to_owned());
    let others = [PASSWORD, "wrong horse", EMAIL, "argon2id$"].map(str::to_owned);
    for secret in tokens.iter().chain(&refreshes).chain(&others) {
        assert!(!log.contains(secret.as_str()), "the log holds {secret}");
    }
}
