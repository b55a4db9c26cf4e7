//! Cursors: what changed and nothing else, streams that start over, no gap between state and live.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::common::entry::{Entry, new_row};
use crate::common::http::sign_up;
use crate::common::json_client::{JsonClient, Poller, change};
use crate::common::server::TestServer;
use crate::common::socket::Socket;

#[test]
fn a_cursor_brings_what_changed_and_nothing_else() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut native = Socket::open(&server, &ann.token, None);
    let rows: Vec<String> = (0..5).map(|_| new_row()).collect();
    for row in &rows {
        native.store(&[&Entry::insert("Trip", row).integer("days", 1).text("name", "a")]);
    }
    let mut client = JsonClient::in_space(&server, "ann", &ann, "me");
    assert_eq!(
        (client.space("me").rows.len(), &*client.space("me").resets),
        (5, &["no_cursor".to_owned()][..])
    );
    client.disconnect();
    let gone = new_row();
    native.store(&[&Entry::update("Trip", &rows[1]).integer("days", 2), &Entry::delete("Trip", &rows[2])]);
    native.store(&[&Entry::insert("Trip", &gone).integer("days", 1)]);
    native.store(&[&Entry::delete("Trip", &gone)]);
    let before = client.space("me").log.len();
    client.connect(&server);
    client.until_complete("me");
    let replica = client.space("me");
    let news: Vec<(&str, &str, String)> = replica.log[before..]
        .iter()
        .map(|change| (&*change.operation, &*change.global_row_id, format!("{:?}", change.columns())))
        .filter(|(_, row, _)| *row != gone)
        .collect();
    let days = r#"{"days": "2"}"#.to_owned();
    assert_eq!(news, [("update", &*rows[1], days), ("delete", &*rows[2], "{}".to_owned())]);
    assert_eq!(replica.resets.len(), 1, "nothing starts over");
    // Caught up: the next time nothing comes, and the state is complete all the same.
    let before = replica.log.len();
    client.disconnect();
    client.connect(&server);
    client.until_complete("me");
    client.ping();
    assert_eq!(client.space("me").log.len(), before);
    // The cursor of an answer is one as well.
    let row = new_row();
    let upload = client.upload("me", vec![change("insert", "Trip", &row, json!({"days": 3}))]);
    client.results(upload);
    assert!(client.acks[&upload.to_string()]["cursor"].is_string());
}

/// A space of little else than tombstones costs whoever starts over in it what is live, and nothing more.
#[test]
fn a_stream_that_starts_over_is_told_no_deletion_of_before() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut native = Socket::open(&server, &ann.token, None);
    let gone: Vec<String> = (0..1_000).map(|_| new_row()).collect();
    let live: Vec<String> = (0..4).map(|_| new_row()).collect();
    let insert = |row: &String| Entry::insert("Trip", row).integer("days", 1);
    let delete = |row: &String| Entry::delete("Trip", row);
    let inserts: Vec<Entry> = live.iter().take(2).chain(&gone).map(insert).collect();
    native.store(&inserts.iter().collect::<Vec<_>>());
    let deletes: Vec<Entry> = gone.iter().map(delete).collect();
    native.store(&deletes.iter().collect::<Vec<_>>());
    let inserts: Vec<Entry> = live.iter().skip(2).map(insert).collect();
    native.store(&inserts.iter().collect::<Vec<_>>());

    let client = JsonClient::in_space(&server, "ann", &ann, "me");
    assert_eq!((client.space("me").log.len(), client.space("me").rows.len()), (4, 4));
    // Page by page, each a stream of its own, while rows go that were told already and that were not yet.
    let mut poller = Poller::new(&ann, "me");
    assert!(poller.poll(&server, "&limit=1"), "more is waiting");
    let told = poller.replica.log[0].global_row_id.clone();
    let untold = live.iter().find(|row| **row != told && **row != live[3]).expect("a row").clone();
    native.store(&[&delete(&told), &delete(&untold)]);
    poller.catch_up(&server);
    let deleted: Vec<&str> = poller
        .replica
        .log
        .iter()
        .filter(|change| change.operation == "delete")
        .map(|change| &*change.global_row_id)
        .collect();
    assert_eq!(deleted, [&*told, &*untold], "what went since it began, whether or not it had been told");
    assert_eq!((poller.replica.rows.len(), poller.replica.log.len(), poller.replica.resets.len()), (2, 5, 1));
    // A cursor that leads nowhere starts over as well.
    poller.replica.cursor = Some("a0000000-1000-8000-8000-1d2e3f405162".into());
    let before = poller.replica.log.len();
    poller.catch_up(&server);
    assert_eq!((poller.replica.log.len() - before, poller.replica.rows.len()), (2, 2));
    // Whoever has caught up is told everything, and so is a native client: it may hold rows without having a checkpoint.
    native.store(&[&delete(&live[3])]);
    poller.catch_up(&server);
    assert_eq!(poller.replica.log.last().expect("a change").operation, "delete");
    assert_eq!(Socket::open(&server, &ann.token, None).until_entries(1_004).entries.len(), 1_004);
}

#[test]
fn streams_start_over_where_they_must() {
    let server = TestServer::start(&[]);
    let (ann, bob) = (sign_up(&server, "ann"), sign_up(&server, "bob"));
    let mut native = Socket::open(&server, &ann.token, None);
    let row = new_row();
    native.store(&[&Entry::insert("Trip", &row).integer("days", 1)]);
    let bobs = JsonClient::in_space(&server, "bob", &bob, "me").space("me").cursor.clone();
    let mut client = JsonClient::in_space(&server, "ann", &ann, "me");
    let anns = client.space("me").cursor.clone();
    for (cursor, reason) in [
        (None, "no_cursor"),
        (Some("a0000000-1000-8000-8000-1d2e3f405162".to_owned()), "unknown_cursor"),
        (bobs, "unknown_cursor"),
    ] {
        // On a subscription that goes on, a cursor says nothing new.
        client.send(&json!({"type": "unsubscribe"}));
        client.send(&json!({"type": "subscribe", "cursor": cursor}));
        let reset = client.event("reset");
        assert_eq!(reset, json!({"type": "reset", "space": "me", "reason": reason}));
        client.until_row("me", "Trip", &row);
        client.send(&json!({"type": "poll", "cursor": cursor}));
        assert_eq!(client.event("reset")["reason"], reason);
        client.until_row("me", "Trip", &row);
    }
    // What no server has made is refused, and the subscription is as it was.
    for frame in ["subscribe", "poll", "ack"] {
        client.send(&json!({"type": frame, "cursor": "nonsense"}));
        assert_eq!(client.error(), "bad_cursor");
    }
    // A good one does not.
    let resets = client.space("me").resets.len();
    for before in ["unsubscribe", "ping"] {
        client.send(&json!({"type": before}));
        client.send(&json!({"type": "subscribe", "cursor": anns}));
        client.event("ready");
        client.ping();
    }
    assert_eq!(client.space("me").resets.len(), resets);
}

#[test]
fn a_poll_is_one_page() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let rows: Vec<String> = (0..7).map(|_| new_row()).collect();
    let entries: Vec<Entry> = rows.iter().map(|row| Entry::insert("Trip", row).integer("days", 1)).collect();
    Socket::open(&server, &ann.token, None).store(&entries.iter().collect::<Vec<_>>());
    let mut client = JsonClient::open(&server, "ann", &ann);
    let mut pages = Vec::new();
    let mut cursor = json!(null);
    loop {
        client.send(&json!({"type": "poll", "cursor": cursor, "limit": 3}));
        let page = client.event("changes");
        cursor = page["cursor"].clone();
        pages.push((page["changes"].as_array().expect("changes").len(), page["more"] == true));
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(pages, [(3, true), (3, true), (1, false)]);
    assert_eq!(client.space("me").rows.len(), 7);
    assert_eq!(client.space("me").resets, ["no_cursor"]);
    // It is no subscription.
    Socket::open(&server, &ann.token, None).store(&[&Entry::insert("Trip", &new_row()).integer("days", 1)]);
    client.ping();
    assert_eq!(client.space("me").rows.len(), 7);
    client.send(&json!({"type": "poll", "cursor": cursor}));
    assert_eq!(client.event("changes")["changes"].as_array().expect("changes").len(), 1);
}

#[test]
fn nothing_is_missed_between_state_and_live() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let done = AtomicBool::new(false);
    let total = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let (server, ann, done) = (&server, &ann, &done);
                scope.spawn(move || {
                    let mut socket = Socket::open(server, &ann.token, None);
                    let mut count = 0;
                    while !done.load(Ordering::Relaxed) {
                        let entry = Entry::insert("Trip", &format!("w{writer}-{count}")).integer("n", count);
                        socket.store(&[&entry]);
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let mut clients = Vec::new();
        for number in 0..10 {
            let mut client = JsonClient::open(&server, &format!("client {number}"), &ann);
            client.subscribe("me", json!({}));
            client.until_complete("me");
            // All that was committed when the subscription began is in the state: each change made a row.
            let replica = client.space("me");
            assert!(replica.rows.len() as u64 >= replica.seq, "{} of {}", replica.rows.len(), replica.seq);
            let held = replica.rows.len();
            client.until(|client| client.space("me").rows.len() >= held + 5);
            assert_no_gap(&client);
            // Some leave in the midst of it and come back.
            if number % 2 == 0 {
                client.disconnect();
            }
            clients.push(client);
        }
        done.store(true, Ordering::Relaxed);
        let counts: Vec<i64> = writers.into_iter().map(|writer| writer.join().expect("a writer")).collect();
        for client in &mut clients {
            if client.socket.is_none() {
                client.connect(&server);
            }
            client.until(|client| client.space("me").rows.len() as i64 == counts.iter().sum::<i64>());
            assert_no_gap(client);
            assert_eq!(client.space("me").resets.len(), 1);
        }
        counts.iter().sum::<i64>()
    });
    assert!(total > 0);
}

/// Of each writer's rows there are all up to the last: a stream that has one has those before it.
#[track_caller]
fn assert_no_gap(client: &JsonClient) {
    for writer in 0..2 {
        let prefix = format!("w{writer}-");
        let mut numbers: Vec<usize> = client
            .space("me")
            .ids("Trip")
            .iter()
            .filter_map(|row| row.strip_prefix(&prefix)?.parse().ok())
            .collect();
        numbers.sort_unstable();
        assert!(numbers.iter().enumerate().all(|(at, number)| at == *number), "{}: {numbers:?}", client.name);
    }
}

#[test]
fn a_state_of_many_pages_goes_on_where_it_broke_off() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut native = Socket::open(&server, &ann.token, None);
    let rows: Vec<String> = (0..6_000).map(|number| format!("r{number}")).collect();
    for rows in rows.chunks(1_000) {
        let entries: Vec<Entry> =
            rows.iter().map(|row| Entry::insert("Trip", row).integer("days", 1).text("name", "a")).collect();
        native.store(&entries.iter().collect::<Vec<_>>());
    }
    for filter in [json!({}), json!({"where": {"Trip": {"days": {"lt": 3}}}})] {
        let mut client = JsonClient::open(&server, "ann", &ann);
        client.subscribe("me", filter);
        let mut breaks = 0;
        loop {
            // One frame of it, and gone.
            client.event("changes");
            if client.space("me").complete {
                break;
            }
            client.disconnect();
            breaks += 1;
            // Rows that it has, and rows that it does not have yet, change meanwhile.
            let (near, far) = (&rows[10 + breaks], &rows[5_990 - breaks]);
            native.store(&[
                &Entry::update("Trip", near).text("name", "near"),
                &Entry::update("Trip", far).integer("days", 2),
                &Entry::update("Trip", &rows[20 + breaks]).integer("days", 5),
                &Entry::delete("Trip", &rows[30 + breaks]),
            ]);
            client.connect(&server);
        }
        assert!(breaks > 2, "it came in {breaks} parts");
        client.ping();
        assert_eq!(client.space("me").resets, ["no_cursor"]);
        let mut fresh = JsonClient::open(&server, "fresh", &ann);
        fresh.subscribe("me", client.asked("me"));
        fresh.until_complete("me");
        assert_eq!(client.space("me").rows.len(), fresh.space("me").rows.len());
        assert!(client.space("me").rows == fresh.space("me").rows, "the rows differ");
    }
}
