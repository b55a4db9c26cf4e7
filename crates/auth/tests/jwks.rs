//! Keys and tokens of an issuer that is a process of its own, over real connections.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lattice_auth::AuthError;
use lattice_auth::jwks::{
    FetchError, HttpClient, HttpFetch, JwksCache, JwksSource, KeySet, MAX_EXCHANGE_TIME,
};
use lattice_store::time::SystemClock;
use lattice_testkit::{IdToken, Issuer, KeyKind, OldKeys, Signature};
use openidconnect::http::Request;
use serde_json::json;

fn cache(issuer: &Issuer) -> JwksCache {
    let source = JwksSource::Issuer(issuer.url().to_owned());
    JwksCache::new(source, Arc::new(HttpClient::new().expect("a client")), Arc::new(SystemClock))
}

async fn fetch(url: &str) -> Result<(u16, Vec<u8>), FetchError> {
    let request = Request::builder().uri(url).body(Vec::new()).expect("a request");
    let answer = HttpClient::new().expect("a client").send(request).await?;
    Ok((answer.status().as_u16(), answer.into_body()))
}

#[tokio::test]
async fn good_tokens_verify_by_each_kind_of_key_and_no_other_does() {
    let issuer = Issuer::start();
    let only = issuer.mint(&IdToken::new().header("kid", json!(null)));
    assert!(
        cache(&issuer).verify_signature(&only).await.is_ok(),
        "with one key there is no doubt which is meant"
    );
    let mut kids = vec!["key-1".to_owned()];
    kids.push(issuer.rotate(KeyKind::Es256, OldKeys::Keep));
    kids.push(issuer.rotate(KeyKind::EdDsa, OldKeys::Keep));
    let cache = cache(&issuer);
    for kid in &kids {
        let good = issuer.mint(&IdToken::new().key(kid));
        let claims = cache.verify_signature(&good).await.expect(kid);
        assert_eq!((&claims["sub"], &claims["iss"]), (&json!("user-1"), &json!(issuer.url())));
        let mut bad = vec![
            issuer.mint(&IdToken::new().key(kid).header("kid", json!(null))),
            issuer.mint(&IdToken::new().key(kid).header("kid", "nobody")),
            issuer.mint(&IdToken::new().key(kid).header("alg", "HS256")),
            issuer.mint(&IdToken::new().key(kid).header("alg", "none")),
            issuer.mint(&IdToken::new().key(kid).header("alg", "ES384")),
            issuer.mint(&IdToken::new().key(kid).header("crit", json!(["exp"]))),
            good.rsplit_once('.').expect("a signature").0.to_owned() + ".",
            good.clone() + "A",
            good.replacen('.', ".e", 1),
        ];
        for other in kids.iter().filter(|other| *other != kid) {
            bad.push(issuer.mint(&IdToken::new().key(kid).header("kid", other.as_str())));
        }
        for signature in [
            Signature::Absent,
            Signature::Damaged,
            Signature::HmacPem,
            Signature::HmacDer,
            Signature::HmacJwk,
        ] {
            bad.push(issuer.mint(&IdToken::new().key(kid).signature(signature)));
        }
        for token in bad {
            assert_eq!(cache.verify_signature(&token).await, Err(AuthError::TokenInvalid), "{token}");
        }
    }
    // What a token brings along as its key is no key.
    let thief = Issuer::start();
    let keys = fetch(&thief.jwks_url()).await.expect("an answer").1;
    let keys: serde_json::Value = serde_json::from_slice(&keys).expect("JSON");
    let stolen = IdToken::new().header("jwk", keys["keys"][0].clone()).header("jku", thief.jwks_url());
    assert_eq!(cache.verify_signature(&thief.mint(&stolen)).await, Err(AuthError::TokenInvalid));
}

#[tokio::test]
async fn the_openid_library_reads_the_same_keys() {
    let issuer = Issuer::start();
    issuer.rotate(KeyKind::Es256, OldKeys::Keep);
    issuer.rotate(KeyKind::EdDsa, OldKeys::Keep);
    let keys = KeySet::parse(&fetch(&issuer.jwks_url()).await.expect("an answer").1).expect("keys");
    assert_eq!((keys.len(), keys.openid().keys().len()), (3, 3));
}

#[tokio::test]
async fn requests_have_limits_and_go_where_they_were_sent() {
    use lattice_testkit::KeySet as Answer;
    let issuer = Issuer::start();
    let url = issuer.jwks_url();
    assert_eq!(fetch(&url).await.expect("an answer").0, 200);
    issuer.set_key_set(Answer::Redirects, &[]);
    assert_eq!(fetch(&url).await.expect("an answer").0, 302);
    assert_eq!(issuer.requests("jwks-elsewhere"), 0);
    issuer.set_key_set(Answer::Huge, &[]);
    assert_eq!(fetch(&url).await, Err(FetchError::TooLarge));
    issuer.set_key_set(Answer::Hangs, &[]);
    let began = Instant::now();
    assert_eq!(fetch(&url).await, Err(FetchError::Timeout));
    assert!(began.elapsed() < MAX_EXCHANGE_TIME + Duration::from_secs(5));
    drop(issuer);
    assert!(matches!(fetch(&url).await, Err(FetchError::Failed(_))));
    assert!(matches!(fetch("http://issuer.example/").await, Err(FetchError::Address(_))));
}
