//! Uploads: a result for each change, current values before the answer, changes without ids.

use serde_json::{Value, json};

use crate::common::entry::{Entry, new_row};
use crate::common::http::{join, make_space, sign_up};
use crate::common::json_client::{JsonClient, change};
use crate::common::server::TestServer;
use crate::common::socket::Socket;

fn statuses(results: &[Value]) -> Vec<&str> {
    results.iter().map(|result| result["status"].as_str().expect("a status")).collect()
}

fn codes(results: &[Value]) -> Vec<&str> {
    results.iter().map(|result| result["code"].as_str().unwrap_or("")).collect()
}

#[test]
fn every_change_has_a_result() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut client = JsonClient::in_space(&server, "ann", &ann, "me");
    let (row, other) = (new_row(), new_row());
    let bad = |key: &str, value: Value| {
        let mut change = change("insert", "Trip", &new_row(), json!({"days": 1}));
        change[key] = value;
        change
    };
    // Changes, and the codes of those that are refused.
    let cases = [
        (change("insert", "Trip", &row, json!({"name": "a", "days": 1})), ""),
        (bad("tableName", json!("sqlite_master")), "bad_table_name"),
        (bad("operation", json!("upsert")), "bad_operation"),
        (bad("globalRowId", json!("")), "bad_row_id"),
        (bad("changedFields", json!({"a b": 1})), "bad_column_name"),
        (bad("changedFields", json!({"days": [1]})), "bad_value"),
        (bad("changedFields", json!({"days": {"$int": "9223372036854775808"}})), "bad_value"),
        (bad("changedFields", json!("not JSON")), "bad_entry"),
        (bad("id", json!("nonsense")), "bad_entry_id"),
        (bad("id", json!("a0000000-1000-8000-8000-1d2e3f405162")), "bad_entry_id"),
        (json!(7), "bad_entry"),
        (change("INSERT", "_Trip_Stop_stops", &new_row(), json!({"lhs": "x"})), "link_incomplete"),
        (change("update", "Trip", &row, json!({"days": 2})), ""),
        (change("insert", "Trip", &other, json!({"name": "b"})), ""),
    ];
    let (changes, refused): (Vec<Value>, Vec<&str>) = cases.into_iter().unzip();
    let ids: Vec<Value> = changes.iter().map(|change| change["id"].clone()).collect();
    client.send(&json!({"type": "upload", "id": "up \"1\"", "changes": changes}));
    let ack = client.event("ack");
    assert_eq!(ack["id"], "up \"1\"");
    let results = ack["results"].as_array().expect("results");
    let expected: Vec<&str> =
        refused.iter().map(|code| if code.is_empty() { "applied" } else { "rejected" }).collect();
    assert_eq!(statuses(results), expected, "{results:?}");
    assert_eq!(codes(results), refused);
    for (result, id) in results.iter().zip(&ids) {
        if id.is_string() {
            assert_eq!(result["id"], *id);
        }
        assert_eq!(result.get("detail").is_some(), result["status"] == "rejected", "{result}");
    }
    // Others have what was good, and nothing else.
    let fresh = JsonClient::in_space(&server, "fresh", &ann, "me");
    assert_eq!(fresh.space("me").value("Trip", &row, "days"), Some("2"));
    assert_eq!(fresh.space("me").rows.len(), 2);
}

#[test]
fn current_values_come_before_the_answer() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut first = JsonClient::in_space(&server, "first", &ann, "me");
    let mut second = JsonClient::in_space(&server, "second", &ann, "me");
    let row = new_row();
    let at = |mut change: Value, time: f64| {
        change["timestamp"] = json!(time);
        change
    };
    let insert = change("insert", "Trip", &row, json!({"name": "a", "days": 1}));
    first.store("me", vec![at(insert, 1_000.0)]);
    second.until_row("me", "Trip", &row);
    second.store("me", vec![at(change("update", "Trip", &row, json!({"days": 5})), 3_000.0)]);
    // Older in one field, newer in the other.
    let update = change("update", "Trip", &row, json!({"name": "b", "days": 4}));
    let results = first.store("me", vec![at(update, 2_000.0)]);
    assert_eq!(statuses(&results), ["merged"]);
    let kinds: Vec<&Value> = first.events.iter().rev().take(2).map(|event| &event["type"]).collect();
    assert_eq!(kinds, ["ack", "current"], "current values first");
    assert_eq!(first.space("me").value("Trip", &row, "days"), Some("5"));
    let late = at(change("update", "Trip", &row, json!({"days": 3})), 1_500.0);
    assert_eq!(statuses(&first.store("me", vec![late])), ["superseded"]);
    assert_eq!(first.space("me").value("Trip", &row, "days"), Some("5"));
    // Deleted, and set by somebody who does not know yet: taken away from that one too.
    second.store("me", vec![at(change("delete", "Trip", &row, json!({})), 4_000.0)]);
    let late = at(change("update", "Trip", &row, json!({"days": 9})), 5_000.0);
    assert_eq!(statuses(&first.store("me", vec![late])), ["superseded"]);
    assert!(first.space("me").row("Trip", &row).is_none());
    // A refused value is put right as well.
    let good = change("insert", "Trip", &new_row(), json!({"days": 1}));
    let good_row = good["globalRowId"].as_str().expect("a row").to_owned();
    first.store("me", vec![good]);
    let results = first.store("me", vec![change("update", "Trip", &good_row, json!({"days": {"x": 1}}))]);
    assert_eq!(codes(&results), ["bad_value"]);
    assert_eq!(first.space("me").value("Trip", &good_row, "days"), Some("1"));
    first.ping();
    second.ping();
    assert_eq!(first.space("me").rows, second.space("me").rows);
}

#[test]
fn a_retry_without_ids_is_recognised() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let row = new_row();
    let bare = |days: Value, time: Option<f64>| {
        json!({"tableName": "Trip", "operation": "insert", "globalRowId": row, "changedFields": {"days": days},
               "timestamp": time})
    };
    let store = |client: &mut JsonClient, id: Value, changes: Vec<Value>| {
        client.send(&json!({"type": "upload", "id": id, "changes": changes}));
        client.event("ack")["results"].as_array().expect("results").clone()
    };
    let mut client = JsonClient::open(&server, "ann", &ann);
    // With a timestamp the upload's id does not matter.
    let results =
        store(&mut client, json!(1), vec![bare(json!(1), Some(1_000.0)), bare(json!(2), Some(1_001.0))]);
    assert_eq!(statuses(&results), ["applied", "applied"]);
    let again =
        store(&mut client, json!(null), vec![bare(json!(2), Some(1_001.0)), bare(json!(1), Some(1_000.0))]);
    assert_eq!(statuses(&again), ["duplicate", "duplicate"]);
    assert_eq!((&again[1]["id"], &again[0]["id"]), (&results[0]["id"], &results[1]["id"]));
    assert_eq!(&results[0]["id"].as_str().expect("an id")[14..15], "5");
    // Without one it does: true, false, true are three changes, sent again they are none.
    let toggles = [true, false, true].map(|value| bare(json!(value), None));
    for (number, toggle) in toggles.iter().enumerate() {
        let results = store(&mut client, json!(format!("t{number}")), vec![toggle.clone()]);
        assert_eq!(statuses(&results), ["applied"]);
    }
    // After a new connection too: the client is the same one.
    client.disconnect();
    client.connect(&server);
    for (number, toggle) in toggles.iter().enumerate() {
        let results = store(&mut client, json!(format!("t{number}")), vec![toggle.clone()]);
        assert_eq!(statuses(&results), ["duplicate"]);
    }
    // Another client is another author, and so is one without a name or an upload without an id.
    let mut other = JsonClient::open(&server, "other", &ann);
    assert_eq!(statuses(&store(&mut other, json!("t0"), vec![toggles[0].clone()])), ["applied"]);
    for _ in 0..2 {
        let results = store(&mut other, json!(null), vec![toggles[0].clone()]);
        assert_eq!(statuses(&results), ["applied"]);
        assert_eq!(&results[0]["id"].as_str().expect("an id")[14..15], "4");
    }
}

#[test]
fn an_upload_that_was_overtaken_is_answered_with_current_values() {
    let server = TestServer::start(&[]);
    let (ann, bob) = (sign_up(&server, "ann"), sign_up(&server, "bob"));
    let space = make_space(&server, &ann, "shared");
    let mut client = JsonClient::open(&server, "bob", &bob);
    let row = new_row();
    let first = vec![change("insert", "Trip", &row, json!({"days": 1}))];
    let early = client.upload(&space, first.clone());
    assert_eq!(client.error(), "space_not_found");
    join(&server, &space, &ann, &bob, "editor");
    // It is let in, and what it sent before it knew of the refusal is taken.
    client.store(&space, vec![change("update", "Trip", &row, json!({"days": 2}))]);
    client.send(&json!({"type": "upload", "space": space, "id": early, "changes": first}));
    client.results(early);
    let mut reader = JsonClient::in_space(&server, "ann", &ann, &space);
    reader.until_row(&space, "Trip", &row);
    let value = |client: &JsonClient| client.space(&space).value("Trip", &row, "days").map(str::to_owned);
    assert_eq!(value(&client), value(&reader), "what has won by now");
    assert_eq!(value(&client).as_deref(), Some("1"), "the upload that came last");
}

#[test]
fn uploads_that_were_not_acknowledged_are_sent_again() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut reader = JsonClient::in_space(&server, "reader", &ann, "me");
    let mut client = JsonClient::in_space(&server, "client", &ann, "me");
    let rows: Vec<String> = (0..20).map(|_| new_row()).collect();
    for row in &rows {
        client.upload("me", vec![change("insert", "Trip", row, json!({"days": 1}))]);
    }
    // Gone before it has read a single answer.
    client.disconnect();
    client.connect(&server);
    client.until(|client| client.acks.len() == rows.len());
    for row in &rows {
        reader.until_value("me", ("Trip", row, "days"), "1");
    }
    client.ping();
    assert_eq!(client.space("me").rows, reader.space("me").rows);
    let mut native = Socket::open(&server, &ann.token, None);
    assert_eq!(native.until_entries(rows.len()).entries.len(), rows.len(), "each once");
    let probe = Entry::insert("Probe", &new_row()).integer("n", 1);
    assert!(native.store(&[&probe]).entries.is_empty());
}
