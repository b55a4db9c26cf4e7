//! Remembered views, and the inbox of refused changes.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use lattice_engine::{Policy, Role, Verdict};
use lattice_protocol::{Code, EntryId, Incoming, Refused, Spelling};

use super::super::spaces::{Device, insert, uuid_row};
use super::*;
use crate::directory::ViewMemory;
use crate::directory::{MAX_REMEMBERED_VIEWS, MAX_VIEW_BYTES, RefusalsOf, RefusedChange, RememberedView};

pub(super) async fn run<S: Store>(store: &Arc<S>) {
    views_are_remembered(&**store).await;
    views_end_when_rights_change(store).await;
    refusals_are_found(&**store).await;
}

async fn views_are_remembered<S: Store>(store: &S) {
    let (ann, bob) = (user(store).await, user(store).await);
    let space = ok!(store.access(ann, Selector::Me)).expect("a space").space;
    let views = || async { ok!(store.views(&space, ann)) };
    let ids = |views: Vec<RememberedView>| views.into_iter().map(|view| view.id).collect::<Vec<_>>();
    assert_eq!(views().await, []);
    for (id, definition) in [(1, "one"), (u64::MAX, "{\"é\":\"';\"}"), (3, "three")] {
        assert_eq!(ok!(store.remember_view(&space, ann, id, definition.to_owned())), ViewMemory::Remembered);
    }
    let expected = [(3, "three"), (u64::MAX, "{\"é\":\"';\"}"), (1, "one")];
    let goes_on = |(id, text): (u64, &str)| RememberedView { id, definition: text.to_owned(), until: None };
    assert_eq!(views().await, expected.map(goes_on));
    assert_eq!(ok!(store.views(&space, bob)), [], "another user's are apart");
    ok!(store.remember_view(&space, ann, 1, "one".to_owned()));
    ok!(store.remember_view(&space, ann, 1, "one".to_owned()));
    assert_eq!(ids(views().await), [1, 3, u64::MAX], "it is the newest now");
    assert_eq!(
        ok!(store.remember_view(&space, ann, 4, "x".repeat(MAX_VIEW_BYTES + 1))),
        ViewMemory::TooLarge
    );
    // Nothing that can be read as a view says anything of rights, so it is kept for whoever asks.
    assert_eq!(ok!(store.remember_view(&space, bob, 4, "x".repeat(MAX_VIEW_BYTES))), ViewMemory::Remembered);
    let many = MAX_REMEMBERED_VIEWS as u64 + 100;
    for id in 100..=many {
        ok!(store.remember_view(&space, ann, id, id.to_string()));
    }
    let newest: Vec<u64> = (many + 1 - MAX_REMEMBERED_VIEWS as u64..=many).rev().collect();
    assert_eq!(ids(views().await), newest);
    assert_eq!(ok!(store.views(&space, bob)).len(), 1);
}

async fn views_end_when_rights_change<S: Store>(store: &Arc<S>) {
    let (ann, space) = with_space(&**store, SpaceKind::Shared).await;
    let bob = with_member(&**store, (ann, space), Role::Editor).await;
    let access = ok!(store.access(bob, Selector::Id(space))).expect("a member's space");
    let until = |user| {
        let (store, space) = (Arc::clone(store), Arc::clone(&access.space));
        async move {
            let views = ok!(store.views(&space, user));
            views.into_iter().map(|view| (view.id, view.until)).collect::<Vec<_>>()
        }
    };
    let remember = |user, id: u64| {
        let (store, space) = (Arc::clone(store), Arc::clone(&access.space));
        async move { ok!(store.remember_view(&space, user, id, id.to_string())) }
    };
    remember(ann, 1).await;
    remember(bob, 1).await;
    Device::of(Arc::clone(&access.space), ann.0).send(&**store, vec![insert(&uuid_row(), 1)]).await;
    ok!(store.set_role(ann, space, bob, Role::Viewer)).expect("ann is the owner");
    assert_eq!(until(bob).await, [(1, Some(1))], "bob's rights have changed");
    assert_eq!(until(ann).await, [(1, None)], "ann's have not");
    remember(bob, 1).await;
    assert_eq!(until(bob).await, [(1, None)], "it goes on");
    remember(bob, 2).await;
    Device::of(Arc::clone(&access.space), ann.0).send(&**store, vec![insert(&uuid_row(), 1)]).await;
    ok!(store.set_policy(ann, space, Policy::default(), None)).expect("ann is the owner");
    assert_eq!(until(bob).await, [(2, Some(2)), (1, Some(2))]);
    assert_eq!(until(ann).await, [(1, Some(2))], "a policy concerns everybody");
    ok!(store.remove_member(ann, space, bob)).expect("ann is the owner");
    assert_eq!(until(bob).await, [(2, Some(2)), (1, Some(2))], "what has ended stays as it ended");
}

fn refused(code: Code, text: &'static str) -> (EntryId, Incoming) {
    let id = EntryId(random_id(&SystemRandom));
    let change = Refused {
        ack: Some(ByteString::from("x")),
        id: Some((id, Spelling::default())),
        target: Some((ByteString::from("Item"), uuid_row())),
        code,
        detail: "a test".into(),
        raw: Bytes::from_static(text.as_bytes()),
    };
    (id, Incoming::Refused(change))
}

async fn all<S: Store>(store: &S, of: RefusalsOf, limit: u32) -> Vec<RefusedChange> {
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let page = ok!(store.refusals(of, before, limit)).expect("a page");
        assert!(page.items.len() <= limit as usize);
        found.extend(page.items);
        before = page.next;
        if before.is_none() {
            return found;
        }
    }
}

async fn refusals_are_found<S: Store>(store: &S) {
    let space = with_space(store, SpaceKind::Shared).await;
    let editor = with_member(store, space, Role::Editor).await;
    let shared = access(store, editor, space.1).await.expect("a space").space;
    let device = Device::of(Arc::clone(&shared), editor.0);
    let owners = Device::of(shared, space.0.0);
    let at_home = Device::of(ok!(store.private_space(editor.0)), editor.0);
    let mut ids = Vec::new();
    for (device, code) in [
        (&device, Code::BadValue),
        (&owners, Code::Forbidden),
        (&at_home, Code::BadEntry),
        (&device, Code::BadValue),
    ] {
        let (id, incoming) = refused(code, "{\"raw\":1}");
        let verdicts = device.send(store, vec![insert(&uuid_row(), 1), incoming]).await;
        assert_eq!(verdicts, [Verdict::Applied, Verdict::Rejected(code)]);
        ids.push(id);
    }
    for limit in 1..=4 {
        let found = all(store, RefusalsOf::Space { actor: space.0, space: space.1 }, limit).await;
        let entries: Vec<EntryId> = found.iter().map(|item| item.line.record.id).collect();
        assert_eq!(entries, [ids[3], ids[1], ids[0]], "the newest first, and only those of the space");
        assert_eq!(found[1].user, space.0);
        assert_eq!(found[1].line.record.verdict, Verdict::Rejected(Code::Forbidden));
        let found = all(store, RefusalsOf::User(editor), limit).await;
        let entries: Vec<EntryId> = found.iter().map(|item| item.line.record.id).collect();
        assert_eq!(entries, [ids[3], ids[2], ids[0]], "in all of their spaces");
        assert!(found.iter().all(|item| item.user == editor && &item.line.record.raw[..] == b"{\"raw\":1}"));
        assert_eq!(found[0].space, space.1);
    }
    let of = RefusalsOf::Space { actor: editor, space: space.1 };
    assert_eq!(ok!(store.refusals(of, None, 9)).map(|_| ()), Err(Denied::Forbidden));
    ok!(store.remove_member(space.0, space.1, editor)).expect("removed");
    assert_eq!(all(store, RefusalsOf::User(editor), 9).await.len(), 1, "what they do not see is not listed");
    ok!(store.delete_space(space.0, space.1, NOW_US)).expect("deleted");
    assert_eq!(all(store, RefusalsOf::User(space.0), 9).await.len(), 0);
}
