//! Accounts, as apps make them.

use serde_json::{Value, json};

use super::PATIENCE;
use super::server::TestServer;

const PASSWORD: &str = "correct horse battery";

/// An account that is logged in.
#[derive(Clone, Debug)]
pub struct Account {
    pub email: String,
    /// An access token.
    pub token: String,
    /// The user's id.
    pub user: String,
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
    config.build().into()
}

/// Makes an account: hashing takes a while in test builds, so tests make few.
#[track_caller]
pub fn sign_up(server: &TestServer, name: &str) -> Account {
    let email = format!("{name}@example.com");
    let (status, answer) = post(server, "/auth/signup", None, &json!({"email": email, "password": PASSWORD}));
    assert_eq!(status, 201, "{answer}");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    Account { email, token: text(&answer["accessToken"]), user: text(&answer["user"]["id"]) }
}

/// Logs in once more, as upstream's clients do: a device token.
#[track_caller]
pub fn device_token(server: &TestServer, account: &Account) -> String {
    let body = json!({"email": account.email, "password": PASSWORD});
    let (status, answer) = post(server, "/login", None, &body);
    assert_eq!(status, 200, "{answer}");
    answer["token"].as_str().expect("a token").to_owned()
}

/// The session of a token ends.
#[track_caller]
pub fn log_out(server: &TestServer, token: &str) {
    let (status, answer) = post(server, "/auth/logout", Some(token), &json!({}));
    assert_eq!(status, 204, "{answer}");
}

/// Status and body; null when there is none.
#[track_caller]
pub fn post(server: &TestServer, path: &str, token: Option<&str>, body: &Value) -> (u16, Value) {
    let mut request = agent().post(format!("http://{}{path}", server.address()));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    read(request.send_json(body))
}

/// Status and body of a GET.
#[track_caller]
pub fn get(server: &TestServer, path: &str, token: &str) -> (u16, Value) {
    let request = agent().get(format!("http://{}{path}", server.address()));
    read(request.header("authorization", format!("Bearer {token}")).call())
}

#[track_caller]
fn read(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> (u16, Value) {
    let mut answer = answer.expect("an answer");
    let body = answer.body_mut().read_to_string().expect("text");
    (answer.status().as_u16(), serde_json::from_str(&body).unwrap_or(Value::Null))
}
