//! The frames of the documentation, word for word; greetings; errors.

use lattice_store::time::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::common::entry::{Entry, new_row};
use crate::common::http::{PASSWORD, device_token, log_out, make_space, post, sign_up};
use crate::common::json_client::{JsonClient, OFFER, change, shake};
use crate::common::server::TestServer;
use crate::common::socket::{Socket, handshake, handshake_with};

/// As the documentation has them.
const UPLOAD: &str = r#"{"type":"upload","changes":[{"tableName":"Trip","operation":"insert","rowId":123,"globalRowId":"uuid-…",
     "changedFields":"{\"name\":\"Costa Rica\",\"days\":10}","timestamp":1234567890.123}]}"#;
const CHANGES: &str = r#"{"type":"changes","changes":[{"tableName":"Trip","operation":"update","globalRowId":"uuid-…",
     "changedFields":"{\"days\":12}","timestamp":1234567890.456}]}"#;

fn next(socket: &mut Socket) -> Value {
    serde_json::from_slice(&socket.next_frame()).expect("JSON")
}

/// Whether `whole` says everything that `part` says.
fn says(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| says(whole, part)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| says(whole, part))
        }
        (whole, part) => whole == part,
    }
}

#[test]
fn the_documented_frames_work_as_written() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let body = json!({"email": "ann@example.com", "password": PASSWORD});
    let (status, login) = post(&server, "/auth/login", None, &body);
    let keys: Vec<&str> = login.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(status, 200);
    assert_eq!(keys, ["accessToken", "expiresIn", "refreshToken", "token", "tokenType", "user"]);
    assert_eq!(login["token"], login["accessToken"]);
    let device = device_token(&server, &ann);

    // A plain socket, an upload as its first frame: the answer, and what is in one's own space.
    let mut socket = Socket::open(&server, &device, None);
    socket.switches();
    socket.send_text(UPLOAD);
    assert_eq!(next(&mut socket)["protocol"], "lattice.json.v1");
    assert_eq!(next(&mut socket), json!({"type": "reset", "space": "me", "reason": "no_cursor"}));
    assert_eq!(next(&mut socket), json!({"type": "ready", "space": "me", "seq": 0, "role": "owner"}));
    let state = next(&mut socket);
    assert_eq!((&state["changes"], &state["more"]), (&json!([]), &json!(false)));
    let ack = next(&mut socket);
    assert_eq!(
        (&ack["type"], &ack["id"], &ack["results"][0]["status"]),
        (&json!("ack"), &json!(null), &json!("applied"))
    );

    // Another client's change arrives as it is written there.
    let mut other = JsonClient::in_space(&server, "other", &ann, "me");
    assert_eq!(other.space("me").value("Trip", "uuid-…", "name"), Some("\"Costa Rica\""));
    let mut frame: Value = serde_json::from_str(CHANGES).expect("JSON");
    frame["type"] = json!("upload");
    other.send(&frame);
    assert_eq!(other.event("ack")["results"][0]["status"], "applied");
    let changes = next(&mut socket);
    assert!(says(&changes, &serde_json::from_str(CHANGES).expect("JSON")), "{changes}");
    assert_eq!(changes["space"], "me");
}

#[test]
fn a_first_frame_with_a_type_switches_a_plain_socket() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let row = new_row();
    let mut native = Socket::open(&server, &ann.token, None);
    native.store(&[&Entry::insert("Trip", &row).integer("days", 10)]);

    // What a native client would be sent comes first, without a type.
    let mut socket = Socket::open(&server, &ann.token, None);
    let before = next(&mut socket);
    assert!(before["auditLog"][0]["globalRowId"] == json!(row) && before.get("type").is_none(), "{before}");
    socket.switches();
    socket.send(json!({"type": "hello", "clientId": "c1", "changedFields": "object"}).to_string());
    let ready = next(&mut socket);
    assert_eq!((&ready["clientId"], &ready["user"]), (&json!("c1"), &json!(ann.user)));
    assert_eq!(next(&mut socket)["reason"], "no_cursor");
    assert_eq!(next(&mut socket)["seq"], 1);
    let state = next(&mut socket);
    assert_eq!(state["changes"][0]["changedFields"], json!({"days": 10}));
    // It stays switched: a native frame has no type.
    socket.send_text(r#"{"ack":[],"kind":"ack"}"#);
    assert_eq!(next(&mut socket)["code"], "unknown_frame");

    // A frame with a type that comes later does not switch.
    native.send_text(r#"{"type":"hello"}"#);
    assert_eq!(native.until_event().codes(), ["unknown_frame"]);

    // The address may name the space; a first frame may name a filter itself.
    let space = make_space(&server, &ann, "shared");
    let mut socket = handshake(&server, &format!("/sync/{space}"), Some(&ann.token), b"").socket();
    socket.switches();
    socket.send_text(r#"{"type":"ping"}"#);
    assert_eq!(next(&mut socket)["protocol"], "lattice.json.v1");
    assert_eq!(next(&mut socket), json!({"type": "reset", "space": space, "reason": "no_cursor"}));
    assert_eq!(next(&mut socket)["space"], json!(space));
    let mut socket = Socket::open(&server, &ann.token, Some("a0000000-1000-8000-8000-1d2e3f405162"));
    socket.until_event();
    socket.until_entries(1);
    socket.switches();
    socket.send_text(r#"{"type":"subscribe","tables":["Other"]}"#);
    assert_eq!(next(&mut socket)["protocol"], "lattice.json.v1");
    assert_eq!(next(&mut socket)["reason"], "no_cursor");
    assert_eq!(next(&mut socket)["type"], "ready");
    let state = next(&mut socket);
    assert_eq!(
        (&state["changes"], &state["more"]),
        (&json!([]), &json!(false)),
        "one subscription and no more"
    );
    socket.send_text(r#"{"type":"ping"}"#);
    assert_eq!(next(&mut socket)["type"], "pong");
}

#[test]
fn a_handshake_that_is_refused_closes_with_the_reason() {
    let server = TestServer::start(&[("RATE_HANDSHAKE_ACCOUNT", "2/3600s")]);
    let (ann, bob) = (sign_up(&server, "ann"), sign_up(&server, "bob"));
    let gone = device_token(&server, &ann);
    log_out(&server, &gone);
    let closed = |path: &str, token: &str| shake(&server, path, token).socket().closed();
    for (path, token, close_code, code) in [
        ("/sync", "nonsense", 4401, "token_invalid"),
        ("/sync", &gone, 4401, "session_revoked"),
        ("/sync/nonsense", &ann.token, 4404, "space_not_found"),
        ("/sync?schema-version=x", &ann.token, 4400, "bad_schema_version"),
        ("/sync", &ann.token, 4429, "rate_limited"),
    ] {
        let (closed, reason) = closed(path, token);
        assert_eq!((closed, reason.split(':').next()), (close_code, Some(code)), "{reason}");
        assert_eq!(reason.contains("; again in "), code == "rate_limited", "{reason}");
    }
    shake(&server, "/sync", &bob.token).socket().close();
    let without = handshake_with(&server, "/sync", None, OFFER, b"").expect("an answer").socket().closed();
    assert_eq!(without.0, 4401);
}

#[test]
fn the_subprotocol_is_negotiated() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let handshake = shake(&server, "/sync", &ann.token);
    assert!(handshake.head.to_ascii_lowercase().contains("sec-websocket-protocol: lattice.json.v1"));
    let mut socket = handshake.socket();
    // Nothing comes unasked.
    socket.send_text(r#"{"type":"hello"}"#);
    let (ready, told) = without_time(next(&mut socket));
    let off_s = told - SystemClock.now_us() as f64 / 1e6;
    assert!(off_s.abs() < 60.0, "the server's time is {off_s} s off");
    assert_eq!(
        ready,
        json!({"type": "ready", "protocol": "lattice.json.v1", "user": ann.user, "clientId": null,
               "maxFrameBytes": 67_108_864, "maxChanges": 100_000})
    );
    // Binary messages are read as well.
    socket.send(r#"{"type":"ping","unknown":{"a":[1]}}"#);
    let (pong, later) = without_time(next(&mut socket));
    assert_eq!(pong, json!({"type": "pong"}));
    assert!(told <= later && later < told + 60.0, "{told} and then {later}");
    // Whoever does not say hello is told what it would have been told.
    let mut socket = shake(&server, "/sync", &ann.token).socket();
    socket.send_text(r#"{"type":"ping"}"#);
    assert_eq!(without_time(next(&mut socket)).0, ready);
    assert_eq!(next(&mut socket)["type"], "pong");
}

/// The rest of a frame, and the time that it tells.
fn without_time(mut frame: Value) -> (Value, f64) {
    let time = frame.as_object_mut().and_then(|frame| frame.remove("serverTime"));
    (frame, time.and_then(|time| time.as_f64()).expect("serverTime"))
}

#[test]
fn errors_have_codes_and_keep_the_connection() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut client = JsonClient::in_space(&server, "ann", &ann, "me");
    let nobodys = new_row();
    for (frame, code) in [
        ("nonsense", "bad_frame"),
        ("[]", "bad_frame"),
        ("{}", "unknown_frame"),
        (r#"{"type":"dance"}"#, "unknown_frame"),
        (r#"{"type":7}"#, "unknown_frame"),
        (r#"{"type":"upload"}"#, "bad_frame"),
        (r#"{"type":"upload","id":1.5,"changes":[]}"#, "bad_frame"),
        (r#"{"type":"hello","clientId":""}"#, "bad_frame"),
        (r#"{"type":"hello"}"#, "bad_frame"),
        (r#"{"type":"subscribe","space":"x"}"#, "space_not_found"),
        (&format!(r#"{{"type":"subscribe","space":"{nobodys}"}}"#), "space_not_found"),
        (&format!(r#"{{"type":"upload","space":"{nobodys}","changes":[]}}"#), "space_not_found"),
        (&format!(r#"{{"type":"poll","space":"{nobodys}"}}"#), "space_not_found"),
        (&format!(r#"{{"type":"presence","space":"{nobodys}","state":1}}"#), "space_not_found"),
        (r#"{"type":"subscribe","cursor":""}"#, "bad_cursor"),
        (r#"{"type":"ack"}"#, "bad_cursor"),
        (r#"{"type":"subscribe","where":{"Trip":{"days":{"near":3}}}}"#, "bad_filter"),
        (r#"{"type":"subscribe","tables":["A"],"where":{"B":{"c":1}}}"#, "bad_filter"),
        (r#"{"type":"poll","limit":0}"#, "bad_frame"),
        (r#"{"type":"presence","state":"\ud800"}"#, "bad_presence"),
        (r#"{"type":"auth"}"#, "bad_frame"),
    ] {
        client.send_text(frame);
        assert_eq!(client.error(), code, "{frame}");
    }
    // One that is about an upload says which.
    for (frame, id) in [
        (r#"{"type":"upload","id":"a\u0062","changes":7}"#.to_owned(), json!("ab")),
        (r#"{"type":"upload","id":17,"space":"x","changes":[]}"#.to_owned(), json!(17)),
        (format!(r#"{{"type":"upload","id":17,"space":"{nobodys}","changes":[]}}"#), json!(17)),
        (format!(r#"{{"type":"upload","space":"{nobodys}","changes":[]}}"#), Value::Null),
        (format!(r#"{{"type":"subscribe","id":17,"space":"{nobodys}"}}"#), Value::Null),
    ] {
        client.send_text(&frame);
        assert_eq!(client.event("error")["id"], id, "{frame}");
    }
    // The subscription lives.
    let row = new_row();
    let mut native = Socket::open(&server, &ann.token, None);
    native.store(&[&Entry::insert("Trip", &row).integer("days", 10)]);
    client.until_value("me", ("Trip", &row, "days"), "10");
}

#[test]
fn several_spaces_share_a_socket() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let spaces = [make_space(&server, &ann, "shared"), make_space(&server, &ann, "public"), "me".to_owned()];
    let mut reader = JsonClient::open(&server, "reader", &ann);
    spaces.iter().for_each(|space| reader.subscribe(space, json!({})));
    spaces.iter().for_each(|space| reader.until_complete(space));
    let mut writer = JsonClient::open(&server, "writer", &ann);
    let row = new_row();
    for (number, space) in spaces.iter().enumerate() {
        // The same row in each: they are not one.
        let results = writer.store(space, vec![change("insert", "Trip", &row, json!({"days": number}))]);
        assert_eq!(results[0]["status"], "applied");
        reader.until_value(space, ("Trip", &row, "days"), &number.to_string());
    }
    // The writer uploads only: it is sent nothing but answers.
    assert!(writer.events.iter().all(|event| event["type"] != "changes"), "{:?}", writer.events);
    reader.send(&json!({"type": "unsubscribe", "space": spaces[0]}));
    reader.ping();
    for space in &spaces {
        writer.store(space, vec![change("update", "Trip", &row, json!({"days": 99}))]);
    }
    reader.until_value(&spaces[1], ("Trip", &row, "days"), "99");
    reader.until_value(&spaces[2], ("Trip", &row, "days"), "99");
    reader.ping();
    assert_eq!(reader.space(&spaces[0]).value("Trip", &row, "days"), Some("0"), "unsubscribed");
    // A second subscribe takes the place of the first, from where it was left.
    reader.subscribe(&spaces[0], json!({}));
    reader.until_value(&spaces[0], ("Trip", &row, "days"), "99");
    assert_eq!(reader.space(&spaces[0]).resets, ["no_cursor"]);
}

#[test]
fn a_connection_has_so_many_spaces() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut client = JsonClient::open(&server, "ann", &ann);
    let spaces: Vec<String> = (0..101).map(|_| make_space(&server, &ann, "shared")).collect();
    for space in &spaces[..100] {
        client.subscribe(space, json!({}));
    }
    for space in &spaces[..100] {
        client.until_complete(space);
    }
    client.send(&json!({"type": "subscribe", "space": spaces[100]}));
    assert_eq!(client.error(), "too_many_subscriptions");
    // Whoever leaves one has room for another.
    client.send(&json!({"type": "unsubscribe", "space": spaces[0]}));
    client.subscribe(&spaces[100], json!({}));
    client.until_complete(&spaces[100]);
}
