//! What the log says at the level that is on by default: one line for what was refused, with the id of its request.

mod common;

use std::time::Instant;

use common::PATIENCE;
use common::entry::{Entry, new_row};
use common::http::{Account, join, log_out, make_space, set_policy, sign_up};
use common::json_client::OFFER;
use common::raw::{self, Answer};
use common::server::TestServer;
use common::socket::{BINARY, Handshake, Socket, handshake, handshake_with, raw_frame};
use serde_json::{Value, json};

const LEVEL: [(&str, &str); 2] = [("LOG", "info"), ("LOG_JSON", "true")];

/// The lines of refusals with this id of a request.
fn lines(server: &TestServer, id: &str) -> Vec<Value> {
    let log = server.log();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    lines.filter(|line| line["span"]["id"] == id && line["fields"]["code"].is_string()).collect()
}

/// Waits for so many lines with an id: the server's standard error is read by a thread.
#[track_caller]
fn until_lines(server: &TestServer, id: &str, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let lines = lines(server, id);
        if lines.len() >= count {
            return lines;
        }
        assert!(Instant::now() < deadline, "{count} lines of {id}, not {lines:?}:\n{}", server.log());
        std::thread::yield_now();
    }
}

/// The one line with an id.
#[track_caller]
fn line(server: &TestServer, id: &str) -> Value {
    let [line] = &until_lines(server, id, 1)[..] else { panic!("one line of {id}:\n{}", server.log()) };
    line.clone()
}

fn ask(server: &TestServer, id: &str, method: &str, path: &str, token: Option<&str>, body: &[u8]) -> Answer {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![("x-request-id", id)];
    headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    raw::send(server, method, path, &headers, body)
}

#[track_caller]
fn shake(server: &TestServer, id: &str, path: &str, token: Option<&str>) -> Handshake {
    handshake_with(server, path, token, &format!("X-Request-Id: {id}\r\n"), b"").expect("an answer")
}

#[track_caller]
fn open(server: &TestServer, id: &str, path: &str, who: &Account) -> Socket {
    let answer = shake(server, id, path, Some(&who.token));
    assert_eq!(answer.header("x-request-id"), Some(id));
    answer.socket()
}

/// A refusal of the sync API: address, token, body; status, code, and what the log says of the space.
struct Case<'a>(&'a str, Option<&'a str>, &'a str, u16, &'a str, Option<&'a str>);

#[test]
fn every_refusal_of_the_sync_api_is_one_line() {
    let server = TestServer::start(
        &[&LEVEL[..], &[("MAX_FRAME_BYTES", "65536"), ("QUOTA_SPACE_CHANGES", "3")]].concat(),
    );
    let (ann, bob, gone) = (sign_up(&server, "ann"), sign_up(&server, "bob"), sign_up(&server, "gone"));
    log_out(&server, &gone.token);
    let strict = make_space(&server, &ann, "shared");
    join(&server, &strict, &ann, &bob, "editor");
    set_policy(&server, &strict, &ann, &json!({}), &json!({"minimum": 3}));
    let (token, strict) = (Some(&*ann.token), &*strict);
    let hidden = make_space(&server, &bob, "shared");
    let (to_strict, to_hidden) = (format!("/sync/{strict}"), format!("/sync/{hidden}"));
    let (poll_strict, poll_hidden) =
        (format!("/sync/changes?space={strict}"), format!("/sync/changes?space={hidden}"));
    let huge = "x".repeat(70_000);
    let change = |n: i32| json!({"tableName": "Item", "operation": "insert", "globalRowId": n.to_string()});
    let many = json!({"changes": (0..4).map(change).collect::<Vec<_>>()}).to_string();
    let sockets = [
        Case("/sync", None, "", 401, "token_missing", None),
        Case("/sync?token=nonsense", None, "", 401, "token_invalid", None),
        Case("/sync", Some(&gone.token), "", 401, "session_revoked", None),
        Case("/sync/nonsense", token, "", 404, "space_not_found", None),
        Case(&to_hidden, token, "", 404, "space_not_found", Some(&hidden)),
        Case(&to_strict, token, "", 409, "schema_version", Some(strict)),
        Case("/sync?schema-version=x", token, "", 400, "bad_schema_version", None),
    ];
    let polls = [
        Case("/sync/changes", None, "", 401, "token_missing", None),
        Case("/sync/changes?limit=0", token, "", 400, "bad_query", None),
        Case(&poll_hidden, token, "", 404, "space_not_found", Some(&hidden)),
        Case(&poll_strict, token, "", 409, "schema_version", Some(strict)),
        Case("/sync", token, "", 426, "websocket_required", None),
    ];
    let uploads = [
        Case("/sync/changes", token, "{", 400, "bad_frame", None),
        Case("/sync/changes", token, "[]", 400, "bad_frame", None),
        Case("/sync/changes", token, &huge, 413, "body_too_large", None),
        Case("/sync/changes", token, &many, 507, "quota_exceeded", Some("me")),
    ];
    let all = sockets.iter().map(|case| ("WS", case));
    let all =
        all.chain(polls.iter().map(|case| ("GET", case))).chain(uploads.iter().map(|case| ("POST", case)));
    for (at, (method, Case(path, token, body, status, code, space))) in all.enumerate() {
        let id = format!("case-{at}");
        let answered = if method == "WS" {
            let answer = shake(&server, &id, path, *token);
            assert_eq!(answer.header("x-request-id"), Some(&*id));
            (answer.status, answer.problem()["code"].as_str().unwrap_or_default().to_owned())
        } else {
            let answer = ask(&server, &id, method, path, *token, body.as_bytes());
            assert_eq!(answer.header("x-request-id"), Some(&*id));
            (answer.status, answer.code())
        };
        assert_eq!((answered.0, &*answered.1), (*status, *code), "{method} {path}");
        let line = line(&server, &id);
        let (fields, span) = (&line["fields"], &line["span"]);
        assert_eq!((&fields["code"], &fields["status"]), (&json!(code), &json!(status)), "{line}");
        let level = if *status == 507 { "WARN" } else { "INFO" };
        assert_eq!((&line["level"], &span["method"]), (&json!(level), &json!(method.replace("WS", "GET"))));
        let route = if path.starts_with("/sync/changes") {
            "/sync/changes"
        } else if path.starts_with("/sync/") {
            "/sync/{space}"
        } else {
            "/sync"
        };
        assert_eq!(span["route"], route);
        let known = *status != 401 && *status != 426;
        assert_eq!(span["user"].as_str(), known.then_some(&*ann.user), "{line}");
        assert_eq!((span["session"].is_string(), span["space"].as_str()), (known, *space), "{line}");
    }
    // A browser is told by a close code; the log says the same as ever.
    let headers = format!("X-Request-Id: browser\r\n{OFFER}");
    let answer = handshake_with(&server, "/sync?token=nonsense", None, &headers, b"").expect("an answer");
    assert_eq!(answer.socket().closed().0, 4401);
    let line = line(&server, "browser");
    assert_eq!((&line["fields"]["code"], &line["fields"]["status"]), (&json!("token_invalid"), &json!(401)));
}

#[test]
fn a_socket_that_we_close_is_one_line_and_one_that_leaves_is_none() {
    let server = TestServer::start(&[&LEVEL[..], &[("MAX_FRAME_BYTES", "65536")]].concat());
    let (ann, bob, cy) = (sign_up(&server, "ann"), sign_up(&server, "bob"), sign_up(&server, "cy"));
    let space = make_space(&server, &ann, "shared");
    join(&server, &space, &ann, &bob, "editor");
    let path = format!("/sync/{space}");

    open(&server, "leaves", "/sync", &ann).close();
    let mut too_large = open(&server, "too-large", &path, &ann);
    too_large.store(&[&Entry::insert("Item", &new_row()).integer("n", 1)]);
    too_large.send(vec![b' '; 70_000]);
    let mut broken = open(&server, "broken", "/sync", &ann);
    broken.send_raw(&raw_frame(0x83, b""));
    let mut removed = open(&server, "removed", &path, &bob);
    common::http::remove(&server, &space, &ann, &bob);
    let mut revoked = open(&server, "revoked", "/sync", &cy);
    log_out(&server, &cy.token);
    let closed = [
        ("too-large", &mut too_large, 1009, "frame_too_large", &ann, &*space),
        ("broken", &mut broken, 1002, "bad_frame", &ann, "me"),
        ("removed", &mut removed, 1008, "space_not_found", &bob, &*space),
        ("revoked", &mut revoked, 1008, "session_revoked", &cy, "me"),
    ];
    for (id, socket, close_code, code, user, space) in closed {
        assert_eq!(socket.closed().0, close_code);
        let line = line(&server, id);
        let (fields, span) = (&line["fields"], &line["span"]);
        assert_eq!(fields["message"], "a socket was closed");
        assert_eq!((&fields["close_code"], &fields["code"]), (&json!(close_code), &json!(code)), "{line}");
        assert_eq!((&span["user"], &span["space"]), (&json!(user.user), &json!(space)), "{line}");
        assert!(span["session"].is_string() && fields["duration_ms"].is_u64(), "{line}");
        assert_eq!(fields["frames"], u64::from(id == "too-large"), "{line}");
    }
    assert_eq!(lines(&server, "leaves"), [Value::Null; 0]);
}

#[test]
fn refused_frames_and_changes_are_logged_with_their_codes_and_never_with_what_they_hold() {
    let server = TestServer::start(&LEVEL);
    let (ann, bob) = (sign_up(&server, "ann"), sign_up(&server, "bob"));
    let space = make_space(&server, &ann, "shared");
    join(&server, &space, &ann, &bob, "viewer");
    let secret = "do-not-log-this";
    let row = |name: &str| Entry::insert("Item", &new_row()).text(name, secret);

    let mut native = open(&server, "native", &format!("/sync/{space}"), &bob);
    native.send(format!(r#"{{"{secret}":1}}"#));
    native.until_event();
    let forbidden: Vec<Entry> = (0..3).map(|_| row("name")).collect();
    let bad = row(secret);
    native.store(&[&forbidden[0], &bad, &forbidden[1], &forbidden[2]]);
    let [frame, changes] = &until_lines(&server, "native", 2)[..] else { panic!("{}", server.log()) };
    assert_eq!(
        (&frame["fields"]["message"], &frame["fields"]["code"]),
        (&json!("a frame was refused"), &json!("unknown_frame"))
    );
    let fields = &changes["fields"];
    assert_eq!((&fields["message"], &fields["code"]), (&json!("changes were refused"), &json!("forbidden")));
    assert_eq!((&fields["changes"], &fields["codes"]), (&json!(4), &json!("bad_column_name=1 forbidden=3")));
    assert_eq!((&changes["span"]["user"], &changes["span"]["space"]), (&json!(bob.user), &json!(space)));

    let id = format!("X-Request-Id: json\r\n{OFFER}");
    let mut json = handshake_with(&server, "/sync", Some(&bob.token), &id, b"").expect("an answer").socket();
    let mut send = |frame: Value| {
        json.send_text(&frame.to_string());
        serde_json::from_slice::<Value>(&json.next_frame()).expect("JSON")
    };
    send(json!({"type": "hello"}));
    assert_eq!(send(json!({"type": secret}))["code"], "unknown_frame");
    let change = json!({"tableName": "Item", "operation": "insert", "globalRowId": "a", "changedFields": {"name": secret}});
    let upload = json!({"type": "upload", "space": space, "changes": [change]});
    send(upload);
    let [frame, changes] = &until_lines(&server, "json", 2)[..] else { panic!("{}", server.log()) };
    assert_eq!(frame["fields"]["code"], "unknown_frame");
    assert_eq!(changes["fields"]["codes"], "forbidden=1");
    assert_eq!(changes["fields"]["space"], space);

    let body = json!({"space": space, "changes": [change]}).to_string();
    assert_eq!(ask(&server, "http", "POST", "/sync/changes", Some(&bob.token), body.as_bytes()).status, 200);
    let changes = line(&server, "http");
    assert_eq!(
        (&changes["fields"]["codes"], &changes["span"]["space"]),
        (&json!("forbidden=1"), &json!(space))
    );
    assert!(!server.log().contains(secret));
}

#[test]
fn a_flood_of_refusals_is_a_few_lines() {
    let server = TestServer::start(&LEVEL);
    for _ in 0..30 {
        assert_eq!(handshake(&server, "/sync?token=nonsense", None, &raw_frame(BINARY, b"{}")).status, 401);
        assert_eq!(raw::send(&server, "GET", "/nowhere", &[], b"").status, 404);
    }
    let ann = sign_up(&server, "ann");
    let last = ask(&server, "last", "GET", "/spaces/nonsense", Some(&ann.token), b"");
    assert_eq!(last.code(), "space_not_found");
    line(&server, "last");
    let log = server.log();
    let count = |code: &str| log.matches(&format!("\"code\":\"{code}\"")).count();
    assert_eq!((count("token_invalid"), count("not_found")), (5, 5), "{log}");
}
