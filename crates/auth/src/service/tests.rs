use lattice_store::accounts::{SessionId, SessionKind, User, UserId};
use secrecy::{ExposeSecret, SecretString};

use super::{
    ACCESS_TOKEN_LIFE_S, Client, DEVICE_TOKEN_LIFE_S, MAX_SESSION_LIFE_S, REFRESH_GRACE_S,
    REFRESH_TOKEN_LIFE_S, SessionTokens, TOUCH_INTERVAL_S,
};
use crate::testing::{Bench, cheap};
use crate::{
    AUDIENCE, AuthError, AuthService, CLOCK_LEEWAY_S, Claims, ISSUER, Keys, MAX_PASSWORD_BYTES, PasswordCost,
    Passwords, ServerSecret,
};

const EMAIL: &str = "ann@example.com";
const PASSWORD: &str = "correct horse";

async fn ann(bench: &Bench) -> SessionTokens {
    bench.auth.signup(EMAIL, PASSWORD.into(), Some(" Ann "), Client::default()).await.expect("a new account")
}

async fn login(bench: &Bench) -> SessionTokens {
    bench.auth.login(EMAIL, PASSWORD.into(), Client::default()).await.expect("the right password")
}

async fn refresh(bench: &Bench, token: &SecretString) -> Result<SessionTokens, AuthError> {
    bench.auth.refresh(token, Client::default()).await
}

/// What a token is worth.
async fn worth(bench: &Bench, token: &SecretString) -> Result<SessionId, AuthError> {
    bench.auth.authenticate(token).await.map(|identity| identity.session)
}

#[tokio::test]
async fn a_new_account_is_logged_in_and_may_log_in_again() {
    let bench = Bench::new();
    let tokens = ann(&bench).await;
    assert_eq!((tokens.user.email.as_deref(), tokens.user.full_name.as_deref()), (Some(EMAIL), Some("Ann")));
    assert_eq!(tokens.expires_in_s, ACCESS_TOKEN_LIFE_S);
    let identity = bench.auth.authenticate(&tokens.access).await.expect("a good token");
    assert_eq!(identity.user, tokens.user.id);
    assert_eq!(bench.auth.profile(&tokens.access).await, Ok((tokens.user.clone(), vec!["email".to_owned()])));
    assert_eq!(identity.expires_us, Some(1_800_000_000_000_000 + ACCESS_TOKEN_LIFE_S * 1_000_000));

    let again =
        bench.auth.login(" ANN@example.com ", PASSWORD.into(), Client::default()).await.expect("the same");
    assert_eq!(again.user, tokens.user);
    assert_ne!(worth(&bench, &again.access).await, Ok(identity.session), "a session of its own");
}

#[tokio::test]
async fn signups_that_make_no_sense_are_refused() {
    let bench = Bench::new();
    ann(&bench).await;
    let long = "x".repeat(1_025);
    for (email, password, name, error) in [
        ("Ann@Example.com", PASSWORD, None, AuthError::EmailTaken),
        ("ann", PASSWORD, None, AuthError::BadEmail),
        ("bob@example.com", "1234567", None, AuthError::WeakPassword),
        ("bob@example.com", long.as_str(), None, AuthError::WeakPassword),
        ("bob@example.com", "12345678", None, AuthError::CommonPassword),
        ("bob@example.com", "Bartholomew", Some("Bartholomew Q"), AuthError::CommonPassword),
        ("bob@example.com", PASSWORD, Some("a\nb"), AuthError::BadName),
        ("bob@example.com", PASSWORD, Some("a\0b"), AuthError::BadName),
        ("bob\0@example.com", PASSWORD, None, AuthError::BadEmail),
        ("bob@example.com", PASSWORD, Some(long.as_str()), AuthError::BadName),
    ] {
        let refused = bench.auth.signup(email, password.into(), name, Client::default()).await;
        assert_eq!(refused.err(), Some(error.clone()));
        let refused = bench.auth.register_device(email, password.into(), name, Client::default()).await;
        assert_eq!(refused.err(), Some(error));
    }
    assert_eq!(bench.store.user_by_email("bob@example.com").await, Ok(None));
    let bob = bench.auth.signup("bob@example.com", "wxzkvqjp".into(), Some("  "), Client::default()).await;
    assert_eq!(bob.expect("eight bytes are enough").user.full_name, None);
}

#[tokio::test]
async fn a_login_with_an_unknown_address_does_the_same_work_as_one_with_a_wrong_password() {
    let bench = Bench::new();
    ann(&bench).await;
    let without_password = User {
        id: lattice_store::accounts::UserId([9; 16]),
        email: Some("provider@example.com".to_owned()),
        email_verified_us: None,
        full_name: None,
        password_hash: None,
        created_us: 0,
    };
    bench.store.create_user(without_password).await.expect("a new account");
    let computed = || bench.auth.passwords().hashes_computed();
    for email in [EMAIL, "nobody@example.com", "provider@example.com"] {
        let before = computed();
        let refused = bench.auth.login(email, "wrong horse".into(), Client::default()).await.err();
        assert_eq!(refused, Some(AuthError::InvalidCredentials), "{email}");
        let refused = bench.auth.login_device(email, "wrong horse".into(), Client::default()).await.err();
        assert_eq!(refused, Some(AuthError::InvalidCredentials), "{email}");
        assert_eq!(computed() - before, 2, "{email}: one hash for each");
    }
    let before = computed();
    login(&bench).await;
    assert_eq!(computed() - before, 1, "neither does a right password cost more");
    for (email, taken) in [(EMAIL, true), ("new@example.com", false)] {
        let before = computed();
        let signup = bench.auth.signup(email, PASSWORD.into(), None, Client::default()).await;
        assert_eq!((signup.is_err(), computed() - before), (taken, 1));
    }
}

#[tokio::test]
async fn nonsense_never_reaches_the_password_workers() {
    let bench = Bench::new();
    for (email, password) in [("ann", PASSWORD), (EMAIL, &"x".repeat(1_025))] {
        let refused = bench.auth.login(email, password.into(), Client::default()).await.err();
        assert_eq!(refused, Some(AuthError::InvalidCredentials));
    }
    assert_eq!(bench.auth.passwords().hashes_computed(), 0);
}

#[tokio::test]
async fn a_password_is_hashed_anew_when_its_cost_has_changed() {
    let bench = Bench::new();
    let before = ann(&bench).await.user.password_hash;
    let folder = tempfile::tempdir().expect("a folder");
    let random = std::sync::Arc::new(lattice_store::time::SystemRandom);
    let keys = Keys::load_or_create(folder.path(), &*random).expect("keys");
    let passwords = Passwords::new(PasswordCost { passes: 2, ..cheap() }).expect("allowed");
    let dearer = AuthService::new(bench.store.clone(), keys, passwords, bench.clock.clone(), random);
    for hashes in [2, 3] {
        dearer.login(EMAIL, PASSWORD.into(), Client::default()).await.expect("the right password");
        assert_eq!(dearer.passwords().hashes_computed(), hashes, "once, then never again");
    }
    let after = bench.store.user_by_email(EMAIL).await.expect("read").and_then(|user| user.password_hash);
    assert_ne!(after, before);
    assert!(after.is_some_and(|hash| hash.contains("t=2")));
    login(&bench).await;
}

#[tokio::test]
async fn access_tokens_expire() {
    let bench = Bench::new();
    let tokens = ann(&bench).await;
    bench.clock.forward_s(ACCESS_TOKEN_LIFE_S + CLOCK_LEEWAY_S - 1);
    assert!(worth(&bench, &tokens.access).await.is_ok());
    bench.clock.forward_s(1);
    assert_eq!(worth(&bench, &tokens.access).await, Err(AuthError::TokenExpired));
    let next = refresh(&bench, &tokens.refresh).await.expect("the session lives");
    assert!(worth(&bench, &next.access).await.is_ok());
}

#[tokio::test]
async fn refresh_tokens_rotate() {
    let bench = Bench::new();
    let first = ann(&bench).await;
    let session = worth(&bench, &first.access).await;
    let mut tokens = first;
    for _ in 0..3 {
        let next = refresh(&bench, &tokens.refresh).await.expect("the current one");
        assert_ne!(next.refresh.expose_secret(), tokens.refresh.expose_secret());
        assert_eq!(worth(&bench, &next.access).await, session, "the session stays the same");
        assert_eq!(next.user, tokens.user);
        tokens = next;
    }
}

#[tokio::test]
async fn a_session_lives_as_long_as_it_is_refreshed_in_time() {
    let bench = Bench::new();
    let mut tokens = ann(&bench).await;
    for _ in 0..3 {
        bench.clock.forward_s(REFRESH_TOKEN_LIFE_S - 1);
        tokens = refresh(&bench, &tokens.refresh).await.expect("in time");
    }
    bench.clock.forward_s(REFRESH_TOKEN_LIFE_S);
    assert_eq!(refresh(&bench, &tokens.refresh).await.err(), Some(AuthError::TokenExpired));
}

#[tokio::test]
async fn a_session_ends_after_a_year_however_often_it_is_refreshed() {
    let bench = Bench::new();
    let mut tokens = ann(&bench).await;
    let month_s = REFRESH_TOKEN_LIFE_S - 1;
    for _ in 0..MAX_SESSION_LIFE_S / month_s {
        bench.clock.forward_s(month_s);
        tokens = refresh(&bench, &tokens.refresh).await.expect("in time");
    }
    bench.clock.forward_s(MAX_SESSION_LIFE_S % month_s - 1);
    let last = refresh(&bench, &tokens.refresh).await.expect("in time");
    bench.clock.forward_s(1);
    assert_eq!(refresh(&bench, &last.refresh).await.err(), Some(AuthError::TokenExpired));
    assert_eq!(worth(&bench, &last.access).await, Err(AuthError::TokenExpired), "with its access tokens");
}

#[tokio::test]
async fn a_second_request_with_the_same_refresh_token_is_answered_alike_for_a_while() {
    let bench = Bench::new();
    let first = ann(&bench).await;
    let second = refresh(&bench, &first.refresh).await.expect("the current one");
    bench.clock.forward_s(REFRESH_GRACE_S - 1);
    let again = refresh(&bench, &first.refresh).await.expect("its answer may have been lost");
    assert_eq!(again.refresh.expose_secret(), second.refresh.expose_secret());
    assert!(worth(&bench, &again.access).await.is_ok());
    let third = refresh(&bench, &second.refresh).await.expect("nothing happened to the session");
    assert_ne!(third.refresh.expose_secret(), second.refresh.expose_secret());
}

#[tokio::test]
async fn the_answer_is_the_same_on_every_instance_with_the_secret_and_on_no_other() {
    let bench = Bench::new();
    let folder = tempfile::tempdir().expect("a folder");
    let instance = |root: &[u8]| {
        let random = std::sync::Arc::new(lattice_store::time::SystemRandom);
        let keys = Keys::load_or_create(folder.path(), &*random).expect("keys");
        let passwords = Passwords::new(cheap()).expect("allowed");
        AuthService::new(bench.store.clone(), keys, passwords, bench.clock.clone(), random)
            .with_secret(ServerSecret::from_root(root))
    };
    let (one, other, foreign) = (instance(b"root"), instance(b"root"), instance(b"toor"));
    let first = ann(&bench).await;
    let second = one.refresh(&first.refresh, Client::default()).await.expect("the current one");
    let again =
        other.refresh(&first.refresh, Client::default()).await.expect("its answer may have been lost");
    assert_eq!(again.refresh.expose_secret(), second.refresh.expose_secret());
    let reused = AuthError::RefreshReused(first.user.id);
    assert_eq!(foreign.refresh(&first.refresh, Client::default()).await.err(), Some(reused));
}

#[tokio::test]
async fn a_refresh_token_that_comes_back_later_revokes_the_session() {
    let bench = Bench::new();
    let first = ann(&bench).await;
    let elsewhere = login(&bench).await;
    let second = refresh(&bench, &first.refresh).await.expect("the current one");
    bench.clock.forward_s(REFRESH_GRACE_S);
    assert_eq!(refresh(&bench, &first.refresh).await.err(), Some(AuthError::RefreshReused(first.user.id)));
    assert_eq!(worth(&bench, &second.access).await, Err(AuthError::SessionRevoked));
    for token in [&first.refresh, &second.refresh] {
        assert_eq!(refresh(&bench, token).await.err(), Some(AuthError::SessionRevoked));
    }
    assert!(worth(&bench, &elsewhere.access).await.is_ok(), "other sessions of the user live on");
}

#[tokio::test]
async fn a_refresh_token_from_two_exchanges_ago_has_no_grace() {
    let bench = Bench::new();
    let first = ann(&bench).await;
    let second = refresh(&bench, &first.refresh).await.expect("the current one");
    let third = refresh(&bench, &second.refresh).await.expect("the current one");
    assert_eq!(refresh(&bench, &first.refresh).await.err(), Some(AuthError::RefreshReused(first.user.id)));
    assert_eq!(worth(&bench, &third.access).await, Err(AuthError::SessionRevoked));
}

#[tokio::test]
async fn nobody_can_revoke_a_session_by_a_made_up_refresh_token() {
    let bench = Bench::new();
    let tokens = ann(&bench).await;
    let other = login(&bench).await;
    let zeros = format!("lrt_{}", "A".repeat(86));
    for made_up in ["", "lrt_", zeros.as_str(), tokens.access.expose_secret()] {
        assert_eq!(refresh(&bench, &made_up.into()).await.err(), Some(AuthError::TokenInvalid));
        assert_eq!(bench.auth.logout_refresh(&made_up.into()).await.err(), Some(AuthError::TokenInvalid));
    }
    assert!(refresh(&bench, &tokens.refresh).await.is_ok());
    assert!(refresh(&bench, &other.refresh).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_refreshes_are_answered_alike_and_the_session_lives() {
    let bench = std::sync::Arc::new(Bench::new());
    let tokens = ann(&bench).await;
    let racers: Vec<_> = (0..8)
        .map(|_| {
            let (bench, token) = (bench.clone(), tokens.refresh.clone());
            tokio::spawn(async move { refresh(&bench, &token).await })
        })
        .collect();
    let mut answers = std::collections::BTreeSet::new();
    for racer in racers {
        let tokens = racer.await.expect("no panic").expect("within the grace");
        answers.insert(tokens.refresh.expose_secret().to_owned());
    }
    assert_eq!(answers.len(), 1);
    let next = answers.pop_first().expect("a token").into();
    assert!(refresh(&bench, &next).await.is_ok());
}

#[tokio::test]
async fn sessions_are_listed_and_revoked_one_by_one_or_all() {
    let bench = Bench::new();
    let first = ann(&bench).await;
    let client = Client { device_name: Some("Ann's phone".to_owned()), ..Client::default() };
    bench.clock.forward_s(1);
    let phone = bench.auth.login_device(EMAIL, PASSWORD.into(), client).await.expect("the right password");
    let bob =
        bench.auth.signup("bob@example.com", PASSWORD.into(), None, Client::default()).await.expect("new");
    let (ann, first_id) = (first.user.id, worth(&bench, &first.access).await.expect("a good token"));
    let phone_id = worth(&bench, &phone.token).await.expect("a good token");
    let bobs = worth(&bench, &bob.access).await.expect("a good token");

    let listed = bench.auth.sessions(ann).await.expect("a list");
    let ids: Vec<_> = listed.iter().map(|session| session.id).collect();
    assert_eq!(ids, [phone_id, first_id]);
    assert_eq!(
        (listed[0].device_name.as_deref(), listed[0].method.as_str()),
        (Some("Ann's phone"), "password")
    );

    for id in [bobs, SessionId([7; 16])] {
        assert_eq!(bench.auth.revoke_session(ann, id).await, Err(AuthError::SessionNotFound));
    }
    assert!(worth(&bench, &bob.access).await.is_ok());
    assert_eq!(bench.auth.revoke_session(ann, first_id).await, Ok(()));
    assert_eq!(bench.auth.revoke_session(ann, first_id).await, Err(AuthError::SessionNotFound));
    assert_eq!(worth(&bench, &first.access).await, Err(AuthError::SessionRevoked));

    let others = [login(&bench).await, login(&bench).await];
    assert_eq!(bench.auth.revoke_sessions(ann, Some(phone_id)).await, Ok(2));
    for other in &others {
        assert_eq!(worth(&bench, &other.access).await, Err(AuthError::SessionRevoked));
    }
    assert_eq!(worth(&bench, &phone.token).await, Ok(phone_id));
    assert_eq!(bench.auth.revoke_sessions(ann, None).await, Ok(1));
    assert_eq!(worth(&bench, &phone.token).await, Err(AuthError::SessionRevoked));
    assert_eq!(bench.auth.sessions(ann).await, Ok(vec![]));
    assert!(worth(&bench, &bob.access).await.is_ok(), "nobody else's");
}

#[tokio::test]
async fn a_session_is_known_by_where_it_was_used_last() {
    let bench = Bench::new();
    let first = ann(&bench).await;
    let client = Client { address: Some("192.0.2.9".to_owned()), ..Client::default() };
    bench.auth.refresh(&first.refresh, client).await.expect("the current one");
    let listed = bench.auth.sessions(first.user.id).await.expect("a list");
    assert_eq!(listed[0].address.as_deref(), Some("192.0.2.9"));
}

#[tokio::test]
async fn logging_out_ends_the_session_at_once() {
    let bench = Bench::new();
    let (tokens, other) = (ann(&bench).await, login(&bench).await);
    let identity = bench.auth.authenticate(&tokens.access).await.expect("a good token");
    assert_eq!(bench.auth.recheck(&identity).await, Ok(()));
    assert_eq!(bench.auth.logout(&tokens.access).await, Ok(tokens.user.id));
    assert_eq!(worth(&bench, &tokens.access).await, Err(AuthError::SessionRevoked));
    assert_eq!(bench.auth.recheck(&identity).await, Err(AuthError::SessionRevoked));
    assert_eq!(refresh(&bench, &tokens.refresh).await.err(), Some(AuthError::SessionRevoked));
    assert_eq!(bench.auth.logout(&tokens.access).await, Err(AuthError::SessionRevoked));
    assert!(worth(&bench, &other.access).await.is_ok());
}

#[tokio::test]
async fn logging_out_by_refresh_token_takes_any_of_the_session_s() {
    let bench = Bench::new();
    let tokens = ann(&bench).await;
    let next = refresh(&bench, &tokens.refresh).await.expect("the current one");
    assert_eq!(bench.auth.logout_refresh(&tokens.refresh).await, Ok(tokens.user.id));
    assert_eq!(worth(&bench, &next.access).await, Err(AuthError::SessionRevoked));
    assert_eq!(bench.auth.logout_refresh(&next.refresh).await, Ok(tokens.user.id), "twice is no error");
}

#[tokio::test]
async fn device_tokens_live_for_thirty_days_unless_revoked() {
    let bench = Bench::new();
    let first =
        bench.auth.register_device(EMAIL, PASSWORD.into(), None, Client::default()).await.expect("new");
    let second = bench.auth.login_device(EMAIL, PASSWORD.into(), Client::default()).await.expect("right");
    assert!(first.token.expose_secret().starts_with("ldt_"));
    let identity = bench.auth.authenticate(&first.token).await.expect("a good token");
    assert_eq!((identity.user, identity.expires_us), (first.user.id, None));
    assert_eq!(bench.auth.logout(&second.token).await, Ok(second.user.id));
    assert_eq!(worth(&bench, &second.token).await, Err(AuthError::SessionRevoked));

    bench.clock.forward_s(DEVICE_TOKEN_LIFE_S - 1);
    assert!(worth(&bench, &first.token).await.is_ok());
    bench.clock.forward_s(1);
    assert_eq!(worth(&bench, &first.token).await, Err(AuthError::TokenExpired));
    assert_eq!(bench.auth.recheck(&identity).await, Err(AuthError::TokenExpired));
}

#[tokio::test]
async fn one_kind_of_token_is_not_taken_for_another() {
    let bench = Bench::new();
    let tokens = ann(&bench).await;
    let device = bench.auth.login_device(EMAIL, PASSWORD.into(), Client::default()).await.expect("right");
    assert_eq!(worth(&bench, &tokens.refresh).await, Err(AuthError::TokenInvalid));
    assert_eq!(refresh(&bench, &device.token).await.err(), Some(AuthError::TokenInvalid));
    // The half of a refresh token that names its session, dressed up as a device token.
    let family = crate::token::Refresh::parse(tokens.refresh.expose_secret()).expect("ours").family;
    let dressed_up = crate::token::Device(family).to_text();
    assert_eq!(worth(&bench, &dressed_up).await, Err(AuthError::TokenInvalid));
    for nonsense in ["", "ldt_", "Bearer", "a.b.c", "\u{0}"] {
        assert_eq!(worth(&bench, &nonsense.into()).await, Err(AuthError::TokenInvalid));
    }
}

#[tokio::test]
async fn tokens_of_a_user_who_is_gone_are_worth_nothing() {
    let bench = Bench::new();
    let tokens = ann(&bench).await;
    let device = bench.auth.login_device(EMAIL, PASSWORD.into(), Client::default()).await.expect("right");
    assert_eq!(bench.store.delete_user(tokens.user.id).await, Ok(true));
    for token in [&tokens.access, &device.token] {
        assert_eq!(worth(&bench, token).await, Err(AuthError::TokenInvalid));
    }
    assert_eq!(refresh(&bench, &tokens.refresh).await.err(), Some(AuthError::TokenInvalid));
    let again = bench.auth.login(EMAIL, PASSWORD.into(), Client::default()).await.err();
    assert_eq!(again, Some(AuthError::InvalidCredentials));
}

#[tokio::test]
async fn a_session_knows_where_it_comes_from_and_when_it_was_used() {
    let bench = Bench::new();
    let client = Client {
        device_name: Some("ü".repeat(300)),
        user_agent: Some("ü".repeat(300)),
        address: Some("192.0.2.7".to_owned()),
    };
    let tokens = bench.auth.signup(EMAIL, PASSWORD.into(), None, client).await.expect("new");
    let made = bench.store.list_sessions(tokens.user.id, 10).await.expect("read").remove(0);
    // By its id: another one of the same moment may come first in the list.
    let session = async || bench.store.session_by_id(made.id).await.expect("read").expect("the session");
    assert_eq!((made.kind, made.address.as_deref()), (SessionKind::Access, Some("192.0.2.7")));
    assert_eq!(made.user_agent, Some("ü".repeat(128)), "cut at a character");
    let client = Client {
        device_name: None,
        user_agent: Some("a\0b\u{7}".to_owned()),
        address: Some("\0".to_owned()),
    };
    let device = bench.auth.login_device(EMAIL, PASSWORD.into(), client).await.expect("right");
    let device = bench.auth.authenticate(&device.token).await.expect("a good token").session;
    let device = bench.store.session_by_id(device).await.expect("read").expect("the session");
    assert_eq!((device.user_agent.as_deref(), device.address.as_deref()), (Some("ab"), Some("")));
    assert!(bench.store.revoke_session(device.id, 1).await.expect("written"));

    bench.clock.forward_s(TOUCH_INTERVAL_S - 1);
    assert!(worth(&bench, &tokens.access).await.is_ok());
    assert_eq!(session().await, made, "a write for every request would be too many");
    bench.clock.forward_s(1);
    assert!(worth(&bench, &tokens.access).await.is_ok());
    assert_eq!(session().await.last_used_us, made.created_us + TOUCH_INTERVAL_S * 1_000_000);
}

#[tokio::test]
async fn dead_sessions_are_swept() {
    let bench = Bench::new();
    let (first, second) = (ann(&bench).await, login(&bench).await);
    assert_eq!(bench.auth.logout(&first.access).await, Ok(first.user.id));
    assert_eq!(bench.auth.sweep().await, Ok(0), "they stay in the list for a while");
    bench.clock.forward_s(8 * 24 * 3_600);
    assert_eq!(bench.auth.sweep().await, Ok(1));
    assert!(refresh(&bench, &second.refresh).await.is_ok());
    bench.clock.forward_s(60 * 24 * 3_600);
    assert_eq!(bench.auth.sweep().await, Ok(1));
    assert_eq!(bench.auth.sweep().await, Ok(0));
}

#[tokio::test]
async fn nothing_that_can_be_printed_holds_a_secret() {
    let bench = Bench::new();
    let tokens = ann(&bench).await;
    let identity = bench.auth.authenticate(&tokens.access).await.expect("a good token");
    let sessions = bench.store.list_sessions(tokens.user.id, 10).await.expect("read");
    let printed = format!("{tokens:?} {identity:?} {sessions:?} {:?}", bench.auth);
    for secret in ["lrt_", "eyJ", "argon2", EMAIL, PASSWORD] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

#[tokio::test]
async fn an_access_token_must_name_the_user_and_the_kind_of_its_session() {
    let bench = Bench::new();
    let tokens = ann(&bench).await;
    let device = bench.auth.login_device(EMAIL, PASSWORD.into(), Client::default()).await.expect("right");
    let access = worth(&bench, &tokens.access).await.expect("a good token");
    let device = worth(&bench, &device.token).await.expect("a good token");
    let stranger = "00000000-0000-4000-8000-000000000000".to_owned();
    let user = tokens.user.id.to_string();
    for (sub, sid, good) in [
        (&user, access.to_string(), true),
        (&stranger, access.to_string(), false),
        (&user, device.to_string(), false),
        (&user, stranger.clone(), false),
        (&user, "x".to_owned(), false),
    ] {
        let (iat, exp) = (1_800_000_000, 1_800_000_900);
        let (iss, aud) = (ISSUER.to_owned(), AUDIENCE.to_owned());
        let signed = bench.auth.keys().sign(&Claims {
            sub: sub.clone(),
            sid,
            iat,
            exp,
            iss,
            aud,
            permissions: crate::Permissions::ALL,
        });
        let expected = if good { Ok(access) } else { Err(AuthError::TokenInvalid) };
        assert_eq!(worth(&bench, &signed.expect("signed")).await, expected);
    }
}

#[tokio::test]
async fn a_password_is_confirmed_by_its_account_alone() {
    let bench = Bench::new();
    let ann = ann(&bench).await.user;
    assert_eq!(bench.auth.confirm_password(ann.id, PASSWORD.into()).await, Ok(()));
    for wrong in ["", "incorrect horse", &"x".repeat(MAX_PASSWORD_BYTES + 1)] {
        let answer = bench.auth.confirm_password(ann.id, wrong.into()).await;
        assert_eq!(answer, Err(AuthError::InvalidCredentials));
    }
    let nobody = UserId([9; 16]);
    assert_eq!(bench.auth.confirm_password(nobody, PASSWORD.into()).await, Err(AuthError::SessionRevoked));
}
