//! Accounts and sessions.
//!
//! The suite makes its own users under addresses that nobody else has, so it may run on a store that holds others.

use std::sync::Arc;

use crate::StoreError;
use crate::accounts::{
    AccountStore, RefreshRotation, Session, SessionId, SessionKind, TokenHash, User, UserId,
};
use crate::time::{Random, SystemRandom, random_id};

/// What a call answers; it must not fail.
macro_rules! ok {
    ($call:expr) => {
        $call.await.expect("the store answers")
    };
}

const START_US: i64 = 1_700_000_000_000_000;
const HOUR_US: i64 = 3_600_000_000;

/// Calls every method of the store, deletes and races included.
///
/// # Panics
/// When the store breaks a promise.
pub async fn accounts(store: &dyn AccountStore) {
    users(store).await;
    password_hashes(store).await;
    emails(store).await;
    racing_emails(store).await;
    sessions(store).await;
    sessions_conflict(store).await;
    refresh_rotates_by_compare_and_swap(store).await;
    dead_sessions_do_not_rotate(store).await;
    revocation(store).await;
    touching(store).await;
    listing(store).await;
    dead_sessions_are_replaced(store).await;
    deleting_users(store).await;
    expired_sessions_are_deleted(store).await;
    racing_users(store).await;
    racing_rotations(store).await;
    racing_revocations(store).await;
    racing_sessions(store).await;
    racing_sweeps(store).await;
}

fn hash() -> TokenHash {
    let mut bytes = [0_u8; 32];
    SystemRandom.fill(&mut bytes);
    TokenHash(bytes)
}

fn new_user() -> User {
    let id = UserId(random_id(&SystemRandom));
    User {
        id,
        email: Some(format!("{id}@conformance.test")),
        email_verified_us: Some(START_US + 1),
        full_name: Some("Zoë O'Neil \u{1f600}".to_owned()),
        password_hash: Some("$argon2id$…".to_owned()),
        created_us: START_US,
    }
}

fn address(user: &User) -> &str {
    user.email.as_deref().expect("an address")
}

pub(super) fn new_session(user: UserId, kind: SessionKind) -> Session {
    Session {
        id: SessionId(random_id(&SystemRandom)),
        user,
        kind,
        method: "password".to_owned(),
        token_hash: hash(),
        refresh_hash: (kind == SessionKind::Access).then(hash),
        previous_refresh_hash: None,
        rotated_us: None,
        expires_us: START_US + HOUR_US,
        created_us: START_US,
        last_used_us: START_US,
        revoked_us: None,
        device_name: Some("Zoë's phone".to_owned()),
        user_agent: Some("Trip/3.1 (iPhone; ü)".to_owned()),
        address: Some("2001:db8::7".to_owned()),
    }
}

async fn with_user(store: &dyn AccountStore) -> User {
    let user = new_user();
    store.create_user(user.clone()).await.expect("a new user is kept");
    user
}

async fn with_session(store: &dyn AccountStore, user: UserId, kind: SessionKind) -> Session {
    let session = new_session(user, kind);
    assert!(store.create_session(session.clone()).await.expect("a new session is kept"));
    session
}

async fn stored(store: &dyn AccountStore, id: SessionId) -> Session {
    store.session_by_id(id).await.expect("sessions can be read").expect("the session is there")
}

fn is_conflict<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Conflict(_)))
}

async fn users(store: &dyn AccountStore) {
    let unknown = new_user();
    assert_eq!(ok!(store.user_by_id(unknown.id)), None);
    assert_eq!(ok!(store.user_by_email(address(&unknown))), None);

    let user = with_user(store).await;
    assert_eq!(ok!(store.user_by_id(user.id)), Some(user.clone()));
    assert_eq!(ok!(store.user_by_email(address(&user))), Some(user.clone()));
    // Addresses are compared as they are: whoever calls normalises them.
    assert_eq!(ok!(store.user_by_email(&address(&user).to_uppercase())), None);
    assert_eq!(ok!(store.user_by_email("' OR 1=1 --")), None);

    let same_email = User { email: user.email.clone(), ..new_user() };
    assert!(is_conflict(&store.create_user(same_email.clone()).await));
    assert_eq!(ok!(store.user_by_id(same_email.id)), None, "a refused user is not kept");
    let same_id = User { id: user.id, ..new_user() };
    assert!(is_conflict(&store.create_user(same_id).await));
    assert_eq!(ok!(store.user_by_id(user.id)), Some(user), "the first one is unchanged");

    for _ in 0..2 {
        let bare =
            User { email: None, email_verified_us: None, full_name: None, password_hash: None, ..new_user() };
        store.create_user(bare.clone()).await.expect("address, name and password are optional");
        assert_eq!(ok!(store.user_by_id(bare.id)), Some(bare));
    }
}

async fn password_hashes(store: &dyn AccountStore) {
    let (user, other) = (with_user(store).await, with_user(store).await);
    assert!(ok!(store.set_password_hash(user.id, "$other".to_owned())));
    let changed = User { password_hash: Some("$other".to_owned()), ..user.clone() };
    assert_eq!(ok!(store.user_by_id(user.id)), Some(changed));
    assert_eq!(ok!(store.user_by_id(other.id)), Some(other), "nobody else's changed");
    assert!(!ok!(store.set_password_hash(new_user().id, "$other".to_owned())));
}

async fn emails(store: &dyn AccountStore) {
    let (user, other) = (with_user(store).await, with_user(store).await);
    let fresh = address(&new_user()).to_owned();
    assert!(!ok!(store.set_email(new_user().id, fresh.clone(), START_US)), "there is no such user");
    assert!(is_conflict(&store.set_email(user.id, address(&other).to_owned(), START_US).await));
    assert_eq!(ok!(store.user_by_id(user.id)), Some(user.clone()), "nothing has changed");
    assert!(ok!(store.set_email(user.id, fresh.clone(), START_US + 5)));
    assert!(ok!(store.set_email(user.id, fresh.clone(), START_US + 6)), "one's own is no conflict");
    let changed = User { email: Some(fresh.clone()), email_verified_us: Some(START_US + 6), ..user.clone() };
    assert_eq!(ok!(store.user_by_email(&fresh)), Some(changed));
    assert_eq!(ok!(store.user_by_email(address(&user))), None, "the old one is free");

    let unverified = User { email_verified_us: None, ..new_user() };
    ok!(store.create_user(unverified.clone()));
    assert!(!ok!(store.verify_email(unverified.id, fresh.clone(), START_US + 7)), "another address");
    assert!(!ok!(store.verify_email(new_user().id, fresh, START_US + 7)));
    assert_eq!(ok!(store.user_by_id(unverified.id)), Some(unverified.clone()));
    for now_us in [START_US + 8, START_US + 9] {
        assert!(ok!(store.verify_email(unverified.id, address(&unverified).to_owned(), now_us)));
    }
    let verified = User { email_verified_us: Some(START_US + 8), ..unverified };
    assert_eq!(ok!(store.user_by_id(verified.id)), Some(verified), "the first time stays");
    assert_eq!(ok!(store.user_by_id(other.id)), Some(other), "nobody else's changed");
}

async fn racing_emails(store: &dyn AccountStore) {
    let mut users = Vec::new();
    for _ in 0..8 {
        users.push(with_user(store).await);
    }
    let email: Arc<str> = address(&new_user()).into();
    let changes = users.iter().map(|user| {
        let email = email.to_string();
        async move {
            match store.set_email(user.id, email, START_US).await {
                Ok(changed) => changed,
                Err(StoreError::Conflict(_)) => false,
                Err(error) => panic!("a race is a conflict, not {error}"),
            }
        }
    });
    assert_eq!(winners(changes).await, 1, "one of those who want an address gets it");
}

async fn sessions(store: &dyn AccountStore) {
    let user = with_user(store).await;
    for kind in [SessionKind::Access, SessionKind::Device] {
        let session = with_session(store, user.id, kind).await;
        assert_eq!(ok!(store.session_by_id(session.id)), Some(session.clone()));
        assert_eq!(ok!(store.session_by_token_hash(session.token_hash)), Some(session));
    }
    let bare = Session { user_agent: None, address: None, ..new_session(user.id, SessionKind::Device) };
    assert!(ok!(store.create_session(bare.clone())));
    assert_eq!(stored(store, bare.id).await, bare);
    let mut full = new_session(user.id, SessionKind::Access);
    (full.previous_refresh_hash, full.rotated_us, full.revoked_us) =
        (Some(hash()), Some(START_US + 1), Some(START_US + 2));
    assert!(ok!(store.create_session(full.clone())));
    assert_eq!(stored(store, full.id).await, full);

    assert_eq!(ok!(store.session_by_id(SessionId([7; 16]))), None);
    assert_eq!(ok!(store.session_by_token_hash(hash())), None);
}

async fn sessions_conflict(store: &dyn AccountStore) {
    let user = with_user(store).await;
    let session = with_session(store, user.id, SessionKind::Device).await;
    let same_token = Session { token_hash: session.token_hash, ..new_session(user.id, SessionKind::Device) };
    assert!(is_conflict(&store.create_session(same_token.clone()).await));
    assert_eq!(ok!(store.session_by_id(same_token.id)), None);
    let same_id = Session { id: session.id, ..new_session(user.id, SessionKind::Access) };
    assert!(is_conflict(&store.create_session(same_id).await));
    assert_eq!(stored(store, session.id).await, session);

    let orphan = new_session(new_user().id, SessionKind::Access);
    assert!(!ok!(store.create_session(orphan.clone())), "no session without its user");
    assert_eq!(ok!(store.session_by_id(orphan.id)), None);
}

fn rotation(session: &Session, current: TokenHash) -> RefreshRotation {
    RefreshRotation {
        session: session.id,
        current,
        next: hash(),
        now_us: START_US + 1_000,
        expires_us: START_US + 2 * HOUR_US,
        address: None,
    }
}

async fn refresh_rotates_by_compare_and_swap(store: &dyn AccountStore) {
    let user = with_user(store).await;
    let session = with_session(store, user.id, SessionKind::Access).await;
    let other = with_session(store, user.id, SessionKind::Access).await;
    let first = session.refresh_hash.expect("an access session has one");

    let wrong = rotation(&session, hash());
    assert!(!ok!(store.rotate_refresh(wrong)));
    assert_eq!(stored(store, session.id).await, session, "a wrong hash changes nothing");
    let of_another = rotation(&session, other.refresh_hash.expect("an access session has one"));
    assert!(!ok!(store.rotate_refresh(of_another)));

    let once = RefreshRotation { address: Some("192.0.2.1".to_owned()), ..rotation(&session, first) };
    assert!(ok!(store.rotate_refresh(once.clone())));
    let rotated = Session {
        refresh_hash: Some(once.next),
        previous_refresh_hash: Some(first),
        rotated_us: Some(once.now_us),
        expires_us: once.expires_us,
        last_used_us: once.now_us,
        address: once.address.clone(),
        ..session.clone()
    };
    assert_eq!(stored(store, session.id).await, rotated);
    assert!(!ok!(store.rotate_refresh(rotation(&session, first))), "the old one is spent");
    assert_eq!(stored(store, session.id).await, rotated);

    let twice = rotation(&session, once.next);
    assert!(ok!(store.rotate_refresh(twice.clone())));
    let after = stored(store, session.id).await;
    assert_eq!((after.refresh_hash, after.previous_refresh_hash), (Some(twice.next), Some(once.next)));
    assert_eq!(after.address, once.address, "the last known address stays");
    assert_eq!(stored(store, other.id).await, other, "nobody else's changed");
    assert_eq!(
        ok!(store.session_by_token_hash(session.token_hash)),
        Some(after),
        "the session is still found by the part that stays"
    );
}

async fn dead_sessions_do_not_rotate(store: &dyn AccountStore) {
    let user = with_user(store).await;
    let expired = with_session(store, user.id, SessionKind::Access).await;
    let late = RefreshRotation {
        now_us: expired.expires_us,
        ..rotation(&expired, expired.refresh_hash.expect("an access session has one"))
    };
    assert!(!ok!(store.rotate_refresh(late.clone())), "expired at the very microsecond");
    assert!(ok!(store.rotate_refresh(RefreshRotation { now_us: expired.expires_us - 1, ..late })));

    let revoked = with_session(store, user.id, SessionKind::Access).await;
    assert!(ok!(store.revoke_session(revoked.id, START_US)));
    let current = revoked.refresh_hash.expect("an access session has one");
    assert!(!ok!(store.rotate_refresh(rotation(&revoked, current))));

    let device = with_session(store, user.id, SessionKind::Device).await;
    assert!(!ok!(store.rotate_refresh(rotation(&device, device.token_hash))));
    assert_eq!(stored(store, device.id).await, device);
}

async fn revocation(store: &dyn AccountStore) {
    let (user, other) = (with_user(store).await, with_user(store).await);
    let session = with_session(store, user.id, SessionKind::Device).await;
    let second = with_session(store, user.id, SessionKind::Access).await;
    let third = with_session(store, user.id, SessionKind::Access).await;
    let foreign = with_session(store, other.id, SessionKind::Access).await;

    assert!(!ok!(store.revoke_session(SessionId([8; 16]), START_US)));
    assert!(ok!(store.revoke_session(session.id, START_US + 5)));
    assert!(!ok!(store.revoke_session(session.id, START_US + 9)), "revoked once");
    assert_eq!(stored(store, session.id).await.revoked_us, Some(START_US + 5));
    assert_eq!(stored(store, second.id).await.revoked_us, None);

    let stays = with_session(store, user.id, SessionKind::Access).await;
    let ends = with_session(store, user.id, SessionKind::Device).await;
    assert_eq!(ok!(store.revoke_other_sessions(other.id, stays.id, START_US)), 1, "only one's own");
    assert_eq!(stored(store, foreign.id).await.revoked_us, Some(START_US));
    let foreign = with_session(store, other.id, SessionKind::Access).await;
    for id in [second.id, third.id] {
        assert_eq!(stored(store, id).await.revoked_us, None);
    }
    assert!(ok!(store.revoke_session(stays.id, START_US + 6)));
    assert_eq!(ok!(store.revoke_other_sessions(user.id, ends.id, START_US + 7)), 2);
    assert_eq!(stored(store, ends.id).await, ends);
    assert_eq!(stored(store, stays.id).await.revoked_us, Some(START_US + 6));

    assert_eq!(ok!(store.revoke_all_sessions(user.id, START_US + 7)), 1);
    assert_eq!(ok!(store.revoke_all_sessions(user.id, START_US + 8)), 0);
    assert_eq!(stored(store, session.id).await.revoked_us, Some(START_US + 5), "the first time stays");
    for revoked in [&second, &third] {
        assert_eq!(stored(store, revoked.id).await.revoked_us, Some(START_US + 7));
    }
    assert_eq!(stored(store, foreign.id).await, foreign, "another user's session lives on");
    assert_eq!(ok!(store.revoke_all_sessions(new_user().id, START_US)), 0);
}

async fn touching(store: &dyn AccountStore) {
    let user = with_user(store).await;
    let session = with_session(store, user.id, SessionKind::Device).await;
    ok!(store.touch_session(session.id, START_US + 50));
    assert_eq!(stored(store, session.id).await, Session { last_used_us: START_US + 50, ..session.clone() });
    ok!(store.touch_session(session.id, START_US + 20));
    assert_eq!(stored(store, session.id).await.last_used_us, START_US + 50, "time does not go back");
    store.touch_session(SessionId([9; 16]), START_US).await.expect("touching nothing is no error");
}

async fn listing(store: &dyn AccountStore) {
    let (user, other) = (with_user(store).await, with_user(store).await);
    assert_eq!(ok!(store.list_sessions(user.id, 10)), []);
    let mut made = Vec::new();
    for age_us in [30, 10, 20] {
        let session = Session { created_us: START_US - age_us, ..new_session(user.id, SessionKind::Access) };
        assert!(ok!(store.create_session(session.clone())));
        made.push(session);
    }
    with_session(store, other.id, SessionKind::Access).await;
    assert!(ok!(store.revoke_session(made[1].id, START_US)));
    made[1].revoked_us = Some(START_US);

    made.sort_by_key(|session| -session.created_us);
    assert_eq!(ok!(store.list_sessions(user.id, 10)), made);
    assert_eq!(ok!(store.list_sessions(user.id, 2)), made[..2]);
    assert_eq!(ok!(store.list_sessions(user.id, 0)), []);
    let live: Vec<_> = made.iter().filter(|session| session.revoked_us.is_none()).cloned().collect();
    assert_eq!(ok!(store.live_sessions(user.id, START_US, 10)), live);
    assert_eq!(ok!(store.live_sessions(user.id, START_US, 1)), live[..1]);
    assert_eq!(
        ok!(store.live_sessions(user.id, live[0].expires_us, 10)),
        [],
        "expired at the very microsecond"
    );
}

async fn dead_sessions_are_replaced(store: &dyn AccountStore) {
    let user = with_user(store).await;
    let old = with_session(store, user.id, SessionKind::Device).await;
    let next = Session { token_hash: old.token_hash, ..new_session(user.id, SessionKind::Device) };
    assert!(!ok!(store.replace_session(old.id, next.clone())), "it is live");
    assert_eq!(stored(store, old.id).await, old);
    assert!(ok!(store.revoke_session(old.id, START_US + 1)));
    let orphan = Session { user: UserId([3; 16]), ..next.clone() };
    assert!(!ok!(store.replace_session(old.id, orphan)), "nobody's");
    let taken = with_session(store, user.id, SessionKind::Device).await;
    let clash = Session { token_hash: taken.token_hash, ..next.clone() };
    assert!(is_conflict(&store.replace_session(old.id, clash).await));
    assert_eq!(stored(store, old.id).await.revoked_us, Some(START_US + 1), "nothing has changed");
    assert!(ok!(store.replace_session(old.id, next.clone())));
    assert_eq!(ok!(store.session_by_id(old.id)), None);
    assert_eq!(ok!(store.session_by_token_hash(old.token_hash)), Some(next.clone()));
    let again = Session { token_hash: old.token_hash, ..new_session(user.id, SessionKind::Device) };
    assert!(!ok!(store.replace_session(old.id, again.clone())), "it was replaced");
    // One that has expired at the time of the new one.
    let late = Session { created_us: next.expires_us, ..again };
    assert!(ok!(store.replace_session(next.id, late.clone())));
    assert_eq!(ok!(store.session_by_token_hash(old.token_hash)), Some(late));
}

async fn deleting_users(store: &dyn AccountStore) {
    let (user, other) = (with_user(store).await, with_user(store).await);
    let session = with_session(store, user.id, SessionKind::Device).await;
    let foreign = with_session(store, other.id, SessionKind::Device).await;

    assert!(ok!(store.delete_user(user.id)));
    assert!(!ok!(store.delete_user(user.id)));
    assert_eq!(ok!(store.user_by_id(user.id)), None);
    assert_eq!(ok!(store.user_by_email(address(&user))), None);
    assert_eq!(ok!(store.session_by_id(session.id)), None);
    assert_eq!(ok!(store.session_by_token_hash(session.token_hash)), None);
    assert_eq!(stored(store, foreign.id).await, foreign);
    assert_eq!(ok!(store.user_by_id(other.id)), Some(other));

    let again = User { email: user.email, ..new_user() };
    store.create_user(again.clone()).await.expect("the address is free again");
    assert_eq!(ok!(store.list_sessions(again.id, 10)), []);
}

async fn expired_sessions_are_deleted(store: &dyn AccountStore) {
    // Years before anything else here, so that sessions of others are out of reach.
    let long_ago_us = START_US / 2;
    let user = with_user(store).await;
    let ends_at = async |expires_us: i64, revoked_us: Option<i64>| {
        let session = Session { expires_us, revoked_us, ..new_session(user.id, SessionKind::Access) };
        assert!(ok!(store.create_session(session.clone())));
        session.id
    };
    let expired = ends_at(long_ago_us - 1, None).await;
    let revoked = ends_at(START_US, Some(long_ago_us - 1)).await;
    let both = ends_at(long_ago_us - 2, Some(START_US)).await;
    let just_expired = ends_at(long_ago_us, None).await;
    let just_revoked = ends_at(START_US, Some(long_ago_us)).await;
    let live = ends_at(START_US, None).await;

    assert_eq!(ok!(store.delete_expired_sessions(long_ago_us - 10, 10)), 0);
    assert_eq!(ok!(store.delete_expired_sessions(long_ago_us, 0)), 0);
    assert_eq!(ok!(store.delete_expired_sessions(long_ago_us, 2)), 2, "at most the limit");
    assert_eq!(ok!(store.delete_expired_sessions(long_ago_us, 2)), 1);
    assert_eq!(ok!(store.delete_expired_sessions(long_ago_us, 2)), 0);
    for gone in [expired, revoked, both] {
        assert_eq!(ok!(store.session_by_id(gone)), None);
    }
    for kept in [just_expired, just_revoked, live] {
        assert_eq!(stored(store, kept).await.user, user.id);
    }
}

/// Runs calls at the same time and counts those that say they won.
pub(super) async fn winners<'a, F>(calls: impl IntoIterator<Item = F>) -> usize
where
    F: Future<Output = bool> + 'a,
{
    let mut calls: Vec<_> = calls.into_iter().map(Box::pin).collect();
    let mut won = 0;
    // All are polled before any is waited for, so that all are under way together.
    std::future::poll_fn(|context| {
        calls.retain_mut(|call| match call.as_mut().poll(context) {
            std::task::Poll::Ready(winner) => {
                won += usize::from(winner);
                false
            }
            std::task::Poll::Pending => true,
        });
        if calls.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    won
}

async fn racing_users(store: &dyn AccountStore) {
    let email: Arc<str> = address(&new_user()).into();
    let signups = (0..8).map(|_| async {
        match store.create_user(User { email: Some(email.to_string()), ..new_user() }).await {
            Ok(()) => true,
            Err(StoreError::Conflict(_)) => false,
            Err(error) => panic!("a race is a conflict, not {error}"),
        }
    });
    assert_eq!(winners(signups).await, 1, "one of those who sign up with an address gets it");
    assert!(ok!(store.user_by_email(&email)).is_some());
}

async fn racing_rotations(store: &dyn AccountStore) {
    let user = with_user(store).await;
    let session = with_session(store, user.id, SessionKind::Access).await;
    let current = session.refresh_hash.expect("an access session has one");
    let session = &session;
    let rotations = (0..8).map(|_| async move { ok!(store.rotate_refresh(rotation(session, current))) });
    assert_eq!(winners(rotations).await, 1, "a refresh token is worth one rotation");
    assert_eq!(stored(store, session.id).await.previous_refresh_hash, Some(current));
}

async fn racing_revocations(store: &dyn AccountStore) {
    let user = with_user(store).await;
    let session = with_session(store, user.id, SessionKind::Device).await;
    let revocations =
        (0..8_i64).map(|at| async move { ok!(store.revoke_session(session.id, START_US + at)) });
    assert_eq!(winners(revocations).await, 1);
}

async fn racing_sessions(store: &dyn AccountStore) {
    let user = with_user(store).await;
    let token_hash = hash();
    let logins = (0..8).map(|_| async {
        let session = Session { token_hash, ..new_session(user.id, SessionKind::Device) };
        match store.create_session(session).await {
            Ok(kept) => kept,
            Err(StoreError::Conflict(_)) => false,
            Err(error) => panic!("a race is a conflict, not {error}"),
        }
    });
    assert_eq!(winners(logins).await, 1, "a token belongs to one session");

    for _ in 0..4 {
        let user = with_user(store).await;
        let sessions: Vec<Session> = (0..8).map(|_| new_session(user.id, SessionKind::Access)).collect();
        let calls = (0..=sessions.len()).map(|at| {
            let session = sessions.get(at).cloned();
            async move {
                match session {
                    Some(session) => ok!(store.create_session(session)),
                    None => !ok!(store.delete_user(user.id)),
                }
            }
        });
        winners(calls).await;
        for session in &sessions {
            assert_eq!(ok!(store.session_by_id(session.id)), None, "none outlives its user");
        }
        assert!(!ok!(store.create_session(sessions[0].clone())));
    }
}

async fn racing_sweeps(store: &dyn AccountStore) {
    let user = with_user(store).await;
    let mut made = Vec::new();
    for _ in 0..8 {
        made.push(with_session(store, user.id, SessionKind::Access).await.id);
    }
    let one_by_one = made.iter().map(|id| async { u64::from(ok!(store.revoke_session(*id, START_US))) });
    let all_at_once = (0..3).map(|_| async { ok!(store.revoke_all_sessions(user.id, START_US)) });
    let (one_by_one, all_at_once) = tokio::join!(sum(one_by_one), sum(all_at_once));
    assert_eq!(one_by_one + all_at_once, 8, "each is revoked once");

    // Before anything else here, so that sessions of others are out of reach.
    let long_ago_us = START_US / 4;
    for _ in 0..9 {
        let session = Session { expires_us: long_ago_us - 1, ..new_session(user.id, SessionKind::Access) };
        assert!(ok!(store.create_session(session)));
    }
    let sweeps = (0..4).map(|_| async { ok!(store.delete_expired_sessions(long_ago_us, 4)) });
    let swept = sum(sweeps).await + ok!(store.delete_expired_sessions(long_ago_us, 9));
    assert_eq!(swept, 9, "each is deleted, and counted, once");
}

/// Runs calls at the same time and adds up what they answer.
async fn sum<'a, F>(calls: impl IntoIterator<Item = F>) -> u64
where
    F: Future<Output = u64> + 'a,
{
    let sum = std::cell::Cell::new(0);
    let calls = calls.into_iter().map(|call| async {
        let answer = call.await;
        sum.set(sum.get() + answer);
        true
    });
    winners(calls).await;
    sum.get()
}
