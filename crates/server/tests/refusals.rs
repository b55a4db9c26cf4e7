//! What the server refuses: always with its code, never at the cost of anything else.

mod common;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::database;
use common::entry::{Entry, new_id, new_row};
use common::http::{device_token, log_out, sign_up};
use common::server::TestServer;
use common::socket::{BINARY, Got, Handshake, PING, Socket, TEXT, handshake, raw_frame, raw_head};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use lattice_store::time::{Clock, SystemClock};
use serde_json::{Value, json};

/// The socket is open and uploads are stored.
#[track_caller]
fn assert_works(socket: &mut Socket) {
    let heard = socket.store(&[&Entry::insert("Item", &new_row()).integer("n", 1)]);
    assert_eq!(heard.acks.len(), 1);
    assert!(heard.events.is_empty(), "{:?}", heard.events);
}

#[test]
fn bad_frames_are_refused_whole_and_the_socket_stays_open() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut socket = Socket::open(&server, &ann.token, None);
    let deep = "[".repeat(200_000);
    let many = format!(r#"{{"auditLog":[{}0]}}"#, "0,".repeat(100_000));
    let frames: [(&[u8], &str); 22] = [
        (b"", "bad_frame"),
        (b"x", "bad_frame"),
        (b"null", "bad_frame"),
        (b"[]", "bad_frame"),
        (b"\"auditLog\"", "bad_frame"),
        (b"{\"auditLog\":[", "bad_frame"),
        (b"{\"auditLog\":[]} x", "bad_frame"),
        (b"{\"auditLog\":{}}", "bad_frame"),
        (b"{\"auditLog\":\"[]\"}", "bad_frame"),
        (b"{\"ack\":5}", "bad_frame"),
        (b"\xff\xfe{}", "bad_frame"),
        (b"{\"auditLog\":[\"\xc3\"]}", "bad_frame"),
        (b"\xef\xbb\xbf{\"ack\":[]}", "bad_frame"),
        (b"{\"auditLog\":[1e999,01]}", "bad_frame"),
        (deep.as_bytes(), "bad_frame"),
        (many.as_bytes(), "too_many_changes"),
        (b"{}", "unknown_frame"),
        (b"{\"kind\":\"auditLog\"}", "unknown_frame"),
        (b"{\"type\":\"hello\"}", "unknown_frame"),
        (b"{\"type\":\"upload\",\"changes\":[]}", "unknown_frame"),
        (b"{\"replayRequest\":{}}", "unknown_frame"),
        (b"{\"nack\":[\"x\"],\"nackReason\":\"y\"}", "unknown_frame"),
    ];
    for (frame, code) in frames {
        socket.send(frame.to_vec());
        let heard = socket.until_event();
        let shown = String::from_utf8_lossy(&frame[..frame.len().min(60)]);
        assert_eq!(heard.codes(), [code], "{shown}");
        assert_works(&mut socket);
    }
    // Acks of anything are taken in silence.
    socket.send(r#"{"ack":["x","06960229-c369-47dd-Ad19-3f07bf7488b3"]}"#);
    socket.send(r#"{"auditLog":[]}"#);
    assert_works(&mut socket);
}

/// Entries that can be acknowledged, each with its code.
fn bad_entries(row: &str) -> Vec<(Entry, &'static str)> {
    let good = || Entry::insert("Item", row).text("name", "mine");
    let valued = |value: &str| (Entry::update("Item", row).raw("name", value), "bad_value");
    let table = |name: &str| (Entry::insert(name, row).text("name", "mine"), "bad_table_name");
    let column = |name: &str| (Entry::update("Item", row).text(name, "mine"), "bad_column_name");
    let end = r#"{"kind":2,"value":"a"}"#;
    let mut wide = Entry::update("Item", row);
    for number in 0..2_001 {
        wide = wide.integer(&format!("c{number}"), 1);
    }
    vec![
        valued(r#"{"kind":1,"value":"x"}"#),
        valued(r#"{"kind":1,"value":9223372036854775808}"#),
        valued(r#"{"kind":1,"value":3.0}"#),
        valued(r#"{"kind":0,"value":2147483648}"#),
        valued(r#"{"kind":7,"value":1e400}"#),
        valued(r#"{"kind":2,"value":"\ud800"}"#),
        valued(r#"{"kind":6,"value":"abc"}"#),
        valued(r#"{"kind":6,"value":"zz"}"#),
        valued(r#"{"kind":8,"value":1}"#),
        valued(r#"{"kind":"2","value":"x"}"#),
        valued(r#"{"value":"x"}"#),
        valued("[1]"),
        valued("1e400"),
        valued(r#"{"kind":2,"value":"a","value":"b"}"#),
        table("Item; DROP TABLE Item"),
        table("Item\"--"),
        table(""),
        table("1Item"),
        table("It\u{e9}m"),
        table("AuditLog"),
        table("auditlog"),
        table("sqlite_schema"),
        table("_lattice_state"),
        table("_SyncControl"),
        table(&"x".repeat(129)),
        (good().without("tableName"), "bad_table_name"),
        (good().with("tableName", json!(["Item"])), "bad_table_name"),
        column("name = 1; --"),
        column("name\0"),
        column("id"),
        column("globalId"),
        column("GLOBALID"),
        column(""),
        column(&"x".repeat(129)),
        (good().with("operation", json!("UPSERT")), "bad_operation"),
        (good().with("operation", json!("insert")), "bad_operation"),
        (good().without("operation"), "bad_operation"),
        (good().with("globalRowId", json!("")), "bad_row_id"),
        (good().with("globalRowId", json!(5)), "bad_row_id"),
        (good().with("globalRowId", json!("x".repeat(129))), "bad_row_id"),
        (good().with("changedFields", json!([1])), "bad_entry"),
        (good().with("changedFields", json!("{")), "bad_entry"),
        (good().with("changedFieldsNames", json!({"name": 1})), "bad_entry"),
        (wide, "too_many_columns"),
        (Entry::insert("_Parent_Child", &new_row()).raw("lhs", end), "link_incomplete"),
        (good().with_id("not-a-uuid"), "bad_entry_id"),
        (good().with_id("06960229c36947ddAd193f07bf7488b3"), "bad_entry_id"),
    ]
}

#[test]
fn a_bad_entry_is_acked_corrected_and_costs_its_frame_nothing() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut socket = Socket::open(&server, &ann.token, None);
    let mut reader = Socket::open(&server, &ann.token, None);
    let row = new_row();
    socket.store(&[&Entry::insert("Item", &row).text("name", "true")]);
    reader.until_entries(1);
    let log = database::open(&server);
    for (bad, code) in bad_entries(&row) {
        let (before, after) = (Entry::insert("Item", &new_row()), Entry::insert("Item", &new_row()));
        let (before, after) = (before.integer("n", 1), after.integer("n", 2));
        let heard = socket.store(&[&before, &bad, &after]);
        let shown: String = bad.to_json().chars().take(300).collect();
        assert_eq!(heard.acks.iter().filter(|id| **id == bad.id).count(), 1, "{shown}");
        assert!(heard.events.is_empty(), "{shown}: {:?}", heard.events);
        if code != "bad_entry_id" {
            let verdict = database::verdict(&log, &bad.id);
            assert_eq!(verdict.as_deref(), Some(&*format!("rejected:{code}")), "{shown}");
        }
        if ["bad_value", "too_many_columns", "bad_operation"].contains(&code) {
            let current = heard.entries.iter().rfind(|entry| entry["globalRowId"] == *row);
            let current = current.unwrap_or_else(|| panic!("no correction for {shown}"));
            assert_eq!(current["changedFields"]["name"]["value"], "true", "{shown}");
            assert_ne!(current["globalId"], *bad.id);
        }
        // Others hear of the good ones alone.
        let heard = reader.until_entries(2);
        let rows: Vec<_> = heard.entries.iter().map(|entry| entry["globalRowId"].as_str()).collect();
        assert_eq!(rows, [Some(&*before.row), Some(&*after.row)], "{shown}");
    }
    assert_works(&mut socket);
}

#[test]
fn entries_without_an_id_are_told_by_event() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut socket = Socket::open(&server, &ann.token, None);
    let good = || Entry::insert("Item", &new_row()).integer("n", 1);
    let long = "x".repeat(129);
    let bad = [
        ("5".to_owned(), "bad_entry"),
        ("null".to_owned(), "bad_entry"),
        ("[]".to_owned(), "bad_entry"),
        ("\"INSERT\"".to_owned(), "bad_entry"),
        ("{}".to_owned(), "bad_entry_id"),
        (good().with("globalId", json!(5)).to_json(), "bad_entry_id"),
        (good().with("globalId", json!(null)).to_json(), "bad_entry_id"),
        (good().with("globalId", json!(long)).to_json(), "bad_entry_id"),
    ];
    for (entry, code) in bad {
        let (before, after) = (good(), good());
        socket.send(format!(r#"{{"auditLog":[{},{entry},{}]}}"#, before.to_json(), after.to_json()));
        let heard = socket.until_acked(&[&before.id, &after.id]);
        assert_eq!(heard.acks, [&*before.id, &*after.id], "{entry}");
        let codes = if heard.events.is_empty() { socket.until_event() } else { heard };
        assert_eq!(codes.codes(), [code], "{entry}");
    }
    assert_works(&mut socket);
}

#[test]
fn a_frame_that_is_too_large_closes_with_the_limit() {
    const LIMIT: usize = 65_536;
    let server = TestServer::start(&[("MAX_FRAME_BYTES", "65536")]);
    let ann = sign_up(&server, "ann");
    let mut healthy = Socket::open(&server, &ann.token, None);
    let padded = |size: usize| {
        let mut frame = Entry::frame(&[&Entry::insert("Item", &new_row()).integer("n", 1)]).to_vec();
        frame.resize(size, b' ');
        frame
    };
    let open = || Socket::open(&server, &ann.token, None);
    let assert_too_large = |mut socket: Socket, what: &str| {
        let (code, reason) = socket.closed();
        assert_eq!(code, 1009, "{what}: {reason}");
        assert!(reason.starts_with("frame_too_large:") && reason.contains("65536"), "{what}: {reason}");
    };
    let mut socket = open();
    socket.send(padded(LIMIT));
    while !matches!(socket.next(), Got::Frame(frame) if frame.starts_with(b"{\"ack\"")) {}

    socket.send(padded(LIMIT + 1));
    assert_too_large(socket, "one byte more");

    // The client is still sending when it is told; it can finish writing, and reads why.
    let mut socket = open();
    socket.send_raw(&raw_head(BINARY, 8 << 20));
    for _ in 0..128 {
        socket.send_raw(&[0x55; 64 << 10]);
    }
    assert_too_large(socket, "while it is sent");
    let mut socket = open();
    socket.send_raw(&raw_head(BINARY, 1 << 40));
    assert_too_large(socket, "only announced");

    let mut socket = open();
    let pieces = padded(LIMIT + 1);
    socket.send_raw(&raw_frame(BINARY & 0x7f, &pieces[..LIMIT - 10]));
    socket.send_raw(&raw_frame(0x80, &pieces[LIMIT - 10..]));
    assert_too_large(socket, "in pieces");
    assert_works(&mut healthy);
}

#[test]
fn breaches_of_the_protocol_close_with_their_code() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut healthy = Socket::open(&server, &ann.token, None);
    let mut unmasked = raw_frame(BINARY, b"{}");
    unmasked[1] &= 0x7f;
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("text that is not UTF-8", raw_frame(TEXT, b"{\"auditLog\":[\"\xff\"]}"), 1007),
        ("text that is cut short", raw_frame(TEXT, b"\"\xf0\x9f\x98"), 1007),
        (
            "text in pieces that is not UTF-8",
            [raw_frame(TEXT & 0x7f, b"\"\xc3"), raw_frame(0x80, b"\"")].concat(),
            1007,
        ),
        ("an unmasked frame", unmasked, 1002),
        ("a reserved bit", raw_frame(BINARY | 0x20, b"{}"), 1002),
        ("compression that was not agreed on", raw_frame(BINARY | 0x40, b"{}"), 1002),
        ("an unknown opcode", raw_frame(0x83, b"{}"), 1002),
        ("an unknown control opcode", raw_frame(0x8b, b""), 1002),
        ("a continuation of nothing", raw_frame(0x80, b"{}"), 1002),
        ("a message inside another", [raw_frame(0x02, b"{"), raw_frame(BINARY, b"}")].concat(), 1002),
        ("a ping in pieces", raw_frame(PING & 0x7f, b"x"), 1002),
        ("a ping of 126 bytes", raw_frame(PING, &[b'x'; 126]), 1002),
        ("a close frame of one byte", raw_frame(0x88, b"x"), 1002),
        ("a close code that is reserved", raw_frame(0x88, &1005_u16.to_be_bytes()), 1002),
    ];
    for (what, bytes, expected) in cases {
        let mut socket = Socket::open(&server, &ann.token, None);
        // Catch-up may be on its way.
        socket.send_raw(&bytes);
        let (code, reason) = socket.closed();
        assert_eq!(code, expected, "{what}: {reason}");
        assert_works(&mut healthy);
    }
    // Noise: whatever it reads as, the connection ends and the server does not.
    let mut socket = Socket::open(&server, &ann.token, None);
    socket.send_raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    while !matches!(socket.next(), Got::Gone | Got::Closed(..)) {}
    assert_works(&mut healthy);
}

const SECRET: &str = "a secret of the tests, long enough to sign with";

/// The token with other claims, signed by `secret`.
fn forged(token: &str, secret: &str, change: impl FnOnce(&mut Value)) -> String {
    lattice_auth::install_crypto_provider();
    let header = jsonwebtoken::decode_header(token).expect("a header");
    let claims = token.split('.').nth(1).expect("claims");
    let mut claims: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).expect("base64")).expect("JSON");
    change(&mut claims);
    let header = Header { kid: header.kid, ..Header::new(Algorithm::HS256) };
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret.as_bytes())).expect("a token")
}

fn now_s() -> i64 {
    SystemClock.now_us() / 1_000_000
}

#[track_caller]
fn assert_refused(answer: Handshake, code: &str) {
    assert_eq!(answer.status, 401, "{}", answer.head);
    assert!(answer.head.to_ascii_lowercase().contains("www-authenticate: bearer"), "{}", answer.head);
    let problem = answer.problem();
    assert_eq!(problem["code"], code);
    assert_eq!(problem["status"], 401);
}

#[test]
fn tokens_open_sockets_or_are_refused_with_a_code() {
    let server = TestServer::start(&[("JWT_SECRET", SECRET)]);
    let ann = sign_up(&server, "ann");
    let ask = |token: &str| handshake(&server, "/sync", Some(token), b"");
    let by_query =
        |token: &str| handshake(&server, &format!("/sync?last-event-id=&token={token}"), None, b"");
    assert_works(&mut ask(&ann.token).socket());
    assert_works(&mut by_query(&ann.token).socket());
    let device = device_token(&server, &ann);
    assert_works(&mut ask(&device).socket());
    assert_works(&mut by_query(&device).socket());

    assert_refused(handshake(&server, "/sync", None, b""), "token_missing");
    assert_refused(handshake(&server, "/sync?token=", None, b""), "token_missing");
    let expired = forged(&ann.token, SECRET, |claims| claims["exp"] = json!(now_s() - 3_600));
    let elsewhere = forged(&ann.token, SECRET, |claims| claims["aud"] = json!("someone"));
    let stranger = forged(&ann.token, SECRET, |claims| claims["sub"] = json!(new_id().to_ascii_lowercase()));
    let own_secret = forged(&ann.token, "another secret, long enough to sign with", |_| {});
    let unsigned = format!("{}.", ann.token.rsplit_once('.').expect("three parts").0);
    let long = "x".repeat(5_000);
    let wrong = [&*elsewhere, &stranger, &own_secret, &unsigned, "x", "ldt_x", "lrt_x", "a.b.c", &long];
    for (token, code) in
        wrong.map(|token| (token, "token_invalid")).into_iter().chain([(&*expired, "token_expired")])
    {
        assert_refused(ask(token), code);
        assert_refused(by_query(token), code);
    }
    log_out(&server, &device);
    assert_refused(ask(&device), "session_revoked");
    log_out(&server, &ann.token);
    assert_refused(ask(&ann.token), "session_revoked");
    assert_refused(by_query(&ann.token), "session_revoked");
    // An upload in the same segment as a handshake that is refused goes nowhere.
    let early = raw_frame(BINARY, &Entry::frame(&[&Entry::insert("Item", &new_row()).integer("n", 1)]));
    assert_refused(handshake(&server, "/sync", Some("x"), &early), "token_invalid");
    let entries = database::entries(&database::open(&server));
    assert_eq!(entries, 4, "one for each socket that worked");
}

#[test]
fn sockets_end_with_their_tokens() {
    let server = TestServer::start(&[("JWT_SECRET", SECRET)]);
    let ann = sign_up(&server, "ann");
    let bob = sign_up(&server, "bob");
    let device = device_token(&server, &ann);
    let brief = forged(&ann.token, SECRET, |claims| claims["exp"] = json!(now_s() + 3));
    let mut lasting = Socket::open(&server, &bob.token, None);
    let mut expiring = Socket::open(&server, &brief, None);
    let mut logged_out = Socket::open(&server, &device, None);
    assert_works(&mut expiring);
    assert_works(&mut logged_out);
    let (code, reason) = expiring.closed();
    assert_eq!(code, 1008, "{reason}");
    assert!(reason.starts_with("token_expired:"), "{reason}");
    log_out(&server, &device);
    let (code, reason) = logged_out.closed();
    assert_eq!(code, 1008, "{reason}");
    assert!(reason.starts_with("session_revoked:"), "{reason}");
    assert_works(&mut lasting);
}

#[test]
fn what_is_secret_is_never_logged() {
    let server = TestServer::start(&[("LOG", "trace"), ("JWT_SECRET", SECRET)]);
    let ann = sign_up(&server, "ann");
    let device = device_token(&server, &ann);
    for token in [&ann.token, &device] {
        assert_works(&mut handshake(&server, "/sync", Some(token), b"").socket());
        let mut socket = handshake(&server, &format!("/sync?token={token}"), None, b"").socket();
        assert_works(&mut socket);
        socket.send("garbage");
        socket.until_event();
        socket.send_raw(&raw_frame(0x83, b""));
        socket.closed();
    }
    let wrong = "ldt_a-token-that-was-mistyped";
    handshake(&server, &format!("/sync?token={wrong}"), None, b"").problem();
    handshake(&server, "/sync", Some(wrong), b"").problem();
    log_out(&server, &device);
    let log = server.log();
    assert!(log.contains("DEBUG"), "nothing was logged at all:\n{log}");
    let signature = ann.token.rsplit('.').next().expect("a signature");
    for secret in [&ann.token, signature, &device, wrong, SECRET, "correct horse", "ann@example.com"] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "a secret is in the log");
    }
}
