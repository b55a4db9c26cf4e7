//! The version: raised by whatever decides access, and by nothing else.

use lattice_engine::Role;

use super::super::accounts::new_session;
use super::*;
use crate::accounts::SessionKind;
use crate::directory::SpaceChange;

pub(super) async fn run<S: Store>(store: &S) {
    it_follows_what_decides(store).await;
    it_stays_where_nothing_is_decided(store).await;
}

async fn it_follows_what_decides<S: Store>(store: &S) {
    let (owner, heir, guest) = (user(store).await, user(store).await, user(store).await);
    let session = new_session(owner, SessionKind::Device);
    let id = session.id;
    for session in [session, new_session(owner, SessionKind::Access)] {
        assert!(ok!(store.create_session(session)));
    }
    let mut before = store.version();
    let mut is_raised = |what: &str| {
        let now = store.version();
        assert!(now != before, "{what} changes the version");
        before = now;
    };
    let space = ok!(store.create_space(new_space(owner, SpaceKind::Shared))).expect("a space").id;
    is_raised("a new space");
    for someone in [heir, guest] {
        let token = hash();
        ok!(store.create_invite(by_link(owner, space, Role::Editor, token))).expect("an invite");
        ok!(store.accept_invite(someone, Accept::Link(token), MANY, NOW_US)).expect("accepted");
        is_raised("a new member");
    }
    ok!(store.set_role(owner, space, heir, Role::Viewer)).expect("a role");
    is_raised("a role");
    ok!(store.set_policy(owner, space, Policy::default(), None)).expect("a policy");
    is_raised("a policy");
    ok!(store.change_space(owner, space, SpaceChange { archived: Some(true), name: None }, 1))
        .expect("archived");
    is_raised("an archive");
    ok!(store.remove_member(owner, space, guest)).expect("removed");
    is_raised("a removal");
    ok!(store.transfer(owner, space, heir, MANY)).expect("transferred");
    is_raised("a transfer");
    ok!(store.leave(owner, space)).expect("left");
    is_raised("a member who leaves");
    ok!(store.delete_space(heir, space, 1)).expect("deleted");
    is_raised("a deletion");
    assert!(ok!(store.revoke_session(id, 1)));
    is_raised("a revocation");
    assert_eq!(ok!(store.revoke_all_sessions(owner, 1)), 1);
    is_raised("a revocation of all");
    assert!(ok!(store.delete_user(owner)));
    is_raised("a deleted user");
    ok!(store.delete_account(heir, NOW_US)).expect("nothing is in the way");
    is_raised("a deleted account");
}

/// Raising it makes every open connection ask anew.
async fn it_stays_where_nothing_is_decided<S: Store>(store: &S) {
    let (owner, space) = with_space(store, SpaceKind::Shared).await;
    let before = store.version();
    let session = new_session(owner, SessionKind::Device);
    assert!(ok!(store.create_session(session.clone())));
    ok!(store.touch_session(session.id, session.last_used_us + 1));
    ok!(store.set_password_hash(owner, "x".to_owned()));
    ok!(store.create_invite(by_link(owner, space, Role::Editor, hash()))).expect("an invite");
    let held = access(store, owner, space).await.expect("a space").space;
    assert_eq!(
        ok!(store.remember_view(&held, owner, 1, "x".to_owned())),
        crate::directory::ViewMemory::Remembered
    );
    ok!(store.access(user(store).await, Selector::Me)).expect("a space");
    ok!(store.delete_expired_sessions(1, 1));
    assert_eq!(store.version(), before);
}
