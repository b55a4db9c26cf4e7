//! Members, roles, and the one owner.

use std::sync::Arc;

use lattice_engine::Role;

use super::*;
use crate::directory::Member;

pub(super) async fn run<S: Store>(store: &Arc<S>) {
    members_are_listed(&**store).await;
    roles_change(&**store).await;
    members_go(&**store).await;
    ownership_is_transferred(&**store).await;
    racing_transfers_leave_one_owner(store).await;
}

async fn all_members<S: Store>(store: &S, actor: UserId, space: SpaceId) -> Vec<Member> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = ok!(store.members(actor, space, after, 2)).expect("a member lists members");
        assert!(page.items.len() <= 2);
        found.extend(page.items);
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}

/// That a space has one owner, and that it is this one.
async fn is_owned_by<S: Store>(store: &S, space: SpaceId, owner: UserId) {
    let members = all_members(store, owner, space).await;
    let owners: Vec<UserId> =
        members.iter().filter(|member| member.role == Role::Owner).map(|member| member.user).collect();
    assert_eq!(owners, [owner]);
}

async fn members_are_listed<S: Store>(store: &S) {
    let space = with_space(store, SpaceKind::Shared).await;
    let mut expected = vec![(space.0, Role::Owner)];
    for role in [Role::Viewer, Role::Editor, Role::Viewer, Role::Editor] {
        expected.push((with_member(store, space, role).await, role));
    }
    expected.sort();
    for (user, _) in expected.clone() {
        let found = all_members(store, user, space.1).await;
        let roles: Vec<_> = found.iter().map(|member| (member.user, member.role)).collect();
        assert_eq!(roles, expected);
        assert!(found.iter().all(|member| member.email == Some(email_of(member.user))));
        assert!(found.iter().all(|member| member.full_name.as_deref() == Some("Zoë")));
        assert!(found.iter().all(|member| member.since_us == NOW_US));
    }
}

async fn roles_change<S: Store>(store: &S) {
    let space = with_space(store, SpaceKind::Shared).await;
    let (viewer, editor) =
        (with_member(store, space, Role::Viewer).await, with_member(store, space, Role::Editor).await);
    let (owner, space) = space;
    assert_eq!(ok!(store.set_role(owner, space, viewer, Role::Editor)), Ok(()));
    assert_eq!(role(store, viewer, space).await, Some(Role::Editor));
    assert_eq!(ok!(store.set_role(owner, space, editor, Role::Viewer)), Ok(()));
    assert_eq!(role(store, editor, space).await, Some(Role::Viewer));
    every_write_is(store, viewer, space, Denied::Forbidden).await;
    assert_eq!(ok!(store.set_role(owner, space, owner, Role::Editor)), Err(Denied::IsOwner));
    assert_eq!(ok!(store.set_role(owner, space, editor, Role::Owner)), Err(Denied::IsOwner));
    let stranger = user(store).await;
    assert_eq!(ok!(store.set_role(owner, space, stranger, Role::Editor)), Err(Denied::NotMember));
    is_owned_by(store, space, owner).await;
}

async fn members_go<S: Store>(store: &S) {
    let space = with_space(store, SpaceKind::Shared).await;
    let (one, other) =
        (with_member(store, space, Role::Viewer).await, with_member(store, space, Role::Editor).await);
    let (owner, space) = space;
    assert_eq!(ok!(store.remove_member(owner, space, one)), Ok(()));
    assert_eq!(role(store, one, space).await, None);
    assert_eq!(ok!(store.spaces_of(one, None, 9)).items, []);
    assert_eq!(ok!(store.remove_member(owner, space, one)), Err(Denied::NotMember));
    assert_eq!(ok!(store.leave(other, space)), Ok(()));
    assert_eq!(ok!(store.leave(other, space)), Err(Denied::NotFound));
    assert_eq!(ok!(store.leave(owner, space)), Err(Denied::IsOwner));
    assert_eq!(ok!(store.remove_member(owner, space, owner)), Err(Denied::IsOwner));
    is_owned_by(store, space, owner).await;
    assert_eq!(all_members(store, owner, space).await.len(), 1);
}

async fn ownership_is_transferred<S: Store>(store: &S) {
    let space = with_space(store, SpaceKind::Shared).await;
    let heir = with_member(store, space, Role::Viewer).await;
    let (owner, space) = space;
    let stranger = user(store).await;
    assert_eq!(ok!(store.transfer(owner, space, stranger, MANY)), Err(Denied::NotMember));
    assert_eq!(ok!(store.transfer(heir, space, heir, MANY)), Err(Denied::Forbidden));
    assert_eq!(ok!(store.transfer(owner, space, owner, MANY)), Ok(()), "to oneself changes nothing");
    assert_eq!(ok!(store.transfer(owner, space, heir, 0)), Err(Denied::TooManySpaces));
    assert_eq!(ok!(store.transfer(owner, space, heir, 1)), Ok(()));
    is_owned_by(store, space, heir).await;
    assert_eq!(role(store, owner, space).await, Some(Role::Editor));
    every_write_is(store, owner, space, Denied::Forbidden).await;
    assert_eq!(ok!(store.leave(owner, space)), Ok(()), "who is no owner any more may leave");
}

async fn racing_transfers_leave_one_owner<S: Store>(store: &Arc<S>) {
    let space = with_space(&**store, SpaceKind::Public).await;
    let mut heirs = Vec::new();
    for _ in 0..6 {
        heirs.push(with_member(&**store, space, Role::Editor).await);
    }
    let tasks = heirs.iter().map(|heir| {
        let (store, heir) = (Arc::clone(store), *heir);
        tokio::spawn(async move { ok!(store.transfer(space.0, space.1, heir, MANY)) })
    });
    let mut answers = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        answers.push(task.await.expect("no call fails"));
    }
    let heir = answers.iter().position(Result::is_ok).expect("a winner");
    assert_eq!(winners(answers), (1, vec![Denied::Forbidden; 5]));
    is_owned_by(&**store, space.1, heirs[heir]).await;
}
