//! Tokens of an issuer that is a key in this process, on a clock that stands still.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use lattice_store::BoxFuture;
use lattice_store::time::Clock;
use openidconnect::{HttpRequest, HttpResponse};
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::*;
use crate::Identity;
use crate::jwks::{FetchError, HttpFetch, JwksSource};
use crate::testing::{Bench, signing_key};

const ISSUER: &str = "https://id.example";
const NOW_S: i64 = 1_800_000_000;

struct Issuer {
    key: EncodingKey,
    works: AtomicBool,
}

impl Issuer {
    fn new() -> Arc<Self> {
        Arc::new(Self { key: signing_key(), works: AtomicBool::new(true) })
    }

    fn token(&self, claims: &Value) -> SecretString {
        let header = Header { kid: Some("k".to_owned()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, claims, &self.key).expect("signed").into()
    }
}

impl HttpFetch for Issuer {
    fn send(&self, _: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, FetchError>> {
        Box::pin(async move {
            if !self.works.load(Ordering::SeqCst) {
                return Err(FetchError::Timeout);
            }
            let mut jwk = json!(Jwk::from_encoding_key(&self.key, Algorithm::EdDSA).expect("a public half"));
            jwk["kid"] = json!("k");
            Ok(HttpResponse::new(json!({"keys": [jwk]}).to_string().into_bytes()))
        })
    }
}

fn settings() -> ExternalSettings {
    ExternalSettings {
        issuer: ISSUER.to_owned(),
        audiences: vec!["sync".to_owned(), "other".to_owned()],
        user_claim: "sub".to_owned(),
        email_claim: Some("email".to_owned()),
        name_claim: Some("name".to_owned()),
        permissions_claim: None,
    }
}

fn bench(settings: ExternalSettings) -> (Bench, Arc<Issuer>) {
    let (bench, issuer) = (Bench::new(), Issuer::new());
    let source = JwksSource::Url("https://id.example/keys".parse().expect("an address"));
    let clock: Arc<dyn Clock> = bench.clock.clone();
    let keys = JwksCache::new(source, issuer.clone(), clock);
    let auth = bench.auth.with_external(ExternalIssuer::new(settings, keys));
    (Bench { auth, ..bench }, issuer)
}

fn claims(more: Value) -> Value {
    let mut claims = json!({"iss": ISSUER, "aud": "sync", "sub": "ann", "iat": NOW_S, "exp": NOW_S + 600});
    put(&mut claims, more);
    claims
}

fn put(claims: &mut Value, more: Value) {
    let more: Map<String, Value> = serde_json::from_value(more).expect("an object");
    for (name, value) in more {
        if value.is_null() {
            claims.as_object_mut().expect("an object").remove(&name);
        } else {
            claims[name] = value;
        }
    }
}

async fn let_in(bench: &Bench, token: &SecretString) -> Identity {
    bench.auth.authenticate(token).await.expect("a good token")
}

#[tokio::test]
async fn a_good_token_makes_an_account_once() {
    let (bench, issuer) = bench(settings());
    let first =
        issuer.token(&claims(json!({"email": "Ann@Example.com", "email_verified": true, "name": " Ann "})));
    let identity = let_in(&bench, &first).await;
    assert_eq!(identity.expires_us, Some((NOW_S + 600) * 1_000_000));
    assert_eq!(identity.permissions, Permissions::ALL);
    let (user, _) = bench.auth.profile(&first).await.expect("an account");
    assert_eq!((user.email.as_deref(), user.full_name.as_deref()), (Some("ann@example.com"), Some("Ann")));
    assert!(user.email_verified_us.is_some() && user.password_hash.is_none());
    bench.clock.forward_s(300);
    let second = issuer.token(&claims(json!({"iat": NOW_S + 300, "exp": NOW_S + 900})));
    let again = let_in(&bench, &second).await;
    assert_eq!((again.user, again.session), (identity.user, identity.session));
    let bob = let_in(&bench, &issuer.token(&claims(json!({"sub": "bob"})))).await;
    assert_ne!(bob.user, identity.user);
    assert_eq!(bench.store.list_sessions(user.id, 10).await.expect("sessions").len(), 1);
}

#[tokio::test]
async fn what_a_token_says_is_checked() {
    let (bench, issuer) = bench(settings());
    let good = [
        json!({"aud": ["x", "other"]}),
        json!({"exp": NOW_S as f64 + 0.5, "iat": NOW_S as f64 - 0.5}),
        json!({"exp": NOW_S - 4}),
        json!({"iat": NOW_S + 59, "nbf": NOW_S + 59}),
        json!({"iat": null}),
        json!({"exp": NOW_S + MAX_EXTERNAL_TOKEN_LIFE_S}),
        json!({"sub": 4711}),
        json!({"sub": "s".repeat(255)}),
        json!({"email": 7, "name": {}, "email_verified": "perhaps"}),
    ];
    for more in good {
        let answer = bench.auth.authenticate(&issuer.token(&claims(more.clone()))).await;
        assert!(answer.is_ok(), "{more}: {answer:?}");
    }
    let bad = [
        json!({"iss": "https://id.example/"}),
        json!({"iss": null}),
        json!({"iss": [ISSUER]}),
        json!({"aud": "sync2"}),
        json!({"aud": []}),
        json!({"aud": {"sync": 1}}),
        json!({"aud": null}),
        json!({"exp": null}),
        json!({"exp": "1800000600"}),
        json!({"exp": 1e300}),
        json!({"exp": -1}),
        json!({"exp": NOW_S + MAX_EXTERNAL_TOKEN_LIFE_S + 1}),
        json!({"iat": NOW_S + 61}),
        json!({"iat": "now"}),
        json!({"nbf": NOW_S + 61}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"sub": 1.5}),
        json!({"sub": ["ann"]}),
        json!({"sub": "a\u{0}b"}),
        json!({"sub": "s".repeat(256)}),
    ];
    for more in bad {
        let answer = bench.auth.authenticate(&issuer.token(&claims(more.clone()))).await;
        assert_eq!(answer, Err(AuthError::TokenInvalid), "{more}");
    }
    let expired = issuer.token(&claims(json!({"exp": NOW_S - 5})));
    assert_eq!(bench.auth.authenticate(&expired).await, Err(AuthError::TokenExpired));
}

#[tokio::test]
async fn an_address_joins_nobody_to_anybody() {
    let (bench, issuer) = bench(settings());
    let local =
        bench.auth.signup("ann@example.com", "correct horse".into(), None, crate::Client::default()).await;
    let local = local.expect("an account").user;
    for (subject, more) in [
        ("thief", json!({"email": "ann@example.com", "email_verified": true})),
        ("unsure", json!({"email": "new@example.com", "email_verified": false})),
        ("silent", json!({"email": "new@example.com"})),
    ] {
        let mut all = claims(more);
        all["sub"] = json!(subject);
        let (user, _) = bench.auth.profile(&issuer.token(&all)).await.expect("an account");
        assert_ne!(user.id, local.id);
        assert_eq!((user.email, user.email_verified_us), (None, None), "{subject}");
    }
}

#[tokio::test]
async fn who_is_who_may_stand_in_another_claim() {
    let (bench, issuer) = bench(ExternalSettings { user_claim: "uid".to_owned(), ..settings() });
    let ann = let_in(&bench, &issuer.token(&claims(json!({"uid": "1"})))).await;
    let same = let_in(&bench, &issuer.token(&claims(json!({"uid": 1, "sub": "bob"})))).await;
    assert_eq!(ann.user, same.user);
    let without = bench.auth.authenticate(&issuer.token(&claims(json!({})))).await;
    assert_eq!(without, Err(AuthError::TokenInvalid));
}

#[tokio::test]
async fn permissions_come_from_the_claim_that_is_set() {
    let (bench, issuer) =
        bench(ExternalSettings { permissions_claim: Some("scope".to_owned()), ..settings() });
    for (scope, expected) in [
        (json!("openid read write"), Some((true, true))),
        (json!(["read"]), Some((true, false))),
        (json!("write"), None),
        (json!(""), None),
        (json!(["admin", 1]), None),
        (json!({"read": true}), None),
        (Value::Null, None),
    ] {
        let answer = bench.auth.authenticate(&issuer.token(&claims(json!({"scope": scope})))).await;
        let permissions =
            answer.map(|identity| (identity.permissions.can_read(), identity.permissions.can_write()));
        assert_eq!(permissions, expected.ok_or(AuthError::PermissionDenied), "{scope}");
    }
}

#[tokio::test]
async fn a_session_that_was_ended_takes_only_newer_tokens() {
    let (bench, issuer) = bench(settings());
    let old = issuer.token(&claims(json!({"exp": NOW_S + 6_000})));
    let dateless = issuer.token(&claims(json!({"iat": null, "exp": NOW_S + 6_000})));
    let identity = let_in(&bench, &old).await;
    assert_eq!(bench.auth.recheck(&identity).await, Ok(()));
    bench.clock.forward_s(10);
    bench.auth.logout(&old).await.expect("ended");
    assert_eq!(bench.auth.recheck(&identity).await, Err(AuthError::SessionRevoked));
    for refused in [&old, &dateless] {
        assert_eq!(bench.auth.authenticate(refused).await, Err(AuthError::SessionRevoked));
    }
    bench.clock.forward_s(10);
    let newer = issuer.token(&claims(json!({"iat": NOW_S + 15, "exp": NOW_S + 6_000})));
    let next = let_in(&bench, &newer).await;
    assert_eq!(next.user, identity.user);
    assert_ne!(next.session, identity.session);
    // What was ended stays so, although there is a live session again.
    for refused in [&old, &dateless] {
        assert_eq!(bench.auth.authenticate(refused).await, Err(AuthError::SessionRevoked));
    }
    assert_eq!(bench.auth.recheck(&identity).await, Err(AuthError::SessionRevoked));
    assert_eq!(bench.auth.recheck(&next).await, Ok(()));
}

#[tokio::test]
async fn sessions_that_the_issuer_names_end_one_by_one() {
    let (bench, issuer) = bench(settings());
    let phone = issuer.token(&claims(json!({"sid": "phone"})));
    let laptop = issuer.token(&claims(json!({"sid": "laptop"})));
    assert_eq!(let_in(&bench, &phone).await.user, let_in(&bench, &laptop).await.user);
    bench.auth.logout(&phone).await.expect("ended");
    assert_eq!(bench.auth.authenticate(&phone).await, Err(AuthError::SessionRevoked));
    let_in(&bench, &laptop).await;
}

#[tokio::test]
async fn an_account_that_was_deleted_is_not_made_again_by_an_old_token() {
    let (bench, issuer) = bench(settings());
    let token = issuer.token(&claims(json!({"exp": NOW_S + 6_000})));
    let identity = let_in(&bench, &token).await;
    bench.auth.confirm_without_password(&identity, &token).await.expect("no password to ask for");
    bench.auth.bury_external(identity.user).await.expect("buried");
    bench.auth.bury_external(identity.user).await.expect("buried twice");
    assert_eq!(bench.store.delete_user(identity.user).await, Ok(true));
    assert_eq!(bench.auth.recheck(&identity).await, Err(AuthError::SessionRevoked));
    assert_eq!(bench.auth.authenticate(&token).await, Err(AuthError::SessionRevoked));
    bench.clock.forward_s(10);
    let newer = issuer.token(&claims(json!({"iat": NOW_S + 5, "exp": NOW_S + 6_000})));
    let_in(&bench, &newer).await;
    assert_eq!(bench.auth.authenticate(&token).await, Err(AuthError::SessionRevoked));
}

#[tokio::test]
async fn a_long_session_goes_on_by_a_new_one() {
    let (bench, issuer) = bench(settings());
    let first = let_in(&bench, &issuer.token(&claims(json!({})))).await;
    let days = 31 * 86_400;
    bench.clock.forward_s(days);
    let later = claims(json!({"iat": NOW_S + days, "exp": NOW_S + days + 600}));
    let second = let_in(&bench, &issuer.token(&later)).await;
    assert_eq!(first.user, second.user);
    assert_ne!(first.session, second.session);
}

#[tokio::test]
async fn many_first_requests_make_one_account_and_one_session() {
    let (bench, issuer) = bench(settings());
    let token = issuer.token(&claims(json!({"email": "ann@example.com", "email_verified": "true"})));
    let auth = Arc::new(bench.auth);
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let (auth, token) = (auth.clone(), token.clone());
            tokio::spawn(async move { auth.authenticate(&token).await })
        })
        .collect();
    let mut identities = Vec::new();
    for task in tasks {
        identities.push(task.await.expect("no panic").expect("let in"));
    }
    assert!(identities.iter().all(|identity| *identity == identities[0]));
    let (user, _) = auth.profile(&token).await.expect("an account");
    assert_eq!(user.email.as_deref(), Some("ann@example.com"));
}

#[tokio::test]
async fn an_issuer_that_cannot_be_reached_makes_no_token_bad() {
    let (bench, issuer) = bench(settings());
    issuer.works.store(false, Ordering::SeqCst);
    let token = issuer.token(&claims(json!({"exp": NOW_S + 200_000})));
    assert_eq!(bench.auth.authenticate(&token).await, Err(AuthError::ProviderUnavailable));
    issuer.works.store(true, Ordering::SeqCst);
    bench.clock.forward_s(crate::jwks::FAILURE_PAUSE_S);
    let_in(&bench, &token).await;
    issuer.works.store(false, Ordering::SeqCst);
    bench.clock.forward_s(crate::jwks::FRESH_S + crate::jwks::MAX_STALE_S - 1);
    let_in(&bench, &token).await;
    bench.clock.forward_s(1);
    assert_eq!(bench.auth.authenticate(&token).await, Err(AuthError::ProviderUnavailable));
}

#[tokio::test]
async fn tokens_of_this_server_stay_what_they_are() {
    let (bench, issuer) = bench(settings());
    let tokens =
        bench.auth.signup("ann@example.com", "correct horse".into(), None, crate::Client::default()).await;
    let tokens = tokens.expect("an account");
    let_in(&bench, &tokens.access).await;
    let identity = bench.auth.authenticate(&tokens.access).await.expect("somebody");
    let confirmed = bench.auth.confirm_without_password(&identity, &tokens.access).await;
    assert_eq!(confirmed, Err(AuthError::InvalidCredentials));
    // The issuer signs for itself, not for us.
    let forged = issuer.token(&json!({
        "iss": crate::ISSUER, "aud": crate::AUDIENCE, "sub": tokens.user.id.to_string(), "exp": NOW_S + 600,
    }));
    assert_eq!(bench.auth.authenticate(&forged).await, Err(AuthError::TokenInvalid));
}
