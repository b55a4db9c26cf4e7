//! Both dialects see the same values: what a native client writes, a JSON client reads, and the other way round.

use serde_json::{Value, json};

use crate::common::entry::{Entry, new_row};
use crate::common::http::{Account, call_raw, sign_up};
use crate::common::json_client::{JsonClient, change};
use crate::common::server::TestServer;
use crate::common::socket::Socket;

/// Wire values and the plain ones that they stand for.
const VALUES: &[(&str, &str)] = &[
    (r#"{"kind":1,"value":9223372036854775807}"#, "9223372036854775807"),
    (r#"{"kind":1,"value":-9223372036854775808}"#, "-9223372036854775808"),
    (r#"{"kind":1,"value":9007199254740993}"#, "9007199254740993"),
    (r#"{"kind":0,"value":-2147483648}"#, "-2147483648"),
    (r#"{"kind":7,"value":3.0}"#, "3.0"),
    (r#"{"kind":7,"value":1e+300}"#, "1e+300"),
    (r#"{"kind":7,"value":0.1}"#, "0.1"),
    (r#"{"kind":5,"value":1.5}"#, "1.5"),
    (r#"{"kind":3,"value":1711800000.123456}"#, r#"{"$date":1711800000.123456}"#),
    (r#"{"kind":2,"value":""}"#, r#""""#),
    (r#"{"kind":2,"value":"00FF10ABCDEF"}"#, r#""00FF10ABCDEF""#),
    (r#"{"kind":6,"value":"DEADBEEF"}"#, r#"{"$data":"3q2+7w=="}"#),
    (r#"{"kind":2,"value":"Ada 😀 é \"q\" \\ line\n2"}"#, r#""Ada 😀 é \"q\" \\ line\n2""#),
];

fn columns(values: &[&str]) -> String {
    let columns: Vec<String> =
        values.iter().enumerate().map(|(number, value)| format!(r#""c{number}":{value}"#)).collect();
    format!("{{{}}}", columns.join(","))
}

#[track_caller]
fn assert_plain(client: &JsonClient, row: &str, values: &[&str]) {
    for (number, value) in values.iter().enumerate() {
        let held = client.space("me").value("Item", row, &format!("c{number}"));
        assert_eq!(held, Some(*value), "c{number} in {}", client.name);
    }
}

/// The last frame that a new native client is sent of a row.
fn native_text(server: &TestServer, account: &Account, row: &str) -> String {
    let mut socket = Socket::open(server, &account.token, None);
    loop {
        let frame = socket.next_frame();
        let text = String::from_utf8(frame.to_vec()).expect("UTF-8");
        if text.contains(row) {
            return text;
        }
    }
}

#[test]
fn what_native_clients_write_is_read_exactly() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut live = JsonClient::in_space(&server, "live", &ann, "me");
    let mut objects = JsonClient::new("objects", &ann);
    objects.hello["changedFields"] = json!("object");
    objects.connect(&server);
    objects.subscribe("me", json!({}));
    objects.until_complete("me");
    let row = new_row();
    let mut entry = Entry::insert("Item", &row);
    for (number, (wire, _)) in VALUES.iter().enumerate() {
        entry = entry.raw(&format!("c{number}"), wire);
    }
    Socket::open(&server, &ann.token, None).store(&[&entry]);
    let plain: Vec<&str> = VALUES.iter().map(|(_, plain)| *plain).collect();
    live.until_row("me", "Item", &row);
    assert_plain(&live, &row, &plain);
    objects.until_row("me", "Item", &row);
    assert_plain(&objects, &row, &plain);
    assert!(objects.space("me").log[0].changed_fields.get().starts_with('{'));
    assert!(live.space("me").log[0].changed_fields.get().starts_with('"'));
    let fresh = JsonClient::in_space(&server, "fresh", &ann, "me");
    assert_plain(&fresh, &row, &plain);
    // Integers that a JavaScript number cannot hold, as text.
    let mut texts = JsonClient::new("texts", &ann);
    texts.hello["integers"] = json!("string");
    texts.connect(&server);
    texts.subscribe("me", json!({}));
    texts.until_complete("me");
    assert_plain(
        &texts,
        &row,
        &[
            r#""9223372036854775807""#,
            r#""-9223372036854775808""#,
            r#""9007199254740993""#,
            "-2147483648",
            "3.0",
        ],
    );
    // And over HTTP.
    let (_, body) = call_raw(&server, "GET", "/sync/changes", &ann.token, None);
    for value in ["9223372036854775807", "1e+300", "1711800000.123456"] {
        assert!(body.contains(value), "{body}");
    }
}

#[test]
fn what_json_clients_write_is_read_exactly() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut native = Socket::open(&server, &ann.token, None);
    let mut writer = JsonClient::in_space(&server, "writer", &ann, "me");
    let reader = &mut JsonClient::in_space(&server, "reader", &ann, "me");
    // What a plain value says by itself: integers of 64 bits, doubles, text; the rest by tags.
    let exact: Vec<&(&str, &str)> = VALUES
        .iter()
        .filter(|(wire, _)| !wire.contains(r#""kind":0"#) && !wire.contains(r#""kind":5"#))
        .collect();
    let plain: Vec<&str> = exact.iter().map(|(_, plain)| *plain).collect();
    let row = new_row();
    // As text, since a parser in between would write some of it in another way.
    let fields = Value::from(columns(&plain));
    writer.send_text(&format!(
        r#"{{"type":"upload","changes":[{{"tableName":"Item","operation":"insert","globalRowId":"{row}","changedFields":{fields}}}]}}"#
    ));
    assert_eq!(writer.event("ack")["results"][0]["status"], "applied");
    let live = String::from_utf8(native.next_frame().to_vec()).expect("UTF-8");
    let caught_up = native_text(&server, &ann, &row);
    for (number, (wire, _)) in exact.iter().enumerate() {
        let member = format!(r#""c{number}":{wire}"#);
        assert!(live.contains(&member), "{member} in {live}");
        assert!(caught_up.contains(&member), "{member} in {caught_up}");
    }
    reader.until_row("me", "Item", &row);
    assert_plain(reader, &row, &plain);
}

#[test]
fn columns_keep_their_kinds() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut native = Socket::open(&server, &ann.token, None);
    let row = new_row();
    let wires = [
        r#"{"kind":7,"value":2.5}"#,
        r#"{"kind":3,"value":1711800000.5}"#,
        r#"{"kind":0,"value":7}"#,
        r#"{"kind":5,"value":0.5}"#,
        r#"{"kind":2,"value":"00FF"}"#,
        r#"{"kind":1,"value":9007199254740993}"#,
        r#"{"kind":7,"value":1.0}"#,
    ];
    let mut entry = Entry::insert("Item", &row);
    for (number, wire) in wires.iter().enumerate() {
        entry = entry.raw(&format!("c{number}"), wire);
    }
    native.store(&[&entry]);
    let mut client = JsonClient::open(&server, "ann", &ann);
    let fields = r#"{"c0":3,"c1":1711800001,"c2":8,"c3":1.5,"c4":{"$data":"3q2+7w=="},"c5":"9007199254740995","c6":null}"#;
    let results = client.store("me", vec![change("update", "Item", &row, json!(fields))]);
    assert_eq!(results[0]["status"], "applied");
    let frame = String::from_utf8(native.next_frame().to_vec()).expect("UTF-8");
    for member in [
        r#""c0":{"kind":7,"value":3}"#,
        r#""c1":{"kind":3,"value":1711800001}"#,
        r#""c2":{"kind":0,"value":8}"#,
        r#""c3":{"kind":5,"value":1.5}"#,
        r#""c4":{"kind":2,"value":"DEADBEEF"}"#,
        r#""c5":{"kind":1,"value":9007199254740995}"#,
        r#""c6":{"kind":7,"value":null}"#,
    ] {
        assert!(frame.contains(member), "{member} in {frame}");
    }
}

#[test]
fn long_texts_pass_both_ways() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut native = Socket::open(&server, &ann.token, None);
    let mut client = JsonClient::in_space(&server, "ann", &ann, "me");
    let long = "0123456789abcdé😀".repeat(1 << 16);
    assert!(long.len() > 1 << 20);
    let (row, other) = (new_row(), new_row());
    native.store(&[&Entry::insert("Item", &row).text("note", &long)]);
    client.until_value("me", ("Item", &row, "note"), &format!("\"{long}\""));
    let results = client.store("me", vec![change("insert", "Item", &other, json!({"note": long}))]);
    assert_eq!(results[0]["status"], "applied");
    let heard = native.until_entries(1);
    assert_eq!(heard.entries[0]["changedFields"]["note"]["value"], json!(long));
    let fresh = JsonClient::in_space(&server, "fresh", &ann, "me");
    assert_eq!(fresh.space("me").rows, client.space("me").rows);
}

#[test]
fn rows_and_ids_keep_their_spelling() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut native = Socket::open(&server, &ann.token, None);
    let mut client = JsonClient::in_space(&server, "ann", &ann, "me");
    let row = new_row().to_ascii_uppercase();
    native.store(&[&Entry::insert("Item", &row).integer("n", 1)]);
    client.until_row("me", "Item", &row);
    assert_eq!(client.space("me").log[0].global_row_id, row);
    // Named in another case it is the same row, and is sent as it was spelled first.
    let update = change("update", "Item", &row.to_ascii_lowercase(), json!({"n": 2}));
    client.store("me", vec![update]);
    assert_eq!(native.until_entries(1).entries[0]["globalRowId"], json!(row));
    // Text that is no UUID.
    client.store("me", vec![change("insert", "Item", "stop №1", json!({"n": 3}))]);
    assert_eq!(native.until_entries(1).entries[0]["globalRowId"], json!("stop №1"));
}
