//! Filters: rows come, leave and come back.

use serde_json::json;

use crate::common::entry::{Entry, new_row};
use crate::common::http::sign_up;
use crate::common::json_client::{JsonClient, change};
use crate::common::server::TestServer;
use crate::common::socket::Socket;

#[test]
fn rows_come_leave_and_come_back() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut native = Socket::open(&server, &ann.token, None);
    let (near, far, other, stop) = (new_row(), new_row(), new_row(), new_row());
    native.store(&[
        &Entry::insert("Trip", &near).text("owner", "ann").integer("days", 5).text("name", "near"),
        &Entry::insert("Trip", &far).text("owner", "ann").integer("days", 50),
        &Entry::insert("Trip", &other).text("owner", "bob").integer("days", 5),
        &Entry::insert("Stop", &stop).text("name", "s"),
        &Entry::insert("Hotel", &new_row()).text("name", "h"),
    ]);
    let mut client = JsonClient::open(&server, "ann", &ann);
    let filter = json!({"tables": ["Trip", "Stop"], "where": {"Trip": {"owner": "ann", "days": {"gte": 3, "lt": 10}}}});
    client.subscribe("me", filter);
    client.until_complete("me");
    assert_eq!(
        (client.space("me").ids("Trip"), client.space("me").ids("Stop")),
        (vec![&*near], vec![&*stop])
    );
    assert_eq!(client.space("me").rows.len(), 2);
    // It comes into the filter: whole.
    native.store(&[&Entry::update("Trip", &far).integer("days", 9)]);
    client.until_row("me", "Trip", &far);
    assert_eq!(client.space("me").value("Trip", &far, "owner"), Some("\"ann\""));
    // It leaves: taken back, and lives on.
    native.store(&[&Entry::update("Trip", &near).integer("days", 10)]);
    client.until_gone("me", "Trip", &near);
    let last = client.space("me").log.last().expect("a change");
    assert!(last.operation == "delete" && last.is_filtered());
    // Outside it may change as it likes.
    native.store(&[&Entry::update("Trip", &near).text("name", "renamed")]);
    // It comes back, with what it missed.
    native.store(&[&Entry::update("Trip", &near).integer("days", 4)]);
    client.until_row("me", "Trip", &near);
    assert_eq!(client.space("me").value("Trip", &near, "name"), Some("\"renamed\""));
    // A deletion is one.
    native.store(&[&Entry::delete("Trip", &far)]);
    client.until_gone("me", "Trip", &far);
    assert!(!client.space("me").log.last().expect("a change").is_filtered());
    // One's own change may take a row out of one's own sight.
    client.store("me", vec![change("update", "Trip", &near, json!({"days": 99}))]);
    client.until_gone("me", "Trip", &near);
    client.ping();
    let seen: Vec<&str> = client.space("me").log.iter().map(|change| &*change.table_name).collect();
    assert!(
        !seen.contains(&"Hotel")
            && !client.space("me").log.iter().any(|change| change.global_row_id == other)
    );
}

#[test]
fn a_filter_goes_on_from_its_cursor() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut native = Socket::open(&server, &ann.token, None);
    let rows: Vec<String> = (0..4).map(|_| new_row()).collect();
    for (days, row) in rows.iter().enumerate() {
        native.store(&[&Entry::insert("Trip", row).integer("days", days as i64).text("name", "a")]);
    }
    let mut client = JsonClient::open(&server, "ann", &ann);
    client.subscribe("me", json!({"where": {"Trip": {"days": {"lt": 2}}}}));
    client.until_complete("me");
    assert_eq!(client.space("me").rows.len(), 2);
    client.disconnect();
    native.store(&[
        &Entry::update("Trip", &rows[0]).integer("days", 7),
        &Entry::update("Trip", &rows[1]).text("name", "b"),
        &Entry::update("Trip", &rows[3]).integer("days", 1),
    ]);
    let before = client.space("me").log.len();
    client.connect(&server);
    client.until_complete("me");
    let replica = client.space("me");
    assert_eq!(replica.resets.len(), 1, "it goes on");
    let mut held = replica.ids("Trip");
    held.sort_unstable();
    let mut wanted = [&*rows[1], &*rows[3]];
    wanted.sort_unstable();
    assert_eq!(held, wanted);
    assert_eq!(replica.value("Trip", &rows[3], "name"), Some("\"a\""), "whole");
    assert_eq!(replica.value("Trip", &rows[1], "name"), Some("\"b\""));
    let update =
        replica.log[before..].iter().find(|change| change.global_row_id == rows[1]).expect("a change");
    assert_eq!(update.columns().len(), 1, "of what was held, the difference");
}

#[test]
fn another_filter_takes_the_place_of_one() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut native = Socket::open(&server, &ann.token, None);
    let rows: Vec<String> = (0..6).map(|_| new_row()).collect();
    for (days, row) in rows.iter().enumerate() {
        native.store(&[&Entry::insert("Trip", row).integer("days", days as i64).text("name", "a")]);
    }
    let mut client = JsonClient::open(&server, "ann", &ann);
    let filters = [
        json!({"where": {"Trip": {"days": {"lt": 3}}}}),
        json!({"where": {"Trip": {"days": {"gte": 2}}}}),
        json!({"tables": ["Stop"]}),
        json!({}),
        json!({"where": {"Trip": {"days": {"in": [0, 5]}}}}),
    ];
    let wanted = [&rows[..3], &rows[2..], &[], &rows[..], &[rows[0].clone(), rows[5].clone()]];
    for (filter, wanted) in filters.iter().zip(wanted) {
        // With the cursor of the one before: rows come and are taken back, or it starts over.
        client.subscribe("me", filter.clone());
        client.until_complete("me");
        let mut held = client.space("me").ids("Trip");
        let mut wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        held.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(held, wanted, "{filter}");
        assert!(client.space("me").rows.values().all(|row| row.contains_key("name")), "whole rows");
    }
    assert_eq!(client.space("me").resets, ["no_cursor"], "ways lead from one to the next");
    // A bad one changes nothing.
    client.send(&json!({"type": "subscribe", "where": {"Trip": {"days": {"near": 1}}}}));
    assert_eq!(client.error(), "bad_filter");
    native.store(&[&Entry::update("Trip", &rows[5]).text("name", "b")]);
    client.until_value("me", ("Trip", &rows[5], "name"), "\"b\"");
}

#[test]
fn a_filter_is_changed_while_uploads_wait() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut client = JsonClient::in_space(&server, "ann", &ann, "me");
    let rows: Vec<String> = (0..40).map(|_| new_row()).collect();
    for (number, row) in rows.iter().enumerate() {
        client.upload("me", vec![change("insert", "Trip", row, json!({"days": number}))]);
        if number % 5 == 0 {
            // At once, before anything was answered.
            client.subscribe("me", json!({"where": {"Trip": {"days": {"lt": number}}}}));
        }
    }
    client.subscribe("me", json!({"where": {"Trip": {"days": {"gte": 30}}}}));
    client.until(|client| client.acks.len() == rows.len() && client.space("me").complete);
    client.ping();
    let mut fresh = JsonClient::open(&server, "fresh", &ann);
    fresh.subscribe("me", json!({"where": {"Trip": {"days": {"gte": 30}}}}));
    fresh.until_complete("me");
    assert_eq!(fresh.space("me").rows.len(), 10);
    assert_eq!(client.space("me").rows, fresh.space("me").rows);
}
