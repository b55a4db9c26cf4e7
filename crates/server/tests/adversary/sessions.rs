//! Taking over sessions: by fixing their tokens beforehand, by replay, by races, by one kind of token in place of another.

use serde_json::{Value, json};

use crate::common::http::{PASSWORD, make_space, sign_up};
use crate::common::raw::{Answer, ask, post, send};
use crate::common::server::TestServer;
use crate::common::socket::handshake;

fn login(server: &TestServer, path: &str, headers: &[(&str, &str)], more: &Value) -> Value {
    let mut body = json!({"email": "ann@example.com", "password": PASSWORD});
    let fields = body.as_object_mut().expect("an object");
    fields.extend(more.as_object().cloned().unwrap_or_default());
    let answer = send(server, "POST", path, headers, body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().expect("text")
}

fn profile(server: &TestServer, token: &str) -> Answer {
    ask(server, "GET", "/profile", Some(token), &Value::Null)
}

#[test]
fn nobody_chooses_the_session_of_somebody_else() {
    let server = TestServer::start(&[]);
    sign_up(&server, "ann");
    let mallory = sign_up(&server, "mallory");
    let planted = login(&server, "/auth/login", &[], &json!({}));
    let bearer = format!("Bearer {}", mallory.token);
    let cookie = format!("session={0}; token={0}; sid={0}", mallory.token);
    let headers = [("authorization", bearer.as_str()), ("cookie", cookie.as_str())];
    let fields = json!({
        "token": text(&planted, "token"), "accessToken": text(&planted, "token"),
        "refreshToken": text(&planted, "refreshToken"), "sid": mallory.user, "session": mallory.user,
        "id": mallory.user, "userId": mallory.user,
    });
    let fresh = login(&server, "/auth/login", &headers, &fields);
    for key in ["token", "refreshToken"] {
        assert_ne!(fresh[key], planted[key]);
    }
    assert_eq!(fresh["user"], planted["user"]);
    let answer = profile(&server, text(&fresh, "token")).json();
    assert_eq!(answer["email"], "ann@example.com");
    assert_eq!(
        profile(&server, &mallory.token).json()["email"],
        "mallory@example.com",
        "it is still their own"
    );
    // The end of one is not the end of the other.
    let out = post(&server, "/auth/logout", Some(text(&fresh, "token")), &json!({}));
    assert_eq!(out.status, 204);
    assert_eq!(profile(&server, text(&planted, "token")).status, 200);
    assert_eq!(profile(&server, text(&fresh, "token")).code(), "session_revoked");
}

#[test]
fn a_refresh_race_has_one_outcome_and_a_replay_ends_the_session() {
    let server = TestServer::start(&[]);
    sign_up(&server, "ann");
    let first = login(&server, "/auth/login", &[], &json!({}));
    let refresh = |token: &str| post(&server, "/auth/refresh", None, &json!({"refreshToken": token}));
    let answers: Vec<_> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..16).map(|_| scope.spawn(|| refresh(text(&first, "refreshToken")))).collect();
        racers.into_iter().map(|racer| racer.join().expect("no panic").json()).collect()
    });
    let next = text(&answers[0], "refreshToken");
    assert!(answers.iter().all(|answer| answer["refreshToken"] == next), "all hold the same token");
    let third = refresh(next);
    assert_eq!(third.status, 200);
    // Two exchanges ago: no lost answer explains it.
    assert_eq!(refresh(text(&first, "refreshToken")).code(), "refresh_reused");
    let third = third.json();
    for token in [next, text(&third, "refreshToken")] {
        assert_eq!(refresh(token).code(), "session_revoked");
    }
    for answer in answers.iter().chain([&first, &third]) {
        let token = text(answer, "token");
        assert_eq!(profile(&server, token).code(), "session_revoked");
        assert_eq!(handshake(&server, "/sync", Some(token), b"").problem()["code"], "session_revoked");
    }
    login(&server, "/auth/login", &[], &json!({}));
}

#[test]
fn no_kind_of_token_stands_in_for_another() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let session = login(&server, "/auth/login", &[], &json!({}));
    let device = login(&server, "/login", &[], &json!({}));
    let space = make_space(&server, &ann, "shared");
    let invite =
        post(&server, &format!("/spaces/{space}/invites"), Some(&ann.token), &json!({"role": "viewer"}));
    let invite = invite.json();
    let (access, refresh) = (text(&session, "token"), text(&session, "refreshToken"));
    let (device, invite) = (text(&device, "token"), text(&invite, "token"));
    let without_prefix = &device[4..];
    let swapped = format!("ldt_{}", &refresh[4..47]);
    for bearer in [refresh, invite, without_prefix, &swapped, PASSWORD, "null", "undefined", "0"] {
        assert_eq!(profile(&server, bearer).code(), "token_invalid", "{bearer}");
        assert_eq!(handshake(&server, "/sync", Some(bearer), b"").problem()["code"], "token_invalid");
    }
    for token in [access, device, invite] {
        let answer = post(&server, "/auth/refresh", None, &json!({"refreshToken": token}));
        assert_eq!((answer.status, answer.code().as_str()), (401, "token_invalid"));
        let answer = post(&server, "/auth/logout", None, &json!({"refreshToken": token}));
        assert_eq!((answer.status, answer.code().as_str()), (401, "token_invalid"));
    }
    for token in [access, refresh, device] {
        let answer = post(&server, "/invites/accept", Some(&ann.token), &json!({"token": token}));
        assert_eq!(answer.status, 404, "{}", answer.body);
    }
    // A token in the address is for sockets alone: addresses end up in logs and histories.
    let answer = ask(&server, "GET", &format!("/profile?token={access}"), None, &Value::Null);
    assert_eq!(answer.code(), "token_missing");
    assert_eq!(profile(&server, access).status, 200);
    assert_eq!(profile(&server, device).status, 200);
}
