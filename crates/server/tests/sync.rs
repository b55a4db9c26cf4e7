//! Syncing over real sockets: what arrives, byte for byte, and who wins.

mod common;

use std::collections::BTreeSet;

use common::device::{CHILD, Device, ITEM, LINK, PARENT, converge, field, row_id, settle};
use common::entry::{Entry, new_id, new_row};
use common::http::sign_up;
use common::server::TestServer;
use common::socket::{BINARY, PING, Socket, TEXT, handshake, raw_frame};
use common::{database, http};
use lattice_protocol::value;
use serde_json::{Value, json};

fn ids(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["globalId"].as_str().expect("an id")).collect()
}

fn rows(entries: &[Value]) -> BTreeSet<&str> {
    entries.iter().map(|entry| entry["globalRowId"].as_str().expect("a row")).collect()
}

/// Nothing is on its way to this socket: a change made now is the next thing that comes.
#[track_caller]
fn assert_quiet(socket: &mut Socket, writer: &mut Socket) {
    let probe = Entry::insert("Probe", &new_row()).integer("n", 1);
    writer.store(&[&probe]);
    let heard = socket.until_entries(1);
    assert_eq!(rows(&heard.entries), BTreeSet::from([&*probe.row]), "something else was on its way");
    assert!(heard.acks.is_empty() && heard.events.is_empty(), "{heard:?}");
}

#[test]
fn changes_reach_the_devices_of_their_user_and_nobody_else() {
    let server = TestServer::start(&[]);
    let (ann, bob) = (sign_up(&server, "ann"), sign_up(&server, "bob"));
    let mut phone = Device::new("Ann's phone", &ann, 1);
    let mut laptop = Device::new("Ann's laptop", &ann, 2);
    let mut stranger = Device::new("Bob's phone", &bob, 3);
    let mut strange_listener = Socket::open(&server, &bob.token, None);
    for device in [&mut phone, &mut laptop, &mut stranger] {
        device.connect(&server);
    }
    let (item, parent, child, link) = (row_id(1), row_id(2), row_id(3), row_id(4));
    phone.insert(ITEM, &item, vec![field("name", value::text("Ada")), field("count", value::integer(1))]);
    phone.insert(PARENT, &parent, vec![field("name", value::text("p"))]);
    phone.insert(CHILD, &child, vec![field("name", value::text("c")), field("age", value::integer(3))]);
    phone.link(&link, &parent, &child);
    converge(&mut [&mut phone, &mut laptop]);
    assert_eq!(laptop.value(ITEM, &item, "name"), Some(value::text("Ada")));
    assert!(laptop.row(LINK, &link).is_some());

    laptop.update(ITEM, &item, vec![field("count", value::integer(2))]);
    laptop.delete(CHILD, &child);
    laptop.delete(LINK, &link);
    converge(&mut [&mut phone, &mut laptop]);
    assert_eq!(phone.value(ITEM, &item, "count"), Some(value::integer(2)));
    assert!(phone.row(CHILD, &child).is_none() && phone.row(LINK, &link).is_none());

    // Bob's own row has the id of Ann's: what comes first to Bob's other socket is his and not hers.
    stranger.insert(ITEM, &item, vec![field("name", value::text("Bob's"))]);
    stranger.settle();
    let heard = strange_listener.until_entries(1);
    assert_eq!(heard.entries.len(), 1);
    assert_eq!(heard.entries[0]["changedFields"]["name"]["value"], "Bob's");
    assert_eq!(stranger.value(ITEM, &item, "name"), Some(value::text("Bob's")));
    converge(&mut [&mut phone, &mut laptop]);
    assert_eq!(phone.value(ITEM, &item, "name"), Some(value::text("Ada")));
}

#[test]
fn values_arrive_byte_for_byte() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut writer = Socket::open(&server, &ann.token, None);
    let mut reader = Socket::open(&server, &ann.token, None);
    let long = format!(r#"{{"kind":2,"value":"{}"}}"#, "0123456789abcdé😀".repeat(1 << 16));
    let values = [
        r#"{"kind":1,"value":9223372036854775807}"#,
        r#"{"kind":1,"value":-9223372036854775808}"#,
        r#"{"kind":1,"value":9007199254740993}"#,
        r#"{"kind":0,"value":-2147483648}"#,
        r#"{"kind":7,"value":3.0}"#,
        r#"{"kind":7,"value":1e+300}"#,
        r#"{"kind":3,"value":1711800000.123456}"#,
        r#"{"kind":2,"value":""}"#,
        r#"{"kind":2,"value":"00FF10ABCDEF"}"#,
        r#"{"kind":6,"value":"00ff"}"#,
        r#"{"kind":2,"value":"Ada 😀 é \"q\" \\ \u0000 \u00e9\/ line\n2"}"#,
        r#"{"kind":4,"value":null}"#,
        &long,
    ];
    let mut entry = Entry::insert("Item", &new_row());
    for (number, value) in values.iter().enumerate() {
        entry = entry.raw(&format!("c{number}"), value);
    }
    writer.store(&[&entry]);
    let live = reader.next_frame();
    let caught_up = Socket::open(&server, &ann.token, None).next_frame();
    for (how, frame) in [("live", live), ("by catch-up", caught_up)] {
        let text = std::str::from_utf8(&frame).expect("frames are UTF-8");
        for (number, value) in values.iter().enumerate() {
            let member = format!(r#""c{number}":{value}"#);
            let shown: String = member.chars().take(100).collect();
            assert!(text.contains(&member), "{shown} did not arrive {how}");
        }
    }
}

#[test]
fn acks_repeat_ids_as_they_were_written() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut socket = Socket::open(&server, &ann.token, None);
    let written = [
        "06960229-c369-47dd-Ad19-3f07bf7488b3",
        "F9FF9D07-8EFE-4E15-8865-62D590D921E9",
        "8de5c4b0-d3c7-4471-A2Df-225A11a83959",
        "adbeeb83-b103-4673-b97d-ec05fd927800",
    ];
    let entries = written.map(|id| Entry::insert("Item", &new_row()).integer("n", 1).with_id(id));
    let heard = socket.store(&entries.each_ref());
    assert_eq!(heard.acks, written);
    // The same ids in the other case are the same entries; the ack repeats what was written this time.
    let again = written.map(|id| {
        let swap = |c: char| if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
        id.chars().map(swap).collect::<String>()
    });
    let entries: Vec<Entry> =
        again.iter().zip(&entries).map(|(id, entry)| entry.clone().with_id(id)).collect();
    let heard = socket.store(&entries.iter().collect::<Vec<_>>());
    assert_eq!(heard.acks, again);
    let log = database::audit_ids(&database::open(&server), &ann.user);
    assert_eq!(log.len(), 4, "an id in another case is another entry");
}

#[test]
fn unchanged_columns_of_an_update_are_not_applied() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut writer = Socket::open(&server, &ann.token, None);
    let mut reader = Socket::open(&server, &ann.token, None);
    let row = new_row();
    let null = r#"{"kind":4,"value":null}"#;
    writer.store(&[&Entry::insert("Item", &row).text("name", "Ada").integer("count", 7)]);
    // Before the next one: read together from the store, both would be one entry.
    reader.until_entries(1);
    writer.store(&[&Entry::update("Item", &row)
        .text("name", "Grace")
        .unnamed("count", null)
        .unnamed("bad-name", "[]")]);
    let heard = reader.until_entries(1);
    assert_eq!(heard.entries[0]["changedFields"], json!({"name": {"kind": 2, "value": "Grace"}}));
    assert_eq!(heard.entries[0]["changedFieldsNames"], json!(["name"]));
    let state = Socket::open(&server, &ann.token, None).until_entries(1).entries;
    let fields = json!({"name": {"kind": 2, "value": "Grace"}, "count": {"kind": 1, "value": 7}});
    assert_eq!(state[0]["changedFields"], fields);
}

#[test]
fn the_loser_of_a_conflict_is_corrected_before_its_ack() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut phone = Socket::open(&server, &ann.token, None);
    let mut laptop = Socket::open(&server, &ann.token, None);
    let row = new_row();
    phone.store(&[&Entry::insert("Item", &row).text("name", "first").at(1_700_000_000.0)]);
    laptop.until_entries(1);
    let newer = Entry::update("Item", &row).text("name", "newer").at(1_700_000_200.0);
    let older = Entry::update("Item", &row).text("name", "older").at(1_700_000_100.0);
    phone.store(&[&newer]);
    laptop.upload(&[&older]);
    let heard = laptop.until_acked(&[&older.id]);
    // The delivery, and the correction; the last value that arrives counts, and its id is new to the client.
    let last = heard.entries.last().expect("a correction");
    assert_eq!(last["changedFields"]["name"]["value"], "newer");
    assert!(![&newer.id, &older.id].contains(&&last["globalId"].as_str().expect("an id").to_owned()));
    assert_quiet(&mut phone, &mut laptop);
    assert_eq!(database::verdict(&database::open(&server), &older.id).as_deref(), Some("superseded"));
}

#[test]
fn offline_edits_of_the_same_fields_converge() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut devices = [1, 2, 3].map(|seed| Device::new(&format!("device {seed}"), &ann, seed));
    let row = row_id(7);
    devices[0].connect(&server);
    let label = devices[0].label_at("1789999999");
    let fields = vec![field("name", value::text("first")), field("count", value::integer(0))];
    assert!(devices[0].db.insert(label, ITEM, row.clone(), fields));
    devices[0].settle();
    for device in &mut devices[1..] {
        device.connect(&server);
        while device.row(ITEM, &row).is_none() {
            device.step().expect("a connection");
        }
    }
    for (at, seconds) in [(0, "1790000002.5"), (1, "1790000003.5"), (2, "1790000001.5")] {
        devices[at].disconnect();
        let label = devices[at].label_at(seconds);
        let name = value::text(&format!("of {at}"));
        assert!(devices[at].db.update(label, ITEM, &row.key, vec![field("name", name)]));
    }
    // Only one of them writes this one: it must survive the others' newer edits of another field.
    let label = devices[2].label_at("1790000000.5");
    assert!(devices[2].db.update(label, ITEM, &row.key, vec![field("count", value::integer(9))]));
    for device in &mut devices {
        device.connect(&server);
    }
    let [a, b, c] = &mut devices;
    converge(&mut [&mut *a, &mut *b, &mut *c]);
    assert_eq!(a.value(ITEM, &row, "name"), Some(value::text("of 1")));
    assert_eq!(a.value(ITEM, &row, "count"), Some(value::integer(9)));
    // The same twice over with a device that has no state.
    let mut fresh = Device::new("a fresh device", &ann, 9);
    fresh.connect(&server);
    converge(&mut [a, &mut fresh, b, c]);
}

#[test]
fn a_pair_that_is_linked_twice_is_one_link_everywhere() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut phone = Device::new("phone", &ann, 1);
    let mut laptop = Device::new("laptop", &ann, 2);
    let (parent, child) = (row_id(1), row_id(2));
    phone.connect(&server);
    phone.insert(PARENT, &parent, vec![field("name", value::text("p"))]);
    phone.insert(CHILD, &child, vec![field("name", value::text("c"))]);
    phone.settle();
    laptop.connect(&server);
    settle(&mut [&mut phone, &mut laptop]);
    phone.disconnect();
    laptop.disconnect();
    phone.link(&row_id(10), &parent, &child);
    laptop.link(&row_id(11), &parent, &child);
    phone.connect(&server);
    laptop.connect(&server);
    let mut fresh = Device::new("a fresh device", &ann, 3);
    fresh.connect(&server);
    converge(&mut [&mut phone, &mut laptop, &mut fresh]);
    let links = phone.db.rows().keys().filter(|(table, _)| *table == LINK).count();
    assert_eq!(links, 1, "one row of the pair survives");
    // And it can be taken away again, whoever made it.
    let key = phone.db.rows().keys().find(|(table, _)| *table == LINK).cloned().expect("a link");
    let label = laptop.label();
    assert!(laptop.db.delete(label, LINK, &key.1));
    converge(&mut [&mut laptop, &mut phone, &mut fresh]);
    assert!(!phone.db.rows().keys().any(|(table, _)| *table == LINK));
}

#[test]
fn a_newer_delete_beats_an_update_and_an_older_one_is_undone() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut phone = Socket::open(&server, &ann.token, None);
    let mut laptop = Socket::open(&server, &ann.token, None);
    let (gone, kept) = (new_row(), new_row());
    phone.store(&[
        &Entry::insert("Item", &gone).text("name", "gone").at(1_700_000_000.0),
        &Entry::insert("Item", &kept).text("name", "kept").at(1_700_000_000.0),
    ]);
    laptop.until_entries(2);
    phone.store(&[
        &Entry::delete("Item", &gone).at(1_700_000_200.0),
        &Entry::update("Item", &kept).text("name", "edited").at(1_700_000_200.0),
    ]);
    // The laptop does the opposite, earlier.
    let update = Entry::update("Item", &gone).text("name", "late").at(1_700_000_100.0);
    let delete = Entry::delete("Item", &kept).at(1_700_000_100.0);
    let heard = laptop.store(&[&update, &delete]);
    let last =
        |row: &str| heard.entries.iter().rfind(|entry| entry["globalRowId"] == row).expect("a correction");
    assert_eq!(last(&gone)["operation"], "DELETE");
    assert_eq!(last(&kept)["operation"], "INSERT", "the row that was deleted comes back whole");
    assert_eq!(last(&kept)["changedFields"]["name"]["value"], "edited");
    let state = Socket::open(&server, &ann.token, None).until_entries(2).entries;
    let live: Vec<_> = state.iter().filter(|entry| entry["operation"] != "DELETE").collect();
    assert_eq!(live.len(), 1, "{state:?}");
    assert_eq!(live[0]["changedFields"]["name"]["value"], "edited");
}

#[test]
fn snapshots_and_filter_removals_change_nothing_that_is_there() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut phone = Socket::open(&server, &ann.token, None);
    let mut laptop = Socket::open(&server, &ann.token, None);
    let (row, absent, deleted) = (new_row(), new_row(), new_row());
    phone.store(&[
        &Entry::insert("Item", &row).text("name", "current"),
        &Entry::insert("Item", &deleted).text("name", "x"),
        &Entry::delete("Item", &deleted),
    ]);
    // From the store, what came and went is not sent.
    laptop.until(|heard| {
        heard.entries.iter().any(|entry| entry["globalRowId"] == *deleted && entry["operation"] == "DELETE")
    });
    let snapshot = |row: &str, name: &str| {
        Entry::insert("Item", row).text("name", name).with("synthesized", json!(true))
    };
    let snapshots = [snapshot(&row, "stale"), snapshot(&absent, "found"), snapshot(&deleted, "undead")];
    let heard = laptop.store(&snapshots.each_ref());
    let about = |row: &str| heard.entries.iter().rfind(|entry| entry["globalRowId"] == row);
    assert_eq!(about(&row).expect("a correction")["changedFields"]["name"]["value"], "current");
    assert_eq!(about(&deleted).expect("a correction")["operation"], "DELETE");
    let seen = phone.until_entries(1).entries;
    assert_eq!(rows(&seen), BTreeSet::from([&*absent]), "only the row that there was not is new");

    let marker = Entry::delete("Item", &row).raw("__lattice_filter_removal", "null");
    laptop.store(&[&marker]);
    assert_quiet(&mut phone, &mut laptop);
    let state = Socket::open(&server, &ann.token, None).until_entries(2).entries;
    assert!(state.iter().any(|entry| entry["globalRowId"] == *row && entry["operation"] == "INSERT"));
}

#[test]
fn a_frame_that_comes_again_is_acked_and_changes_nothing() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut phone = Socket::open(&server, &ann.token, None);
    let mut laptop = Socket::open(&server, &ann.token, None);
    let row = new_row();
    let entries = [
        Entry::insert("Item", &row).text("name", "one"),
        Entry::update("Item", &row).text("name", "two"),
        Entry::delete("Item", &new_row()),
        Entry::insert("bad-table", &row).text("name", "x"),
        Entry::insert("Item", &new_row()).raw("name", r#"{"kind":1,"value":"x"}"#),
    ];
    let entries = entries.each_ref();
    let expected: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
    phone.upload(&entries);
    phone.upload(&entries);
    // One ack may stand for both, where the second frame came before the first one's ack had left.
    phone.until_acked(&expected);
    // The same by another device, and by the same one after it has connected again.
    laptop.store(&entries);
    phone.close();
    let mut phone = Socket::open(&server, &ann.token, None);
    phone.store(&entries);
    let state = Socket::open(&server, &ann.token, None).until_entries(1).entries;
    assert_eq!(
        state.iter().find(|entry| entry["globalRowId"] == *row).expect("the row")["changedFields"]["name"]["value"],
        "two"
    );
    let log = database::audit_ids(&database::open(&server), &ann.user);
    assert_eq!(log.len(), entries.len(), "a duplicate is no second line of the audit log");
}

#[test]
fn a_late_joiner_gets_state_and_not_history() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut phone = Socket::open(&server, &ann.token, None);
    let kept = [new_row(), new_row()];
    let mut history: Vec<Entry> = kept.iter().map(|row| Entry::insert("Item", row).integer("n", 0)).collect();
    history.extend((1..=500).map(|n| Entry::update("Item", &kept[0]).integer("n", n)));
    phone.store(&history.iter().collect::<Vec<_>>());
    let mut late = Socket::open(&server, &ann.token, None);
    let state = late.until_entries(2).entries;
    assert_eq!(state.len(), 2, "two rows, not 502 changes");
    let first = state.iter().find(|entry| entry["globalRowId"] == *kept[0]).expect("the row");
    assert_eq!(first["changedFields"]["n"]["value"], 500);
    assert_quiet(&mut late, &mut phone);
}

#[test]
fn a_client_that_was_away_is_sent_what_changed() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut phone = Socket::open(&server, &ann.token, None);
    let many: Vec<Entry> =
        (0..50).map(|n| Entry::insert("Item", &new_row()).integer("n", n).integer("m", n)).collect();
    phone.store(&many.iter().collect::<Vec<_>>());
    let mut laptop = Socket::open(&server, &ann.token, None);
    let checkpoint = ids(&laptop.until_entries(50).entries).last().expect("an entry").to_string();
    laptop.close();
    phone.store(&[
        &Entry::update("Item", &many[3].row).integer("n", 1_003),
        &Entry::delete("Item", &many[4].row),
        &Entry::insert("Item", &new_row()).integer("n", 2_000),
    ]);
    let mut laptop = Socket::open(&server, &ann.token, Some(&checkpoint));
    let heard = laptop.until_entries(3);
    assert_eq!(heard.entries.len(), 3);
    let update = heard.entries.iter().find(|entry| entry["operation"] == "UPDATE").expect("the update");
    assert_eq!(
        update["changedFields"],
        json!({"n": {"kind": 1, "value": 1_003}}),
        "no field that did not change"
    );
    assert!(heard.events.is_empty(), "{heard:?}");
    assert_quiet(&mut laptop, &mut phone);
    // An own upload is a checkpoint as well.
    let mine = Entry::insert("Item", &new_row()).integer("n", 1);
    phone.store(&[&mine]);
    let mut again = Socket::open(&server, &ann.token, Some(&mine.id));
    assert_quiet(&mut again, &mut phone);
}

#[test]
fn a_client_that_breaks_off_in_mid_catch_up_resumes_there() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut phone = Socket::open(&server, &ann.token, None);
    let mut all = BTreeSet::new();
    for _ in 0..4 {
        let many: Vec<Entry> =
            (0..900).map(|n| Entry::insert("Item", &new_row()).integer("n", n).integer("m", n)).collect();
        phone.store(&many.iter().collect::<Vec<_>>());
        all.extend(many.into_iter().map(|entry| entry.row));
    }
    let (mut seen, mut checkpoint, mut connections) = (BTreeSet::new(), None::<String>, 0);
    while seen.len() < all.len() {
        let mut laptop = Socket::open(&server, &ann.token, checkpoint.as_deref());
        let heard = laptop.until_entries(1);
        assert!(heard.events.is_empty(), "{:?}", heard.events);
        // Half a frame was applied when the client died.
        let kept = &heard.entries[..heard.entries.len().div_ceil(2)];
        checkpoint = ids(kept).last().map(|id| (*id).to_owned());
        for entry in kept {
            assert_eq!(entry["operation"], "INSERT");
            let row = entry["globalRowId"].as_str().expect("a row").to_owned();
            assert!(seen.insert(row), "a row came twice");
        }
        connections += 1;
        // A row that was not delivered yet changes, and is still sent as a whole.
        if connections == 1 {
            let later = all.difference(&seen).next().expect("a row").clone();
            phone.store(&[&Entry::update("Item", &later).integer("n", -1)]);
        }
    }
    assert_eq!(seen, all);
    let mut laptop = Socket::open(&server, &ann.token, checkpoint.as_deref());
    assert_quiet(&mut laptop, &mut phone);
}

/// A client that dies may ask again from an earlier checkpoint than the one it was answered from, and skips what it knows
/// by id. So a row that was deleted and made again comes as one entry, with null for the columns that it lost, and never as
/// a DELETE that may be new with an INSERT that may be known.
#[test]
fn a_revived_row_survives_a_checkpoint_that_was_lost() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut phone = Socket::open(&server, &ann.token, None);
    let row = new_row();
    let first = Entry::insert("Item", &row).text("name", "first").text("note", "lost");
    let own = Entry::insert("Item", &new_row()).text("name", "the client's own");
    phone.store(&[&first]);
    phone.store(&[&own]);
    phone.store(&[&Entry::delete("Item", &row), &Entry::insert("Item", &row).text("name", "second")]);
    for checkpoint in [&own.id, &first.id] {
        let heard = Socket::open(&server, &ann.token, Some(checkpoint))
            .until(|heard| heard.entries.iter().any(|entry| entry["globalRowId"] == *row));
        let of_row: Vec<_> = heard.entries.iter().filter(|entry| entry["globalRowId"] == *row).collect();
        assert_eq!(of_row.len(), 1, "{of_row:?}");
        assert_eq!(of_row[0]["operation"], "INSERT");
        assert_eq!(of_row[0]["changedFields"]["name"]["value"], "second");
        assert!(of_row[0]["changedFields"]["note"]["value"].is_null(), "{of_row:?}");
        let names = of_row[0]["changedFieldsNames"].as_array().expect("names");
        assert_eq!(names.len(), 2, "the lost column is named");
    }
}

#[test]
fn an_unknown_checkpoint_means_full_state() {
    let server = TestServer::start(&[]);
    let (ann, bob) = (sign_up(&server, "ann"), sign_up(&server, "bob"));
    let mut phone = Socket::open(&server, &ann.token, None);
    let newest = Entry::insert("Item", &new_row()).integer("n", 2);
    let refused = Entry::update("Item", &newest.row).raw("n", "[1]");
    phone.store(&[&Entry::insert("Item", &new_row()).integer("n", 1), &newest, &refused]);
    let mut bobs = Socket::open(&server, &bob.token, None);
    let bobs_entry = Entry::insert("Item", &new_row()).integer("n", 3);
    bobs.store(&[&bobs_entry]);
    let minted_for_bob = {
        let heard = Socket::open(&server, &bob.token, None).until_entries(1);
        ids(&heard.entries)[0].to_owned()
    };
    let long = "x".repeat(2_000);
    let unknown = [&*new_id(), "not-a-uuid", "%00%ff%22", &bobs_entry.id, &minted_for_bob, &long];
    for checkpoint in unknown {
        let mut socket = Socket::open(&server, &ann.token, Some(checkpoint));
        let heard = socket.until_entries(2);
        assert_eq!(heard.entries.len(), 2);
        assert_eq!(heard.events.len(), 1, "{checkpoint}: {:?}", heard.events);
        assert_eq!(heard.events[0]["floorReset"], newest.id, "{checkpoint}");
        assert!(heard.events[0]["floorReason"].is_string());
    }
    // Of an empty log there is none.
    let carl = sign_up(&server, "carl");
    let heard = Socket::open(&server, &carl.token, Some(&newest.id)).until_event();
    assert!(heard.events[0].get("floorReset").is_none() && heard.events[0]["floorReason"].is_string());
    let mut socket = Socket::open(&server, &ann.token, Some(""));
    assert!(socket.until_entries(2).events.is_empty(), "an empty checkpoint is none");
    assert_eq!(http::get(&server, "/profile", &ann.token).0, 200);
}

#[test]
fn frames_right_behind_the_handshake_are_not_lost() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut listener = Socket::open(&server, &ann.token, None);
    let entries = [(); 3].map(|()| Entry::insert("Item", &new_row()).text("name", &"x".repeat(30_000)));
    let mut early = Vec::new();
    for entry in &entries {
        early.extend(raw_frame(BINARY, &Entry::frame(&[entry])));
    }
    let mut socket = handshake(&server, "/sync", Some(&ann.token), &early).socket();
    socket.until_acked(&entries.each_ref().map(|entry| &*entry.id));
    assert_eq!(listener.until_entries(3).entries.len(), 3);
    // One byte of a frame, and the rest later.
    let entry = Entry::insert("Item", &new_row()).integer("n", 1);
    let frame = raw_frame(BINARY, &Entry::frame(&[&entry]));
    let mut socket = handshake(&server, "/sync", Some(&ann.token), &frame[..1]).socket();
    socket.send_raw(&frame[1..]);
    socket.until_acked(&[&entry.id]);
}

#[test]
fn frames_may_be_text_or_binary_and_in_pieces() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut socket = Socket::open(&server, &ann.token, None);
    let entries = [(); 4].map(|()| Entry::insert("Item", &new_row()).text("name", "é😀"));
    let frame = |at: usize| Entry::frame(&[&entries[at]]);
    socket.send_text(std::str::from_utf8(&frame(0)).expect("UTF-8"));
    socket.send(frame(1));
    // A text message in one-byte pieces, with pings between, which cut its characters.
    let bytes = frame(2);
    for (at, byte) in bytes.iter().enumerate() {
        let first = if at == 0 {
            TEXT & 0x7f
        } else if at + 1 == bytes.len() {
            0x80
        } else {
            0
        };
        socket.send_raw(&raw_frame(first, &[*byte]));
        if at % 50 == 0 {
            socket.send_raw(&raw_frame(PING, b"still here"));
        }
    }
    socket.send_raw(&raw_frame(TEXT & 0x7f, b""));
    socket.send_raw(&raw_frame(0, &frame(3)));
    socket.send_raw(&raw_frame(0x80, b""));
    socket.until_acked(&entries.each_ref().map(|entry| &*entry.id));
    socket.close();
}
