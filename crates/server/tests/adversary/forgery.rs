//! Access tokens that we did not sign: every confusion of algorithms, keys and claims that is known of JWTs.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::common::http::sign_up;
use crate::common::raw::ask;
use crate::common::server::TestServer;
use crate::common::socket::handshake;

const SECRET: &str = "a secret that is long enough for HS256, and then some";

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn decode(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
}

fn with(value: &Value, key: &str, new: Value) -> Value {
    let mut value = value.clone();
    value[key] = new;
    value
}

fn without(value: &Value, key: &str) -> Value {
    let mut value = value.clone();
    value.as_object_mut().expect("an object").remove(key);
    value
}

/// Signs by a shared secret.
fn hs256(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let message = format!("{}.{}", encode(header), encode(claims));
    let key = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("signed");
    format!("{message}.{signature}")
}

#[track_caller]
fn assert_refused(server: &TestServer, what: &str, token: &str) {
    let answer = ask(server, "GET", "/profile", Some(token), &Value::Null);
    let code = answer.code();
    assert!(
        answer.status == 401 && matches!(code.as_str(), "token_invalid" | "token_expired"),
        "{what}: {}",
        answer.body
    );
    if token.bytes().all(|byte| byte.is_ascii_graphic()) {
        assert_eq!(handshake(server, "/sync", Some(token), b"").status, 401, "{what}");
    }
}

/// Everything that needs no key of ours.
fn forge_without_key(server: &TestServer, token: &str) {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("a JWT has three parts") };
    let parts = [header, claims, signature];
    leave_the_signature_out(server, token, parts);
    change_what_was_signed(server, parts);
    sign_with_known_keys(server, parts);
    spell_it_otherwise(server, token, parts);
}

fn leave_the_signature_out(server: &TestServer, token: &str, [header, claims, signature]: [&str; 3]) {
    let head = decode(header);
    for none in ["none", "None", "NONE", "nOnE", ""] {
        let head = with(&head, "alg", json!(none));
        assert_refused(server, "no signature", &format!("{}.{claims}.", encode(&head)));
        assert_refused(
            server,
            "the signature of another header",
            &format!("{}.{claims}.{signature}", encode(&head)),
        );
    }
    assert_refused(server, "the signature left out", &format!("{header}.{claims}."));
    assert_refused(server, "two parts", &format!("{header}.{claims}"));
    assert_refused(server, "four parts", &format!("{token}.{signature}"));
    assert_refused(server, "the signature twice", &format!("{header}.{claims}.{signature}{signature}"));
    assert_refused(
        server,
        "a signature of zeros",
        &format!("{header}.{claims}.{}", "A".repeat(signature.len())),
    );
}

fn change_what_was_signed(server: &TestServer, [header, claims, signature]: [&str; 3]) {
    let (head, body) = (decode(header), decode(claims));
    for (what, new) in [
        ("another user", with(&body, "sub", json!("00000000-0000-4000-8000-000000000000"))),
        ("a later end", with(&body, "exp", json!(4_000_000_000_i64))),
        ("an admin", with(&body, "admin", json!(true))),
        ("no end", without(&body, "exp")),
    ] {
        assert_refused(server, what, &format!("{header}.{}.{signature}", encode(&new)));
    }
    for (what, key, value) in [
        ("another key", "kid", json!("another")),
        ("a file as key", "kid", json!("../../../../dev/null")),
        ("SQL as key", "kid", json!("' UNION SELECT 'x' --")),
        ("a key that is no text", "kid", json!({"$ne": null})),
        ("a critical extension", "crit", json!(["exp"])),
        ("another algorithm", "alg", json!("RS256")),
        ("an unknown algorithm", "alg", json!("XY999")),
    ] {
        assert_refused(server, what, &format!("{}.{claims}.{signature}", encode(&with(&head, key, value))));
    }
    assert_refused(server, "no key", &format!("{}.{claims}.{signature}", encode(&without(&head, "kid"))));
}

fn sign_with_known_keys(server: &TestServer, [header, claims, _]: [&str; 3]) {
    let (head, body) = (decode(header), decode(claims));
    // The token brings its own key along, or says where to find it.
    let secret = b"a key that the attacker knows, 32 bytes or more";
    let jwk = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(secret), "alg": "HS256", "kid": head["kid"]});
    for (key, value) in [
        ("jwk", jwk),
        ("jku", json!("http://127.0.0.1:1/keys.json")),
        ("x5u", json!("http://127.0.0.1:1/cert.pem")),
    ] {
        let head = with(&with(&head, "alg", json!("HS256")), key, value);
        assert_refused(server, key, &hs256(&head, &body, secret));
    }
    // The empty key, and what is public of ours, as a shared secret.
    let head = with(&head, "alg", json!("HS256"));
    let keys = ask(server, "GET", "/.well-known/jwks.json", None, &Value::Null);
    let mut secrets = vec![Vec::new(), b"secret".to_vec(), keys.body.clone().into_bytes()];
    for key in keys.json()["keys"].as_array().expect("keys") {
        let x = key["x"].as_str().expect("a public key");
        let raw = URL_SAFE_NO_PAD.decode(x).expect("base64url");
        let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        der.extend(&raw);
        let pem =
            format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&der));
        secrets.extend([x.as_bytes().to_vec(), raw, der, pem.into_bytes(), key.to_string().into_bytes()]);
    }
    for secret in &secrets {
        assert_refused(server, "a public key as a secret", &hs256(&head, &body, secret));
    }
}

/// Other spellings of the same token.
fn spell_it_otherwise(server: &TestServer, token: &str, [header, claims, signature]: [&str; 3]) {
    let head = decode(header);
    for (what, token) in [
        ("padding", format!("{header}==.{claims}.{signature}")),
        ("a space", format!("{header} .{claims}.{signature}")),
        ("a fragment", format!("{token}#")),
        ("a zero byte", format!("{token}\0")),
        ("very long", format!("{token}{}", "A".repeat(100_000))),
        (
            "nested",
            format!(
                "{}.{}.{signature}",
                encode(&with(&head, "cty", json!("JWT"))),
                URL_SAFE_NO_PAD.encode(token)
            ),
        ),
    ] {
        let answer = ask(server, "GET", "/profile", Some(&token), &Value::Null);
        assert!((400..500).contains(&answer.status), "{what}: {} {}", answer.status, answer.body);
    }
}

#[test]
fn tokens_that_we_did_not_sign_are_worth_nothing() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    forge_without_key(&server, &ann.token);
    assert_eq!(ask(&server, "GET", "/profile", Some(&ann.token), &Value::Null).status, 200);
    assert!(!server.log().contains("panicked"));
}

#[test]
fn neither_are_they_with_a_shared_secret() {
    let server = TestServer::start(&[("JWT_SECRET", SECRET)]);
    let ann = sign_up(&server, "ann");
    let keys = ask(&server, "GET", "/.well-known/jwks.json", None, &Value::Null);
    assert_eq!(keys.json(), json!({"keys": []}), "the secret is not published");
    forge_without_key(&server, &ann.token);
}

/// Even whoever holds the key makes no session out of nothing, nor one of somebody else.
#[test]
fn the_right_signature_under_wrong_claims_is_worth_nothing() {
    let server = TestServer::start(&[("JWT_SECRET", SECRET)]);
    let (ann, bob) = (sign_up(&server, "ann"), sign_up(&server, "bob"));
    let parts: Vec<&str> = ann.token.split('.').collect();
    let (head, claims) = (decode(parts[0]), decode(parts[1]));
    let sign = |claims: &Value| hs256(&head, claims, SECRET.as_bytes());
    let good = sign(&claims);
    assert_eq!(ask(&server, "GET", "/profile", Some(&good), &Value::Null).status, 200, "the forger works");
    let now = claims["iat"].as_i64().expect("a time");
    for (what, claims) in [
        ("somebody else's session", with(&claims, "sub", json!(bob.user))),
        ("a session that never was", with(&claims, "sid", json!("00000000-0000-4000-8000-000000000000"))),
        ("no session", without(&claims, "sid")),
        ("no user", without(&claims, "sub")),
        ("expired", with(&claims, "exp", json!(now - 60))),
        ("no end", without(&claims, "exp")),
        ("an end that is text", with(&claims, "exp", json!("4000000000"))),
        ("an end that is no time", with(&claims, "exp", json!(null))),
        ("another issuer", with(&claims, "iss", json!("https://accounts.google.com"))),
        ("no issuer", without(&claims, "iss")),
        ("another audience", with(&claims, "aud", json!("another"))),
        ("no audience", without(&claims, "aud")),
        ("a user that is a list", with(&claims, "sub", json!([ann.user]))),
        ("a user that is a query", with(&claims, "sub", json!("' OR 1=1 --"))),
        ("an id of another spelling", with(&claims, "sub", json!(format!("{{{}}}", ann.user)))),
    ] {
        assert_refused(&server, what, &sign(&claims));
    }
    // The key is right and the algorithm is not the key's.
    let header = Header { kid: head["kid"].as_str().map(str::to_owned), ..Header::new(Algorithm::HS512) };
    let token =
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("signed");
    assert_refused(&server, "HS512", &token);
}
