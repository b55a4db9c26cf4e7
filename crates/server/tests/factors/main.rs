//! Second factors and passkeys, over real sockets, with an authenticator in software.

#[path = "../common/mod.rs"]
mod common;

mod codes;
mod passkeys;

use common::http::{PASSWORD, post};
use common::server::TestServer;
use serde_json::{Value, json};

#[track_caller]
fn refused(answer: (u16, Value), status: u16, code: &str) {
    assert_eq!((answer.0, answer.1["code"].as_str()), (status, Some(code)), "{}", answer.1);
}

#[track_caller]
fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

#[track_caller]
fn log_in(server: &TestServer, name: &str) -> (u16, Value) {
    let body = json!({"email": format!("{name}@example.com"), "password": PASSWORD, "deviceName": "a phone"});
    post(server, "/auth/login", None, &body)
}

/// Half a sign-in by password.
#[track_caller]
fn challenge(server: &TestServer, name: &str) -> Value {
    let (status, problem) = log_in(server, name);
    assert_eq!((status, &problem["code"]), (403, &json!("second_factor_required")), "{problem}");
    assert_eq!(problem["expiresIn"], json!(300));
    problem
}

#[track_caller]
fn answer(server: &TestServer, challenge: &Value, name: &str, value: &Value) -> (u16, Value) {
    post(server, "/auth/second-factor", None, &json!({"challenge": challenge["challenge"], name: value}))
}
