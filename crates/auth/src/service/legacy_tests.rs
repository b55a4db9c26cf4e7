//! Accounts whose passwords were hashed by the server before this one.

use lattice_store::accounts::{User, UserId};

use super::Client;
use crate::AuthError;
use crate::testing::Bench;

const EMAIL: &str = "ann@example.com";
const PASSWORD: &str = "correct horse";

/// Makes an account with a bcrypt hash of the password, at the least cost.
async fn imported(bench: &Bench, password: &str) -> UserId {
    let id = UserId([7; 16]);
    let hash = bcrypt::hash_with_salt(password, 4, [1; 16]).expect("hashed");
    let user = User {
        id,
        email: Some(EMAIL.to_owned()),
        email_verified_us: None,
        full_name: None,
        password_hash: Some(hash.format_for_version(bcrypt::Version::TwoA)),
        created_us: 0,
    };
    bench.store.create_user(user).await.expect("a new account");
    id
}

async fn hash_of(bench: &Bench, id: UserId) -> String {
    let user = bench.store.user_by_id(id).await.expect("read").expect("the user");
    user.password_hash.expect("a hash")
}

async fn login(bench: &Bench, password: &str) -> Result<UserId, AuthError> {
    let tokens = bench.auth.login(EMAIL, password.into(), Client::default()).await;
    tokens.map(|tokens| tokens.user.id)
}

#[tokio::test]
async fn an_imported_password_is_hashed_anew_at_the_next_sign_in() {
    let bench = Bench::new();
    let id = imported(&bench, PASSWORD).await;
    assert_eq!(login(&bench, "wrong horse").await, Err(AuthError::InvalidCredentials));
    assert_eq!(bench.auth.confirm_password(id, PASSWORD.into()).await, Ok(()));
    assert!(hash_of(&bench, id).await.starts_with("$2a$04$"), "neither replaces it");
    assert_eq!(login(&bench, PASSWORD).await, Ok(id));
    let hash = hash_of(&bench, id).await;
    assert!(hash.starts_with("$argon2id$"), "{hash}");
    assert_eq!(login(&bench, PASSWORD).await, Ok(id));
    assert_eq!(hash_of(&bench, id).await, hash);
    assert_eq!(login(&bench, "wrong horse").await, Err(AuthError::InvalidCredentials));
    assert_eq!(bench.store.highest_bcrypt_cost().await, Ok(None));
}

#[tokio::test]
async fn all_of_a_long_password_counts_once_it_is_hashed_anew() {
    let bench = Bench::new();
    let long = "x".repeat(72);
    let id = imported(&bench, &format!("{long} and more")).await;
    assert_eq!(login(&bench, &"x".repeat(71)).await, Err(AuthError::InvalidCredentials));
    assert_eq!(login(&bench, &format!("{long} and more")).await, Ok(id));
    assert_eq!(login(&bench, &long).await, Err(AuthError::InvalidCredentials));
    assert_eq!(login(&bench, &format!("{long} and more")).await, Ok(id));
}

#[tokio::test]
async fn an_imported_account_costs_the_same_queue_as_any_other() {
    let bench = Bench::new();
    imported(&bench, PASSWORD).await;
    bench.auth.signup("bob@example.com", PASSWORD.into(), None, Client::default()).await.expect("new");
    let computed = || bench.auth.passwords().hashes_computed();
    for email in [EMAIL, "bob@example.com", "nobody@example.com"] {
        let before = computed();
        let refused = bench.auth.login(email, "wrong horse".into(), Client::default()).await.err();
        assert_eq!((refused, computed() - before), (Some(AuthError::InvalidCredentials), 1), "{email}");
    }
}
