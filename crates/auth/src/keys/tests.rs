use lattice_store::time::SystemRandom;

use super::*;

const NOW_S: i64 = 1_800_000_000;

fn claims() -> Claims {
    Claims {
        sub: "u".to_owned(),
        sid: "s".to_owned(),
        iat: NOW_S,
        exp: NOW_S + 900,
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        permissions: Permissions::ALL,
    }
}

fn secret(letter: &str) -> SecretString {
    letter.repeat(32).into()
}

fn generated() -> Keys {
    let folder = tempfile::tempdir().expect("a folder");
    Keys::load_or_create(folder.path(), &SystemRandom).expect("keys")
}

fn shared() -> Keys {
    Keys::from_secrets(&secret("a"), None).expect("keys")
}

fn verify(keys: &Keys, token: &str) -> Result<Claims, AuthError> {
    keys.verify(token, NOW_S * 1_000_000)
}

/// A token with any header and claims, signed by `signature`.
fn forge(header: &Value, claims: &Value, sign: impl FnOnce(&str) -> String) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(header), encode(claims));
    format!("{message}.{}", sign(&message))
}

#[test]
fn what_was_signed_verifies() {
    for keys in [generated(), shared()] {
        let token = keys.sign(&claims()).expect("signed");
        assert_eq!(verify(&keys, token.expose_secret()), Ok(claims()));
        for other in [generated(), Keys::from_secrets(&secret("b"), None).expect("keys")] {
            assert_eq!(verify(&other, token.expose_secret()), Err(AuthError::TokenInvalid));
        }
    }
}

#[test]
fn stored_keys_are_the_same_everywhere() {
    let stored = Keys::fresh(&SystemRandom);
    let instances = [(); 2].map(|()| Keys::from_stored(stored.as_bytes()).expect("keys"));
    let token = instances[0].sign(&claims()).expect("signed");
    assert_eq!(verify(&instances[1], token.expose_secret()), Ok(claims()));
    let other = Keys::from_stored(Keys::fresh(&SystemRandom).as_bytes()).expect("keys");
    assert_eq!(verify(&other, token.expose_secret()), Err(AuthError::TokenInvalid));
    for nonsense in ["", "{}", "{\"version\":1,\"keys\":[]}"] {
        assert!(matches!(Keys::from_stored(nonsense.as_bytes()), Err(KeyError::Stored(_))));
    }
}

#[test]
fn expiry_follows_the_clock_that_is_given() {
    let keys = generated();
    let token = keys.sign(&claims()).expect("signed");
    let at = |seconds: i64| keys.verify(token.expose_secret(), (NOW_S + seconds) * 1_000_000).map(|_| ());
    assert_eq!(at(0), Ok(()));
    assert_eq!(at(900 + CLOCK_LEEWAY_S - 1), Ok(()));
    assert_eq!(at(900 + CLOCK_LEEWAY_S), Err(AuthError::TokenExpired));
    assert_eq!(at(-100_000), Ok(()), "a clock that stepped back expires nothing");
}

#[test]
fn a_changed_token_is_refused() {
    let keys = generated();
    let token = keys.sign(&claims()).expect("signed");
    let token = token.expose_secret();
    let parts: Vec<&str> = token.split('.').collect();
    let other = keys.sign(&Claims { sub: "v".to_owned(), ..claims() }).expect("signed");
    let others: Vec<&str> = other.expose_secret().split('.').collect();
    for changed in [
        String::new(),
        "..".to_owned(),
        parts[..2].join("."),
        format!("{}.", parts[..2].join(".")),
        [parts[0], others[1], parts[2]].join("."),
        [parts[0], parts[1], others[2]].join("."),
        format!("{token}A"),
        format!("{token}.A"),
        format!("{}{token}", "A".repeat(MAX_TOKEN_BYTES)),
    ] {
        assert_eq!(verify(&keys, &changed), Err(AuthError::TokenInvalid), "{changed}");
    }
}

#[test]
fn the_algorithm_is_the_key_s_and_not_the_token_s() {
    let claims = json!(claims());
    let ed25519 = generated();
    let key = &ed25519.keys[0];
    for algorithm in ["none", "None", "", "HS256", "HS512", "RS256", "ES256"] {
        let token = forge(&json!({"alg": algorithm, "kid": key.kid}), &claims, |_| String::new());
        assert_eq!(verify(&ed25519, &token), Err(AuthError::TokenInvalid), "{algorithm}");
    }
    // The classic confusion: the public key, known to all, taken as a shared secret.
    let x = key.public.as_ref().expect("a public key");
    let public = URL_SAFE_NO_PAD.decode(x).expect("base64url");
    for secret in [public.as_slice(), x.as_bytes()] {
        let header = Header { kid: Some(key.kid.clone()), ..Header::new(Algorithm::HS256) };
        let token =
            jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret)).expect("signed");
        assert_eq!(verify(&ed25519, &token), Err(AuthError::TokenInvalid));
    }
    // The other way round: signed by an Ed25519 key, under the name of the shared secret.
    let shared = shared();
    let header = Header { kid: Some(shared.keys[0].kid.clone()), ..Header::new(Algorithm::EdDSA) };
    let token = jsonwebtoken::encode(&header, &claims, &key.signing).expect("signed");
    assert_eq!(verify(&shared, &token), Err(AuthError::TokenInvalid));
    // The right secret with a sibling algorithm.
    let header = Header { kid: Some(shared.keys[0].kid.clone()), ..Header::new(Algorithm::HS512) };
    let token = jsonwebtoken::encode(&header, &claims, &shared.keys[0].signing).expect("signed");
    assert_eq!(verify(&shared, &token), Err(AuthError::TokenInvalid));
    // A key that the token itself brings along.
    let token =
        forge(&json!({"alg": "HS256", "jwk": {"kty": "oct", "k": "AAAA"}}), &claims, |_| "AAAA".to_owned());
    assert_eq!(verify(&shared, &token), Err(AuthError::TokenInvalid));
}

#[test]
fn every_claim_is_required_and_checked() {
    let keys = shared();
    let sign = |claims: &Value| {
        let header = Header { kid: Some(keys.keys[0].kid.clone()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, claims, &keys.keys[0].signing).expect("signed")
    };
    assert!(verify(&keys, &sign(&json!(claims()))).is_ok());
    for claim in ["sub", "sid", "iat", "exp", "iss", "aud"] {
        let mut without = json!(claims());
        without.as_object_mut().expect("an object").remove(claim);
        assert_eq!(verify(&keys, &sign(&without)), Err(AuthError::TokenInvalid), "{claim}");
    }
    for (claim, value) in [
        ("iss", json!("someone")),
        ("aud", json!("someone")),
        ("aud", json!(["someone"])),
        ("exp", json!("soon")),
        ("exp", json!(null)),
        ("exp", json!(1e300)),
        ("sub", json!(7)),
    ] {
        let mut with = json!(claims());
        with[claim] = value.clone();
        assert_eq!(verify(&keys, &sign(&with)), Err(AuthError::TokenInvalid), "{claim} = {value}");
    }
    let mut old = json!(claims());
    old["exp"] = json!(i64::MIN);
    assert!(verify(&keys, &sign(&old)).is_err());
}

#[test]
fn a_token_must_name_its_key() {
    let keys = shared();
    let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(), &keys.keys[0].signing)
        .expect("signed");
    assert_eq!(verify(&keys, &token), Err(AuthError::TokenInvalid));
}

#[test]
fn the_previous_secret_verifies_and_does_not_sign() {
    let old = shared();
    let token = old.sign(&claims()).expect("signed");
    let rotated = Keys::from_secrets(&secret("b"), Some(&secret("a"))).expect("keys");
    assert_eq!(verify(&rotated, token.expose_secret()), Ok(claims()));
    let fresh = rotated.sign(&claims()).expect("signed");
    assert_eq!(verify(&rotated, fresh.expose_secret()), Ok(claims()));
    assert_eq!(verify(&old, fresh.expose_secret()), Err(AuthError::TokenInvalid));
    let same = Keys::from_secrets(&secret("a"), Some(&secret("a"))).expect("keys");
    assert_eq!(same.keys.len(), 1);
}

#[test]
fn short_secrets_are_refused_with_a_sentence() {
    let error = Keys::from_secrets(&"hunter2".into(), None).expect_err("short").to_string();
    assert!(error.starts_with("JWT_SECRET has 7 bytes; it needs at least 32"), "{error}");
    let error = Keys::from_secrets(&secret("a"), Some(&"hunter2".into())).expect_err("short").to_string();
    assert!(error.starts_with("JWT_SECRET_PREVIOUS has 7 bytes"), "{error}");
    assert!(!error.contains("hunter2"));
}

#[test]
fn the_public_keys_and_nothing_else_are_shown() {
    let keys = generated();
    let set = keys.jwks(NOW_S);
    assert_eq!(set["keys"].as_array().map(Vec::len), Some(1));
    let jwk = &set["keys"][0];
    assert_eq!((&jwk["kty"], &jwk["crv"], &jwk["alg"]), (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA")));
    // Whoever has the set can verify our tokens with the library's own reading of it.
    let jwk: Jwk = serde_json::from_value(jwk.clone()).expect("a JWK");
    let mut validation = Validation::new(Algorithm::EdDSA);
    (validation.validate_exp, validation.aud) = (false, Some(HashSet::from([AUDIENCE.to_owned()])));
    let token = keys.sign(&claims()).expect("signed");
    let key = DecodingKey::from_jwk(&jwk).expect("a key");
    assert!(jsonwebtoken::decode::<Claims>(token.expose_secret(), &key, &validation).is_ok());
    assert_eq!(shared().jwks(NOW_S), json!({"keys": []}));
    assert!(!format!("{:?}", shared()).contains("aaaa"));
}

#[test]
fn the_public_key_is_that_of_the_published_vector() {
    // RFC 8037, appendix A.1 to A.3.
    let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").expect("base64url");
    let seed = SecretBox::new(Box::new(<[u8; 32]>::try_from(seed).expect("32 bytes")));
    install_crypto_provider();
    let key = Key::ed25519(&seed).expect("a key");
    assert_eq!(key.public.as_deref(), Some("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"));
    assert_eq!(key.kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}
