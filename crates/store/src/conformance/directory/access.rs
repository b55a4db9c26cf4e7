//! Who sees which space, lists, policies, and the version.

use std::sync::Arc;

use lattice_engine::{Permission, Policy, Role, SpaceId, TablePolicy};

use super::*;
use crate::directory::{SchemaRule, SpaceChange};

pub(super) async fn run<S: Store>(store: &Arc<S>) {
    me_is_made_on_demand(&**store).await;
    strangers_see_public_spaces_alone(&**store).await;
    what_is_not_seen_is_not_there(&**store).await;
    names_and_archives(&**store).await;
    policies_are_kept(&**store).await;
    lists_have_pages(&**store).await;
    owned_spaces_are_counted(store).await;
}

async fn me_is_made_on_demand<S: Store>(store: &S) {
    let (ann, bob) = (user(store).await, user(store).await);
    assert_eq!(ids(&ok!(store.spaces_of(ann, None, 9)).items), [], "nobody asked for it yet");
    let (one, other) = tokio::join!(store.access(ann, Selector::Me), store.access(ann, Selector::Me));
    let (one, other) =
        (one.expect("an answer").expect("a space"), other.expect("an answer").expect("a space"));
    assert!(one.space.id == other.space.id && one.space.no == other.space.no);
    assert_eq!((one.kind, one.role, one.archived), (SpaceKind::Private, Role::Owner, false));
    assert_eq!(ok!(store.private_space(ann.0)).id, one.space.id);
    assert_eq!(role(store, ann, one.space.id).await, Some(Role::Owner), "by its id as well");
    assert!(role(store, bob, one.space.id).await.is_none());
    assert_ne!(ok!(store.access(bob, Selector::Me)).expect("a space").space.id, one.space.id);
    every_write_is_private(store, ann, one.space.id).await;
}

async fn every_write_is_private<S: Store>(store: &S, owner: UserId, space: SpaceId) {
    every_write_is(store, owner, space, Denied::Private).await;
    assert_eq!(ok!(store.members(owner, space, None, 9)).map(|_| ()), Err(Denied::Private));
    assert_eq!(ok!(store.leave(owner, space)), Err(Denied::Private));
    assert_eq!(
        ok!(store.create_space(new_space(owner, SpaceKind::Private))).map(|_| ()),
        Err(Denied::Private)
    );
    assert_eq!(ok!(store.set_policy(owner, space, Policy::default(), Some(SchemaRule::Exact(2)))), Ok(()));
    assert_eq!(
        access(store, owner, space).await.and_then(|access| access.schema),
        Some(SchemaRule::Exact(2))
    );
}

async fn strangers_see_public_spaces_alone<S: Store>(store: &S) {
    let stranger = user(store).await;
    let (owner, shared) = with_space(store, SpaceKind::Shared).await;
    assert_eq!(role(store, owner, shared).await, Some(Role::Owner));
    assert_eq!(role(store, stranger, shared).await, None);
    let public = with_space(store, SpaceKind::Public).await;
    let seen = access(store, stranger, public.1).await.expect("a public space");
    assert_eq!((seen.role, seen.kind, seen.space.id), (Role::Viewer, SpaceKind::Public, public.1));
    assert_eq!(seen.name, new_space(owner, SpaceKind::Public).name);
    let editor = with_member(store, public, Role::Editor).await;
    assert_eq!(role(store, editor, public.1).await, Some(Role::Editor), "a member's role counts");
    every_write_is(store, stranger, public.1, Denied::Forbidden).await;
    every_write_is(store, editor, public.1, Denied::Forbidden).await;
    assert_eq!(ok!(store.members(stranger, public.1, None, 9)).map(|_| ()), Err(Denied::Forbidden));
    assert_eq!(ok!(store.leave(stranger, public.1)), Err(Denied::NotMember));
}

async fn what_is_not_seen_is_not_there<S: Store>(store: &S) {
    let stranger = user(store).await;
    let (_, shared) = with_space(store, SpaceKind::Shared).await;
    let private = ok!(store.access(user(store).await, Selector::Me)).expect("a space").space.id;
    for space in [shared, private, SpaceId(random_id(&SystemRandom)), SpaceId([0; 16])] {
        assert!(access(store, stranger, space).await.is_none());
        assert_eq!(ok!(store.space(stranger, space)), Err(Denied::NotFound));
        every_write_is(store, stranger, space, Denied::NotFound).await;
        assert_eq!(ok!(store.members(stranger, space, None, 9)).map(|_| ()), Err(Denied::NotFound));
        assert_eq!(ok!(store.leave(stranger, space)), Err(Denied::NotFound));
    }
}

async fn names_and_archives<S: Store>(store: &S) {
    let (owner, space) = with_space(store, SpaceKind::Shared).await;
    let change = |name: Option<&str>, archived| SpaceChange { name: name.map(str::to_owned), archived };
    let entry = ok!(store.change_space(owner, space, change(Some("Müll"), None), NOW_US)).expect("renamed");
    assert_eq!((entry.name.as_str(), entry.archived_us), ("Müll", None));
    let entry = ok!(store.change_space(owner, space, change(None, Some(true)), 5)).expect("archived");
    assert_eq!((entry.name.as_str(), entry.archived_us), ("Müll", Some(5)));
    let entry = ok!(store.change_space(owner, space, change(None, Some(true)), 6)).expect("archived");
    assert_eq!(entry.archived_us, Some(5), "the first time stays");
    let entry = ok!(store.change_space(owner, space, SpaceChange::default(), 7)).expect("nothing changed");
    assert_eq!(entry, ok!(store.space(owner, space)).expect("the space"));
    assert!(access(store, owner, space).await.expect("the space").archived);
    let entry = ok!(store.change_space(owner, space, change(None, Some(false)), 8)).expect("taken out");
    assert_eq!(entry.archived_us, None);
    assert!(!access(store, owner, space).await.expect("the space").archived);
}

async fn policies_are_kept<S: Store>(store: &S) {
    let (owner, space) = with_space(store, SpaceKind::Shared).await;
    let seen = access(store, owner, space).await.expect("the space");
    assert_eq!((&*seen.policy, seen.schema), (&Policy::default(), None));
    let table =
        TablePolicy { delete: Permission { any: None, own: Some(Role::Editor) }, ..TablePolicy::default() };
    let policy = Policy {
        max_deletes_per_frame: Some(3),
        tables: [("Trip".to_owned(), table)].into(),
        ..Policy::default()
    };
    for schema in [Some(SchemaRule::Minimum(3)), Some(SchemaRule::Exact(u64::MAX)), None] {
        assert_eq!(ok!(store.set_policy(owner, space, policy.clone(), schema)), Ok(()));
        let seen = access(store, owner, space).await.expect("the space");
        assert_eq!((&*seen.policy, seen.schema), (&policy, schema));
    }
    assert_eq!(ok!(store.set_policy(owner, space, Policy::default(), None)), Ok(()));
    assert_eq!(*access(store, owner, space).await.expect("the space").policy, Policy::default());
}

async fn lists_have_pages<S: Store>(store: &S) {
    let ann = user(store).await;
    let me = ok!(store.access(ann, Selector::Me)).expect("a space").space.id;
    let mut spaces = Vec::new();
    for kind in [SpaceKind::Shared, SpaceKind::Public, SpaceKind::Shared, SpaceKind::Public] {
        spaces.push(ok!(store.create_space(new_space(ann, kind))).expect("a space").id);
    }
    spaces.sort();
    spaces.insert(0, me);
    for limit in 1..=6 {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = ok!(store.spaces_of(ann, after, limit));
            assert!(page.items.len() <= limit as usize);
            assert!(page.items.iter().all(|entry| entry.role == Role::Owner));
            found.extend(ids(&page.items));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, spaces, "in pages of {limit}");
    }
    let (stranger, mut found, mut after) = (user(store).await, Vec::new(), None);
    loop {
        let page = ok!(store.public_spaces(stranger, after, 3));
        assert!(page.items.iter().all(|entry| entry.kind == SpaceKind::Public && entry.role == Role::Viewer));
        found.extend(ids(&page.items));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert!(found.is_sorted(), "public spaces stand by id");
    let mine = spaces.iter().filter(|id| found.contains(id)).count();
    assert_eq!(mine, 2, "of them two are Ann's");
    let page = ok!(store.public_spaces(ann, None, MANY));
    assert!(page.items.iter().all(|entry| (entry.role == Role::Owner) == spaces.contains(&entry.id)));
}

async fn owned_spaces_are_counted<S: Store>(store: &Arc<S>) {
    let ann = user(&**store).await;
    let make = || NewSpace { max_owned: 3, ..new_space(ann, SpaceKind::Shared) };
    let tasks = (0..8).map(|_| {
        let (store, new) = (Arc::clone(store), make());
        tokio::spawn(async move { ok!(store.create_space(new)) })
    });
    let mut answers = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        answers.push(task.await.expect("no call fails"));
    }
    let made: Vec<SpaceId> = answers.iter().flatten().map(|entry| entry.id).collect();
    assert_eq!(winners(answers), (3, vec![Denied::TooManySpaces; 5]));
    assert_eq!(ok!(store.delete_space(ann, made[0], NOW_US)), Ok(()));
    assert!(ok!(store.create_space(make())).is_ok(), "a deleted one does not count");
    assert_eq!(ok!(store.create_space(make())).map(|_| ()), Err(Denied::TooManySpaces));
    let nobody = NewSpace { owner: UserId(random_id(&SystemRandom)), ..make() };
    assert_eq!(ok!(store.create_space(nobody)).map(|_| ()), Err(Denied::NoUser));
}
