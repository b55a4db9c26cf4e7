//! Rows of union tables, as real clients upload them, and tables that a policy merges by row.

use serde_json::{Value, json};

use crate::common::entry::{Entry, new_id, new_row};
use crate::common::http::{join, make_space, set_policy, sign_up};
use crate::common::json_client::{JsonClient, change};
use crate::common::server::TestServer;
use crate::common::socket::{Socket, handshake};

const CASE: &str = "\"case\"";

/// What a client uploads for a new value: every column, those of other cases as null.
fn new_value(row: &str, seconds: f64) -> Entry {
    Entry::insert("_FeedItem", row)
        .text(CASE, "text")
        .text("text", "hi")
        .raw("photo__width", r#"{"kind":4,"value":null}"#)
        .raw("photo__height", r#"{"kind":4,"value":null}"#)
        .at(seconds)
}

/// Another case: what changed, and the rest as null without being named.
fn becomes_photo(row: &str, seconds: f64) -> Entry {
    Entry::update("_FeedItem", row)
        .text(CASE, "photo")
        .raw("text", r#"{"kind":4,"value":null}"#)
        .integer("photo__width", 3)
        .integer("photo__height", 4)
        .at(seconds)
}

/// Another value of the same case: it does not name the case.
fn text_becomes(row: &str, text: &str, seconds: f64) -> Entry {
    let null = r#"{"kind":4,"value":null}"#;
    let entry = Entry::update("_FeedItem", row).text("text", text);
    entry.unnamed(CASE, null).unnamed("photo__width", null).unnamed("photo__height", null).at(seconds)
}

/// The columns of an entry that is sent whole.
fn whole(entry: &Value) -> [Value; 4] {
    let names = entry["changedFieldsNames"].as_array().expect("names");
    assert_eq!(names.len(), 4, "{entry}");
    [CASE, "text", "photo__width", "photo__height"].map(|name| {
        assert!(names.contains(&json!(name)), "{entry}");
        entry["changedFields"][name]["value"].clone()
    })
}

#[test]
fn union_rows_reach_both_dialects_with_their_quoted_column() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut phone = Socket::open(&server, &ann.token, None);
    let mut laptop = Socket::open(&server, &ann.token, None);
    let mut json = JsonClient::in_space(&server, "json", &ann, "me");
    // A frame of the real library.
    let (id, row) = (new_id(), new_row());
    phone.send(format!(
        r#"{{"kind":"auditLog","auditLog":[{{"id":1,"globalId":"{id}","tableName":"_FeedItem","operation":"INSERT",
            "rowId":1,"globalRowId":"{row}","changedFieldsNames":["\"case\"","text","photo"],
            "changedFields":{{"\"case\"":{{"kind":2,"value":"text"}},"text":{{"kind":2,"value":"hi"}},
            "photo":{{"kind":4,"value":null}}}},"timestamp":"","isFromRemote":false,"isSynchronized":false}}]}}"#
    ));
    assert_eq!(phone.until_acked(&[&id]).codes(), [""; 0]);
    let live = laptop.until_entries(1).entries;
    let fresh = Socket::open(&server, &ann.token, None).until_entries(1).entries;
    for entries in [live, fresh] {
        assert_eq!(entries[0]["changedFieldsNames"], json!([CASE, "text", "photo"]));
        assert_eq!(entries[0]["changedFields"][CASE], json!({"kind": 2, "value": "text"}));
        assert_eq!(entries[0]["changedFields"]["photo"], json!({"kind": 4, "value": null}));
    }
    json.until_row("me", "_FeedItem", &row);
    assert_eq!(json.space("me").value("_FeedItem", &row, CASE), Some(r#""text""#));
    // And back.
    let fields = json!({CASE: "photo", "text": null, "photo": "FF"});
    let results = json.store("me", vec![change("update", "_FeedItem", &row, fields)]);
    assert_eq!(results[0]["status"], "applied");
    let heard = laptop.until_entries(1).entries;
    assert_eq!(heard[0]["changedFields"][CASE]["value"], "photo");
    assert_eq!(heard[0]["changedFields"]["text"]["value"], Value::Null);
    // No other quoted name passes.
    for name in
        ["\"Case\"", "\"case", "case\"", "\"case\" ", "\"text\"", "\"case\",text", "'case'", "\"\"case\"\""]
    {
        let results = json.store("me", vec![change("update", "_FeedItem", &row, json!({name: "text"}))]);
        assert_eq!(results[0]["code"], "bad_column_name", "{name}");
    }
    let results = json.store("me", vec![change("insert", CASE, &new_row(), json!({"a": 1}))]);
    assert_eq!(results[0]["code"], "bad_table_name");
}

/// Clients store a row of one case with the values of that case, and nothing else: whoever loses is sent the row that won, whole,
/// and whoever is told of a change is told of all of it.
#[test]
fn of_two_cases_one_wins_as_a_whole() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut phone = Socket::open(&server, &ann.token, None);
    let mut laptop = Socket::open(&server, &ann.token, None);
    let photo = || [json!("photo"), Value::Null, json!(3), json!(4)];
    for (seconds, what) in [(9.0, "an older value"), (12.0, "a newer value of the case before")] {
        let row = new_row();
        phone.store(&[&new_value(&row, 1.0)]);
        assert_eq!(
            whole(&laptop.until_entries(1).entries[0]),
            [json!("text"), json!("hi"), Value::Null, Value::Null]
        );
        phone.store(&[&becomes_photo(&row, 10.0)]);
        let late = text_becomes(&row, "ho", seconds);
        laptop.upload(&[&late]);
        let heard = laptop.until_acked(&[&late.id]);
        let last = heard.entries.last().expect("a correction before the ack");
        assert_eq!(whole(last), photo(), "{what}");
        assert!(heard.entries.iter().all(|entry| whole(entry) == photo()), "{what}: {heard:?}");
        let mut fresh = Socket::open(&server, &ann.token, None);
        let found = fresh.until(|heard| heard.entries.iter().any(|entry| entry["globalRowId"] == json!(row)));
        let entry = found.entries.iter().find(|entry| entry["globalRowId"] == json!(row)).expect("the row");
        assert_eq!(whole(entry), photo(), "{what}");
    }
    // A newer change to a third case, by a device that has not seen the photo: nothing of the photo stays.
    let row = new_row();
    phone.store(&[&new_value(&row, 1.0)]);
    laptop.until_entries(1);
    phone.store(&[&becomes_photo(&row, 10.0)]);
    let nothing = [json!("none"), Value::Null, Value::Null, Value::Null];
    let third = Entry::update("_FeedItem", &row)
        .text(CASE, "none")
        .raw("text", r#"{"kind":4,"value":null}"#)
        .at(11.0);
    laptop.upload(&[&third]);
    let heard = laptop.until_acked(&[&third.id]);
    assert_eq!(whole(heard.entries.last().expect("a correction")), nothing);
    assert_eq!(whole(phone.until_entries(1).entries.last().expect("a change")), nothing);
    // A value of the case that the row has is taken, and told whole.
    phone.store(&[&becomes_photo(&row, 12.0)]);
    laptop.until_entries(1);
    let wider = Entry::update("_FeedItem", &row).integer("photo__width", 5).at(13.0);
    let heard = laptop.store(&[&wider]);
    let wide = [json!("photo"), Value::Null, json!(5), json!(4)];
    assert_eq!(whole(heard.entries.last().expect("an echo")), wide);
    assert_eq!(whole(phone.until_entries(1).entries.last().expect("a change")), wide);
}

/// `"merge": "row"` in a policy: a change that is older than anything in the row is lost as a whole, and others are sent all of it.
#[test]
fn a_policy_says_that_a_table_merges_by_row() {
    let server = TestServer::start(&[]);
    let (ann, bob) = (sign_up(&server, "ann"), sign_up(&server, "bob"));
    let space = make_space(&server, &ann, "shared");
    join(&server, &space, &ann, &bob, "editor");
    set_policy(&server, &space, &ann, &json!({"tables": {"Doc": {"merge": "row"}}}), &Value::Null);
    let open = |token: &str| handshake(&server, &format!("/sync/{space}"), Some(token), b"").socket();
    let (mut anns, mut bobs) = (open(&ann.token), open(&bob.token));
    let mut json = JsonClient::in_space(&server, "json", &bob, &space);
    for (table, both) in [("Doc", false), ("Note", true)] {
        let row = new_row();
        anns.store(&[&Entry::insert(table, &row).integer("a", 1).integer("b", 1).at(1.0)]);
        bobs.until(|heard| heard.entries.iter().any(|entry| entry["globalRowId"] == json!(row)));
        anns.store(&[&Entry::update(table, &row).integer("a", 2).at(10.0)]);
        let late = Entry::update(table, &row).integer("b", 3).at(9.0);
        bobs.upload(&[&late]);
        let heard = bobs.until_acked(&[&late.id]);
        let last = heard.entries.last().expect("a change or a correction");
        if both {
            assert_eq!(last["changedFields"]["b"]["value"], 3, "by field both are taken: {last}");
        } else {
            let names = last["changedFieldsNames"].as_array().expect("names");
            assert!(names.contains(&json!("a")) && names.contains(&json!("b")), "all of the row: {last}");
            assert_eq!(
                (&last["changedFields"]["a"]["value"], &last["changedFields"]["b"]["value"]),
                (&json!(2), &json!(1))
            );
        }
        json.until_value(&space, (table, &row, "a"), "2");
        json.until_value(&space, (table, &row, "b"), if both { "3" } else { "1" });
    }
}
