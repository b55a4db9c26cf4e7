//! Native clients that upload a part of their rows only, by frames of the shapes that the real library sends.

mod common;

use common::entry::{Entry, new_row};
use common::http::sign_up;
use common::server::TestServer;
use common::socket::Socket;
use lattice_store::time::{Clock, SystemClock};
use serde_json::{Value, json};

/// What such a client sends of a row that left its filter.
fn left(row: &str) -> Entry {
    let entry = Entry::delete("Item", row).with("id", json!(0)).with("rowId", json!(0));
    entry.with("changedFields", json!({})).with("changedFieldsNames", json!([]))
}

/// What such a client sends when its user has edited a row that it had received only: all of it.
fn edited(row: &str, name: &str, count: i64, note: &str) -> Entry {
    let entry = Entry::insert("Item", row).text("name", name).integer("count", count).text("note", note);
    // Milliseconds, written with six decimals.
    let now_ms = SystemClock.now_us() / 1_000;
    let timestamp = format!("{}.{:03}000", now_ms / 1_000, now_ms % 1_000);
    entry.with("id", json!(0)).with("synthesized", json!(true)).with("timestamp", json!(timestamp))
}

fn acks(socket: &mut Socket, entries: &[Value]) {
    let ids: Vec<&Value> = entries.iter().map(|entry| &entry["globalId"]).collect();
    socket.send(json!({"ack": ids, "kind": "ack"}).to_string().into_bytes());
}

/// The values of a row as somebody new is sent it.
fn values(server: &TestServer, token: &str, row: &str) -> Option<Value> {
    let heard = Socket::open(server, token, None).until(|heard| heard.entries.iter().any(is_end));
    let is_live = |entry: &&Value| entry["globalRowId"] == *row && entry["operation"] != "DELETE";
    let entry = heard.entries.iter().find(is_live)?;
    let fields = entry["changedFields"].as_object().expect("fields");
    Some(fields.iter().map(|(name, field)| (name.clone(), field["value"].clone())).collect())
}

/// The last row that a test has made.
fn is_end(entry: &Value) -> bool {
    entry["tableName"] == "End"
}

fn end(socket: &mut Socket) {
    socket.store(&[&Entry::insert("End", &new_row()).integer("n", 1)]);
}

#[test]
fn a_row_that_left_the_filter_of_a_device_lives_on() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let (mut phone, mut laptop) =
        (Socket::open(&server, &ann.token, None), Socket::open(&server, &ann.token, None));
    let row = new_row();
    phone.store(&[&Entry::insert("Item", &row).text("name", "a").integer("done", 0)]);
    laptop.until_entries(1);
    let gone = left(&row);
    let heard = phone.store(&[&gone]);
    assert_eq!(heard.acks, [&*gone.id]);
    assert_eq!(heard.entries, [] as [Value; 0], "its own copy is as it was");
    // Sent again it means the same.
    assert_eq!(phone.store(&[&gone]).entries, [] as [Value; 0]);
    // Nobody else hears of it; and what others change goes on reaching the phone, which may still hold the row.
    laptop.store(&[&Entry::update("Item", &row).text("name", "b")]);
    let heard = phone.until_entries(1);
    assert_eq!(heard.entries[0]["changedFields"]["name"]["value"], "b");
    // A DELETE as a user makes it names the columns of the table.
    let deleted = new_row();
    phone.store(&[&Entry::insert("Item", &deleted).text("name", "c")]);
    let heard = laptop.until_entries(1);
    assert_eq!(heard.entries[0]["globalRowId"], *deleted, "nothing came before it");
    phone.store(&[&Entry::delete("Item", &deleted).text("name", "c")]);
    assert_eq!(laptop.until_entries(1).entries[0]["operation"], "DELETE");
    // So do those of lists of bounds not: their DELETE is real all the same.
    let bounds = new_row();
    phone.store(&[&Entry::insert("_Place_areas", &bounds).text("parent_id", "p").integer("minLat", 1)]);
    assert_eq!(laptop.until_entries(1).entries[0]["globalRowId"], *bounds);
    let delete = Entry::delete("_Place_areas", &bounds);
    phone.store(&[&delete.with("changedFields", json!({})).with("changedFieldsNames", json!([]))]);
    assert_eq!(laptop.until_entries(1).entries[0]["operation"], "DELETE");
    end(&mut phone);
    assert_eq!(values(&server, &ann.token, &row), Some(json!({"name": "b", "done": 0})));
    assert_eq!(values(&server, &ann.token, &deleted), None);
    assert_eq!(values(&server, &ann.token, &bounds), None);
}

#[test]
fn the_first_edit_of_a_received_row_is_an_edit_of_what_differs() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut writer = Socket::open(&server, &ann.token, None);
    let row = new_row();
    let made = Entry::insert("Item", &row).text("name", "a").integer("count", 1).text("note", "x");
    writer.store(&[&made]);
    let mut device = Socket::open(&server, &ann.token, None);
    let received = device.until_entries(1).entries;
    acks(&mut device, &received);

    // One field differs from what it was sent.
    let edit = edited(&row, "mine", 1, "x");
    let heard = device.store(&[&edit]);
    assert_eq!(heard.acks, [&*edit.id]);
    let delivered = writer.until_entries(1).entries;
    assert_eq!(delivered[0]["operation"], "UPDATE");
    assert_eq!(delivered[0]["changedFields"], json!({"name": {"kind": 2, "value": "mine"}}));
    acks(&mut device, &heard.entries);

    // Somebody else has set another field meanwhile, which the device has not applied: it keeps its value, and the device is
    // sent it.
    writer.store(&[&Entry::update("Item", &row).text("note", "theirs")]);
    let edit = edited(&row, "mine again", 1, "x");
    let heard = device.store(&[&edit]);
    let last = heard.entries.iter().rfind(|entry| entry["globalRowId"] == *row).expect("a correction");
    assert_eq!(last["changedFields"]["note"]["value"], "theirs");
    assert_eq!(last["changedFields"]["name"]["value"], "mine again");
    acks(&mut device, &heard.entries);
    assert_eq!(
        writer.until_entries(1).entries[0]["changedFields"],
        json!({"name": {"kind": 2, "value": "mine again"}})
    );

    // Once it has applied that, another value is an edit. What was sent before the marker has come when the marker has.
    let marker = new_row();
    writer.store(&[&Entry::insert("Item", &marker).integer("count", 0)]);
    let rest =
        device.until(|heard| heard.entries.iter().any(|entry| entry["globalRowId"] == *marker)).entries;
    acks(&mut device, &rest);
    device.store(&[&edited(&row, "mine again", 1, "x")]);
    assert_eq!(
        writer.until_entries(1).entries[0]["changedFields"],
        json!({"note": {"kind": 2, "value": "x"}})
    );
    // Versions that do not say what it is send the same as a plain INSERT at each connect.
    let checkpoint = received[0]["globalId"].as_str().expect("an id").to_owned();
    writer.store(&[&Entry::update("Item", &row).integer("count", 7)]);
    let mut device = Socket::open(&server, &ann.token, Some(&checkpoint));
    device.store(&[&Entry::insert("Item", &row).text("name", "a").integer("count", 1).text("note", "x")]);
    end(&mut writer);
    let expected = json!({"name": "mine again", "count": 7, "note": "x"});
    assert_eq!(values(&server, &ann.token, &row), Some(expected));
}

#[test]
fn a_snapshot_without_a_time_inserts_where_nothing_is() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut writer = Socket::open(&server, &ann.token, None);
    let row = new_row();
    writer.store(&[&Entry::insert("Item", &row).text("name", "a")]);
    let mut device = Socket::open(&server, &ann.token, None);
    let received = device.until_entries(1).entries;
    acks(&mut device, &received);
    let snapshot = |row: &str| Entry::insert("Item", row).text("name", "b").with("synthesized", json!(true));
    let new = new_row();
    device.store(&[&snapshot(&row), &snapshot(&new)]);
    end(&mut writer);
    assert_eq!(values(&server, &ann.token, &row), Some(json!({"name": "a"})));
    assert_eq!(values(&server, &ann.token, &new), Some(json!({"name": "b"})));
}
