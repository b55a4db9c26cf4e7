//! Password hashes.

use super::anybody;
use crate::accounts::{AccountStore, User};
use crate::hashes::PasswordHashes;

macro_rules! ok {
    ($call:expr) => {
        $call.await.expect("the store answers")
    };
}

/// Calls every method of the store. It makes its own users under random ids; no other account may have a bcrypt hash.
///
/// # Panics
/// When the store breaks a promise.
pub async fn password_hashes<S: PasswordHashes + AccountStore>(store: &S) {
    hashes(store).await;
    costs(store).await;
}

async fn hashes<S: AccountStore + PasswordHashes>(store: &S) {
    let user = User { password_hash: Some("$argon2id$x".to_owned()), ..anybody() };
    ok!(store.create_user(user.clone()));
    let replace = |id, current: &str, next: &str| store.replace_hash(id, current.to_owned(), next.to_owned());
    assert!(!ok!(replace(user.id, "$argon2id$y", "$argon2id$z")), "it is another one by now");
    assert!(!ok!(replace(anybody().id, "$argon2id$x", "$argon2id$z")), "there is no such user");
    assert!(ok!(replace(user.id, "$argon2id$x", "$argon2id$z")));
    let found = ok!(store.user_by_id(user.id)).expect("the user");
    assert_eq!(found.password_hash.as_deref(), Some("$argon2id$z"));
    let without = anybody();
    ok!(store.create_user(without.clone()));
    assert!(!ok!(replace(without.id, "", "$argon2id$z")), "there is nothing to replace");
    assert!(ok!(store.delete_user(user.id)) && ok!(store.delete_user(without.id)));
}

async fn costs<S: AccountStore + PasswordHashes>(store: &S) {
    assert_eq!(ok!(store.highest_bcrypt_cost()), None, "hashes of our own have no such cost");
    let mut users = Vec::new();
    for (version, cost) in [("2a", "09"), ("2b", "12"), ("2y", "10")] {
        let user = User { password_hash: Some(format!("${version}${cost}$x")), ..anybody() };
        ok!(store.create_user(user.clone()));
        users.push(user.id);
    }
    assert_eq!(ok!(store.highest_bcrypt_cost()), Some(12));
    assert!(ok!(store.set_password_hash(users[1], "$argon2id$x".to_owned())));
    assert_eq!(ok!(store.highest_bcrypt_cost()), Some(10));
    for user in users {
        assert!(ok!(store.delete_user(user)));
    }
    assert_eq!(ok!(store.highest_bcrypt_cost()), None);
}
