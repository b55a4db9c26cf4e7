//! Links and the rows that they name: who created these is kept with the link, also where they come after it.

use std::sync::Arc;

use lattice_engine::{Ends, MAX_WAITING_LINKS, Permission, PullRequest, Role, Row, TablePolicy, View};
use lattice_protocol::value::{integer, text};
use lattice_protocol::{Incoming, Operation, RowId};

use super::super::spaces::{Device, change, uuid_row};
use super::*;
use crate::spaces::Space;

/// One more than may wait for one row.
const TOO_MANY: usize = MAX_WAITING_LINKS + 1;
/// More than the places that are looked at first.
const LINKS: usize = 40;

pub(super) async fn run<S: Store>(store: &Arc<S>) {
    links_wait_for_their_ends(&**store).await;
    a_look_finds_ends_that_no_link_waited_for(&**store).await;
}

fn made(table: &str, row: &RowId) -> Incoming {
    Incoming::Change(change(Operation::Insert, table, row, &[("a", integer(1))]))
}

fn link(row: &RowId, lhs: &RowId, rhs: &RowId) -> Incoming {
    let ends = [("lhs", text(&lhs.to_text())), ("rhs", text(&rhs.to_text()))];
    Incoming::Change(change(Operation::Insert, "_Doc_Note_notes", row, &ends))
}

/// The links of a space, in their order, and its head.
async fn links<S: Store>(store: &S, space: &Space) -> (Vec<Row>, u64) {
    let data = ok!(store.pull(space, &PullRequest::page(0, 1_000, 1 << 20)));
    (data.rows.into_iter().filter(|row| row.pair.is_some()).collect(), data.head)
}

fn creators(ends: &Ends) -> [Option<[u8; 16]>; 2] {
    [0, 1].map(|at| ends.rows[at].as_ref().and_then(|end| end.creator))
}

async fn links_wait_for_their_ends<S: Store>(store: &S) {
    let (ann, id) = with_space(store, SpaceKind::Shared).await;
    let bob = with_member(store, (ann, id), Role::Editor).await;
    let space = ok!(store.access(ann, Selector::Id(id))).expect("a space").space;
    let (anns, bobs) = (Device::of(Arc::clone(&space), ann.0), Device::of(Arc::clone(&space), bob.0));
    let (doc, note) = (uuid_row(), uuid_row());
    let rows: Vec<RowId> = (0..LINKS).map(|_| uuid_row()).collect();
    let docs: Vec<RowId> = (0..LINKS).map(|_| uuid_row()).collect();
    anns.send(store, vec![made("Doc", &doc), link(&rows[0], &doc, &note)]).await;
    for (row, doc) in rows.iter().zip(&docs).skip(1) {
        anns.send(store, vec![link(row, doc, &note)]).await;
    }
    let (before, head) = links(store, &space).await;
    assert_eq!(before.len(), LINKS);
    assert_eq!(creators(before[0].ends()), [Some(ann.0), None], "its end came with it");
    assert!(before[1..].iter().all(|row| row.ends.is_none()));
    assert!(before.iter().all(|row| row.ends().since == [0, 0]));

    // One of them is deleted, and waits no more.
    anns.send(store, vec![Incoming::Change(change(Operation::Delete, "_Doc_Note_notes", &rows[1], &[]))])
        .await;
    bobs.send(store, vec![made("Note", &note)]).await;
    let (after, last) = links(store, &space).await;
    assert_eq!(last, head + 2 + (LINKS as u64 - 1), "each takes a new place");
    let live: Vec<&Row> = after.iter().filter(|row| row.is_live()).collect();
    assert_eq!(live.len(), LINKS - 1);
    for row in &live {
        assert_eq!(creators(row.ends())[1], Some(bob.0));
        assert_eq!((row.ends().since, row.last_seq > head), ([0, row.last_seq], true));
    }
    // Of another generation, backend's table or instance: what was found is kept, and nothing waits any more.
    bobs.send(store, vec![Incoming::Change(change(Operation::Delete, "Note", &note, &[]))]).await;
    anns.send(store, vec![made("Note", &note), link(&rows[1], &docs[1], &note)]).await;
    let (again, head) = links(store, &space).await;
    assert_eq!(head, last + 3, "nobody moves");
    assert!(again.iter().all(|row| creators(row.ends())[1] == Some(bob.0)), "the creator is the first one");
    let revived = again.iter().find(|row| row.id == rows[1]).expect("the link");
    assert_eq!(revived.ends().since, [0, revived.last_seq], "its earlier life may have been shown");

    let hides_notes = Policy {
        default: TablePolicy {
            read: Permission { any: None, own: Some(Role::Viewer) },
            ..TablePolicy::default()
        },
        tables: [("_Doc_Note_notes".to_owned(), TablePolicy::default())].into(),
        ..Policy::default()
    };
    let shown = |user: UserId| {
        let view = View::new(&hides_notes, Role::Editor, user.0, false, None);
        again.iter().filter(|row| view.shows(row)).count()
    };
    assert_eq!(
        (shown(ann), shown(bob)),
        (0, LINKS - 1),
        "a link with a document of nobody's might be one's own"
    );
}

async fn a_look_finds_ends_that_no_link_waited_for<S: Store>(store: &S) {
    let (ann, id) = with_space(store, SpaceKind::Shared).await;
    let space = ok!(store.access(ann, Selector::Id(id))).expect("a space").space;
    let device = Device::of(Arc::clone(&space), ann.0);
    let note = uuid_row();
    device.send(store, (0..TOO_MANY).map(|_| link(&uuid_row(), &uuid_row(), &note)).collect()).await;
    device.send(store, vec![made("Note", &note)]).await;
    let unknown = async |request: PullRequest| {
        let rows = ok!(store.pull(&space, &request)).rows;
        let links = rows.iter().filter(|row| row.pair.is_some());
        links.filter(|row| row.ends().rows[1].is_none()).map(Row::reference).collect::<Vec<_>>()
    };
    let page = || PullRequest::page(0, 2 * TOO_MANY, 1 << 24);
    let missed = unknown(page()).await;
    assert_eq!(missed.len(), 1);
    assert_eq!(unknown(PullRequest { ends: true, ..page() }).await, []);
    let corrections =
        PullRequest { ends: true, corrections: missed, ..PullRequest::page(u64::MAX >> 1, 0, 1 << 20) };
    let corrected = ok!(store.pull(&space, &corrections)).corrected.remove(0).row.expect("the link");
    assert_eq!(creators(corrected.ends()), [None, Some(ann.0)]);
}
