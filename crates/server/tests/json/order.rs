//! Edits of one client that have the same time, or times before 1970, in both dialects.

use serde_json::{Value, json};

use crate::common::entry::{Entry, new_row};
use crate::common::http::sign_up;
use crate::common::json_client::{JsonClient, change};
use crate::common::server::TestServer;
use crate::common::socket::Socket;

/// Random ids decided every second tie: as many edits as make it impossible that all are won by chance.
const TIES: usize = 24;

fn at(mut change: Value, seconds: f64) -> Value {
    change["timestamp"] = json!(seconds);
    change
}

/// In the JSON dialect: what a client uploads about one row in one millisecond, in one upload or in two.
#[test]
fn of_json_edits_with_one_time_the_last_one_holds() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut client = JsonClient::in_space(&server, "ann", &ann, "me");
    for now in [1_700_000_000.123, -86_400.5] {
        let (together, apart, replaced, gone): (Vec<String>, Vec<String>, Vec<String>, Vec<String>) = (
            (0..TIES).map(|_| new_row()).collect(),
            (0..TIES).map(|_| new_row()).collect(),
            (0..TIES).map(|_| new_row()).collect(),
            (0..TIES).map(|_| new_row()).collect(),
        );
        let insert = |row: &str, v: u8| at(change("insert", "T", row, json!({"v": v})), now);
        let update = |row: &str, v: u8| at(change("update", "T", row, json!({"v": v})), now);
        let delete = |row: &str| at(change("delete", "T", row, json!({})), now);
        for row in &together {
            client.store("me", vec![insert(row, 1), update(row, 2)]);
        }
        for row in &apart {
            client.store("me", vec![insert(row, 1)]);
            client.store("me", vec![update(row, 2)]);
        }
        for row in &replaced {
            client.store("me", vec![at(insert(row, 1), now - 9.0)]);
            client.store("me", vec![delete(row), insert(row, 2)]);
        }
        for row in &gone {
            client.store("me", vec![insert(row, 1), delete(row)]);
        }
        let fresh = JsonClient::in_space(&server, "fresh", &ann, "me");
        for row in together.iter().chain(&apart).chain(&replaced) {
            assert_eq!(fresh.space("me").value("T", row, "v"), Some("2"));
        }
        assert!(gone.iter().all(|row| fresh.space("me").row("T", row).is_none()));
    }
}

/// The same over the native dialect, whose clients may write a time as well.
#[test]
fn of_native_edits_with_one_time_the_last_one_holds() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut socket = Socket::open(&server, &ann.token, None);
    for now in [1_700_000_000.123, -86_400.5] {
        let mut expected: Vec<(String, Option<&str>)> = Vec::new();
        for _ in 0..TIES {
            let (together, apart, replaced, gone) = (new_row(), new_row(), new_row(), new_row());
            let insert = |row: &str, v| Entry::insert("T", row).integer("v", v).at(now);
            let update = |row: &str, v| Entry::update("T", row).integer("v", v).at(now);
            let delete = |row: &str| Entry::delete("T", row).at(now);
            socket.store(&[&insert(&together, 1), &update(&together, 2)]);
            socket.store(&[&insert(&apart, 1)]);
            socket.store(&[&update(&apart, 2)]);
            socket.store(&[&insert(&replaced, 1).at(now - 9.0)]);
            socket.store(&[&delete(&replaced), &insert(&replaced, 2)]);
            socket.store(&[&insert(&gone, 1), &delete(&gone)]);
            expected.extend([(together, Some("2")), (apart, Some("2")), (replaced, Some("2")), (gone, None)]);
        }
        let fresh = JsonClient::in_space(&server, "fresh", &ann, "me");
        for (row, value) in expected {
            assert_eq!(fresh.space("me").value("T", &row, "v"), value);
        }
    }
}

/// Whichever comes first: of two times before 1970 the later one holds, and it is delivered with its sign.
#[test]
fn times_before_1970_keep_their_order_in_both_dialects() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut native = Socket::open(&server, &ann.token, None);
    let mut json = JsonClient::in_space(&server, "json", &ann, "me");
    let row = new_row();
    native
        .store(&[&Entry::insert("T", &row).integer("v", 1).with("timestamp", json!("1969-07-20T20:17:30Z"))]);
    native.store(&[&Entry::update("T", &row).integer("v", 2).with("timestamp", json!("-14182941.5"))]);
    json.until_row("me", "T", &row);
    let results = json.store("me", vec![at(change("update", "T", &row, json!({"v": 3})), -14_182_942.0)]);
    assert_eq!(results[0]["status"], "superseded");
    let results = json.store("me", vec![at(change("update", "T", &row, json!({"v": 4})), -14_182_941.0)]);
    assert_eq!(results[0]["status"], "applied");
    let mut fresh = Socket::open(&server, &ann.token, None);
    let heard = fresh.until_entries(1);
    assert_eq!(heard.entries[0]["changedFields"]["v"]["value"], 4);
    assert_eq!(heard.entries[0]["timestamp"], "-14182941");
}
