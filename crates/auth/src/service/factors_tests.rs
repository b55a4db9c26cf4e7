//! Second factors on a clock that stands still.

use secrecy::{ExposeSecret, SecretString};
use totp_rs::{Builder, Secret};

use super::*;
use crate::testing::Bench;
use crate::{AuthError, Challenge};

const EMAIL: &str = "ann@example.com";
const PASSWORD: &str = "correct horse";
const STEP_S: i64 = 30;

/// A code that is good so many seconds from now.
fn code(bench: &Bench, secret: &SecretString, from_now_s: i64) -> SecretString {
    let at_s = bench.clock.now_us() / SECOND_US + from_now_s;
    let secret = Secret::try_from_base32(secret.expose_secret()).expect("base32");
    let totp = Builder::new().with_secret(secret).build().expect("a secret");
    totp.generate(at_s.cast_unsigned()).to_string().into()
}

/// Ann, who is asked for codes; her secret, recovery codes and session.
async fn ann(bench: &Bench) -> (SecretString, Vec<SecretString>, Identity) {
    let tokens =
        bench.auth.signup(EMAIL, PASSWORD.into(), None, Client::default()).await.expect("an account");
    let identity = bench.auth.authenticate(&tokens.access).await.expect("somebody");
    let offer = bench.auth.offer_totp(&identity, "Trips: the app").await.expect("an offer");
    assert!(
        offer
            .uri
            .expose_secret()
            .starts_with("otpauth://totp/Trips%20%20the%20app:ann%40example.com?secret=")
    );
    let first = code(bench, &offer.secret, 0);
    let codes = bench.auth.confirm_totp(&identity, &first).await.expect("confirmed");
    bench.clock.forward_s(STEP_S);
    (offer.secret, codes, identity)
}

async fn challenge(bench: &Bench) -> SecretString {
    match bench.auth.login(EMAIL, PASSWORD.into(), Client::default()).await {
        Err(AuthError::SecondFactorRequired(Challenge { token, .. })) => token.into(),
        other => panic!("a challenge, not {other:?}"),
    }
}

async fn answer(bench: &Bench, challenge: &SecretString, code: SecretString) -> Result<(), AuthError> {
    bench.auth.answer_second_factor(challenge, SecondFactor::Totp(code)).await.map(drop)
}

#[tokio::test]
async fn a_code_is_good_for_a_moment_and_once() {
    let bench = Bench::new();
    let (secret, ..) = ann(&bench).await;
    for (from_now_s, expected) in [
        // Of the step in which it was confirmed, and of one that is too long ago or too far ahead.
        (-STEP_S, Err(AuthError::SecondFactorInvalid)),
        (-2 * STEP_S, Err(AuthError::SecondFactorInvalid)),
        (2 * STEP_S, Err(AuthError::SecondFactorInvalid)),
        (0, Ok(())),
        (0, Err(AuthError::SecondFactorInvalid)),
        // A clock that is a step ahead; then one that is right again is behind what was taken.
        (STEP_S, Ok(())),
        (0, Err(AuthError::SecondFactorInvalid)),
    ] {
        let half = challenge(&bench).await;
        let right = code(&bench, &secret, from_now_s);
        assert_eq!(answer(&bench, &half, right).await, expected, "{from_now_s}");
    }
    bench.clock.forward_s(2 * STEP_S);
    let half = challenge(&bench).await;
    let spaced = code(&bench, &secret, 0).expose_secret().split_at(3).0.to_owned();
    let rest = code(&bench, &secret, 0).expose_secret().split_at(3).1.to_owned();
    assert_eq!(answer(&bench, &half, format!(" {spaced} {rest}").into()).await, Ok(()));
}

#[tokio::test]
async fn a_challenge_is_over_after_five_minutes_and_five_tries() {
    let bench = Bench::new();
    let (secret, codes, _) = ann(&bench).await;
    let half = challenge(&bench).await;
    bench.clock.forward_s(SECOND_FACTOR_LIFE_S - 1);
    assert!(bench.auth.challenged(&half).await.is_ok());
    bench.clock.forward_s(1);
    assert_eq!(answer(&bench, &half, code(&bench, &secret, 0)).await, Err(AuthError::ChallengeInvalid));
    let half = challenge(&bench).await;
    for _ in 0..MAX_SECOND_FACTOR_TRIES {
        assert_eq!(answer(&bench, &half, "000".into()).await, Err(AuthError::SecondFactorInvalid));
    }
    assert_eq!(answer(&bench, &half, code(&bench, &secret, 0)).await, Err(AuthError::ChallengeInvalid));
    // Of many that try one challenge at once, each is a try, or is sent away.
    let half = challenge(&bench).await;
    let wrong = (0..20).map(|_| answer(&bench, &half, "000".into()));
    let mut looked_at = 0;
    for tried in join(wrong).await {
        looked_at += u32::from(tried == Err(AuthError::SecondFactorInvalid));
    }
    assert!((1..=MAX_SECOND_FACTOR_TRIES).contains(&looked_at), "{looked_at}");
    let half = challenge(&bench).await;
    let lost = SecondFactor::RecoveryCode(codes[0].clone());
    assert!(bench.auth.answer_second_factor(&half, lost).await.is_ok());
}

/// Polls all of them before any is waited for.
async fn join<T>(calls: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut calls: Vec<_> = calls.map(|call| (Box::pin(call), None)).collect();
    std::future::poll_fn(|cx| {
        let mut waits = false;
        for (call, answer) in &mut calls {
            if answer.is_none() {
                match call.as_mut().poll(cx) {
                    std::task::Poll::Ready(ready) => *answer = Some(ready),
                    std::task::Poll::Pending => waits = true,
                }
            }
        }
        if waits { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    calls.into_iter().filter_map(|(_, answer)| answer).collect()
}

#[tokio::test]
async fn ways_in_change_soon_after_a_sign_in_alone() {
    let bench = Bench::new().with(|auth| auth.with_anonymous_accounts(true));
    let (_, _, identity) = ann(&bench).await;
    let somebody = bench.auth.sign_up_anonymously(Client::default()).await.expect("an account");
    let anonymous = bench.auth.authenticate(&somebody.access).await.expect("somebody");
    bench.clock.forward_s(FRESH_SESSION_S);
    let stale = Err(AuthError::SessionNotFresh);
    assert_eq!(bench.auth.offer_totp(&identity, "x").await.map(drop), stale);
    assert_eq!(bench.auth.confirm_totp(&identity, &"000000".into()).await.map(drop), stale);
    assert_eq!(bench.auth.remove_totp(&identity).await, stale);
    assert_eq!(bench.auth.renew_recovery_codes(&identity).await.map(drop), stale);
    let id = lattice_store::accounts::IdentityId([1; 16]);
    assert_eq!(bench.auth.unlink_identity(&identity, id).await, stale);
    let proof = || Proof::Code { code: "x".into(), verifier: "x".into() };
    assert_eq!(bench.auth.link_identity(&identity, proof()).await.map(drop), stale);
    // Who has nothing but this session cannot sign in again.
    assert_eq!(bench.auth.link_identity(&anonymous, proof()).await.map(drop), Err(AuthError::CodeInvalid));
    assert_eq!(bench.auth.offer_totp(&anonymous, "x").await.map(drop), stale);
}
