//! Accounts of those who do not show who they are.

use secrecy::SecretString;

use super::{Client, DEAD_SESSION_RETENTION_S, MAX_SESSION_LIFE_S, REFRESH_TOKEN_LIFE_S, SessionTokens};
use crate::AuthError;
use crate::testing::Bench;

const EMAIL: &str = "ann@example.com";
const PASSWORD: &str = "correct horse";
const START_US: i64 = 1_800_000_000_000_000;
const DAY_S: i64 = 24 * 3_600;

fn open() -> Bench {
    Bench::new().with(|auth| auth.with_anonymous_accounts(true))
}

async fn somebody(bench: &Bench) -> SessionTokens {
    bench.auth.sign_up_anonymously(Client::default()).await.expect("a new account")
}

async fn upgrade(bench: &Bench, tokens: &SessionTokens, email: &str) -> Result<SessionTokens, AuthError> {
    bench.auth.upgrade(tokens.user.id, email, PASSWORD.into(), None, Client::default()).await
}

async fn refresh(bench: &Bench, token: &SecretString) -> Result<SessionTokens, AuthError> {
    bench.auth.refresh(token, Client::default()).await
}

#[tokio::test]
async fn nobody_gets_an_anonymous_account_unless_the_operator_says_so() {
    let bench = Bench::new();
    let refused = bench.auth.sign_up_anonymously(Client::default()).await;
    assert_eq!(refused.err(), Some(AuthError::AnonymousOff));
}

#[tokio::test]
async fn an_anonymous_account_is_one_session() {
    let bench = open();
    let (one, other) = (somebody(&bench).await, somebody(&bench).await);
    assert_ne!(one.user.id, other.user.id);
    assert_eq!((one.user.email.as_deref(), one.user.password_hash.as_deref()), (None, None));
    let identity = bench.auth.authenticate(&one.access).await.expect("a good token");
    assert_eq!(identity.user, one.user.id);
    assert_eq!(bench.auth.is_anonymous(identity.user).await, Ok(true));
    assert_eq!(bench.auth.sessions(identity.user).await.expect("a list")[0].method, "anonymous");
    let confirmed = bench.auth.confirm_password(identity.user, PASSWORD.into()).await;
    assert_eq!(confirmed, Err(AuthError::InvalidCredentials), "it has none");
}

#[tokio::test]
async fn its_session_lasts_as_long_as_it_is_used() {
    let bench = open();
    let mut tokens = somebody(&bench).await;
    let rounds = MAX_SESSION_LIFE_S / REFRESH_TOKEN_LIFE_S + 2;
    for _ in 0..rounds {
        bench.clock.forward_s(REFRESH_TOKEN_LIFE_S - 1);
        tokens = refresh(&bench, &tokens.refresh).await.expect("within its time");
        bench.auth.sweep().await.expect("swept");
    }
    assert_eq!(bench.auth.abandoned(0, None, 9).await, Ok(vec![]));
    // Whoever has another way in shows once a year who they are.
    let other = somebody(&bench).await;
    bench.clock.forward_s(REFRESH_TOKEN_LIFE_S - 1);
    assert_eq!(bench.store.end_anonymity(tokens.user.id).await, Ok(true));
    let ended = refresh(&bench, &tokens.refresh).await.expect("the last time");
    assert_eq!(refresh(&bench, &ended.refresh).await.err(), Some(AuthError::TokenExpired));
    let tokens = refresh(&bench, &other.refresh).await.expect("within its time");
    bench.clock.forward_s(REFRESH_TOKEN_LIFE_S);
    assert_eq!(refresh(&bench, &tokens.refresh).await.err(), Some(AuthError::TokenExpired));
}

#[tokio::test]
async fn an_upgrade_keeps_the_account_and_ends_what_was_anonymous() {
    let bench = open();
    let anonymous = somebody(&bench).await;
    let upgraded = bench
        .auth
        .upgrade(anonymous.user.id, " Ann@Example.com ", PASSWORD.into(), Some(" Ann "), Client::default())
        .await
        .expect("an address and a password");
    assert_eq!(upgraded.user.id, anonymous.user.id);
    assert_eq!(
        (upgraded.user.email.as_deref(), upgraded.user.full_name.as_deref()),
        (Some(EMAIL), Some("Ann"))
    );
    assert_eq!(upgraded.user.email_verified_us, None);
    assert_eq!(bench.auth.is_anonymous(upgraded.user.id).await, Ok(false));
    assert_eq!(bench.auth.authenticate(&anonymous.access).await, Err(AuthError::SessionRevoked));
    assert_eq!(refresh(&bench, &anonymous.refresh).await.err(), Some(AuthError::SessionRevoked));
    assert!(bench.auth.authenticate(&upgraded.access).await.is_ok());
    let login = bench.auth.login(EMAIL, PASSWORD.into(), Client::default()).await.expect("right");
    assert_eq!(login.user, upgraded.user);
    assert_eq!(upgrade(&bench, &upgraded, "other@example.com").await.err(), Some(AuthError::NotAnonymous));
    assert_eq!(bench.auth.sessions(login.user.id).await.expect("a list").len(), 2);
}

#[tokio::test]
async fn an_upgrade_that_is_refused_changes_nothing() {
    let bench = open();
    bench.auth.signup(EMAIL, PASSWORD.into(), None, Client::default()).await.expect("new");
    let tokens = somebody(&bench).await;
    for (email, password, name, error) in [
        ("Ann@example.com", PASSWORD, None, AuthError::EmailTaken),
        ("bob", PASSWORD, None, AuthError::BadEmail),
        ("bob@example.com", "short", None, AuthError::WeakPassword),
        ("bob@example.com", "password1", None, AuthError::CommonPassword),
        ("bob@example.com", PASSWORD, Some("a\nb"), AuthError::BadName),
    ] {
        let id = tokens.user.id;
        let refused = bench.auth.upgrade(id, email, password.into(), name, Client::default()).await;
        assert_eq!(refused.err(), Some(error));
    }
    assert_eq!(bench.auth.is_anonymous(tokens.user.id).await, Ok(true));
    assert!(bench.auth.authenticate(&tokens.access).await.is_ok());
    assert_eq!(bench.auth.profile(&tokens.access).await, Ok((tokens.user.clone(), Vec::new())));
    let computed = bench.auth.passwords().hashes_computed();
    let nobody = bench.auth.signup("bob@example.com", PASSWORD.into(), None, Client::default()).await;
    let nobody = nobody.expect("new");
    assert_eq!(upgrade(&bench, &nobody, "cy@example.com").await.err(), Some(AuthError::NotAnonymous));
    assert_eq!(bench.auth.passwords().hashes_computed() - computed, 1, "no work is done for it");
}

#[tokio::test]
async fn an_account_is_abandoned_once_its_session_has_ended() {
    let bench = open();
    let (used, left, logged_out, upgraded) =
        (somebody(&bench).await, somebody(&bench).await, somebody(&bench).await, somebody(&bench).await);
    upgrade(&bench, &upgraded, EMAIL).await.expect("an address and a password");
    bench.clock.forward_s(DAY_S);
    assert_eq!(bench.auth.logout(&logged_out.access).await.err(), Some(AuthError::TokenExpired));
    assert_eq!(bench.auth.logout_refresh(&logged_out.refresh).await, Ok(logged_out.user.id));
    let used = refresh(&bench, &used.refresh).await.expect("the current one");
    // The sweeper comes round as it does, and forgets dead sessions meanwhile.
    let last_s = REFRESH_TOKEN_LIFE_S + DEAD_SESSION_RETENTION_S + 2 * DAY_S;
    for _ in 0..last_s / DAY_S {
        bench.clock.forward_s(DAY_S);
        bench.auth.sweep().await.expect("swept");
    }
    let abandoned = bench.auth.abandoned(0, None, 9).await.expect("a list");
    let found: Vec<_> =
        abandoned.iter().map(|one| (one.user, (one.ended_us - START_US) / 1_000_000)).collect();
    let end = |tokens: &SessionTokens, after_s| (tokens.user.id, after_s);
    // Of the one that was logged out it was known until when its session would have lasted.
    let mut same = [end(&left, REFRESH_TOKEN_LIFE_S), end(&logged_out, REFRESH_TOKEN_LIFE_S)];
    same.sort();
    let all = [same[0], same[1], end(&used, REFRESH_TOKEN_LIFE_S + DAY_S)];
    assert_eq!(found, all);
    let retention_us = DEAD_SESSION_RETENTION_S * 1_000_000;
    assert_eq!(
        bench.auth.abandoned(retention_us + 2 * DAY_S * 1_000_000, None, 9).await,
        Ok(abandoned[..2].to_vec())
    );
    assert_eq!(bench.auth.abandoned(retention_us, Some(abandoned[0]), 9).await, Ok(abandoned[1..].to_vec()));
}
