//! Tokens that are good once.

use std::sync::Arc;

use crate::StoreError;
use crate::accounts::{AccountStore, TokenHash, User, UserId};
use crate::one_time::{OneTimeToken, OneTimeTokens};
use crate::time::{Random, SystemRandom, random_id};

macro_rules! ok {
    ($call:expr) => {
        $call.await.expect("the store answers")
    };
}

const START_US: i64 = 1_700_000_000_000_000;
const PURPOSE: &str = "conformance";

/// Calls every method of the store, races included. It makes its own users under random ids.
///
/// # Panics
/// When the store breaks a promise.
pub async fn one_time_tokens<S: OneTimeTokens + AccountStore + 'static>(store: &Arc<S>) {
    taken_once(&**store).await;
    of_users(&**store).await;
    expiry(&**store).await;
    racing_takes(store).await;
}

fn token(user: Option<UserId>) -> OneTimeToken {
    let mut bytes = [0_u8; 32];
    SystemRandom.fill(&mut bytes);
    OneTimeToken {
        hash: TokenHash(bytes),
        purpose: PURPOSE.to_owned(),
        user,
        payload: r#"{"to":"Zoë"}"#.to_owned(),
        created_us: START_US,
        expires_us: START_US + 10,
    }
}

async fn taken_once(store: &dyn OneTimeTokens) {
    let token = token(None);
    let (hash, now) = (token.hash, START_US + 9);
    assert_eq!(ok!(store.find_token(hash, PURPOSE, now)), None);
    assert_eq!(ok!(store.take_token(hash, PURPOSE, now)), None);
    assert!(ok!(store.put_token(token.clone())));
    assert!(matches!(store.put_token(token.clone()).await, Err(StoreError::Conflict(_))));
    assert_eq!(ok!(store.find_token(hash, "another purpose", now)), None);
    assert_eq!(ok!(store.take_token(hash, "another purpose", now)), None);
    assert_eq!(ok!(store.take_token(hash, PURPOSE, START_US + 10)), None, "it has expired");
    assert_eq!(ok!(store.find_token(hash, PURPOSE, now)), Some(token.clone()), "and is there all the same");
    let next = OneTimeToken { payload: "{}".to_owned(), ..token.clone() };
    assert!(!ok!(store.update_token(hash, "{}".to_owned(), "[]".to_owned())), "another payload");
    assert!(ok!(store.update_token(hash, token.payload, next.payload.clone())));
    assert_eq!(ok!(store.take_token(hash, PURPOSE, now)), Some(next));
    assert_eq!(ok!(store.take_token(hash, PURPOSE, now)), None);
    assert!(!ok!(store.update_token(hash, "{}".to_owned(), "[]".to_owned())), "it is gone");
}

async fn of_users<S: OneTimeTokens + AccountStore>(store: &S) {
    let id = UserId(random_id(&SystemRandom));
    assert!(!ok!(store.put_token(token(Some(id)))), "there is no such user");
    let user = User {
        id,
        email: None,
        email_verified_us: None,
        full_name: None,
        password_hash: None,
        created_us: START_US,
    };
    ok!(store.create_user(user));
    let (first, second) = (token(Some(id)), token(Some(id)));
    let other = OneTimeToken { purpose: "another".to_owned(), ..token(Some(id)) };
    for token in [&first, &second, &other] {
        assert!(ok!(store.put_token(token.clone())));
    }
    assert_eq!(ok!(store.delete_tokens(id, PURPOSE)), 2);
    assert_eq!(ok!(store.delete_tokens(id, PURPOSE)), 0);
    assert_eq!(ok!(store.find_token(first.hash, PURPOSE, START_US)), None);
    assert_eq!(ok!(store.find_token(other.hash, "another", START_US)), Some(other.clone()));
    assert!(ok!(store.delete_user(id)));
    assert_eq!(ok!(store.find_token(other.hash, "another", START_US)), None, "they go with their user");
}

async fn expiry(store: &dyn OneTimeTokens) {
    // So long ago that nobody else's expire in the same batch.
    let old = |n: i64| OneTimeToken { created_us: n, expires_us: n, ..token(None) };
    for n in 1..=3 {
        assert!(ok!(store.put_token(old(n))));
    }
    assert_eq!(ok!(store.delete_expired_tokens(3, 1)), 1);
    assert_eq!(ok!(store.delete_expired_tokens(3, 9)), 1, "the third has not expired before");
    assert_eq!(ok!(store.delete_expired_tokens(4, 9)), 1);
}

async fn racing_takes<S: OneTimeTokens + 'static>(store: &Arc<S>) {
    for _ in 0..10 {
        let token = token(None);
        assert!(ok!(store.put_token(token.clone())));
        let takes: Vec<_> = (0..6)
            .map(|_| {
                let (store, hash) = (Arc::clone(store), token.hash);
                tokio::spawn(async move { ok!(store.take_token(hash, PURPOSE, START_US)).is_some() })
            })
            .collect();
        let mut winners = 0;
        for take in takes {
            winners += usize::from(take.await.expect("no panic"));
        }
        assert_eq!(winners, 1);
    }
}
