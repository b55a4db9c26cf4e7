//! Accounts, as apps make them.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::PATIENCE;
use super::server::TestServer;

pub const PASSWORD: &str = "correct horse battery";

/// An account that is logged in.
#[derive(Clone, Debug)]
pub struct Account {
    pub email: String,
    /// An access token.
    pub token: String,
    /// The user's id.
    pub user: String,
}

/// One for all, so that connections are used again.
static AGENT: LazyLock<ureq::Agent> = LazyLock::new(|| {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
    config.build().into()
});

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
    let mut request = AGENT.post(format!("http://{}{path}", server.address()));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    read(request.send_json(body))
}

/// Status and body of a GET.
#[track_caller]
pub fn get(server: &TestServer, path: &str, token: &str) -> (u16, Value) {
    call(server, "GET", path, token, None)
}

/// Status and body of any request.
#[track_caller]
pub fn call(
    server: &TestServer,
    method: &str,
    path: &str,
    token: &str,
    body: Option<&Value>,
) -> (u16, Value) {
    let (status, text) = call_raw(server, method, path, token, body);
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// The same with the body as it came.
#[track_caller]
pub fn call_raw(
    server: &TestServer,
    method: &str,
    path: &str,
    token: &str,
    body: Option<&Value>,
) -> (u16, String) {
    let url = format!("http://{}{path}", server.address());
    let bearer = format!("Bearer {token}");
    let without = match method {
        "GET" => Some(AGENT.get(&url)),
        "DELETE" => Some(AGENT.delete(&url)),
        _ => None,
    };
    let with = match (method, without) {
        (_, Some(request)) if body.is_none() => Err(request),
        // Here the body is the password.
        (_, Some(request)) => Ok(request.force_send_body()),
        ("POST", None) => Ok(AGENT.post(&url)),
        ("PUT", None) => Ok(AGENT.put(&url)),
        ("PATCH", None) => Ok(AGENT.patch(&url)),
        (other, None) => panic!("{other} is not used here"),
    };
    let answer = match with {
        Ok(request) => request.header("authorization", bearer).send_json(body.unwrap_or(&json!({}))),
        Err(request) => request.header("authorization", bearer).call(),
    };
    let mut answer = answer.expect("an answer");
    let text = answer.body_mut().with_config().limit(64 << 20).read_to_string().expect("text");
    (answer.status().as_u16(), text)
}

/// Makes a shared or public space, and says its id.
#[track_caller]
pub fn make_space(server: &TestServer, owner: &Account, kind: &str) -> String {
    let (status, space) = post(server, "/spaces", Some(&owner.token), &json!({"name": "s", "kind": kind}));
    assert_eq!(status, 201, "{space}");
    space["id"].as_str().expect("an id").to_owned()
}

/// Makes somebody a member, by an invite for their e-mail address.
#[track_caller]
pub fn join(server: &TestServer, space: &str, owner: &Account, member: &Account, role: &str) {
    let body = json!({"role": role, "email": member.email});
    let (status, invite) = post(server, &format!("/spaces/{space}/invites"), Some(&owner.token), &body);
    assert_eq!(status, 201, "{invite}");
    let path = format!("/invites/{}/accept", invite["id"].as_str().expect("an id"));
    let (status, answer) = post(server, &path, Some(&member.token), &json!({}));
    assert_eq!(status, 200, "{answer}");
}

/// What a member is from now on.
#[track_caller]
pub fn set_role(server: &TestServer, space: &str, owner: &Account, member: &Account, role: &str) {
    let path = format!("/spaces/{space}/members/{}", member.user);
    let (status, answer) = call(server, "PATCH", &path, &owner.token, Some(&json!({"role": role})));
    assert_eq!(status, 204, "{answer}");
}

/// Removes a member.
#[track_caller]
pub fn remove(server: &TestServer, space: &str, owner: &Account, member: &Account) {
    let path = format!("/spaces/{space}/members/{}", member.user);
    let (status, answer) = call(server, "DELETE", &path, &owner.token, None);
    assert_eq!(status, 204, "{answer}");
}

/// Replaces the policy of a space, and the version of the schema that it asks for.
#[track_caller]
pub fn set_policy(server: &TestServer, space: &str, owner: &Account, policy: &Value, schema: &Value) {
    let path = format!("/spaces/{space}/policy");
    let body = json!({"policy": policy, "schemaVersion": schema});
    let (status, answer) = call(server, "PUT", &path, &owner.token, Some(&body));
    assert_eq!(status, 200, "{answer}");
}

#[track_caller]
fn read(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> (u16, Value) {
    let mut answer = answer.expect("an answer");
    let body = answer.body_mut().read_to_string().expect("text");
    (answer.status().as_u16(), serde_json::from_str(&body).unwrap_or(Value::Null))
}
