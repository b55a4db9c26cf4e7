//! Invites by link and by e-mail address.

use std::sync::Arc;

use lattice_engine::Role;

use super::*;
use crate::StoreError;
use crate::directory::{InviteId, Page};

pub(super) async fn run<S: Store>(store: &Arc<S>) {
    a_link_makes_members(&**store).await;
    an_address_makes_its_account_a_member(&**store).await;
    what_is_no_invite(&**store).await;
    accepting_as_a_member_changes_nothing(&**store).await;
    invites_are_listed_and_taken_back(&**store).await;
    limits_hold(&**store).await;
    expired_invites_are_forgotten(&**store).await;
    racing_accepts_have_one_winner(store).await;
}

fn by_email(actor: UserId, space: SpaceId, email: String) -> NewInvite {
    NewInvite { invitee: Invitee::Email(email), ..by_link(actor, space, Role::Editor, hash()) }
}

async fn a_link_makes_members<S: Store>(store: &S) {
    let (owner, space) = with_space(store, SpaceKind::Shared).await;
    let token = hash();
    let new = NewInvite { max_uses: 2, ..by_link(owner, space, Role::Viewer, token) };
    let invite = ok!(store.create_invite(new)).expect("an invite");
    assert_eq!((invite.space, invite.role, invite.email.as_deref()), (space, Role::Viewer, None));
    assert_eq!((invite.uses, invite.max_uses, invite.expires_us), (0, 2, NOW_US + HOUR_US));
    for expected in [Ok(()), Ok(()), Err(Denied::InviteNotFound)] {
        let someone = user(store).await;
        let answer = ok!(store.accept_invite(someone, Accept::Link(token), MANY, NOW_US));
        assert_eq!(answer.as_ref().map(|_| ()), expected.as_ref().map(|_| ()));
        assert_eq!(role(store, someone, space).await, expected.ok().map(|()| Role::Viewer));
        if let Ok(entry) = answer {
            assert_eq!(ok!(store.space(someone, space)), Ok(entry));
        }
    }
    let same = store.create_invite(by_link(owner, space, Role::Viewer, token)).await;
    assert!(matches!(same, Err(StoreError::Conflict(_))), "a token is given out once");
}

async fn an_address_makes_its_account_a_member<S: Store>(store: &S) {
    let (owner, space) = with_space(store, SpaceKind::Shared).await;
    let (ann, bob) = (user(store).await, user(store).await);
    let invite = ok!(store.create_invite(by_email(owner, space, email_of(ann)))).expect("an invite");
    assert_eq!(invite.email, Some(email_of(ann)));
    let mine = ok!(store.invites_for(ann, None, 9, NOW_US));
    assert_eq!(mine, Page { items: vec![invite.clone()], next: None });
    assert_eq!(ok!(store.invites_for(bob, None, 9, NOW_US)).items, []);
    let denied = Err(Denied::InviteNotFound);
    assert_eq!(ok!(store.accept_invite(bob, Accept::Id(invite.id), MANY, NOW_US)).map(|_| ()), denied);
    let entry = ok!(store.accept_invite(ann, Accept::Id(invite.id), MANY, NOW_US)).expect("accepted");
    assert_eq!((entry.id, entry.role), (space, Role::Editor));
    assert_eq!(ok!(store.invites_for(ann, None, 9, NOW_US)).items, [], "it is used up");

    let first = ok!(store.create_invite(by_email(owner, space, email_of(bob)))).expect("an invite");
    let second = ok!(store.create_invite(by_email(owner, space, email_of(bob)))).expect("another");
    assert_eq!(open_ids(&ok!(store.invites_for(bob, None, 9, NOW_US)).items), [second.id]);
    assert_eq!(ok!(store.accept_invite(bob, Accept::Id(first.id), MANY, NOW_US)).map(|_| ()), denied);
}

async fn what_is_no_invite<S: Store>(store: &S) {
    let (owner, space) = with_space(store, SpaceKind::Shared).await;
    let (ann, token) = (user(store).await, hash());
    let link = ok!(store.create_invite(by_link(owner, space, Role::Editor, token))).expect("an invite");
    for accept in [Accept::Link(hash()), Accept::Id(InviteId([9; 16])), Accept::Id(link.id)] {
        let answer = ok!(store.accept_invite(ann, accept, MANY, NOW_US));
        assert_eq!(answer.map(|_| ()), Err(Denied::InviteNotFound), "{accept:?}");
    }
    let late = ok!(store.accept_invite(ann, Accept::Link(token), MANY, NOW_US + HOUR_US));
    assert_eq!(late.map(|_| ()), Err(Denied::InviteNotFound), "it has expired");
    let ghost = UserId(random_id(&SystemRandom));
    let answer = ok!(store.accept_invite(ghost, Accept::Link(token), MANY, NOW_US));
    assert_eq!(answer.map(|_| ()), Err(Denied::NoUser));
    ok!(store.delete_space(owner, space, NOW_US)).expect("deleted");
    let answer = ok!(store.accept_invite(ann, Accept::Link(token), MANY, NOW_US));
    assert_eq!(answer.map(|_| ()), Err(Denied::InviteNotFound), "its space is gone");
}

async fn accepting_as_a_member_changes_nothing<S: Store>(store: &S) {
    let space = with_space(store, SpaceKind::Shared).await;
    let viewer = with_member(store, space, Role::Viewer).await;
    let (owner, space) = space;
    let token = hash();
    ok!(store.create_invite(by_link(owner, space, Role::Editor, token))).expect("an invite");
    for (member, expected) in [(owner, Role::Owner), (viewer, Role::Viewer), (viewer, Role::Viewer)] {
        let entry = ok!(store.accept_invite(member, Accept::Link(token), MANY, NOW_US)).expect("accepted");
        assert_eq!(entry.role, expected, "an invite raises nobody and lowers nobody");
    }
    let ann = user(store).await;
    ok!(store.accept_invite(ann, Accept::Link(token), 3, NOW_US)).expect("it was not used up");
    let again = ok!(store.accept_invite(ann, Accept::Link(token), 3, NOW_US)).expect("and again");
    assert_eq!(again.role, Role::Editor);
}

async fn invites_are_listed_and_taken_back<S: Store>(store: &S) {
    let (owner, space) = with_space(store, SpaceKind::Shared).await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(ok!(store.create_invite(by_link(owner, space, Role::Viewer, hash()))).expect("one").id);
    }
    made.sort();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = ok!(store.invites(owner, space, after, 2, NOW_US)).expect("a page");
        assert!(page.items.len() <= 2);
        found.extend(open_ids(&page.items));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, made);
    let other = with_space(store, SpaceKind::Shared).await;
    assert_eq!(
        ok!(store.revoke_invite(other.0, other.1, made[0])),
        Err(Denied::InviteNotFound),
        "it is another space's"
    );
    assert_eq!(ok!(store.revoke_invite(owner, space, made[0])), Ok(()));
    assert_eq!(ok!(store.revoke_invite(owner, space, made[0])), Err(Denied::InviteNotFound));
    let open = ok!(store.invites(owner, space, None, 9, NOW_US)).expect("a page");
    assert_eq!(open_ids(&open.items), made[1..]);
    let late = ok!(store.invites(owner, space, None, 9, NOW_US + HOUR_US)).expect("a page");
    assert_eq!(late.items, [], "expired ones are not open");

    let (ann, spaces) = (user(store).await, [with_space(store, SpaceKind::Shared).await, other]);
    let mut made = Vec::new();
    for (owner, space) in spaces {
        made.push(ok!(store.create_invite(by_email(owner, space, email_of(ann)))).expect("one").id);
    }
    made.sort();
    let first = ok!(store.invites_for(ann, None, 1, NOW_US));
    let second = ok!(store.invites_for(ann, first.next, 1, NOW_US));
    assert_eq!([open_ids(&first.items), open_ids(&second.items)].concat(), made);
    assert_eq!(second.next, None);
}

async fn limits_hold<S: Store>(store: &S) {
    let (owner, space) = with_space(store, SpaceKind::Shared).await;
    let new = |token| NewInvite { max_open: 2, ..by_link(owner, space, Role::Viewer, token) };
    let (one, other) = (hash(), hash());
    ok!(store.create_invite(new(one))).expect("the first");
    ok!(store.create_invite(new(other))).expect("the second");
    assert_eq!(ok!(store.create_invite(new(hash()))).map(|_| ()), Err(Denied::TooManyInvites));
    let (ann, bob) = (user(store).await, user(store).await);
    ok!(store.accept_invite(ann, Accept::Link(one), 2, NOW_US)).expect("there is a place");
    let full = ok!(store.accept_invite(bob, Accept::Link(other), 2, NOW_US));
    assert_eq!(full.map(|_| ()), Err(Denied::TooManyMembers));
    let invite = NewInvite { max_open: 2, ..by_email(owner, space, email_of(bob)) };
    ok!(store.create_invite(invite.clone())).expect("the used one does not count");
    ok!(store.create_invite(invite)).expect("the one that it replaces does not count");
    assert_eq!(ok!(store.create_invite(new(hash()))).map(|_| ()), Err(Denied::TooManyInvites));
    ok!(store.accept_invite(bob, Accept::Link(other), 3, NOW_US)).expect("the refusal used nothing up");
}

async fn expired_invites_are_forgotten<S: Store>(store: &S) {
    let (owner, space) = with_space(store, SpaceKind::Shared).await;
    for token in [hash(), hash(), hash()] {
        let new = NewInvite { expires_us: 10, now_us: 1, ..by_link(owner, space, Role::Viewer, token) };
        ok!(store.create_invite(new)).expect("an invite");
    }
    assert_eq!(ok!(store.delete_expired_invites(10, 9)), 0, "not before its time");
    assert_eq!(ok!(store.delete_expired_invites(11, 2)), 2);
    assert_eq!(ok!(store.delete_expired_invites(11, 2)), 1);
    assert_eq!(ok!(store.invites(owner, space, None, 9, 1)).expect("a page").items, []);
}

async fn racing_accepts_have_one_winner<S: Store>(store: &Arc<S>) {
    for _ in 0..5 {
        let (owner, space) = with_space(&**store, SpaceKind::Shared).await;
        let token = hash();
        ok!(store.create_invite(by_link(owner, space, Role::Editor, token))).expect("an invite");
        let mut tasks = Vec::new();
        for _ in 0..6 {
            let (store, someone) = (Arc::clone(store), user(&**store).await);
            tasks.push(tokio::spawn(async move {
                ok!(store.accept_invite(someone, Accept::Link(token), MANY, NOW_US))
            }));
        }
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await.expect("no call fails"));
        }
        assert_eq!(winners(answers), (1, vec![Denied::InviteNotFound; 5]));
        let members = ok!(store.members(owner, space, None, 9)).expect("a page").items;
        assert_eq!(members.len(), 2, "the owner and the winner");
    }
}
