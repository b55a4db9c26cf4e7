//! Acks of deliveries are read: what a device failed to store comes again.

mod common;

use common::entry::{Entry, new_row};
use common::http::sign_up;
use common::server::TestServer;
use common::socket::Socket;
use serde_json::{Value, json};

/// Acknowledges these entries, as a client does that failed to apply the others of the frame.
fn ack(socket: &mut Socket, entries: &[&Value]) {
    let ids: Vec<&Value> = entries.iter().map(|entry| &entry["globalId"]).collect();
    socket.send(json!({"ack": ids, "kind": "ack"}).to_string().into_bytes());
}

#[test]
fn an_entry_that_is_left_out_of_an_ack_is_sent_again_whole_under_a_fresh_id() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut writer = Socket::open(&server, &ann.token, None);
    let (stored, failed) = (new_row(), new_row());
    writer.store(&[
        &Entry::insert("Item", &stored).integer("n", 1),
        &Entry::insert("Item", &failed).integer("n", 2).text("name", "two"),
    ]);
    let mut device = Socket::open(&server, &ann.token, None);
    let page = device.until_entries(2).entries;
    let of = |entries: &[Value], row: &str| {
        entries.iter().find(|entry| entry["globalRowId"] == *row).cloned().expect("an entry of the row")
    };
    ack(&mut device, &[&of(&page, &stored)]);
    let again = device.until_entries(1).entries;
    assert_eq!(again.len(), 1, "what was acknowledged does not come again: {again:?}");
    assert_eq!(again[0]["globalRowId"], *failed);
    assert_eq!(again[0]["operation"], "INSERT");
    assert_eq!(again[0]["changedFields"]["name"]["value"], "two");
    assert_ne!(again[0]["globalId"], of(&page, &failed)["globalId"], "a client skips ids that it knows");
    ack(&mut device, &[&again[0]]);

    // Live frames too. Of a frame of which nothing was applied there is no ack: that of the next one tells.
    let (lost, next) = (Entry::insert("Item", &new_row()).integer("n", 3), new_row());
    writer.store(&[&lost]);
    let first = device.until_entries(1).entries;
    assert_eq!(first[0]["globalId"], *lost.id);
    writer.store(&[&Entry::insert("Item", &next).integer("n", 4)]);
    let second = device.until_entries(1).entries;
    ack(&mut device, &[&second[0]]);
    let again = device.until_entries(1).entries;
    assert_eq!((again.len(), &again[0]["globalRowId"]), (1, &json!(lost.row)));
    assert_ne!(again[0]["globalId"], *lost.id);
    ack(&mut device, &[&again[0]]);

    // An UPDATE that failed brings the whole row.
    writer.store(&[&Entry::update("Item", &failed).integer("n", 5)]);
    device.until_entries(1);
    writer.store(&[&Entry::update("Item", &next).integer("n", 6)]);
    let second = device.until_entries(1).entries;
    ack(&mut device, &[&second[0]]);
    let again = device.until_entries(1).entries;
    let fields = json!({"n": {"kind": 1, "value": 5}, "name": {"kind": 2, "value": "two"}});
    assert_eq!((&again[0]["operation"], &again[0]["changedFields"]), (&json!("INSERT"), &fields));
}
