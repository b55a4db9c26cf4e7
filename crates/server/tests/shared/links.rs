//! Links come and go with the rows that they name.

use serde_json::{Value, json};

use super::cast::{Cast, name, soon, text};
use crate::common::device::{CHILD, Device, LINK, PARENT, row_id};
use crate::common::entry::Entry;
use crate::common::http::set_policy;
use crate::common::json_client::change;
use crate::common::replica::plain_rows;

const TABLE: &str = "_Parent_Child_children";

/// Where an entry of a row is among those that came.
#[track_caller]
fn place(entries: &[Value], operation: &str, row: &str) -> usize {
    let is_it = |entry: &Value| entry["operation"] == operation && entry["globalRowId"] == row;
    entries.iter().position(is_it).unwrap_or_else(|| panic!("no {operation} of {row} in {entries:?}"))
}

/// No link of a device names a row that it does not have.
#[track_caller]
fn nothing_hangs(device: &Device) {
    let rows = plain_rows(device);
    let ids: Vec<&String> =
        rows.keys().filter(|(table, _)| !table.starts_with('_')).map(|(_, id)| id).collect();
    for ((_, id), values) in rows.iter().filter(|((table, _), _)| table.starts_with('_')) {
        for end in ["lhs", "rhs"] {
            let named = values[end].trim_matches('"');
            assert!(ids.iter().any(|id| id.as_str() == named), "{} is left with link {id}", device.name);
        }
    }
}

#[test]
fn links_leave_and_come_with_the_rows_that_they_name() {
    let cast = Cast::with_bob("viewer");
    let space = &*cast.space;
    let mut anns = cast.device(&cast.ann, 1);
    let parent = row_id(1);
    let children = [2, 3, 4].map(row_id);
    let links = [12, 13, 14].map(row_id);
    anns.insert(PARENT, &parent, name("p"));
    for (child, link) in children.iter().zip(&links) {
        anns.insert(CHILD, child, name("c"));
        anns.link(link, &parent, child);
    }
    anns.settle();
    let mut native = cast.device(&cast.bob, 2);
    links.iter().for_each(|link| native.until_row(LINK, link));
    let mut away = Device::in_space("away", &cast.bob, 3, space);
    away.connect(&cast.server);
    links.iter().for_each(|link| away.until_row(LINK, link));
    away.disconnect();
    let mut bobs = cast.json("bob", &cast.bob);
    let mut raw = cast.socket(&cast.bob.token);
    raw.until_entries(7);
    // The children move behind their links in the order of changes.
    children.iter().for_each(|child| anns.update(CHILD, child, name("renamed")));
    anns.settle();
    raw.until_entries(3);

    let hidden = json!({"tables": {"Child": {"read": "editor"}}});
    set_policy(&cast.server, space, &cast.ann, &hidden, &json!(null));
    soon("hiding a table", || {
        let heard = raw.until_entries(6);
        for (child, link) in children.iter().zip(&links) {
            let at = |row| place(&heard.entries, "DELETE", &text(row));
            assert!(at(link) < at(child), "a link goes before its end");
        }
        let gone = &heard.entries[place(&heard.entries, "DELETE", &text(&links[0]))];
        assert_eq!((&gone["changedFields"], &gone["changedFieldsNames"]), (&json!({}), &json!([])));
        links.iter().for_each(|link| native.until_gone(LINK, link));
        children.iter().for_each(|child| native.until_gone(CHILD, child));
        bobs.until_gone(space, TABLE, &text(&links[2]));
    });
    nothing_hangs(&native);
    // Links to rows that one may not see are not shown, whoever makes them, and refusals say no more than of a hidden row.
    let more = row_id(15);
    let mut owner = cast.socket(&cast.ann.token);
    owner.store(&[&Entry::delete(TABLE, &text(&links[1])), &Entry::delete("Child", &text(&children[1]))]);
    owner.store(&[
        &Entry::insert("Child", &text(&row_id(5))).text("name", "secret"),
        &Entry::link(TABLE, &text(&more), &text(&parent), &text(&row_id(5))),
        &Entry::update("Parent", &text(&parent)).text("name", "seen"),
    ]);
    bobs.until_value(space, ("Parent", &text(&parent), "name"), "\"seen\"");
    assert_eq!(raw.until_entries(1).entries[0]["globalRowId"], json!(text(&parent)));
    let of = |row: &str| change("delete", TABLE, row, json!({}));
    let results = bobs.store(space, vec![of(&text(&links[0])), of(&text(&row_id(99)))]);
    assert_eq!((&results[0]["status"], &results[0]["code"]), (&results[1]["status"], &results[1]["code"]));
    assert!(
        bobs.space(space).rows.keys().all(|(table, _)| table == "Parent"),
        "{:?}",
        bobs.space(space).rows
    );
    away.connect(&cast.server);
    away.until_rows(&bobs.space(space).rows, "who was away");
    nothing_hangs(&away);

    set_policy(&cast.server, space, &cast.ann, &json!({}), &json!(null));
    soon("showing a table", || {
        let heard =
            raw.until(|heard| heard.entries.iter().filter(|entry| entry["tableName"] == TABLE).count() == 3);
        for (child, link) in [(&children[0], &links[0]), (&children[2], &links[2]), (&row_id(5), &more)] {
            let at = |row| place(&heard.entries, "INSERT", &text(row));
            assert!(at(child) < at(link), "an end comes before its link");
        }
        native.until_row(LINK, &more);
        bobs.until_row(space, TABLE, &text(&more));
    });
    let fresh = cast.json("fresh", &cast.bob);
    assert_eq!(fresh.space(space).rows.len(), 1 + 2 * 3);
    assert_eq!(bobs.space(space).rows, fresh.space(space).rows);
    for device in [&mut native, &mut away] {
        device.until_rows(&fresh.space(space).rows, "after it is shown again");
        nothing_hangs(device);
    }
}

#[test]
fn a_link_that_came_before_its_end_goes_when_that_is_somebody_elses() {
    let cast = Cast::with_bob("editor");
    let space = &*cast.space;
    let own = json!({"tables": {"Child": {"read": {"own": "viewer"}}}});
    set_policy(&cast.server, space, &cast.ann, &own, &json!(null));
    let (parent, hers, his) = (row_id(1), row_id(2), row_id(3));
    let links = [12, 13].map(row_id);
    let mut anns = cast.socket(&cast.ann.token);
    let link = |link: usize, child| Entry::link(TABLE, &text(&links[link]), &text(&parent), &text(child));
    anns.store(&[
        &Entry::insert("Parent", &text(&parent)).text("name", "p"),
        &link(0, &hers),
        &link(1, &his),
    ]);
    let mut native = cast.device(&cast.bob, 2);
    let mut bobs = cast.json("bob", &cast.bob);
    links.iter().for_each(|link| native.until_row(LINK, link));
    anns.store(&[&Entry::insert("Child", &text(&hers)).text("name", "hers")]);
    native.until_gone(LINK, &links[0]);
    bobs.until_gone(space, TABLE, &text(&links[0]));
    native.insert(CHILD, &his, name("his"));
    native.settle();
    bobs.until_row(space, "Child", &text(&his));
    assert_eq!(bobs.space(space).rows.len(), 3);
    native.until_rows(&bobs.space(space).rows, "his own");
    nothing_hangs(&native);
    let ann = cast.json("ann", &cast.ann);
    assert!(
        ann.space(space).row(TABLE, &text(&links[1])).is_none()
            && ann.space(space).row(TABLE, &text(&links[0])).is_some()
    );
}
