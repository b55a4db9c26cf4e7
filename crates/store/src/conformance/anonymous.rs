//! Anonymous accounts.

use super::accounts::winners;
use super::{address, anybody};
use crate::StoreError;
use crate::accounts::{AccountStore, Session, SessionId, SessionKind, TokenHash, User};
use crate::anonymous::{Abandoned, AnonymousAccounts, Upgrade};
use crate::time::{Random, SystemRandom, random_id};

macro_rules! ok {
    ($call:expr) => {
        $call.await.expect("the store answers")
    };
}

/// So long ago that nobody else's accounts have ended by then.
const START_US: i64 = 1_000_000;

/// Calls every method of the store, races included. It makes its own users under random ids.
///
/// # Panics
/// When the store breaks a promise.
pub async fn anonymous_accounts<S: AnonymousAccounts + AccountStore>(store: &S) {
    made_and_gone(store).await;
    upgrades(store).await;
    racing_upgrades(store).await;
    ends(store).await;
}

fn upgrade(email: &str) -> Upgrade {
    Upgrade { email: email.to_owned(), password_hash: "$argon2id$x".to_owned(), full_name: None }
}

fn session(user: &User, expires_us: i64) -> Session {
    let mut hash = [0; 32];
    SystemRandom.fill(&mut hash);
    Session {
        id: SessionId(random_id(&SystemRandom)),
        user: user.id,
        kind: SessionKind::Access,
        method: "anonymous".to_owned(),
        token_hash: TokenHash(hash),
        refresh_hash: None,
        previous_refresh_hash: None,
        rotated_us: None,
        expires_us,
        created_us: START_US,
        last_used_us: START_US,
        revoked_us: None,
        device_name: None,
        user_agent: None,
        address: None,
    }
}

async fn made_and_gone<S: AnonymousAccounts + AccountStore>(store: &S) {
    let user = anybody();
    assert!(!ok!(store.is_anonymous(user.id)));
    ok!(store.create_anonymous(user.clone(), i64::MAX));
    assert_eq!(ok!(store.user_by_id(user.id)), Some(user.clone()));
    assert!(ok!(store.is_anonymous(user.id)));
    let again = store.create_anonymous(user.clone(), i64::MAX).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    let other = anybody();
    ok!(store.create_user(other.clone()));
    assert!(!ok!(store.is_anonymous(other.id)), "one without an address is not thereby anonymous");
    assert!(ok!(store.delete_user(user.id)));
    assert!(!ok!(store.is_anonymous(user.id)));
    ok!(store.create_anonymous(user.clone(), i64::MAX));
    assert!(ok!(store.end_anonymity(user.id)));
    assert!(!ok!(store.end_anonymity(user.id)));
    assert!(!ok!(store.is_anonymous(user.id)));
    assert_eq!(ok!(store.user_by_id(user.id)), Some(user), "and is there all the same");
}

async fn upgrades<S: AnonymousAccounts + AccountStore>(store: &S) {
    let (taken, email) = (address(), address());
    let owner = User { email: Some(taken.clone()), ..anybody() };
    ok!(store.create_user(owner.clone()));
    let user = User { full_name: Some("Ann".to_owned()), ..anybody() };
    ok!(store.create_anonymous(user.clone(), i64::MAX));
    for (id, why) in [(anybody().id, "there is no such user"), (owner.id, "it is not anonymous")] {
        assert!(!ok!(store.upgrade_anonymous(id, upgrade(&email))), "{why}");
    }
    let refused = store.upgrade_anonymous(user.id, upgrade(&taken)).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    assert_eq!(ok!(store.user_by_id(user.id)), Some(user.clone()), "nothing has changed");
    assert!(ok!(store.is_anonymous(user.id)));
    assert!(ok!(store.upgrade_anonymous(user.id, upgrade(&email))));
    assert!(!ok!(store.is_anonymous(user.id)));
    let upgraded = User { email: Some(email.clone()), password_hash: Some("$argon2id$x".to_owned()), ..user };
    assert_eq!(ok!(store.user_by_email(&email)), Some(upgraded.clone()));
    assert!(!ok!(store.upgrade_anonymous(upgraded.id, upgrade(&address()))), "once");
    assert_eq!(ok!(store.user_by_id(upgraded.id)), Some(upgraded));
}

async fn racing_upgrades<S: AnonymousAccounts + AccountStore>(store: &S) {
    let user = anybody();
    ok!(store.create_anonymous(user.clone(), i64::MAX));
    let several = (0..6).map(|_| {
        let email = address();
        async move { ok!(store.upgrade_anonymous(user.id, upgrade(&email))) }
    });
    assert_eq!(winners(several).await, 1, "one of several upgrades of an account");

    let email = address();
    let mut users = Vec::new();
    for _ in 0..6 {
        let user = anybody();
        ok!(store.create_anonymous(user.clone(), i64::MAX));
        users.push(user.id);
    }
    let several = users.iter().map(|user| {
        let upgrade = upgrade(&email);
        async move {
            match store.upgrade_anonymous(*user, upgrade).await {
                Ok(upgraded) => upgraded,
                Err(StoreError::Conflict(_)) => false,
                Err(error) => panic!("a race is a conflict, not {error}"),
            }
        }
    });
    assert_eq!(winners(several).await, 1, "one of those who want an address gets it");
    for user in users {
        let found = ok!(store.user_by_id(user)).expect("the user");
        assert_eq!(found.email.is_none(), ok!(store.is_anonymous(user)));
    }
}

async fn ends<S: AnonymousAccounts + AccountStore>(store: &S) {
    let (expiring, revoked, refreshed, lost, upgraded) =
        (anybody(), anybody(), anybody(), anybody(), anybody());
    for user in [&expiring, &revoked, &refreshed, &lost, &upgraded] {
        ok!(store.create_anonymous(user.clone(), START_US + 10));
    }
    assert!(ok!(store.create_session(session(&expiring, START_US + 10))));
    let logged_out = session(&revoked, START_US + 10);
    assert!(ok!(store.create_session(logged_out.clone())));
    assert!(ok!(store.revoke_session(logged_out.id, START_US + 4)));
    assert!(ok!(store.create_session(session(&refreshed, START_US + 10))));
    assert!(ok!(store.create_session(session(&refreshed, START_US + 50))));
    assert!(ok!(store.create_session(session(&upgraded, START_US + 10))));

    assert_eq!(ok!(store.note_ended_anonymous(START_US + 9, 99)), 0, "not yet");
    assert_eq!(ok!(store.abandoned_anonymous(START_US + 1_000, None, 99)), []);
    assert_eq!(ok!(store.note_ended_anonymous(START_US + 10, 2)), 2);
    assert_eq!(ok!(store.note_ended_anonymous(START_US + 10, 9)), 3);
    assert_eq!(ok!(store.note_ended_anonymous(START_US + 10, 9)), 0, "each is looked at once");
    // As another kind of sign-in would that says nothing of it.
    let email = address();
    assert!(ok!(store.upgrade_anonymous(upgraded.id, upgrade(&email))));

    let at = |user: &User, after: i64| Abandoned { ended_us: START_US + after, user: user.id };
    let mut both = [at(&expiring, 10), at(&lost, 10)];
    both.sort();
    let all = [at(&revoked, 4), both[0], both[1]];
    assert_eq!(ok!(store.abandoned_anonymous(START_US + 11, None, 99)), all, "{refreshed:?} is in use");
    assert_eq!(ok!(store.abandoned_anonymous(START_US + 10, None, 99)), all[..1]);
    assert_eq!(ok!(store.abandoned_anonymous(START_US + 11, None, 2)), all[..2]);
    assert_eq!(ok!(store.abandoned_anonymous(START_US + 11, Some(all[1]), 2)), all[2..]);

    assert_eq!(ok!(store.note_ended_anonymous(START_US + 49, 9)), 0, "it is known until when it lasts");
    assert_eq!(ok!(store.note_ended_anonymous(START_US + 50, 9)), 1);
    let last = ok!(store.abandoned_anonymous(START_US + 51, Some(all[2]), 9));
    assert_eq!(last, [at(&refreshed, 50)]);
    for user in [expiring, revoked, refreshed, lost] {
        assert!(ok!(store.delete_user(user.id)));
    }
    assert_eq!(ok!(store.abandoned_anonymous(START_US + 1_000, None, 99)), []);
}
