//! Signing in by an identity provider, which is a process of its own, over real sockets: with ID tokens that apps bring, and with
//! browsers that go there and come back.

#[path = "../common/mod.rs"]
mod common;

mod browser;
mod id_tokens;
mod linking;

use std::time::UNIX_EPOCH;

use common::http::{self, post};
use common::server::TestServer;
use lattice_testkit::{IdToken, Issuer};
use serde_json::{Value, json};

/// How browsers are told to reach the server. Nobody asks there: the tests go to the server itself.
const PUBLIC_URL: &str = "http://127.0.0.1:1";
/// Where browsers may be sent.
const APP: &str = "https://app.example.com/in";

/// A server whose people sign in by `corp`, with more settings.
fn start_with(issuer: &Issuer, provider: &Value, more: &[(&str, &str)]) -> TestServer {
    let mut all = json!({
        "name": "corp", "issuer": issuer.url(), "clientIds": ["lattice-test", "lattice-phone"],
        "clientSecret": Issuer::CLIENT_SECRET,
    });
    for (key, value) in provider.as_object().expect("an object") {
        all[key] = value.clone();
    }
    let providers = json!([all]).to_string();
    let own = [
        ("OIDC_PROVIDERS", providers.as_str()),
        ("PUBLIC_URL", PUBLIC_URL),
        ("REDIRECT_URIS", "https://app.example.com/in,trips://in?a=b"),
    ];
    TestServer::start(&[&own, more].concat())
}

fn start(issuer: &Issuer) -> TestServer {
    start_with(issuer, &json!({}), &[])
}

fn now_s() -> i64 {
    i64::try_from(UNIX_EPOCH.elapsed().expect("a time after 1970").as_secs()).expect("a time")
}

/// A token of somebody with an address of their own.
fn token(sub: &str) -> IdToken {
    IdToken::new().claim("sub", sub).claim("email", format!("{sub}@example.com"))
}

/// Signs in by an ID token.
#[track_caller]
fn sign_in(server: &TestServer, token: &str) -> (u16, Value) {
    post(server, "/auth/corp", None, &json!({"idToken": token}))
}

#[track_caller]
fn refused(answer: (u16, Value), status: u16, code: &str) {
    assert_eq!((answer.0, answer.1["code"].as_str()), (status, Some(code)), "{}", answer.1);
}

#[track_caller]
fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

#[track_caller]
fn ways_in(server: &TestServer, token: &str) -> Value {
    let (status, profile) = http::get(server, "/profile", token);
    assert_eq!(status, 200, "{profile}");
    profile["providers"].clone()
}
