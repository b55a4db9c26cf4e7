//! Calls that race: limits that count, and what must not come to be when something goes at the same time.

use std::future::Future;
use std::sync::Arc;

use lattice_engine::Role;

use super::super::spaces::{Device, insert, uuid_row};
use super::*;
use crate::StoreError;

/// How often each race is run.
const ROUNDS: usize = 5;

pub(super) async fn run<S: Store>(store: &Arc<S>) {
    a_user_owns_no_more_than_they_may(store).await;
    a_space_has_no_more_members_than_it_may(store).await;
    open_invites_are_counted(store).await;
    for _ in 0..ROUNDS {
        an_invite_is_accepted_or_taken_back(store).await;
        an_owner_stays_or_leaves_nobody_behind(store).await;
        who_is_gone_comes_into_nothing(store).await;
        who_becomes_the_owner_does_not_leave(store).await;
        nothing_is_stored_for_who_was_removed(store).await;
    }
    views_of_one_user_are_all_remembered(store).await;
    erasing_is_shared(store).await;
}

/// Calls that have begun, each on a task of its own.
struct Running<T>(Vec<tokio::task::JoinHandle<T>>);

impl<T: Send + 'static> Running<T> {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn begin<S: Store, F: Future<Output = T> + Send + 'static>(
        &mut self,
        store: &Arc<S>,
        call: impl FnOnce(Arc<S>) -> F,
    ) {
        self.0.push(tokio::spawn(call(Arc::clone(store))));
    }

    async fn all(self) -> Vec<T> {
        let mut answers = Vec::new();
        for task in self.0 {
            answers.push(task.await.expect("no call fails"));
        }
        answers
    }
}

/// Two calls at the same time.
async fn both<T: Send + 'static, U: Send + 'static>(
    one: impl Future<Output = T> + Send + 'static,
    other: impl Future<Output = U> + Send + 'static,
) -> (T, U) {
    let (one, other) = (tokio::spawn(one), tokio::spawn(other));
    (one.await.expect("no call fails"), other.await.expect("no call fails"))
}

async fn a_user_owns_no_more_than_they_may<S: Store>(store: &Arc<S>) {
    let ann = user(&**store).await;
    let mut calls = Running::new();
    for _ in 0..4 {
        let (owner, space) = with_space(&**store, SpaceKind::Shared).await;
        let token = hash();
        ok!(store.create_invite(by_link(owner, space, Role::Editor, token))).expect("an invite");
        ok!(store.accept_invite(ann, Accept::Link(token), MANY, NOW_US)).expect("accepted");
        calls.begin(store, |store| async move { ok!(store.transfer(owner, space, ann, 3)) });
        let new = NewSpace { max_owned: 3, ..new_space(ann, SpaceKind::Shared) };
        calls.begin(store, |store| async move { ok!(store.create_space(new)).map(|_| ()) });
    }
    assert_eq!(winners(calls.all().await), (3, vec![Denied::TooManySpaces; 5]));
    let items = ok!(store.spaces_of(ann, None, MANY)).items;
    assert_eq!(items.iter().filter(|entry| entry.role == Role::Owner).count(), 3);
}

async fn a_space_has_no_more_members_than_it_may<S: Store>(store: &Arc<S>) {
    let (owner, space) = with_space(&**store, SpaceKind::Shared).await;
    let many_uses = hash();
    let new = NewInvite { max_uses: 9, ..by_link(owner, space, Role::Viewer, many_uses) };
    ok!(store.create_invite(new)).expect("an invite");
    let mut calls = Running::new();
    for at in 0..8 {
        let (someone, token) = (user(&**store).await, if at % 2 == 0 { hash() } else { many_uses });
        if token != many_uses {
            ok!(store.create_invite(by_link(owner, space, Role::Editor, token))).expect("an invite");
        }
        calls.begin(store, |store| async move {
            ok!(store.accept_invite(someone, Accept::Link(token), 4, NOW_US))
        });
    }
    assert_eq!(winners(calls.all().await), (3, vec![Denied::TooManyMembers; 5]));
    assert_eq!(ok!(store.members(owner, space, None, 99)).expect("a page").items.len(), 4);
}

async fn open_invites_are_counted<S: Store>(store: &Arc<S>) {
    let (owner, space) = with_space(&**store, SpaceKind::Shared).await;
    let mut calls = Running::new();
    for _ in 0..8 {
        let new = NewInvite { max_open: 3, ..by_link(owner, space, Role::Viewer, hash()) };
        calls.begin(store, |store| async move { ok!(store.create_invite(new)) });
    }
    assert_eq!(winners(calls.all().await), (3, vec![Denied::TooManyInvites; 5]));
    let (ann, mut calls) = (user(&**store).await, Running::new());
    for _ in 0..6 {
        let email = Invitee::Email(email_of(ann));
        let new = NewInvite { invitee: email, ..by_link(owner, space, Role::Viewer, hash()) };
        calls.begin(store, |store| async move { ok!(store.create_invite(new)) });
    }
    assert_eq!(winners(calls.all().await).0, 6);
    assert_eq!(ok!(store.invites_for(ann, None, 9, NOW_US)).items.len(), 1, "the last one is left");
}

async fn an_invite_is_accepted_or_taken_back<S: Store>(store: &Arc<S>) {
    let (owner, space) = with_space(&**store, SpaceKind::Shared).await;
    let (ann, token) = (user(&**store).await, hash());
    let invite = ok!(store.create_invite(by_link(owner, space, Role::Editor, token))).expect("one").id;
    let (one, other) = (Arc::clone(store), Arc::clone(store));
    let (accepted, revoked) =
        both(async move { ok!(one.accept_invite(ann, Accept::Link(token), MANY, NOW_US)) }, async move {
            ok!(other.revoke_invite(owner, space, invite))
        })
        .await;
    assert_eq!(revoked, Ok(()), "an invite that is used up is there to be taken back");
    assert!(accepted.is_ok() || accepted == Err(Denied::InviteNotFound), "{accepted:?}");
    assert_eq!(role(&**store, ann, space).await.is_some(), accepted.is_ok());
}

async fn an_owner_stays_or_leaves_nobody_behind<S: Store>(store: &Arc<S>) {
    let (owner, space) = with_space(&**store, SpaceKind::Shared).await;
    let (ann, token) = (user(&**store).await, hash());
    ok!(store.create_invite(by_link(owner, space, Role::Editor, token))).expect("an invite");
    let (one, other) = (Arc::clone(store), Arc::clone(store));
    let (accepted, deleted) = both(
        async move { ok!(one.accept_invite(ann, Accept::Link(token), MANY, NOW_US)).map(|_| ()) },
        async move { ok!(other.delete_account(owner, NOW_US)) },
    )
    .await;
    match accepted {
        Ok(()) => assert_eq!(deleted, Err(Denied::OwnsSpaces)),
        Err(denied) => assert_eq!((denied, deleted), (Denied::InviteNotFound, Ok(vec![space]))),
    }
    assert_eq!(role(&**store, ann, space).await.is_some(), accepted.is_ok());
    let me = ok!(store.access(owner, Selector::Me));
    assert_eq!(me.is_some(), accepted.is_ok(), "an account that stays has a private space");
}

async fn who_is_gone_comes_into_nothing<S: Store>(store: &Arc<S>) {
    let (owner, space) = with_space(&**store, SpaceKind::Shared).await;
    let public = with_space(&**store, SpaceKind::Public).await.1;
    let (ann, token) = (user(&**store).await, hash());
    ok!(store.create_invite(by_link(owner, space, Role::Editor, token))).expect("an invite");
    let held = access(&**store, ann, public).await.expect("a public space").space;
    let watched = Arc::clone(&held);
    let mut calls = Running::new();
    calls.begin(store, |store| async move {
        // Whatever these answer: some are too late.
        let _ = ok!(store.accept_invite(ann, Accept::Link(token), MANY, NOW_US));
    });
    calls.begin(store, |store| async move {
        let _ = ok!(store.access(ann, Selector::Me));
    });
    calls.begin(store, |store| async move {
        ok!(store.remember_view(&held, ann, 1, "x".to_owned()));
    });
    calls.begin(store, |store| async move { assert!(ok!(store.delete_user(ann))) });
    calls.begin(store, |store| async move {
        let _ = ok!(store.create_space(new_space(ann, SpaceKind::Public)));
    });
    calls.begin(store, |store| async move {
        ok!(store.set_policy(owner, space, Policy::default(), None)).expect("ann does not matter");
    });
    calls.all().await;
    assert!(ok!(store.access(ann, Selector::Me)).is_none());
    assert_eq!(ok!(store.spaces_of(ann, None, 9)).items, []);
    let members = ok!(store.members(owner, space, None, 9)).expect("a page").items;
    assert_eq!(members.iter().map(|member| member.user).collect::<Vec<_>>(), [owner]);
    assert_eq!(ok!(store.views(&watched, ann)), []);
    assert_eq!(role(&**store, ann, space).await, None);
}

async fn who_becomes_the_owner_does_not_leave<S: Store>(store: &Arc<S>) {
    let space = with_space(&**store, SpaceKind::Shared).await;
    let heir = with_member(&**store, space, Role::Editor).await;
    let (owner, space) = space;
    let (one, other) = (Arc::clone(store), Arc::clone(store));
    let (transferred, left) = both(async move { ok!(one.transfer(owner, space, heir, MANY)) }, async move {
        ok!(other.leave(heir, space))
    })
    .await;
    match transferred {
        Ok(()) => assert_eq!(left, Err(Denied::IsOwner)),
        Err(denied) => assert_eq!((denied, left), (Denied::NotMember, Ok(()))),
    }
    let now = if transferred.is_ok() { heir } else { owner };
    let members = ok!(store.members(now, space, None, 9)).expect("a page").items;
    let owners: Vec<_> = members.iter().filter(|member| member.role == Role::Owner).collect();
    assert_eq!(owners.iter().map(|member| member.user).collect::<Vec<_>>(), [now]);
}

async fn nothing_is_stored_for_who_was_removed<S: Store>(store: &Arc<S>) {
    let space = with_space(&**store, SpaceKind::Shared).await;
    let editor = with_member(&**store, space, Role::Editor).await;
    let (owner, id) = space;
    let held = access(&**store, editor, id).await.expect("a member's space").space;
    ok!(store.remember_view(&held, editor, 1, "x".to_owned()));
    let mut calls = Running::new();
    for _ in 0..4 {
        let device = Device::of(Arc::clone(&held), editor.0);
        calls.begin(store, |store| async move {
            for _ in 0..5 {
                match device.try_send(&*store, vec![insert(&uuid_row(), 1)]).await {
                    Ok(_) => {}
                    Err(error) => assert_eq!(error, StoreError::NoAccess),
                }
            }
        });
    }
    ok!(store.remove_member(owner, id, editor)).expect("the owner removes");
    let head = ok!(store.head(&held)).seq;
    calls.all().await;
    assert_eq!(ok!(store.head(&held)).seq, head, "nothing came after the answer");
    let views = ok!(store.views(&held, editor));
    assert_eq!(views.iter().map(|view| view.until).collect::<Vec<_>>(), [Some(head)]);
}

async fn views_of_one_user_are_all_remembered<S: Store>(store: &Arc<S>) {
    let (owner, space) = with_space(&**store, SpaceKind::Shared).await;
    let held = access(&**store, owner, space).await.expect("a space").space;
    let mut calls = Running::new();
    for id in 1..=8 {
        let space = Arc::clone(&held);
        calls
            .begin(store, |store| async move { ok!(store.remember_view(&space, owner, id, id.to_string())) });
    }
    assert_eq!(calls.all().await, [crate::directory::ViewMemory::Remembered; 8]);
    let mut ids: Vec<u64> = ok!(store.views(&held, owner)).iter().map(|view| view.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=8).collect::<Vec<_>>());
}

async fn erasing_is_shared<S: Store>(store: &Arc<S>) {
    while ok!(store.purge_deleted(100)) == 100 {}
    for _ in 0..3 {
        let (owner, space) = with_space(&**store, SpaceKind::Shared).await;
        let held = access(&**store, owner, space).await.expect("a space").space;
        let changes = (0..20).map(|n| insert(&uuid_row(), n)).collect();
        Device::of(held, owner.0).send(&**store, changes).await;
        ok!(store.delete_space(owner, space, NOW_US)).expect("deleted");
    }
    let mut calls = Running::new();
    for _ in 0..4 {
        calls.begin(store, |store| async move { while ok!(store.purge_deleted(7)) == 7 {} });
    }
    calls.all().await;
    assert_eq!(ok!(store.purge_deleted(7)), 0, "nothing is left");
}
