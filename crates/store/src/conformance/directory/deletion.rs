//! Spaces and users that go.

use std::sync::Arc;

use lattice_engine::{PullRequest, Role};

use super::super::spaces::{Device, insert, uuid_row};
use super::*;
use crate::StoreError;
use crate::directory::Page;

pub(super) async fn run<S: Store>(store: &Arc<S>) {
    a_deleted_space_is_gone_at_once(&**store).await;
    content_is_erased_bit_by_bit(&**store).await;
    a_deleted_user_leaves_nothing(&**store).await;
    accounts_go_with_what_is_theirs_alone(&**store).await;
}

async fn erase_everything<S: Store>(store: &S) -> u64 {
    let mut erased = 0;
    loop {
        let batch = ok!(store.purge_deleted(7));
        assert!(batch <= 7);
        erased += batch;
        if batch < 7 {
            return erased;
        }
    }
}

async fn a_deleted_space_is_gone_at_once<S: Store>(store: &S) {
    let space = with_space(store, SpaceKind::Public).await;
    let editor = with_member(store, space, Role::Editor).await;
    let (owner, id) = space;
    assert_eq!(ok!(store.delete_space(owner, id, NOW_US)), Ok(()));
    for user in [owner, editor, user(store).await] {
        assert!(access(store, user, id).await.is_none());
        assert_eq!(ok!(store.space(user, id)), Err(Denied::NotFound));
        assert!(!ids(&ok!(store.spaces_of(user, None, MANY)).items).contains(&id));
        assert!(!ids(&ok!(store.public_spaces(user, None, MANY)).items).contains(&id));
        every_write_is(store, user, id, Denied::NotFound).await;
    }
    erase_everything(store).await;
    assert!(access(store, owner, id).await.is_none());
}

async fn content_is_erased_bit_by_bit<S: Store>(store: &S) {
    erase_everything(store).await;
    let (kept, gone) =
        (with_space(store, SpaceKind::Shared).await, with_space(store, SpaceKind::Shared).await);
    for space in [kept, gone] {
        with_member(store, space, Role::Editor).await;
        let held = access(store, space.0, space.1).await.expect("a space").space;
        ok!(store.remember_view(&held, space.0, 1, "x".to_owned()));
        let changes = (0..20).map(|n| insert(&uuid_row(), n)).collect();
        Device::of(held, space.0.0).send(store, changes).await;
    }
    let held = access(store, gone.0, gone.1).await.expect("a space").space;
    assert_eq!(erase_everything(store).await, 0, "nothing is deleted");
    ok!(store.delete_space(gone.0, gone.1, NOW_US)).expect("deleted");
    let erased = erase_everything(store).await;
    assert!(erased >= 40, "rows and audit lines at least, not {erased}");
    assert_eq!(erase_everything(store).await, 0);
    let request = PullRequest::page(0, 99, 1 << 20);
    match store.pull(&held, &request).await {
        Ok(page) => assert_eq!(page.rows.len(), 0),
        // Where nothing is left to say how far the space had come.
        Err(error) => assert_eq!(error, StoreError::NoAccess),
    }
    assert_eq!(ok!(store.audit(&held, 0, 99)).len(), 0);
    assert_eq!(ok!(store.views(&held, gone.0)), []);
    let held = access(store, kept.0, kept.1).await.expect("a space").space;
    assert_eq!(ok!(store.pull(&held, &request)).rows.len(), 20, "the other one is whole");
    assert_eq!(ok!(store.audit(&held, 0, 99)).len(), 20);
    assert_eq!(ok!(store.views(&held, kept.0)).len(), 1);
    let next = ok!(store.create_space(new_space(gone.0, SpaceKind::Shared))).expect("a space");
    let next = access(store, gone.0, next.id).await.expect("a space").space;
    assert_eq!(ok!(store.head(&next)).seq, 0, "its number is a new one");
}

async fn a_deleted_user_leaves_nothing<S: Store>(store: &S) {
    let space = with_space(store, SpaceKind::Shared).await;
    let ann = with_member(store, space, Role::Editor).await;
    let me = ok!(store.access(ann, Selector::Me)).expect("a space").space;
    let own = ok!(store.create_space(new_space(ann, SpaceKind::Shared))).expect("a space").id;
    let bob = with_member(store, (ann, own), Role::Editor).await;
    ok!(store.remember_view(&me, ann, 1, "x".to_owned()));
    assert!(ok!(store.delete_user(ann)));
    assert!(!ok!(store.delete_user(ann)));
    assert!(ok!(store.access(ann, Selector::Me)).is_none(), "and it is not made anew");
    for gone in [me.id, own] {
        assert!(access(store, ann, gone).await.is_none() && access(store, bob, gone).await.is_none());
    }
    assert_eq!(ok!(store.spaces_of(ann, None, 9)), Page { items: Vec::new(), next: None });
    assert_eq!(ok!(store.views(&me, ann)), []);
    let members = ok!(store.members(space.0, space.1, None, 9)).expect("a page").items;
    assert_eq!(members.iter().map(|member| member.user).collect::<Vec<_>>(), [space.0]);
    // One who never had a private space gets none once they are gone.
    let cat = user(store).await;
    assert!(ok!(store.delete_user(cat)));
    assert!(ok!(store.access(cat, Selector::Me)).is_none());
    erase_everything(store).await;
    assert!(ok!(store.access(cat, Selector::Me)).is_none());
}

async fn accounts_go_with_what_is_theirs_alone<S: Store>(store: &S) {
    let (ann, space) = with_space(store, SpaceKind::Public).await;
    let bob = with_member(store, (ann, space), Role::Viewer).await;
    assert_eq!(ok!(store.delete_account(ann, NOW_US)), Err(Denied::OwnsSpaces));
    assert!(ok!(store.user_by_id(ann)).is_some() && access(store, ann, space).await.is_some());
    assert_eq!(ok!(store.delete_account(bob, NOW_US)), Ok(Vec::new()), "who owns nothing may go");
    assert_eq!(ok!(store.delete_account(bob, NOW_US)), Err(Denied::NoUser));
    let me = ok!(store.access(ann, Selector::Me)).expect("a space").space.id;
    assert_eq!(ok!(store.delete_account(ann, NOW_US)), Ok(vec![me, space]), "now it is hers alone");
    assert!(ok!(store.user_by_id(ann)).is_none());
    assert!(access(store, user(store).await, space).await.is_none(), "it went with her");
}
