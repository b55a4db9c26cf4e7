//! Accounts elsewhere that sign in here.

use super::accounts::winners;
use super::{address, anybody};
use crate::StoreError;
use crate::accounts::{AccountStore, IdentityId, User, UserId};
use crate::anonymous::AnonymousAccounts;
use crate::identities::{Identities, Link, LinkedIdentity, Removal};
use crate::time::{SystemRandom, random_id};

macro_rules! ok {
    ($call:expr) => {
        $call.await.expect("the store answers")
    };
}

/// Most that a user of these tests may have.
const LIMIT: u32 = 4;

/// Calls every method of the store, races included. It makes its own users under random ids.
///
/// # Panics
/// When the store breaks a promise.
pub async fn identities<S: Identities + AccountStore + AnonymousAccounts>(store: &S) {
    made_with_a_user(store).await;
    links(store).await;
    last_ways_in(store).await;
    races(store).await;
}

fn identity(user: UserId, issuer: &str) -> LinkedIdentity {
    LinkedIdentity {
        id: IdentityId(random_id(&SystemRandom)),
        user,
        issuer: issuer.to_owned(),
        subject: IdentityId(random_id(&SystemRandom)).to_string(),
        email: None,
        created_us: 5,
    }
}

async fn made_with_a_user<S: Identities + AccountStore>(store: &S) {
    let user = User { email: Some(address()), email_verified_us: Some(7), ..anybody() };
    let one = LinkedIdentity { email: user.email.clone(), ..identity(user.id, "https://one.example") };
    ok!(store.create_user_by_identity(user.clone(), one.clone()));
    assert_eq!(ok!(store.user_by_id(user.id)), Some(user.clone()));
    assert_eq!(ok!(store.identity(&one.issuer, &one.subject)), Some(one.clone()));
    assert_eq!(ok!(store.identity("https://two.example", &one.subject)), None, "another issuer's");
    assert_eq!(ok!(store.identity(&one.issuer, &one.subject.to_uppercase())), None, "byte by byte");
    // The address is taken: neither user nor identity is kept.
    let other = User { email: user.email.clone(), ..anybody() };
    let theirs = identity(other.id, "https://one.example");
    let refused = store.create_user_by_identity(other.clone(), theirs.clone()).await;
    assert_eq!(refused, Err(StoreError::Conflict("user")));
    assert_eq!(ok!(store.identity(&theirs.issuer, &theirs.subject)), None);
    // The identity is taken: nor then.
    let third = anybody();
    let taken = LinkedIdentity { subject: one.subject.clone(), ..identity(third.id, "https://one.example") };
    let refused = store.create_user_by_identity(third.clone(), taken).await;
    assert_eq!(refused, Err(StoreError::Conflict("identity")));
    assert_eq!(ok!(store.user_by_id(third.id)), None);
    assert!(ok!(store.delete_user(user.id)));
    assert_eq!(ok!(store.identity(&one.issuer, &one.subject)), None, "it goes with its user");
}

async fn links<S: Identities + AccountStore + AnonymousAccounts>(store: &S) {
    let (ann, bob) = (anybody(), anybody());
    ok!(store.create_anonymous(ann.clone(), 9));
    ok!(store.create_user(bob.clone()));
    let one = identity(ann.id, "https://one.example");
    assert_eq!(ok!(store.link_identity(one.clone(), LIMIT)), Link::Made);
    assert!(!ok!(store.is_anonymous(ann.id)), "there is a way back now");
    let again = LinkedIdentity { id: IdentityId(random_id(&SystemRandom)), ..one.clone() };
    assert_eq!(ok!(store.link_identity(again.clone(), LIMIT)), Link::Known);
    assert_eq!(ok!(store.link_identity(LinkedIdentity { user: bob.id, ..again }, LIMIT)), Link::Taken);
    assert_eq!(ok!(store.link_identity(identity(anybody().id, "x"), LIMIT)), Link::NoUser);
    let mut all = vec![one];
    for created_us in 6..9 {
        let next = LinkedIdentity { created_us, ..identity(ann.id, "https://two.example") };
        assert_eq!(ok!(store.link_identity(next.clone(), LIMIT)), Link::Made);
        all.push(next);
    }
    let many = identity(ann.id, "https://two.example");
    assert_eq!(ok!(store.link_identity(many, LIMIT)), Link::TooMany);
    assert_eq!(ok!(store.identities(ann.id, LIMIT)), all);
    assert_eq!(ok!(store.identities(ann.id, 2)), all[..2]);
    assert_eq!(ok!(store.identities(bob.id, LIMIT)), []);
    assert_eq!(ok!(store.unlink_identity(bob.id, all[0].id)), Removal::NotFound, "not theirs");
    assert_eq!(ok!(store.unlink_identity(ann.id, all[0].id)), Removal::Removed);
    assert_eq!(ok!(store.unlink_identity(ann.id, all[0].id)), Removal::NotFound);
    assert_eq!(ok!(store.identity(&all[0].issuer, &all[0].subject)), None);
    assert!(ok!(store.delete_user(ann.id)) && ok!(store.delete_user(bob.id)));
    assert_eq!(ok!(store.unlink_identity(ann.id, all[1].id)), Removal::NotFound);
}

async fn last_ways_in<S: Identities + AccountStore>(store: &S) {
    let hash = Some("$argon2id$x".to_owned());
    let with_password = User { email: Some(address()), password_hash: hash.clone(), ..anybody() };
    // Nobody signs in by a password without an address, or by an address without a password.
    let half = User { password_hash: hash, ..anybody() };
    let other_half = User { email: Some(address()), ..anybody() };
    for (user, removal) in [
        (with_password, Removal::Removed),
        (half, Removal::LastWayIn),
        (other_half, Removal::LastWayIn),
        (anybody(), Removal::LastWayIn),
    ] {
        let one = identity(user.id, "https://one.example");
        ok!(store.create_user_by_identity(user.clone(), one.clone()));
        assert_eq!(ok!(store.unlink_identity(user.id, one.id)), removal);
        assert!(ok!(store.delete_user(user.id)));
    }
}

async fn races<S: Identities + AccountStore>(store: &S) {
    for _ in 0..4 {
        // One identity, several accounts.
        let users: Vec<User> = std::iter::repeat_with(anybody).take(4).collect();
        let subject = identity(users[0].id, "x").subject;
        let identities: Vec<LinkedIdentity> = users
            .iter()
            .map(|user| LinkedIdentity { subject: subject.clone(), ..identity(user.id, "https://r.example") })
            .collect();
        ok!(store.create_user(users[0].clone()));
        let made = users[1..].iter().zip(&identities[1..]).map(|(user, identity)| async {
            store.create_user_by_identity(user.clone(), identity.clone()).await.is_ok()
        });
        let linked = async { ok!(store.link_identity(identities[0].clone(), LIMIT)) == Link::Made };
        let calls = made.map(futures_boxed).chain([futures_boxed(linked)]);
        assert_eq!(winners(calls).await, 1, "one account has the identity");
        let found = ok!(store.identity("https://r.example", &subject)).expect("the identity");
        for user in users {
            assert_eq!(
                ok!(store.delete_user(user.id)),
                user.id == found.user || user.id == identities[0].user
            );
        }
        // Two ways in, removed at once.
        let user = anybody();
        let (one, two) = (identity(user.id, "https://one.example"), identity(user.id, "https://two.example"));
        ok!(store.create_user_by_identity(user.clone(), one.clone()));
        assert_eq!(ok!(store.link_identity(two.clone(), LIMIT)), Link::Made);
        let calls = [one.id, two.id]
            .map(|id| async move { ok!(store.unlink_identity(user.id, id)) == Removal::Removed });
        assert_eq!(winners(calls).await, 1, "one way in is left");
        assert_eq!(ok!(store.identities(user.id, LIMIT)).len(), 1);
        assert!(ok!(store.delete_user(user.id)));
    }
}

fn futures_boxed<'a>(
    call: impl Future<Output = bool> + 'a,
) -> std::pin::Pin<Box<dyn Future<Output = bool> + 'a>> {
    Box::pin(call)
}
