//! Two versions of an app on one device, in the frames of a native client, and in the JSON dialect.

mod common;

use std::collections::BTreeSet;

use common::entry::{Entry, new_row};
use common::http::{Account, get, post, sign_up};
use common::json_client::{JsonClient, change};
use common::server::TestServer;
use common::socket::{Heard, Socket, handshake, handshake_with};
use common::{database, device};
use serde_json::{Value, json};

/// An upload of an app of version 2, as LatticeCore writes it: a table with a column that version 1 does not have, and a table
/// that it does not have.
fn of_version_2(trip: &str, tag: &str) -> String {
    let entry = |id: &str, table: &str, row: &str, fields: &str, names: &str| {
        format!(
            r#"{{"changedFields":{fields},"changedFieldsNames":{names},"globalId":"{id}","globalRowId":"{row}","id":7,"isFromRemote":false,"isSynchronized":false,"operation":"INSERT","rowId":3,"tableName":"{table}","timestamp":""}}"#
        )
    };
    let trip = entry(
        "06960229-c369-47dd-Ad19-3f07bf7488b3",
        "Trip",
        trip,
        r#"{"color":{"kind":2,"value":"red"},"name":{"kind":2,"value":"Costa Rica"}}"#,
        r#"["color","name"]"#,
    );
    let tag = entry(
        "8de5c4b0-d3c7-4471-A2Df-225A11a83959",
        "Tag",
        tag,
        r#"{"label":{"kind":2,"value":"sea"}}"#,
        r#"["label"]"#,
    );
    format!(r#"{{"auditLog":[{trip},{tag}],"kind":"auditLog"}}"#)
}

struct Phone<'a> {
    server: &'a TestServer,
    account: &'a Account,
    checkpoint: Option<String>,
}

impl Phone<'_> {
    /// Dials as an app whose URL has this query.
    fn dial(&self, query: &str) -> Socket {
        let and = if query.is_empty() { "" } else { "&" };
        let checkpoint =
            self.checkpoint.as_ref().map(|id| format!("{and}last-event-id={id}")).unwrap_or_default();
        handshake(self.server, &format!("/sync?{query}{checkpoint}"), Some(&self.account.token), b"").socket()
    }

    /// Takes what comes until so many entries have, and remembers the last as applied.
    fn take(&mut self, socket: &mut Socket, entries: usize) -> Heard {
        let heard = socket.until_entries(entries);
        assert_eq!(heard.entries.len(), entries, "{heard:?}");
        self.checkpoint =
            heard.entries.last().map(|entry| entry["globalId"].as_str().expect("an id").to_owned());
        heard
    }

    /// Dials, and nothing is on its way: what is stored now is the first that comes.
    fn is_up_to_date(&mut self, query: &str, writer: &mut Socket) {
        let mut socket = self.dial(query);
        let probe = Entry::insert("Probe", &new_row()).integer("n", 1);
        writer.store(&[&probe]);
        let heard = self.take(&mut socket, 1);
        assert_eq!(rows(&heard), BTreeSet::from([probe.row]), "something else was on its way");
        assert_eq!(heard.announcements, 0);
    }
}

fn ids(heard: &Heard) -> BTreeSet<String> {
    heard.entries.iter().map(|entry| entry["globalId"].as_str().expect("an id").to_owned()).collect()
}

fn rows(heard: &Heard) -> BTreeSet<String> {
    heard.entries.iter().map(|entry| entry["globalRowId"].as_str().expect("a row").to_owned()).collect()
}

fn entry_of<'a>(heard: &'a Heard, row: &str) -> &'a Value {
    let found = heard.entries.iter().find(|entry| entry["globalRowId"] == *row);
    found.unwrap_or_else(|| panic!("{row} did not come: {heard:?}"))
}

#[test]
fn a_device_whose_app_was_updated_is_sent_everything_once_more() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let (trip, tag) = (new_row(), new_row());
    let mut phone = Phone { server: &server, account: &ann, checkpoint: None };
    let mut laptop = Socket::open(&server, &ann.token, None);

    let mut old = phone.dial("schema=1");
    laptop.send(of_version_2(&trip, &tag));
    let first = phone.take(&mut old, 2);
    assert_eq!(rows(&first), BTreeSet::from([trip.clone(), tag.clone()]));
    // It drops the column and the table, and remembers the entries as received.
    assert!(
        ids(&first).iter().all(|id| &id[14..15] == "8"),
        "an author's id does not say to which version it was sent"
    );
    old.close();
    phone.is_up_to_date("schema=1", &mut laptop);

    let mut new = phone.dial("schema=2");
    let again = phone.take(&mut new, 3);
    assert_eq!(again.announcements, 1);
    assert!(ids(&again).is_disjoint(&ids(&first)), "known ids would be skipped");
    let whole = entry_of(&again, &trip);
    assert_eq!((&whole["operation"], &whole["tableName"]), (&json!("INSERT"), &json!("Trip")));
    let columns = json!({"color": {"kind": 2, "value": "red"}, "name": {"kind": 2, "value": "Costa Rica"}});
    assert_eq!(whole["changedFields"], columns);
    assert_eq!(entry_of(&again, &tag)["changedFields"]["label"]["value"], "sea");
    new.close();
    phone.is_up_to_date("schema=2", &mut laptop);
    phone.is_up_to_date("schema-version=2", &mut laptop);
}

#[test]
fn an_earlier_version_or_none_goes_on_and_a_later_one_is_sent_everything_again() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let (trip, tag) = (new_row(), new_row());
    let mut phone = Phone { server: &server, account: &ann, checkpoint: None };
    let mut laptop = Socket::open(&server, &ann.token, None);
    laptop.send(of_version_2(&trip, &tag));
    let mut socket = phone.dial("schema=2");
    phone.take(&mut socket, 2);
    socket.close();
    phone.is_up_to_date("schema=1", &mut laptop);
    phone.is_up_to_date("", &mut laptop);
    phone.is_up_to_date("", &mut laptop);
    // What it was sent by the last one's author id, it was sent for no version.
    assert_ne!(&phone.checkpoint.as_ref().expect("a checkpoint")[14..15], "8");
    let mut socket = phone.dial("schema=2");
    let heard = phone.take(&mut socket, 5);
    assert!(rows(&heard).contains(&trip) && rows(&heard).contains(&tag));
    socket.close();
    phone.is_up_to_date("schema=2", &mut laptop);
    // Another device of the same person with another version changes nothing for this one.
    let other = Phone { server: &server, account: &ann, checkpoint: None };
    other.dial("schema=1").until_entries(6);
    phone.is_up_to_date("schema=2", &mut laptop);
}

#[test]
fn a_version_is_declared_in_four_spellings() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let shake = |query: &str, header: &str| {
        handshake_with(&server, &format!("/sync{query}"), Some(&ann.token), header, b"").expect("an answer")
    };
    for (query, header) in [
        ("?schema=x", ""),
        ("?schema-version=-1", ""),
        ("", "X-Lattice-Schema: two\r\n"),
        ("", "Lattice-Schema-Version: 1.5\r\n"),
    ] {
        assert_eq!(shake(query, header).problem()["code"], "bad_schema_version", "{query} {header}");
    }
    let mut laptop = Socket::open(&server, &ann.token, None);
    laptop.store(&[&Entry::insert("Trip", &new_row()).integer("n", 1)]);
    let checkpoint = shake("?schema=1", "").socket().until_entries(1);
    let mut checkpoint = checkpoint.entries[0]["globalId"].as_str().expect("an id").to_owned();
    for (version, header) in [(2, "X-Lattice-Schema"), (3, "Lattice-Schema-Version")] {
        let query = format!("?last-event-id={checkpoint}");
        let heard = shake(&query, &format!("{header}: {version}\r\n")).socket().until_entries(1);
        assert_eq!((heard.entries.len(), heard.announcements), (1, 1), "{header}");
        heard.entries[0]["globalId"].as_str().expect("an id").clone_into(&mut checkpoint);
    }
}

#[test]
fn a_json_client_of_a_later_version_is_sent_everything_and_drops_nothing() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let row = new_row();
    let mut client = JsonClient::new("ann", &ann);
    client.hello["schemaVersion"] = json!(1);
    client.connect(&server);
    client.subscribe("me", json!({}));
    client.until_complete("me");
    let mut writer = JsonClient::in_space(&server, "writer", &ann, "me");
    writer.store("me", vec![change("insert", "Trip", &row, json!({"name": "Costa Rica", "color": "red"}))]);
    client.until_row("me", "Trip", &row);
    let again = |client: &mut JsonClient, version: u64| {
        client.disconnect();
        client.hello["schemaVersion"] = json!(version);
        let before = client.space("me").log.len();
        client.connect(&server);
        client.until_complete("me");
        assert_eq!(client.space("me").resets, ["no_cursor"]);
        client.space("me").log.len() - before
    };
    assert_eq!([1, 2, 2, 1, 2].map(|version| again(&mut client, version)), [0, 1, 0, 0, 1]);
    let last = client.space("me").log.last().expect("a change");
    assert_eq!((&*last.operation, last.columns().len()), ("insert", 2));

    let poll = |cursor: &Value, version: u64| {
        let path = format!("/sync/changes?cursor={}&schema={version}", cursor.as_str().unwrap_or_default());
        let (status, page) = get(&server, &path, &ann.token);
        assert_eq!(status, 200, "{page}");
        (page["changes"].as_array().expect("changes").len(), page["cursor"].clone())
    };
    let (first, cursor) = poll(&json!(null), 1);
    let (none, cursor) = poll(&cursor, 1);
    let (all, cursor) = poll(&cursor, 2);
    let (rest, _) = poll(&cursor, 2);
    assert_eq!([first, none, all, rest], [1, 0, 1, 0]);
    let body = json!({"changes": [change("update", "Trip", &row, json!({"color": "blue"}))]});
    assert_eq!(post(&server, "/sync/changes?schema=2", Some(&ann.token), &body).0, 200);
}
