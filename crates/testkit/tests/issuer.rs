//! The provider that tests sign in at is strict where providers are, and wrong only where it was told to be.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation};
use lattice_testkit::{IdToken, Issuer, KeyKind, KeySet, OldKeys, Signature};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

const BACK: &str = "http://127.0.0.1:1/callback";
const VERIFIER: &str = "a-verifier-that-is-long-enough-to-be-taken-as-one";

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}

fn get(url: &str) -> (u16, String) {
    let mut answer = agent().get(url).call().expect("an answer");
    (answer.status().as_u16(), answer.body_mut().read_to_string().expect("text"))
}

fn key_set(issuer: &Issuer) -> JwkSet {
    serde_json::from_str(&get(&issuer.jwks_url()).1).expect("a key set")
}

fn verified(issuer: &Issuer, token: &str) -> Result<Map<String, Value>, String> {
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let header = jsonwebtoken::decode_header(token).map_err(|error| error.to_string())?;
    let set = key_set(issuer);
    let jwk = set.find(&header.kid.ok_or("no kid")?).ok_or("unknown kid")?;
    let algorithm = jwk.common.key_algorithm.ok_or("no alg")?.to_string().parse().map_err(|_| "alg")?;
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&[Issuer::CLIENT_ID]);
    validation.set_issuer(&[issuer.url()]);
    let key = DecodingKey::from_jwk(jwk).map_err(|error| error.to_string())?;
    jsonwebtoken::decode(token, &key, &validation)
        .map(|token| token.claims)
        .map_err(|error| error.to_string())
}

fn authorization_url(issuer: &Issuer, more: &[(&str, &str)]) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    let mut parameters = vec![
        ("client_id", Issuer::CLIENT_ID),
        ("redirect_uri", BACK),
        ("response_type", "code"),
        ("scope", "openid email"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("state", "s & t"),
        ("nonce", "n1"),
    ];
    for &(name, value) in more {
        parameters.retain(|(other, _)| *other != name);
        parameters.push((name, value));
    }
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    format!("{}/authorize?{query}", issuer.url())
}

fn exchange(issuer: &Issuer, code: &str, verifier: &str, secret: &str) -> (u16, Value) {
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", BACK),
        ("code_verifier", verifier),
        ("client_id", Issuer::CLIENT_ID),
        ("client_secret", secret),
    ];
    let mut answer = agent().post(format!("{}/token", issuer.url())).send_form(form).expect("an answer");
    let body = answer.body_mut().read_to_string().expect("text");
    (answer.status().as_u16(), serde_json::from_str(&body).expect("JSON"))
}

#[test]
fn the_code_flow_works_once_and_only_with_its_proofs() {
    let issuer = Issuer::start();
    let url = authorization_url(&issuer, &[]);
    assert!(issuer.approve(&url).is_err(), "a redirect target nobody has registered");
    issuer.allow_redirects(&[BACK]);
    for (name, value) in [
        ("client_id", "other"),
        ("redirect_uri", "http://127.0.0.1:1/other"),
        ("response_type", "token"),
        ("code_challenge_method", "plain"),
        ("scope", "email"),
    ] {
        assert!(issuer.approve(&authorization_url(&issuer, &[(name, value)])).is_err(), "{name}={value}");
    }
    let came = issuer.approve(&url).expect("approved");
    assert!(came.url.starts_with(BACK) && !came.posted);
    assert_eq!(came.parameter("state"), Some("s & t"));
    let code = came.parameter("code").expect("a code");
    let (status, answer) = exchange(&issuer, code, VERIFIER, Issuer::CLIENT_SECRET);
    assert_eq!(status, 200, "{answer}");
    let claims = verified(&issuer, answer["id_token"].as_str().expect("a token")).expect("good");
    assert_eq!((&claims["sub"], &claims["nonce"]), (&json!("user-1"), &json!("n1")));
    assert_eq!(exchange(&issuer, code, VERIFIER, Issuer::CLIENT_SECRET).0, 400, "a code is used once");

    for (verifier, secret, expected) in [
        (VERIFIER, "wrong", 401),
        ("another-verifier-that-is-also-long-enough-for-it", Issuer::CLIENT_SECRET, 400),
    ] {
        let came = issuer.approve(&url).expect("approved");
        let code = came.parameter("code").expect("a code");
        assert_eq!(exchange(&issuer, code, verifier, secret).0, expected);
    }
}

#[test]
fn answers_may_be_posted_as_apple_does() {
    let issuer = Issuer::start();
    issuer.allow_redirects(&[BACK]);
    issuer.set_response(&json!({"user": {"name": {"firstName": "A <\"&"}}}));
    let came =
        issuer.approve(&authorization_url(&issuer, &[("response_mode", "form_post")])).expect("approved");
    assert!(came.posted);
    assert_eq!((came.url.as_str(), came.parameter("state")), (BACK, Some("s & t")));
    assert_eq!(came.parameter("user"), Some(r#"{"name":{"firstName":"A <\"&"}}"#));
}

#[test]
fn a_client_secret_may_be_a_signed_token() {
    let issuer = Issuer::start();
    let (kid, pem) = issuer.make_client_key();
    issuer.set_client(Issuer::CLIENT_ID, None, Some("TEAM"), &[BACK]);
    let der: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(der).expect("base64");
    let secret = |audience: &str, life_s: i64| {
        let issued_s =
            verified(&issuer, &issuer.mint(&IdToken::new())).expect("good")["iat"].as_i64().expect("a time");
        let claims = json!({"iss": "TEAM", "sub": Issuer::CLIENT_ID, "aud": audience, "iat": issued_s,
            "exp": issued_s + life_s});
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
        header.kid = Some(kid.clone());
        jsonwebtoken::encode(&header, &claims, &jsonwebtoken::EncodingKey::from_ec_der(&der)).expect("signed")
    };
    for (secret, expected) in [
        (secret(issuer.url(), 600), 200),
        (secret("somebody else", 600), 401),
        (secret(issuer.url(), 40_000_000), 401),
        (Issuer::CLIENT_SECRET.to_owned(), 401),
    ] {
        let came = issuer.approve(&authorization_url(&issuer, &[])).expect("approved");
        let (status, answer) = exchange(&issuer, came.parameter("code").expect("a code"), VERIFIER, &secret);
        assert_eq!(status, expected, "{answer}");
    }
}

#[test]
fn keys_rotate_and_tokens_go_wrong_when_told() {
    let issuer = Issuer::start();
    let first = issuer.mint(&IdToken::new());
    assert!(verified(&issuer, &first).is_ok());
    let mut kids = Vec::new();
    for kind in [KeyKind::Rs256, KeyKind::Es256, KeyKind::EdDsa] {
        kids.push(issuer.rotate(kind, OldKeys::Keep));
        assert!(verified(&issuer, &issuer.mint(&IdToken::new())).is_ok(), "{kind:?}");
        assert!(verified(&issuer, &first).is_ok());
        for signature in [
            Signature::Absent,
            Signature::Damaged,
            Signature::HmacPem,
            Signature::HmacDer,
            Signature::HmacJwk,
        ] {
            let token = issuer.mint(&IdToken::new().signature(signature));
            assert!(verified(&issuer, &token).is_err(), "{kind:?} {signature:?}");
        }
    }
    let swapped = issuer.mint(&IdToken::new().key(&kids[1]).header("kid", kids[2].as_str()));
    assert!(verified(&issuer, &swapped).is_err());
    let hidden = issuer.secret_key(KeyKind::Es256);
    assert!(verified(&issuer, &issuer.mint(&IdToken::new())).is_ok(), "the newest of the key set signs");
    assert_eq!(verified(&issuer, &issuer.mint(&IdToken::new().key(&hidden))), Err("unknown kid".to_owned()));
    issuer.rotate(KeyKind::Es256, OldKeys::Drop);
    assert_eq!(verified(&issuer, &first), Err("unknown kid".to_owned()));
    let other = issuer.mint(&IdToken::new().claim("aud", json!(["a", "b"])).without("nonce").claim("x", 1));
    assert!(verified(&issuer, &other).is_err());
    assert_eq!(issuer.mint(&IdToken::new().without("sub").header("kid", Value::Null)).split('.').count(), 3);
}

#[test]
fn the_key_set_is_answered_as_told_and_counted() {
    let issuer = Issuer::start();
    issuer.set_keys(KeySet::Good, &[("cache-control", "max-age=77")], &[json!({"kty": "oct", "k": "AA"})]);
    let answer = agent().get(issuer.jwks_url()).call().expect("an answer");
    assert_eq!(answer.headers()["cache-control"], "max-age=77");
    issuer.set_key_set(KeySet::Fails, &[]);
    assert_eq!(get(&issuer.jwks_url()).0, 500);
    issuer.set_key_set(KeySet::Garbage, &[]);
    assert_eq!(get(&issuer.jwks_url()), (200, "<html>not keys".to_owned()));
    issuer.set_key_set(KeySet::Redirects, &[]);
    assert_eq!(get(&issuer.jwks_url()).0, 200);
    assert_eq!((issuer.requests("jwks"), issuer.requests("jwks-elsewhere")), (4, 1));
    issuer.set_discovery(&json!({"issuer": "http://other", "scopes_supported": null}));
    let document: Value =
        serde_json::from_str(&get(&format!("{}/.well-known/openid-configuration", issuer.url())).1)
            .expect("JSON");
    assert_eq!((&document["issuer"], document.get("scopes_supported")), (&json!("http://other"), None));
}
