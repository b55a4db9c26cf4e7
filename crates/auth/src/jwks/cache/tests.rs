//! The cache against an issuer that does what it is told, on a clock that stands still.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use lattice_store::BoxFuture;
use openidconnect::http::StatusCode;
use openidconnect::{HttpRequest, HttpResponse};
use serde_json::json;
use tokio::sync::Semaphore;

use super::*;
use crate::jwks::{FetchError, MAX_FRESH_S, MIN_FRESH_S};
use crate::testing::TestClock;

/// An issuer that answers what the test has put there, and counts.
struct FakeIssuer {
    answers: Mutex<VecDeque<Result<HttpResponse, FetchError>>>,
    asked: AtomicU64,
    addresses: Mutex<Vec<String>>,
    /// An answer takes a permit.
    gate: Semaphore,
}

impl HttpFetch for FakeIssuer {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, FetchError>> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            self.addresses.lock().expect("a lock").push(request.uri().to_string());
            self.gate.acquire().await.expect("open").forget();
            self.answers.lock().expect("a lock").pop_front().unwrap_or(Err(FetchError::Timeout))
        })
    }
}

struct Bench {
    issuer: Arc<FakeIssuer>,
    clock: Arc<TestClock>,
    cache: JwksCache,
}

impl Bench {
    fn new() -> Self {
        Self::at(JwksSource::Url("https://issuer.example/keys".parse().expect("an address")))
    }

    fn at(source: JwksSource) -> Self {
        let issuer = Arc::new(FakeIssuer {
            answers: Mutex::default(),
            asked: AtomicU64::new(0),
            addresses: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
        });
        let clock = Arc::new(TestClock::new(1_800_000_000_000_000));
        let cache = JwksCache::new(source, issuer.clone(), clock.clone());
        Self { issuer, clock, cache }
    }

    /// The next answer has these keys, fresh for so many seconds.
    fn next(&self, kids: &[&str], max_age_s: i64) {
        self.answer(200, key_set(kids), Some(format!("max-age={max_age_s}")));
    }

    fn answer(&self, status: u16, body: impl Into<Vec<u8>>, cache_control: Option<String>) {
        let mut answer = HttpResponse::new(body.into());
        *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
        if let Some(value) = cache_control {
            answer.headers_mut().insert("cache-control", value.parse().expect("a header"));
        }
        self.issuer.answers.lock().expect("a lock").push_back(Ok(answer));
    }

    fn asked(&self) -> u64 {
        self.issuer.asked.load(Ordering::SeqCst)
    }

    async fn find(&self, kid: &str) -> Result<(), AuthError> {
        self.cache.keys_for(&token(Some(kid))).await.map(drop)
    }

    /// Until whatever was started has landed.
    async fn settle(&self) {
        let flight = self.cache.0.lock().flight.clone();
        if let Some(flight) = flight {
            landed(flight).await;
        }
    }

    fn shut(&self) {
        self.issuer.gate.forget_permits(Semaphore::MAX_PERMITS);
    }
}

fn key_set(kids: &[&str]) -> String {
    let key = |kid: &&str| json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": "A".repeat(43)});
    json!({"keys": kids.iter().map(key).collect::<Vec<_>>()}).to_string()
}

fn token(kid: Option<&str>) -> String {
    use base64::Engine;
    let header = json!({"alg": "EdDSA", "kid": kid}).to_string();
    format!("{}.e30.AAAA", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(header))
}

#[tokio::test]
async fn the_issuer_is_asked_when_its_headers_say_so() {
    let bench = Bench::new();
    bench.next(&["a"], 1_000);
    for _ in 0..3 {
        assert_eq!(bench.find("a").await, Ok(()));
    }
    bench.clock.forward_s(799);
    assert_eq!(bench.find("a").await, Ok(()));
    assert_eq!(bench.asked(), 1);

    // Ahead of its time, and nobody waits for it: what is held serves until the answer is there.
    bench.next(&["b"], 1_000);
    bench.clock.forward_s(1);
    assert_eq!(bench.find("a").await, Ok(()));
    bench.settle().await;
    assert_eq!(bench.asked(), 2);
    assert_eq!(bench.find("b").await, Ok(()));

    // Nobody came while it was fresh: whoever comes next waits, and gets nothing old.
    bench.next(&["c"], 1_000);
    bench.clock.forward_s(1_000);
    assert_eq!(bench.find("c").await, Ok(()));
    assert_eq!(bench.asked(), 3);
    assert_eq!(bench.find("b").await, Err(AuthError::ProviderUnavailable), "asked once more, in vain");
}

#[tokio::test]
async fn what_headers_say_has_bounds() {
    let bench = Bench::new();
    bench.next(&["a"], 0);
    assert_eq!(bench.find("a").await, Ok(()));
    bench.clock.forward_s(MIN_FRESH_S * REFRESH_AHEAD_PERCENT / 100 - 1);
    assert_eq!(bench.find("a").await, Ok(()));
    assert_eq!(bench.asked(), 1);
    bench.next(&["b"], i64::MAX);
    bench.clock.forward_s(MIN_FRESH_S);
    assert_eq!(bench.find("b").await, Ok(()));
    bench.next(&["c"], 60);
    bench.clock.forward_s(MAX_FRESH_S);
    assert_eq!(bench.find("c").await, Ok(()));
    assert_eq!(bench.asked(), 3);
}

#[tokio::test]
async fn many_who_come_at_once_ask_once() {
    let bench = Bench::new();
    bench.shut();
    bench.next(&["a"], 600);
    let first: Vec<_> = (0..100).map(|_| spawn_find(&bench, "a")).collect();
    tokio::task::yield_now().await;
    bench.issuer.gate.add_permits(1);
    for one in first {
        assert_eq!(ended(one).await, Ok(()));
    }
    assert_eq!(bench.asked(), 1);

    bench.next(&["a", "b"], 600);
    let second: Vec<_> = (0..100).map(|_| spawn_find(&bench, "b")).collect();
    tokio::task::yield_now().await;
    bench.issuer.gate.add_permits(1);
    for one in second {
        assert_eq!(ended(one).await, Ok(()));
    }
    assert_eq!(bench.asked(), 2);
}

fn spawn_find(bench: &Bench, kid: &str) -> tokio::task::JoinHandle<Result<(), AuthError>> {
    let (cache, token) = (bench.cache.clone(), token(Some(kid)));
    tokio::spawn(async move { cache.keys_for(&token).await.map(drop) })
}

/// What a task says; one that waits for an answer that never comes is a failure.
async fn ended(task: tokio::task::JoinHandle<Result<(), AuthError>>) -> Result<(), AuthError> {
    let patience = std::time::Duration::from_secs(30);
    tokio::time::timeout(patience, task).await.expect("an end in time").expect("no panic")
}

#[tokio::test]
async fn who_leaves_takes_nothing_from_those_who_wait() {
    let bench = Bench::new();
    bench.shut();
    bench.next(&["a"], 600);
    let first = spawn_find(&bench, "a");
    let second = spawn_find(&bench, "a");
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.is_err());
    bench.issuer.gate.add_permits(1);
    assert_eq!(ended(second).await, Ok(()));
    assert_eq!(bench.asked(), 1);
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_once_in_a_while() {
    let bench = Bench::new();
    bench.next(&["a"], 86_400);
    bench.next(&["a"], 86_400);
    assert_eq!(bench.find("x").await, Err(AuthError::TokenInvalid));
    assert_eq!(bench.asked(), 2);
    bench.clock.forward_s(UNKNOWN_KEY_PAUSE_S - 1);
    for kid in ["x", "y", "z"] {
        assert_eq!(bench.find(kid).await, Err(AuthError::TokenInvalid));
    }
    assert_eq!(bench.asked(), 2, "names that somebody invents cost nothing");
    assert_eq!(bench.find("a").await, Ok(()));

    bench.clock.forward_s(1);
    bench.next(&["a", "x"], 86_400);
    assert_eq!(bench.find("x").await, Ok(()));
    assert_eq!(bench.asked(), 3);
}

#[tokio::test]
async fn a_key_that_was_withdrawn_is_unknown_from_then_on() {
    let bench = Bench::new();
    bench.next(&["a"], 86_400);
    assert_eq!(bench.find("a").await, Ok(()));
    bench.next(&["b"], 86_400);
    assert_eq!(bench.find("b").await, Ok(()));
    assert_eq!(bench.find("a").await, Err(AuthError::TokenInvalid));
}

#[tokio::test]
async fn an_answer_that_was_under_way_does_not_speak_for_a_newer_key() {
    let bench = Bench::new();
    bench.shut();
    bench.next(&["a"], 600);
    bench.next(&["a", "b"], 600);
    let look = spawn_find(&bench, "b");
    tokio::task::yield_now().await;
    bench.issuer.gate.add_permits(2);
    assert_eq!(ended(look).await, Ok(()));
    assert_eq!(bench.asked(), 2);
}

#[tokio::test]
async fn an_outage_is_lived_through_for_a_while() {
    let bench = Bench::new();
    bench.next(&["a"], 600);
    assert_eq!(bench.find("a").await, Ok(()));
    bench.clock.forward_s(600);
    assert_eq!(bench.find("a").await, Ok(()), "stale, and the issuer does not answer");
    assert_eq!(bench.asked(), 2);
    for _ in 0..10 {
        assert_eq!(bench.find("a").await, Ok(()));
    }
    assert_eq!(bench.asked(), 2, "who has failed is left alone for a moment");
    assert_eq!(bench.find("b").await, Err(AuthError::ProviderUnavailable), "perhaps the issuer knows it");

    bench.clock.forward_s(FAILURE_PAUSE_S);
    bench.shut();
    assert_eq!(bench.find("a").await, Ok(()), "and nobody waits for the next attempt");
    tokio::task::yield_now().await;
    assert_eq!(bench.asked(), 3);
    bench.issuer.gate.add_permits(1);
    bench.settle().await;

    bench.issuer.gate.add_permits(10);
    bench.clock.forward_s(MAX_STALE_S - FAILURE_PAUSE_S - 1);
    assert_eq!(bench.find("a").await, Ok(()));
    bench.settle().await;
    bench.clock.forward_s(1);
    assert_eq!(bench.find("a").await, Err(AuthError::ProviderUnavailable));
    bench.clock.forward_s(FAILURE_PAUSE_S);
    bench.next(&["a"], 600);
    assert_eq!(bench.find("a").await, Ok(()), "it is back");
}

#[tokio::test]
async fn answers_that_are_no_keys_are_failures() {
    let too_many: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let too_many: Vec<&str> = too_many.iter().map(String::as_str).collect();
    let answers = [
        (500, key_set(&["a"])),
        (404, key_set(&["a"])),
        (302, String::new()),
        (204, String::new()),
        (200, "<html>".to_owned()),
        (200, "[]".to_owned()),
        (200, r#"{"keys":[]}"#.to_owned()),
        (200, r#"{"keys":[{"kty":"oct","k":"AAAA","kid":"a"}]}"#.to_owned()),
        (200, key_set(&too_many)),
    ];
    for (status, body) in answers {
        let bench = Bench::new();
        bench.answer(status, body.clone(), None);
        assert_eq!(bench.find("a").await, Err(AuthError::ProviderUnavailable), "{status} {body}");
        bench.next(&["a"], 600);
        assert_eq!(bench.find("a").await, Err(AuthError::ProviderUnavailable), "left alone for a moment");
        assert_eq!(bench.asked(), 1);
        bench.clock.forward_s(FAILURE_PAUSE_S);
        assert_eq!(bench.find("a").await, Ok(()));
    }
}

#[tokio::test]
async fn a_clock_that_steps_back_does_not_keep_keys_forever() {
    let bench = Bench::new();
    bench.next(&["a"], 600);
    assert_eq!(bench.find("a").await, Ok(()));
    bench.clock.forward_s(-30);
    assert_eq!(bench.find("a").await, Ok(()));
    assert_eq!(bench.asked(), 1);
    bench.next(&["a"], 600);
    bench.clock.forward_s(-86_400);
    assert_eq!(bench.find("a").await, Ok(()));
    assert_eq!(bench.asked(), 2);
}

#[tokio::test]
async fn a_token_without_a_kid_asks_nobody_anew() {
    let bench = Bench::new();
    bench.next(&["a"], 600);
    assert!(bench.cache.keys_for(&token(None)).await.is_ok(), "there is one key");
    let bench = Bench::new();
    bench.next(&["a", "b"], 600);
    assert_eq!(bench.cache.keys_for(&token(None)).await.err(), Some(AuthError::TokenInvalid));
    assert_eq!(bench.cache.keys_for("no token").await.err(), Some(AuthError::TokenInvalid));
    assert_eq!(bench.find(&"k".repeat(300)).await, Err(AuthError::TokenInvalid));
    assert_eq!(bench.asked(), 1);
}

#[tokio::test]
async fn discovery_is_believed_where_it_is_about_the_issuer() {
    const ISSUER: &str = "https://issuer.example/tenant/";
    let document = |issuer: &str, keys: &str| json!({"issuer": issuer, "jwks_uri": keys}).to_string();
    let bench = Bench::at(JwksSource::Issuer(ISSUER.to_owned()));
    bench.answer(200, document(ISSUER, "https://keys.example/set"), None);
    bench.next(&["a"], 600);
    assert_eq!(bench.find("a").await, Ok(()));
    let addresses = bench.issuer.addresses.lock().expect("a lock").clone();
    let expected =
        ["https://issuer.example/tenant/.well-known/openid-configuration", "https://keys.example/set"];
    assert_eq!(addresses, expected);
    for (issuer, keys) in [
        ("https://issuer.example/tenant", "https://keys.example/set"),
        ("https://other.example", "https://keys.example/set"),
        (ISSUER, "http://keys.example/set"),
        (ISSUER, "http://127.0.0.1/set"),
        (ISSUER, "file:///etc/passwd"),
        (ISSUER, ""),
    ] {
        let bench = Bench::at(JwksSource::Issuer(ISSUER.to_owned()));
        bench.answer(200, document(issuer, keys), None);
        bench.next(&["a"], 600);
        assert_eq!(bench.find("a").await, Err(AuthError::ProviderUnavailable), "{issuer} {keys}");
        assert_eq!(bench.asked(), 1, "{issuer} {keys}");
    }
}
