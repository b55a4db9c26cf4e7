//! Second factors and passkeys.

use super::accounts::winners;
use super::{address, anybody};
use crate::accounts::{AccountStore, IdentityId, PasskeyId, TokenHash, User, UserId};
use crate::anonymous::AnonymousAccounts;
use crate::factors::{Added, Factors, SecondFactors, StoredPasskey, Totp};
use crate::identities::{Identities, Link, LinkedIdentity, Removal};
use crate::time::{Random, SystemRandom, random_id};

macro_rules! ok {
    ($call:expr) => {
        $call.await.expect("the store answers")
    };
}

/// Most passkeys that a user of these tests may have.
const LIMIT: u32 = 3;

/// Calls every method of the store, races included. It makes its own users under random ids.
///
/// # Panics
/// When the store breaks a promise.
pub async fn factors<S: Factors + Identities + AccountStore + AnonymousAccounts>(store: &S) {
    codes(store).await;
    recovery_codes(store).await;
    passkeys(store).await;
    last_ways_in(store).await;
}

fn hash() -> TokenHash {
    let mut hash = [0; 32];
    SystemRandom.fill(&mut hash);
    TokenHash(hash)
}

fn offered(user: UserId, secret: &[u8]) -> Totp {
    Totp { user, secret: secret.to_vec(), created_us: 5, confirmed_us: None, last_step: 0 }
}

fn passkey(user: UserId, second_factor: bool) -> StoredPasskey {
    StoredPasskey {
        id: PasskeyId(random_id(&SystemRandom)),
        user,
        credential_id: hash().0.to_vec(),
        name: "Ann's phone".to_owned(),
        credential: r#"{"counter":1}"#.to_owned(),
        second_factor,
        created_us: 5,
        last_used_us: None,
    }
}

async fn codes<S: Factors + AccountStore>(store: &S) {
    let user = anybody();
    assert!(!ok!(store.offer_totp(offered(user.id, b"one"))), "there is no such user");
    ok!(store.create_user(user.clone()));
    let id = user.id;
    assert_eq!(ok!(store.totp(id)), None);
    assert!(ok!(store.offer_totp(offered(id, b"one"))) && ok!(store.offer_totp(offered(id, b"two"))));
    assert_eq!(ok!(store.totp(id)), Some(offered(id, b"two")), "the newest offer counts");
    assert_eq!(ok!(store.second_factors(id)), SecondFactors::default(), "an offer alone asks for nothing");
    assert!(!ok!(store.take_totp_step(id, 7)), "nothing is confirmed");
    assert!(!ok!(store.confirm_totp(id, b"one".to_vec(), 8, 9)), "that offer is gone");
    let calls = (0..3).map(|_| async { ok!(store.confirm_totp(id, b"two".to_vec(), 8, 9)) });
    assert_eq!(winners(calls).await, 1);
    let confirmed = Totp { confirmed_us: Some(9), last_step: 8, ..offered(id, b"two") };
    assert_eq!(ok!(store.totp(id)), Some(confirmed.clone()));
    assert!(ok!(store.second_factors(id)).totp);
    assert!(!ok!(store.offer_totp(offered(id, b"three"))), "it is replaced by nobody");
    assert_eq!(ok!(store.totp(id)), Some(confirmed));
    assert!(!ok!(store.take_totp_step(id, 8)) && !ok!(store.take_totp_step(id, 7)), "taken before");
    let calls = (0..4).map(|_| async { ok!(store.take_totp_step(id, 10)) });
    assert_eq!(winners(calls).await, 1, "a code is good once");
    assert!(!ok!(store.take_totp_step(id, 9)), "a later one was taken");
    assert!(ok!(store.delete_totp(id)) && !ok!(store.delete_totp(id)));
    assert_eq!(ok!(store.totp(id)), None);
    assert!(ok!(store.offer_totp(offered(id, b"four"))));
    assert!(ok!(store.delete_user(id)));
    assert_eq!(ok!(store.totp(id)), None, "it goes with its user");
}

async fn recovery_codes<S: Factors + AccountStore>(store: &S) {
    let user = anybody();
    ok!(store.create_user(user.clone()));
    let (id, codes) = (user.id, [hash(), hash(), hash()]);
    assert!(!ok!(store.set_recovery_codes(id, codes.to_vec())), "there is nothing to recover from");
    assert!(ok!(store.offer_totp(offered(id, b"x"))) && ok!(store.confirm_totp(id, b"x".to_vec(), 1, 1)));
    assert!(ok!(store.set_recovery_codes(id, vec![hash(), hash()])));
    assert!(ok!(store.set_recovery_codes(id, codes.to_vec())), "in place of the others");
    assert_eq!(ok!(store.second_factors(id)).recovery_codes, 3);
    let calls = (0..4).map(|_| async { ok!(store.take_recovery_code(id, codes[0])) });
    assert_eq!(winners(calls).await, 1, "a code is good once");
    assert!(!ok!(store.take_recovery_code(id, hash())));
    assert!(!ok!(store.take_recovery_code(anybody().id, codes[1])), "somebody else's");
    assert_eq!(ok!(store.second_factors(id)).recovery_codes, 2);
    let asked = passkey(id, true);
    assert_eq!(ok!(store.add_passkey(asked.clone(), LIMIT)), Added::Kept);
    assert!(ok!(store.delete_totp(id)));
    let left = SecondFactors { totp: false, passkey: true, recovery_codes: 2 };
    assert_eq!(ok!(store.second_factors(id)), left, "a second factor is left");
    assert_eq!(ok!(store.add_passkey(passkey(id, false), LIMIT)), Added::Kept);
    assert_eq!(ok!(store.delete_passkey(id, asked.id)), Removal::Removed);
    assert_eq!(ok!(store.second_factors(id)), SecondFactors::default(), "none is left");
    assert!(ok!(store.delete_user(id)));
}

async fn passkeys<S: Factors + AccountStore + AnonymousAccounts>(store: &S) {
    let (ann, bob) = (anybody(), anybody());
    ok!(store.create_anonymous(ann.clone(), 9));
    ok!(store.create_user(bob.clone()));
    let one = passkey(ann.id, false);
    assert_eq!(ok!(store.add_passkey(one.clone(), LIMIT)), Added::Kept);
    assert!(!ok!(store.is_anonymous(ann.id)), "there is a way back now");
    let again = StoredPasskey { id: PasskeyId(random_id(&SystemRandom)), user: bob.id, ..one.clone() };
    assert_eq!(ok!(store.add_passkey(again, LIMIT)), Added::Known);
    assert_eq!(ok!(store.add_passkey(passkey(anybody().id, true), LIMIT)), Added::NoUser);
    let two = StoredPasskey { created_us: 6, ..passkey(ann.id, true) };
    assert_eq!(ok!(store.add_passkey(two.clone(), LIMIT)), Added::Kept);
    assert_eq!(ok!(store.add_passkey(passkey(ann.id, true), LIMIT)), Added::Kept);
    assert_eq!(ok!(store.add_passkey(passkey(ann.id, true), LIMIT)), Added::TooMany);
    assert_eq!(ok!(store.passkeys(ann.id, LIMIT)).len(), 3);
    assert_eq!(ok!(store.passkeys(ann.id, 1)).len(), 1);
    assert_eq!(ok!(store.passkeys(bob.id, LIMIT)), []);
    assert_eq!(ok!(store.passkey(one.credential_id.clone())), Some(one.clone()));
    assert_eq!(ok!(store.passkey(vec![1, 2, 3])), None);
    let next = |count: u32| format!(r#"{{"counter":{count}}}"#);
    let used = |current: String, next: String| store.use_passkey(one.id, current, next, 77);
    let calls = (2..6).map(|count| async move { ok!(used(one_credential(), next(count))) });
    assert_eq!(winners(calls).await, 1, "a counter goes on once");
    let found = ok!(store.passkey(one.credential_id.clone())).expect("the passkey");
    assert_eq!(found.last_used_us, Some(77));
    assert_ne!(found.credential, one.credential);
    assert_eq!(ok!(store.delete_passkey(bob.id, one.id)), Removal::NotFound, "not theirs");
    assert_eq!(ok!(store.delete_passkey(ann.id, one.id)), Removal::Removed);
    assert_eq!(ok!(store.delete_passkey(ann.id, one.id)), Removal::NotFound);
    assert!(ok!(store.delete_user(ann.id)) && ok!(store.delete_user(bob.id)));
    assert_eq!(ok!(store.passkey(two.credential_id)), None, "it goes with its user");
}

fn one_credential() -> String {
    passkey(UserId([0; 16]), false).credential
}

async fn last_ways_in<S: Factors + Identities + AccountStore>(store: &S) {
    let user = anybody();
    ok!(store.create_user(user.clone()));
    let one = passkey(user.id, true);
    assert_eq!(ok!(store.add_passkey(one.clone(), LIMIT)), Added::Kept);
    assert_eq!(ok!(store.delete_passkey(user.id, one.id)), Removal::LastWayIn);
    let elsewhere = LinkedIdentity {
        id: IdentityId(random_id(&SystemRandom)),
        user: user.id,
        issuer: "https://one.example".to_owned(),
        subject: address(),
        email: None,
        created_us: 5,
    };
    assert_eq!(ok!(store.link_identity(elsewhere.clone(), LIMIT)), Link::Made);
    // Either of them may go, and not both.
    let calls: [std::pin::Pin<Box<dyn Future<Output = bool> + '_>>; 2] = [
        Box::pin(async { ok!(store.delete_passkey(user.id, one.id)) == Removal::Removed }),
        Box::pin(async { ok!(store.unlink_identity(user.id, elsewhere.id)) == Removal::Removed }),
    ];
    assert_eq!(winners(calls).await, 1);
    assert!(ok!(store.delete_user(user.id)));
    let with_password =
        User { email: Some(address()), password_hash: Some("$argon2id$x".to_owned()), ..anybody() };
    ok!(store.create_user(with_password.clone()));
    let two = passkey(with_password.id, false);
    assert_eq!(ok!(store.add_passkey(two.clone(), LIMIT)), Added::Kept);
    assert_eq!(ok!(store.delete_passkey(with_password.id, two.id)), Removal::Removed);
    assert!(ok!(store.delete_user(with_password.id)));
}
