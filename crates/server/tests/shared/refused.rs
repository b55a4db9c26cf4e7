//! What a policy refuses: it is undone where it was made, listed for who made it and for the owner, and blocks nothing.

use serde_json::json;

use super::cast::{Cast, name, text};
use crate::common::device::{CHILD, Device, ITEM, LINK, PARENT, row_id};
use crate::common::entry::{Entry, new_row};
use crate::common::http::{call, set_policy};
use crate::common::json_client::change;
use crate::common::replica::plain_rows;

#[test]
fn a_viewers_writes_are_undone_on_a_native_client() {
    let cast = Cast::with_bob("viewer");
    let mut anns = cast.device(&cast.ann, 1);
    let (item, other, parent, child, link) = (row_id(1), row_id(2), row_id(3), row_id(4), row_id(5));
    anns.insert(ITEM, &item, name("item"));
    anns.insert(ITEM, &other, name("other"));
    anns.insert(PARENT, &parent, name("parent"));
    anns.insert(CHILD, &child, name("child"));
    anns.link(&link, &parent, &child);
    anns.settle();
    let mut bobs = cast.device(&cast.bob, 2);
    bobs.until_row(LINK, &link);
    assert_eq!(plain_rows(&bobs), plain_rows(&anns));

    let (new, new_link) = (row_id(6), row_id(7));
    bobs.insert(ITEM, &new, name("new"));
    bobs.update(ITEM, &item, name("changed"));
    bobs.delete(ITEM, &other);
    bobs.delete(LINK, &link);
    bobs.link(&new_link, &other, &child);
    // Kept as it was before anything was acknowledged.
    let unacked = bobs.db.clone();
    bobs.settle();
    assert_eq!(plain_rows(&bobs), plain_rows(&anns), "undone");
    // Sent again by a client that never saw the answers.
    bobs.disconnect();
    bobs.db = unacked;
    bobs.connect(&cast.server);
    bobs.settle();
    assert_eq!(plain_rows(&bobs), plain_rows(&anns), "undone again");

    let wanted = |codes: &[&str]| -> Vec<(String, String)> {
        let rows = [&new_link, &link, &other, &item, &new];
        rows.iter().zip(codes).map(|(row, code)| (text(row), (*code).to_owned())).collect()
    };
    let refused = wanted(&["forbidden"; 5]);
    assert_eq!(cast.inbox("/refusals", &cast.bob), refused, "each once");
    assert_eq!(cast.inbox(&format!("/spaces/{}/refusals", cast.space), &cast.ann), refused);
    assert_eq!(cast.inbox("/refusals", &cast.ann), []);
    let path = format!("/spaces/{}/refusals", cast.space);
    assert_eq!(call(&cast.server, "GET", &path, &cast.bob.token, None).0, 403);
    // Nobody else heard of any of it.
    let probe = row_id(8);
    let mut owner = cast.socket(&cast.ann.token);
    owner.until_entries(5);
    anns.insert(ITEM, &probe, name("probe"));
    anns.settle();
    let heard = owner.until_entries(1);
    assert_eq!(heard.entries[0]["globalRowId"], json!(text(&probe)));
}

#[test]
fn a_viewers_writes_are_undone_on_a_json_client() {
    let cast = Cast::with_bob("viewer");
    let space = &*cast.space;
    let mut anns = cast.json("ann", &cast.ann);
    let (item, other, link) = (new_row(), new_row(), new_row());
    anns.store(
        space,
        vec![
            change("insert", "Item", &item, json!({"name": "item", "count": 1})),
            change("insert", "Item", &other, json!({"name": "other"})),
            change("insert", "_Parent_Child_children", &link, json!({"lhs": "p", "rhs": "c"})),
        ],
    );
    let mut bobs = cast.json("bob", &cast.bob);
    assert_eq!(bobs.space(space).role.as_deref(), Some("viewer"));
    let changes = vec![
        change("insert", "Item", &new_row(), json!({"name": "new"})),
        change("update", "Item", &item, json!({"name": "changed"})),
        change("delete", "Item", &other, json!({})),
        change("delete", "_Parent_Child_children", &link, json!({})),
        change("insert", "_Parent_Child_children", &new_row(), json!({"lhs": "p", "rhs": "c"})),
    ];
    for round in 0..2 {
        let results = bobs.store(space, changes.clone());
        let codes: Vec<&str> =
            results.iter().map(|result| result["code"].as_str().expect("a code")).collect();
        assert_eq!(codes, if round == 0 { ["forbidden"; 5] } else { ["refused_before"; 5] });
        assert!(results.iter().all(|result| result["status"] == "rejected" && result["detail"].is_string()));
        assert_eq!(bobs.space(space).rows, anns.space(space).rows, "undone in round {round}");
        bobs.disconnect();
        bobs.connect(&cast.server);
        bobs.until_complete(space);
    }
    assert_eq!(cast.inbox("/refusals", &cast.bob).len(), 5);
    // And by HTTP.
    let body = json!({"space": space, "changes": changes});
    let (status, answer) = call(&cast.server, "POST", "/sync/changes", &cast.bob.token, Some(&body));
    assert_eq!((status, &answer["results"][1]["code"]), (200, &json!("refused_before")));
    assert!(answer["current"].to_string().contains("\\\"name\\\":\\\"item\\\""), "{answer}");
}

#[test]
fn what_may_not_be_read_is_not_told_by_a_refusal() {
    let cast = Cast::with_bob("editor");
    let space = &*cast.space;
    let policy = json!({"tables": {"Child": {"read": "owner", "insert": "owner", "update": "owner", "delete": "owner"}}});
    set_policy(&cast.server, space, &cast.ann, &policy, &json!(null));
    let mut anns = cast.device(&cast.ann, 1);
    let (secret, fresh) = (row_id(1), row_id(2));
    anns.insert(CHILD, &secret, name("top secret"));
    anns.settle();

    let mut bobs = cast.device(&cast.bob, 2);
    // The id is known to him: an insert over it, and one of a row that does not exist, end the same way.
    bobs.insert(CHILD, &secret, name("mine"));
    bobs.insert(CHILD, &fresh, name("mine"));
    bobs.settle();
    assert_eq!(plain_rows(&bobs).len(), 0);
    let mut raw = cast.socket(&cast.bob.token);
    let (over, beside) = (
        Entry::update("Child", &text(&secret)).text("name", "x"),
        Entry::update("Child", &new_row()).text("name", "x"),
    );
    let mut shapes = Vec::new();
    for entry in [&over, &beside] {
        let heard = raw.store(&[entry]);
        let answer = heard.entries.last().expect("a correction");
        assert!(!answer.to_string().contains("secret"), "{answer}");
        let mut shape = answer.clone();
        assert_eq!(answer["globalRowId"], json!(entry.row));
        for key in ["globalId", "globalRowId"] {
            shape[key] = json!(null);
        }
        shapes.push(shape);
    }
    assert_eq!(shapes[0]["operation"], "DELETE");
    assert_eq!(shapes[0], shapes[1], "a row that one may not see answers like one that does not exist");
    let mut json_bob = cast.json("bob", &cast.bob);
    let results = json_bob.store(
        space,
        vec![
            change("update", "Child", &text(&secret), json!({"name": "x"})),
            change("update", "Child", &new_row(), json!({"name": "x"})),
        ],
    );
    assert_eq!(results[0]["code"], "forbidden");
    assert_eq!(
        (&results[0]["status"], &results[0]["detail"]),
        (&results[1]["status"], &results[1]["detail"])
    );
    let current: Vec<_> = json_bob
        .space(space)
        .log
        .iter()
        .map(|change| (change.operation.clone(), change.reason.clone(), change.timestamp.to_bits()))
        .collect();
    assert_eq!(current[0], current[1], "{current:?}");
    assert!(json_bob.space(space).rows.is_empty());
    // The owner's row is as it was.
    let owner = cast.json("ann", &cast.ann);
    assert_eq!(owner.space(space).value("Child", &text(&secret), "name"), Some("\"top secret\""));
}

#[test]
fn one_refused_change_does_not_block_its_frame() {
    let cast = Cast::with_bob("editor");
    let space = &*cast.space;
    let policy = json!({"tables": {"Item": {}, "Child": {"insert": "owner"}}, "unlistedTables": "deny"});
    set_policy(&cast.server, space, &cast.ann, &policy, &json!(null));
    let mut bobs = cast.device(&cast.bob, 2);
    let (item, child, parent, second) = (row_id(1), row_id(2), row_id(3), row_id(4));
    bobs.disconnect();
    bobs.insert(ITEM, &item, name("a"));
    bobs.insert(CHILD, &child, name("b"));
    bobs.insert(PARENT, &parent, name("c"));
    bobs.insert(ITEM, &second, name("d"));
    bobs.connect(&cast.server);
    bobs.settle();
    let owner = cast.json("ann", &cast.ann);
    assert_eq!(owner.space(space).rows.len(), 2);
    assert_eq!(plain_rows(&bobs), owner.space(space).rows);
    let wanted = [(text(&parent), "table_not_allowed".to_owned()), (text(&child), "forbidden".to_owned())];
    assert_eq!(cast.inbox("/refusals", &cast.bob), wanted);
}

#[test]
fn own_rows_are_those_that_one_created() {
    let cast = Cast::with_bob("editor");
    let space = &*cast.space;
    let own = json!({"any": "owner", "own": "editor"});
    let policy = json!({"tables": {"Item": {"insert": "editor", "update": own, "delete": own},
                                   "Child": {"read": own}}});
    set_policy(&cast.server, space, &cast.ann, &policy, &json!(null));
    let mut anns = cast.json("ann", &cast.ann);
    let mut bobs = cast.json("bob", &cast.bob);
    let mut native = cast.device(&cast.bob, 3);
    let (hers, his, her_child, his_child) = (row_id(1), row_id(2), row_id(3), row_id(4));
    anns.store(
        space,
        vec![
            change("insert", "Item", &text(&hers), json!({"name": "hers"})),
            change("insert", "Child", &text(&her_child), json!({"name": "hers"})),
        ],
    );
    let results = bobs.store(
        space,
        vec![
            change("insert", "Item", &text(&his), json!({"name": "his"})),
            change("insert", "Child", &text(&his_child), json!({"name": "his"})),
            change("update", "Item", &text(&his), json!({"name": "his own"})),
            change("update", "Item", &text(&hers), json!({"name": "taken"})),
            change("delete", "Item", &text(&hers), json!({})),
            change("insert", "Item", &text(&hers), json!({"name": "over"})),
        ],
    );
    let codes: Vec<&str> = results.iter().map(|result| result["code"].as_str().unwrap_or("")).collect();
    assert_eq!(codes, ["", "", "", "not_creator", "not_creator", "not_creator"]);
    assert_eq!(bobs.space(space).value("Item", &text(&hers), "name"), Some("\"hers\""));
    // He reads his own children only, on every client of his; she reads all.
    native.until_row(CHILD, &his_child);
    native.until_row(ITEM, &hers);
    assert!(native.row(CHILD, &her_child).is_none());
    bobs.ping();
    assert_eq!(bobs.space(space).ids("Child"), [text(&his_child)]);
    anns.until_row(space, "Child", &text(&his_child));
    assert_eq!(anns.space(space).ids("Child").len(), 2);
    // The owner may change his.
    let results = anns.store(space, vec![change("update", "Item", &text(&his), json!({"name": "hers now"}))]);
    assert_eq!(results[0]["status"], "applied");
    bobs.until_value(space, ("Item", &text(&his), "name"), "\"hers now\"");
    // A native client of his ends the same.
    native.update(ITEM, &hers, name("taken"));
    native.settle();
    assert_eq!(plain_rows(&native), bobs.space(space).rows);
}

#[test]
fn a_frame_deletes_so_many_rows_and_no_more() {
    let cast = Cast::with_bob("editor");
    let space = &*cast.space;
    set_policy(&cast.server, space, &cast.ann, &json!({"maxDeletesPerFrame": 2}), &json!(null));
    let rows: Vec<_> = (1..=5).map(row_id).collect();
    let mut bobs = cast.device(&cast.bob, 2);
    rows.iter().for_each(|row| bobs.insert(ITEM, row, name("a")));
    bobs.settle();
    bobs.disconnect();
    bobs.update(ITEM, &rows[4], name("b"));
    rows[..3].iter().for_each(|row| bobs.delete(ITEM, row));
    bobs.connect(&cast.server);
    bobs.settle();
    assert_eq!(plain_rows(&bobs).len(), 5, "given back");
    let mut anns = cast.json("ann", &cast.ann);
    assert_eq!(anns.space(space).rows, plain_rows(&bobs));
    assert_eq!(
        anns.space(space).value("Item", &text(&rows[4]), "name"),
        Some("\"b\""),
        "the rest of the frame counts"
    );
    assert!(cast.inbox("/refusals", &cast.bob).iter().all(|(_, code)| code == "too_many_deletes"));
    let delete = |row| change("delete", "Item", &text(row), json!({}));
    let results = anns.store(space, vec![delete(&rows[0]), delete(&rows[1])]);
    assert!(results.iter().all(|result| result["status"] == "applied"), "{results:?}");
    let results = anns.store(space, rows[2..].iter().map(delete).collect());
    assert!(results.iter().all(|result| result["code"] == "too_many_deletes"), "the owner too: {results:?}");
    assert_eq!(anns.space(space).rows.len(), 3);
}

#[test]
fn an_archived_space_is_read_and_not_written() {
    let cast = Cast::with_bob("editor");
    let space = &*cast.space;
    let mut bobs = cast.device(&cast.bob, 2);
    let mut anns = cast.json("ann", &cast.ann);
    let row = row_id(1);
    bobs.insert(ITEM, &row, name("a"));
    bobs.settle();
    let path = format!("/spaces/{space}");
    let archive = |archived: bool| {
        let (status, answer) =
            call(&cast.server, "PATCH", &path, &cast.ann.token, Some(&json!({"archived": archived})));
        assert_eq!((status, &answer["archived"]), (200, &json!(archived)));
    };
    archive(true);
    bobs.update(ITEM, &row, name("b"));
    bobs.settle();
    let results = anns.store(space, vec![change("delete", "Item", &text(&row), json!({}))]);
    assert_eq!(results[0]["code"], "space_archived");
    let mut late = Device::in_space("late", &cast.bob, 4, space);
    late.connect(&cast.server);
    late.until_row(ITEM, &row);
    assert_eq!(plain_rows(&bobs), anns.space(space).rows);
    assert_eq!(plain_rows(&late), anns.space(space).rows);
    archive(false);
    bobs.update(ITEM, &row, name("c"));
    bobs.settle();
    anns.until_value(space, ("Item", &text(&row), "name"), "\"c\"");
}
