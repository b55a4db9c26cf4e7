//! The directory of spaces: who sees what, members, invites, deletion, remembered views and refused changes.
//!
//! The suite makes its own users and spaces, so it may run on a store that holds others.

mod access;
mod deletion;
mod inbox;
mod invites;
mod links;
mod members;
mod races;
mod version;

use std::sync::Arc;

use lattice_engine::{Policy, Role, SpaceId};

use crate::accounts::{AccountStore, TokenHash, User, UserId};
use crate::directory::{
    Accept, Answer, Denied, Directory, Invite, Invitee, NewInvite, NewSpace, Selector, SpaceAccess,
    SpaceEntry, SpaceKind,
};
use crate::spaces::SpaceStore;
use crate::time::{Random, SystemRandom, random_id};

/// What a call answers; it must not fail.
macro_rules! ok {
    ($call:expr) => {
        $call.await.expect("the store answers")
    };
}
use ok;

const NOW_US: i64 = 1_700_000_000_000_000;
const HOUR_US: i64 = 3_600_000_000;
/// A limit that is not met.
const MANY: u32 = 1_000;

/// What the suite needs of a backend.
pub trait Store: Directory + AccountStore + SpaceStore + 'static {}
impl<S: Directory + AccountStore + SpaceStore + 'static> Store for S {}

/// Calls every method of the store, deletes and races included.
///
/// # Panics
/// When the store breaks a promise.
pub async fn directory<S: Store>(store: Arc<S>) {
    access::run(&store).await;
    members::run(&store).await;
    invites::run(&store).await;
    inbox::run(&store).await;
    links::run(&store).await;
    deletion::run(&store).await;
    version::run(&*store).await;
    races::run(&store).await;
}

/// A user with an account.
async fn user<S: Store>(store: &S) -> UserId {
    let id = UserId(random_id(&SystemRandom));
    let user = User {
        id,
        email: Some(email_of(id)),
        email_verified_us: None,
        full_name: Some("Zoë".to_owned()),
        password_hash: None,
        created_us: NOW_US,
    };
    store.create_user(user).await.expect("a new user is kept");
    id
}

fn email_of(user: UserId) -> String {
    format!("{user}@conformance.test")
}

fn new_space(owner: UserId, kind: SpaceKind) -> NewSpace {
    NewSpace { owner, kind, name: "Tr\u{ef}p's; --".to_owned(), max_owned: MANY, now_us: NOW_US }
}

/// A space of somebody new.
async fn with_space<S: Store>(store: &S, kind: SpaceKind) -> (UserId, SpaceId) {
    let owner = user(store).await;
    let entry = ok!(store.create_space(new_space(owner, kind))).expect("a new space");
    (owner, entry.id)
}

/// A new user who becomes a member.
async fn with_member<S: Store>(store: &S, (owner, space): (UserId, SpaceId), role: Role) -> UserId {
    let (user, hash) = (user(store).await, hash());
    ok!(store.create_invite(by_link(owner, space, role, hash))).expect("an invite");
    ok!(store.accept_invite(user, Accept::Link(hash), MANY, NOW_US)).expect("accepted");
    user
}

fn hash() -> TokenHash {
    let mut bytes = [0_u8; 32];
    SystemRandom.fill(&mut bytes);
    TokenHash(bytes)
}

/// An invite for one use, for an hour.
fn by_link(actor: UserId, space: SpaceId, role: Role, hash: TokenHash) -> NewInvite {
    NewInvite {
        actor,
        space,
        role,
        invitee: Invitee::Link(hash),
        max_uses: 1,
        expires_us: NOW_US + HOUR_US,
        max_open: MANY,
        now_us: NOW_US,
    }
}

async fn access<S: Store>(store: &S, user: UserId, space: SpaceId) -> Option<SpaceAccess> {
    ok!(store.access(user, Selector::Id(space)))
}

async fn role<S: Store>(store: &S, user: UserId, space: SpaceId) -> Option<Role> {
    access(store, user, space).await.map(|access| access.role)
}

/// What every write of an owner answers to somebody else.
async fn every_write_is<S: Store>(store: &S, actor: UserId, space: SpaceId, denied: Denied) {
    let change = crate::directory::SpaceChange { name: Some("x".to_owned()), archived: Some(true) };
    assert_eq!(ok!(store.change_space(actor, space, change, NOW_US)), Err(denied));
    assert_eq!(ok!(store.delete_space(actor, space, NOW_US)), Err(denied));
    assert_eq!(ok!(store.set_role(actor, space, actor, Role::Editor)), Err(denied));
    assert_eq!(ok!(store.remove_member(actor, space, actor)), Err(denied));
    assert_eq!(ok!(store.transfer(actor, space, actor, MANY)), Err(denied));
    let invite = ok!(store.create_invite(by_link(actor, space, Role::Editor, hash())));
    assert_eq!(invite.map(|_| ()), Err(denied));
    assert_eq!(ok!(store.invites(actor, space, None, 9, NOW_US)).map(|_| ()), Err(denied));
    let unknown = crate::directory::InviteId([7; 16]);
    assert_eq!(ok!(store.revoke_invite(actor, space, unknown)), Err(denied));
    if denied != Denied::Private {
        assert_eq!(ok!(store.set_policy(actor, space, Policy::default(), None)), Err(denied));
        let of = crate::directory::RefusalsOf::Space { actor, space };
        assert_eq!(ok!(store.refusals(of, None, 9)).map(|_| ()), Err(denied));
    }
}

fn ids(entries: &[SpaceEntry]) -> Vec<SpaceId> {
    entries.iter().map(|entry| entry.id).collect()
}

/// The one of many answers that is no refusal, and what the others are.
fn winners<T>(answers: Vec<Answer<T>>) -> (usize, Vec<Denied>) {
    let denied: Vec<Denied> = answers.iter().filter_map(|answer| answer.as_ref().err().copied()).collect();
    (answers.len() - denied.len(), denied)
}

fn open_ids(invites: &[Invite]) -> Vec<crate::directory::InviteId> {
    invites.iter().map(|invite| invite.id).collect()
}
