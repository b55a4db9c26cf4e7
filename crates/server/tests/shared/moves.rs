//! Rights that move while clients are connected, and while they are away.

use serde_json::{Value, json};

use super::cast::{Cast, name, soon, text};
use crate::common::device::{CHILD, Device, ITEM, LINK, PARENT, row_id};
use crate::common::entry::{Entry, new_row};
use crate::common::http::{join, set_policy, set_role};
use crate::common::json_client::{JsonClient, Poller, change};
use crate::common::replica::plain_rows;

#[test]
fn a_table_is_hidden_and_shown_again() {
    let cast = Cast::with_bob("viewer");
    let space = &*cast.space;
    let mut anns = cast.device(&cast.ann, 1);
    let (item, child) = (row_id(1), row_id(2));
    anns.insert(ITEM, &item, name("item"));
    anns.insert(CHILD, &child, name("child"));
    anns.settle();
    let mut native = cast.device(&cast.bob, 2);
    native.until_row(CHILD, &child);
    let mut raw = cast.socket(&cast.bob.token);
    raw.until_entries(2);
    let mut bobs = cast.json("bob", &cast.bob);

    let hidden = json!({"tables": {"Child": {"read": "editor"}}});
    set_policy(&cast.server, space, &cast.ann, &hidden, &json!(null));
    soon("hiding a table", || {
        let heard = raw.until_entries(1);
        assert_eq!(heard.announcements, 1, "another view is announced");
        let entry = &heard.entries[0];
        assert_eq!((&entry["operation"], &entry["globalRowId"]), (&json!("DELETE"), &json!(text(&child))));
        // Unmarked: clients drop a DELETE that says that it is the removal of a filter.
        assert_eq!((&entry["changedFields"], &entry["changedFieldsNames"]), (&json!({}), &json!([])));
        assert_eq!(entry["globalId"].as_str().expect("an id")[14..15], *"8", "an id of the server's own");
        native.until_gone(CHILD, &child);
        bobs.until_gone(space, "Child", &text(&child));
    });
    assert!(bobs.space(space).log.last().expect("a change").is_filtered());
    assert!(native.row(ITEM, &item).is_some() && bobs.space(space).row("Item", &text(&item)).is_some());
    // What happens there is not told.
    let secret = new_row();
    let mut owner = cast.socket(&cast.ann.token);
    owner.store(&[
        &Entry::update("Child", &text(&child)).text("name", "renamed"),
        &Entry::insert("Child", &secret).text("name", "secret"),
        &Entry::update("Item", &text(&item)).text("name", "seen"),
    ]);
    bobs.until_value(space, ("Item", &text(&item), "name"), "\"seen\"");
    let heard = raw.until_entries(1);
    assert_eq!(heard.entries[0]["globalRowId"], json!(text(&item)));
    bobs.ping();
    assert!(!bobs.space(space).log.iter().any(|change| change.global_row_id == secret));

    set_policy(&cast.server, space, &cast.ann, &json!({}), &json!(null));
    soon("showing a table", || {
        bobs.until_row(space, "Child", &secret);
        bobs.until_row(space, "Child", &text(&child));
        native.until_row(CHILD, &child);
        raw.until(|heard| heard.entries.iter().any(|entry| entry["globalRowId"] == json!(text(&child))));
    });
    assert_eq!(bobs.space(space).value("Child", &text(&child), "name"), Some("\"renamed\""));
    native.until_rows(&bobs.space(space).rows, "after it is shown again");
    let fresh = cast.json("fresh", &cast.bob);
    assert_eq!(fresh.space(space).rows, bobs.space(space).rows);
    assert_eq!(fresh.space(space).rows.len(), 3);
}

#[test]
fn a_role_moves_up_and_down() {
    let cast = Cast::with_bob("viewer");
    let space = &*cast.space;
    let hidden = json!({"tables": {"Child": {"read": "editor"}}});
    set_policy(&cast.server, space, &cast.ann, &hidden, &json!(null));
    let mut anns = cast.json("ann", &cast.ann);
    let child = row_id(1);
    anns.store(space, vec![change("insert", "Child", &text(&child), json!({"name": "c"}))]);
    let mut native = cast.device(&cast.bob, 2);
    let mut bobs = cast.json("bob", &cast.bob);
    assert!(bobs.space(space).rows.is_empty());
    for round in 0..3 {
        set_role(&cast.server, space, &cast.ann, &cast.bob, "editor");
        soon("a higher role", || {
            bobs.until(|client| client.space(space).role.as_deref() == Some("editor"));
            bobs.until_row(space, "Child", &text(&child));
            native.until_row(CHILD, &child);
        });
        let results = bobs.store(
            space,
            vec![change("update", "Child", &text(&child), json!({"name": format!("{round}")}))],
        );
        assert_eq!(results[0]["status"], "applied");
        native.update(CHILD, &child, name(&format!("native {round}")));
        native.settle();
        anns.until_value(space, ("Child", &text(&child), "name"), &format!("\"native {round}\""));
        set_role(&cast.server, space, &cast.ann, &cast.bob, "viewer");
        soon("a lower role", || {
            bobs.until(|client| client.space(space).role.as_deref() == Some("viewer"));
            bobs.until_gone(space, "Child", &text(&child));
            native.until_gone(CHILD, &child);
        });
        let results = bobs.store(space, vec![change("insert", "Item", &new_row(), json!({"name": "no"}))]);
        assert_eq!(results[0]["code"], "forbidden");
        native.insert(ITEM, &row_id(50 + round), name("no"));
        native.settle();
        assert!(plain_rows(&native).is_empty() && bobs.space(space).rows.is_empty());
    }
    assert_eq!(anns.space(space).value("Child", &text(&child), "name"), Some("\"native 2\""));
}

#[test]
fn clients_that_were_away_are_brought_to_their_new_view() {
    let cast = Cast::with_bob("editor");
    let (server, space) = (&cast.server, &*cast.space);
    join(server, space, &cast.ann, &cast.cat, "viewer");
    let own = json!({"any": "owner", "own": "viewer"});
    let policies: [(Value, &str); 6] = [
        (json!({"tables": {"Child": {"read": "owner"}}}), "editor"),
        (json!({"tables": {"Item": {"read": own}}}), "viewer"),
        (json!({}), "editor"),
        (json!({"default": {"read": "owner"}, "tables": {"Item": {"read": "viewer"}}}), "viewer"),
        (json!({"unlistedTables": "deny", "tables": {"Parent": {}, "Child": {}}}), "editor"),
        (json!({}), "viewer"),
    ];
    let mut anns = cast.device(&cast.ann, 1);
    let mut native = cast.device(&cast.bob, 2);
    let mut bobs = cast.json("bob", &cast.bob);
    let (parent, child, link) = (row_id(1), row_id(2), row_id(3));
    anns.insert(PARENT, &parent, name("p"));
    anns.insert(CHILD, &child, name("c"));
    anns.link(&link, &parent, &child);
    anns.settle();
    for number in 0..3 {
        native.insert(ITEM, &row_id(10 + number), name("bob's"));
        anns.insert(ITEM, &row_id(20 + number), name("ann's"));
    }
    native.settle();
    anns.settle();
    for (round, (policy, role)) in policies.iter().enumerate() {
        let round = round as u64;
        // Sometimes one is up to date when one leaves, sometimes in the midst of it.
        if round % 2 == 1 {
            (0..20).for_each(|number| anns.insert(ITEM, &row_id(1_000 + 100 * round + number), name("many")));
            anns.settle();
            bobs.ping();
        }
        native.disconnect();
        bobs.disconnect();
        set_policy(server, space, &cast.ann, policy, &json!(null));
        set_role(server, space, &cast.ann, &cast.bob, role);
        anns.insert(ITEM, &row_id(100 + round), name("new"));
        anns.insert(CHILD, &row_id(200 + round), name("new child"));
        anns.update(CHILD, &child, name(&format!("renamed {round}")));
        anns.delete(ITEM, &row_id(if round == 2 { 22 } else { 100 + round }));
        anns.settle();
        native.connect(server);
        bobs.connect(server);
        bobs.until_complete(space);
        let fresh = cast.json("fresh", &cast.bob);
        assert_eq!(
            bobs.space(space).rows,
            fresh.space(space).rows,
            "JSON, round {round}: {policy} as {role}"
        );
        let wanted = fresh.space(space).rows.clone();
        native.until_rows(&wanted, &format!("in round {round}: {policy} as {role}"));
        let mut other = Device::in_space("fresh", &cast.bob, 90 + round, space);
        other.connect(server);
        other.until_rows(&wanted, "fresh");
    }
    assert!(
        plain_rows(&native).keys().any(|(table, _)| table.starts_with('_'))
            && native.row(LINK, &link).is_some()
    );
    assert_eq!(bobs.space(space).resets, ["no_cursor"], "ways lead from each view to the next");
}

#[test]
fn a_subscription_begins_once_its_client_is_let_in() {
    let cast = Cast::new("shared");
    let space = &*cast.space;
    let mut anns = cast.device(&cast.ann, 1);
    let item = row_id(1);
    anns.insert(ITEM, &item, name("item"));
    anns.settle();
    let mut bobs = JsonClient::open(&cast.server, "bob", &cast.bob);
    bobs.subscribe(space, json!({}));
    assert_eq!(bobs.error(), "space_not_found");
    join(&cast.server, space, &cast.ann, &cast.bob, "viewer");
    soon("letting bob in", || {
        let access = bobs.event("access");
        assert_eq!((&access["space"], &access["role"]), (&json!(space), &json!("viewer")));
        bobs.until_row(space, "Item", &text(&item));
    });
    // Who does not want it any more is not sent it.
    let mut cats = JsonClient::open(&cast.server, "cat", &cast.cat);
    cats.subscribe(space, json!({}));
    assert_eq!(cats.error(), "space_not_found");
    cats.send(&json!({"type": "unsubscribe", "space": space}));
    cats.ping();
    join(&cast.server, space, &cast.ann, &cast.cat, "viewer");
    cats.subscribe(space, json!({}));
    cats.until_row(space, "Item", &text(&item));
}

#[test]
fn a_waiting_poll_follows_rights() {
    let cast = Cast::with_bob("viewer");
    let (server, space) = (&cast.server, &*cast.space);
    set_policy(server, space, &cast.ann, &json!({"tables": {"Child": {"read": "editor"}}}), &json!(null));
    let mut anns = cast.json("ann", &cast.ann);
    anns.store(space, vec![change("insert", "Child", "c", json!({"name": "c"}))]);
    let mut poller = Poller::new(&cast.bob, space);
    poller.catch_up(server);
    assert!(poller.replica.rows.is_empty());
    let wait = |poller: &mut Poller, act: &dyn Fn()| {
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| poller.poll(server, "&wait=25"));
            act();
            soon("a poll", || waiting.join().expect("a page"));
        });
    };
    // Several times: the move and the poll race.
    for _ in 0..5 {
        wait(&mut poller, &|| set_role(server, space, &cast.ann, &cast.bob, "editor"));
        assert_eq!(poller.replica.value("Child", "c", "name"), Some("\"c\""));
        wait(&mut poller, &|| set_role(server, space, &cast.ann, &cast.bob, "viewer"));
        assert!(poller.replica.rows.is_empty());
        assert!(poller.replica.log.last().expect("a change").is_filtered());
    }
    assert_eq!(poller.replica.resets, ["no_cursor"]);
}
