//! A space that one may not see answers like one that does not exist: on every route and socket, to the byte, and in about
//! the same time.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cast::{Cast, name};
use crate::common::device::{ITEM, row_id};
use crate::common::entry::new_id;
use crate::common::http::call_raw;
use crate::common::json_client::{JsonClient, change, shake};
use crate::common::socket::{Handshake, handshake, handshake_with};

/// How much longer one answer may take than the other. Reading a space's rows would take far more.
const MAX_RATIO: f64 = 2.0;
const ROUNDS: usize = 150;

fn routes() -> Vec<(&'static str, &'static str, Value)> {
    let nobody = json!({"userId": new_id()});
    vec![
        ("GET", "/spaces/{}", Value::Null),
        ("PATCH", "/spaces/{}", json!({"name": "x"})),
        ("DELETE", "/spaces/{}", Value::Null),
        ("GET", "/spaces/{}/members", Value::Null),
        ("PATCH", "/spaces/{}/members/{user}", json!({"role": "viewer"})),
        ("DELETE", "/spaces/{}/members/{user}", Value::Null),
        ("POST", "/spaces/{}/leave", json!({})),
        ("POST", "/spaces/{}/transfer", nobody),
        ("GET", "/spaces/{}/invites", Value::Null),
        ("POST", "/spaces/{}/invites", json!({"role": "viewer"})),
        ("DELETE", "/spaces/{}/invites/{user}", Value::Null),
        ("GET", "/spaces/{}/policy", Value::Null),
        ("PUT", "/spaces/{}/policy", json!({"policy": {}})),
        ("GET", "/spaces/{}/refusals", Value::Null),
        ("GET", "/sync/changes?space={}", Value::Null),
        ("GET", "/sync/changes?space={}&cursor=a0000000-1000-8000-8000-1d2e3f405162&wait=20", Value::Null),
    ]
}

/// A shared space of Ann's with something in it, and a policy and schema rule that could give it away.
fn cast() -> Cast {
    let cast = Cast::with_bob("editor");
    let mut device = cast.device(&cast.ann, 1);
    device.insert(ITEM, &row_id(1), name("secret"));
    device.settle();
    let schema = json!({"minimum": 3});
    crate::common::http::set_policy(
        &cast.server,
        &cast.space,
        &cast.ann,
        &json!({"maxDeletesPerFrame": 1}),
        &schema,
    );
    cast
}

#[test]
fn every_answer_is_the_same() {
    let cast = cast();
    let nothing = new_id().to_ascii_lowercase();
    for (method, path, body) in routes() {
        let ask = |space: &str| {
            let path = path.replace("{}", space).replace("{user}", &cast.ann.user);
            let (status, text) =
                call_raw(&cast.server, method, &path, &cast.cat.token, (!body.is_null()).then_some(&body));
            (status, text.replace(space, "SPACE"))
        };
        let hidden = ask(&cast.space);
        assert_eq!(hidden, ask(&nothing), "{method} {path}");
        assert!(hidden.0 == 404 && hidden.1.contains("space_not_found"), "{method} {path}: {hidden:?}");
    }
    let upload = |space: &str| {
        let body = json!({"space": space, "changes": [change("insert", "Item", "r", json!({"n": 1}))]});
        call_raw(&cast.server, "POST", "/sync/changes", &cast.cat.token, Some(&body))
    };
    assert_eq!(upload(&cast.space), upload(&nothing));
    assert_eq!(upload(&cast.space).0, 404);
}

/// Head, without the date and the id of the request, and body of a refused handshake.
fn refusal(handshake: Handshake) -> (u16, Vec<String>, Value) {
    let of_its_own = ["date:", "x-request-id:"];
    let is_own = |line: &&str| of_its_own.iter().any(|name| line.to_ascii_lowercase().starts_with(name));
    let lines = handshake.head.lines().filter(|line| !is_own(line));
    (handshake.status, lines.map(str::to_owned).collect(), handshake.problem())
}

#[test]
fn every_socket_answers_the_same() {
    let cast = cast();
    let (server, token) = (&cast.server, &cast.cat.token);
    let nothing = new_id().to_ascii_lowercase();
    for target in
        ["/sync/{}", "/sync?space={}", "/sync/{}?last-event-id=a0000000-1000-8000-8000-1d2e3f405162"]
    {
        for version in ["", "Lattice-Schema-Version: 1\r\n", "Lattice-Schema-Version: 3\r\n"] {
            let ask = |space: &str| {
                let target = target.replace("{}", space);
                refusal(handshake_with(server, &target, Some(token), version, b"").expect("an answer"))
            };
            let hidden = ask(&cast.space);
            assert_eq!(hidden, ask(&nothing), "{target}");
            assert_eq!((hidden.0, &hidden.2["code"]), (404, &json!("space_not_found")));
        }
    }
    // What is no id of a space at all is no other case.
    let none = refusal(handshake(server, "/sync/nonsense", Some(token), b""));
    assert_eq!(none, refusal(handshake(server, &format!("/sync/{}", cast.space), Some(token), b"")));
    // The JSON dialect lets everybody in, and tells in frames.
    assert_eq!(shake(server, &format!("/sync/{}", cast.space), token).status, 101);
    assert_eq!(shake(server, &format!("/sync/{nothing}"), token).status, 101);
    let mut client = JsonClient::open(server, "cat", &cast.cat);
    let frames = [
        json!({"type": "subscribe"}),
        json!({"type": "subscribe", "cursor": "a0000000-1000-8000-8000-1d2e3f405162", "tables": ["Item"]}),
        json!({"type": "upload", "changes": [change("insert", "Item", "r", json!({"n": 1}))]}),
        json!({"type": "poll"}),
        json!({"type": "presence", "state": 1}),
        json!({"type": "unsubscribe"}),
        json!({"type": "presence", "state": null}),
        json!({"type": "ack", "cursor": "x"}),
    ];
    for mut frame in frames {
        let mut answers = [&*cast.space, &nothing].map(|space| {
            frame["space"] = json!(space);
            client.send(&frame);
            let before = client.events.len();
            client.ping();
            // The answer to the ping tells the time.
            let told = client.events[before..].iter().filter(|event| event["type"] != "pong").cloned();
            Value::from(told.collect::<Vec<_>>()).to_string().replace(space, "SPACE")
        });
        let answer = std::mem::take(&mut answers[0]);
        assert_eq!(answer, answers[1], "{frame}");
        let refused = matches!(frame["type"].as_str(), Some("subscribe" | "upload" | "poll"));
        assert!(!refused || answer.contains("space_not_found"), "{frame}: {answer}");
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn every_answer_takes_as_long() {
    let cast = cast();
    let nothing = new_id().to_ascii_lowercase();
    for path in ["/spaces/{}", "/spaces/{}/members", "/sync/changes?space={}"] {
        let mut times = [Vec::new(), Vec::new()];
        // In turns, so that whatever else the machine does meets both.
        for _ in 0..ROUNDS {
            for (space, times) in [&*cast.space, &nothing].iter().zip(&mut times) {
                let path = path.replace("{}", space);
                let started = Instant::now();
                let (status, _) = call_raw(&cast.server, "GET", &path, &cast.cat.token, None);
                times.push(started.elapsed());
                assert_eq!(status, 404);
            }
        }
        let [hidden, none] = times.map(median);
        let ratio = hidden.as_secs_f64() / none.as_secs_f64();
        assert!((1.0 / MAX_RATIO..MAX_RATIO).contains(&ratio), "{path}: {hidden:?} and {none:?}");
    }
}
