//! ID tokens that apps bring.

use lattice_protocol::value;
use lattice_testkit::{IdToken, Issuer, KeyKind, KeySet, OldKeys, Signature};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::common::device::{Device, ITEM, converge, field, row_id};
use super::common::http::{Account, get, post};
use super::{now_s, refused, sign_in, start, text, token, ways_in};

#[test]
fn people_sign_in_and_sync() {
    let issuer = Issuer::start();
    let server = start(&issuer);
    let (status, first) = sign_in(&server, &issuer.mint(&token("ann")));
    assert_eq!(status, 200, "{first}");
    assert!(text(&first["token"]).starts_with("ldt_") && first["refreshToken"] == Value::Null);
    let user = &first["user"];
    assert_eq!((&user["email"], &user["emailVerified"]), (&json!("ann@example.com"), &json!(true)));
    assert_eq!((&user["fullName"], &user["providers"]), (&json!("Ann Example"), &json!(["corp"])));
    // The other name of the field, another audience of ours, and short tokens.
    let phone = issuer.mint(&token("ann").claim("aud", "lattice-phone"));
    let body = json!({"identityToken": phone, "deviceToken": false, "deviceName": "Ann's phone"});
    let (status, second) = post(&server, "/auth/corp", None, &body);
    assert_eq!((status, &second["user"]), (200, user), "the same account");
    let (status, renewed) =
        post(&server, "/auth/refresh", None, &json!({"refreshToken": second["refreshToken"]}));
    assert_eq!((status, &renewed["user"]["providers"]), (200, &json!(["corp"])));
    let account = |login: &Value| Account {
        email: String::new(),
        token: text(&login["token"]).to_owned(),
        user: text(&login["user"]["id"]).to_owned(),
    };
    let mut devices = [Device::new("one", &account(&first), 1), Device::new("two", &account(&second), 2)];
    for device in &mut devices {
        device.connect(&server);
    }
    let item = row_id(1);
    devices[0].insert(
        ITEM,
        &item,
        vec![field("name", value::text("Ada")), field("count", value::integer(1))],
    );
    let [one, two] = &mut devices;
    converge(&mut [one, two]);
    assert_eq!(two.value(ITEM, &item, "name"), Some(value::text("Ada")));
    let (_, sessions) = get(&server, "/auth/sessions", text(&first["token"]));
    let methods: Vec<_> =
        sessions["sessions"].as_array().expect("sessions").iter().map(|s| &s["method"]).collect();
    assert_eq!(methods, ["corp", "corp"]);
    let (_, providers) = get(&server, "/auth/providers", "");
    assert_eq!(providers["providers"][0]["name"], json!("corp"));
    refused(post(&server, "/auth/nobody", None, &json!({"idToken": "x"})), 404, "provider_unknown");
    // There is no password to this account, and none that could be set without its mail.
    let login = json!({"email": "ann@example.com", "password": "correct horse battery"});
    refused(post(&server, "/auth/login", None, &login), 401, "invalid_credentials");
}

#[test]
fn tokens_that_are_wrong_are_refused() {
    let issuer = Issuer::start();
    let (rsa, p256) = ("key-1".to_owned(), issuer.rotate(KeyKind::Es256, OldKeys::Keep));
    let server = start(&issuer);
    let other = Issuer::start();
    let good = || token("ann");
    let wrong = [
        issuer.mint(&good().claim("aud", "nobody")),
        issuer.mint(&good().claim("aud", json!(["lattice-test", "nobody"]))),
        issuer.mint(&good().claim("aud", json!([]))),
        issuer.mint(&good().without("aud")),
        issuer.mint(&good().claim("iss", other.url())),
        issuer.mint(&good().claim("iss", format!("{}/", issuer.url()))),
        issuer.mint(&good().without("iss")),
        issuer.mint(&good().claim("iat", now_s() + 3_600)),
        issuer.mint(&good().claim("nbf", now_s() + 3_600)),
        issuer.mint(&good().without("iat")),
        issuer.mint(&good().without("exp")),
        issuer.mint(&good().claim("exp", "tomorrow")),
        issuer.mint(&good().without("sub")),
        issuer.mint(&good().claim("sub", "")),
        issuer.mint(&good().claim("sub", "x".repeat(256))),
        issuer.mint(&good().header("kid", Value::Null)),
        issuer.mint(&good().header("kid", "unknown")),
        issuer.mint(&good().header("alg", "none")),
        issuer.mint(&good().header("crit", json!(["b64"]))),
        issuer.mint(&good().key(&rsa).header("kid", p256.as_str())),
        issuer.mint(&good().key(&p256).header("kid", rsa.as_str())),
        issuer.mint(&good().signature(Signature::Absent)),
        issuer.mint(&good().signature(Signature::Damaged)),
        issuer.mint(&good().key(&rsa).signature(Signature::HmacPem)),
        issuer.mint(&good().key(&rsa).signature(Signature::HmacDer)),
        issuer.mint(&good().key(&rsa).signature(Signature::HmacJwk)),
        issuer.mint(&good().key(&p256).signature(Signature::HmacJwk)),
        other.mint(&good()),
        other.mint(&good().claim("iss", issuer.url())),
        "x".to_owned(),
        String::new(),
        "x".repeat(60_000),
    ];
    for (at, token) in wrong.iter().enumerate() {
        let (status, answer) = sign_in(&server, token);
        assert_eq!((status, &answer["code"]), (401, &json!("id_token_invalid")), "{at}: {answer}");
    }
    let expired = issuer.mint(&good().claim("iat", now_s() - 60).claim("exp", now_s() - 30));
    refused(sign_in(&server, &expired), 401, "id_token_expired");
    refused(post(&server, "/auth/corp", None, &json!({"token": "x"})), 400, "bad_request");
    // A token of ours is none of the provider's, and the other way round.
    let (_, login) = sign_in(&server, &issuer.mint(&good()));
    refused(sign_in(&server, text(&login["token"])), 401, "id_token_invalid");
    refused(get(&server, "/profile", &issuer.mint(&good())), 401, "token_invalid");
}

#[test]
fn a_nonce_is_there_on_both_sides_or_on_none() {
    let issuer = Issuer::start();
    let server = start(&issuer);
    let hash = hex::encode(Sha256::digest("chosen"));
    let asked = |claim: Option<&str>, nonce: Option<&str>| {
        let token = match claim {
            Some(claim) => token("ann").claim("nonce", claim),
            None => token("ann").claim("jti", now_s()),
        };
        post(&server, "/auth/corp", None, &json!({"idToken": issuer.mint(&token), "nonce": nonce}))
    };
    for (claim, nonce) in
        [(Some("chosen"), Some("chosen")), (Some(hash.as_str()), Some("chosen")), (None, None)]
    {
        assert_eq!(asked(claim, nonce).0, 200, "{claim:?} {nonce:?}");
    }
    for (claim, nonce) in [
        (Some("chosen"), None),
        (Some("chosen"), Some("other")),
        (None, Some("chosen")),
        (Some("chosen"), Some("")),
        (Some("chosen"), Some(hash.as_str())),
    ] {
        refused(asked(claim, nonce), 401, "nonce_mismatch");
    }
}

#[test]
fn a_token_with_a_nonce_is_good_once_also_for_those_who_come_at_the_same_time() {
    let issuer = Issuer::start();
    let server = start(&issuer);
    let body = json!({"idToken": issuer.mint(&token("ann").claim("nonce", "n")), "nonce": "n"});
    let come = || post(&server, "/auth/corp", None, &body);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..6).map(|_| scope.spawn(come)).collect();
        calls.into_iter().map(|call| call.join().expect("an answer")).collect()
    });
    let (good, bad): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(status, _)| *status == 200);
    assert_eq!((good.len(), bad.len()), (1, 5));
    for answer in bad {
        refused(answer, 401, "id_token_used");
    }
    refused(come(), 401, "id_token_used");
    // Libraries of providers keep those without one, and hand them out again: one account, whoever is first.
    let token = issuer.mint(&token("bob"));
    let users: Vec<_> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..6).map(|_| scope.spawn(|| sign_in(&server, &token))).collect();
        calls.into_iter().map(|call| call.join().expect("an answer").1["user"]["id"].clone()).collect()
    });
    assert!(users[0].is_string() && users.iter().all(|user| *user == users[0]), "{users:?}");
}

#[test]
fn keys_rotate_while_people_sign_in() {
    let issuer = Issuer::start();
    let server = start(&issuer);
    let old = issuer.mint(&token("ann"));
    assert_eq!(sign_in(&server, &issuer.mint(&token("bob"))).0, 200);
    for kind in [KeyKind::Es256, KeyKind::EdDsa] {
        // Once for a key that is new; a second one a moment later waits for its turn.
        issuer.rotate(kind, OldKeys::Keep);
    }
    assert_eq!(sign_in(&server, &issuer.mint(&token("carol"))).0, 200);
    assert_eq!(issuer.requests("jwks"), 2);
    assert_eq!(sign_in(&server, &old).0, 200, "its key is still there");
    let hidden = issuer.secret_key(KeyKind::EdDsa);
    for _ in 0..3 {
        refused(sign_in(&server, &issuer.mint(&token("ann").key(&hidden))), 401, "id_token_invalid");
    }
    assert_eq!(issuer.requests("jwks"), 2, "names that nobody knows do not make it ask for each");
    // While the provider is down its keys are still good.
    issuer.set_key_set(KeySet::Fails, &[]);
    assert_eq!(sign_in(&server, &issuer.mint(&token("dora"))).0, 200);
    let down = Issuer::start();
    down.set_key_set(KeySet::Fails, &[]);
    let server = start(&down);
    refused(sign_in(&server, &down.mint(&token("ann"))), 503, "provider_unavailable");
}

/// Claims as Google and Apple send them, names and values changed.
#[test]
fn tokens_look_as_those_of_google_and_apple_do() {
    let issuer = Issuer::start();
    let spellings = json!({"issuerSpellings": ["accounts.google.com"]});
    let server = super::start_with(&issuer, &spellings, &[]);
    let of = |claims: &Value| {
        let claims = claims.as_object().expect("claims");
        claims.iter().fold(IdToken::new(), |token, (name, value)| token.claim(name, value.clone()))
    };
    let google = json!({
        "iss": "accounts.google.com",
        "azp": "123456789012-android.apps.googleusercontent.com",
        "aud": "lattice-phone",
        "sub": "110169484474386276334",
        "hd": "example.org",
        "email": "Zoe@Example.org",
        "email_verified": true,
        "at_hash": "HK6E_P6Dh8Y93mRNtsDB1Q",
        "name": "Zoë Example",
        "picture": "https://lh3.example.com/a-/photo=s96-c",
        "given_name": "Zoë",
        "family_name": "Example",
        "locale": "en",
        "jti": "abc161fcd2a4b9b39e9eff7f1bbbdcb4a5e1c3d9",
    });
    let (status, zoe) = sign_in(&server, &issuer.mint(&of(&google)));
    assert_eq!(status, 200, "{zoe}");
    let user = &zoe["user"];
    assert_eq!((&user["email"], &user["fullName"]), (&json!("zoe@example.org"), &json!("Zoë Example")));
    // Apple spells truth as text, tells no name, and has a hashed nonce.
    let apple = json!({
        "aud": "lattice-test",
        "sub": "001999.a7c2b8f0d1e24c35b7a9f0e1d2c3b4a5.1200",
        "nonce": hex::encode(Sha256::digest("chosen")),
        "c_hash": "yFjzV8Z9M3aS5oF8q0s7Hg",
        "email": "x7f4k2m9qz@privaterelay.example.com",
        "email_verified": "true",
        "is_private_email": "true",
        "auth_time": now_s() - 1,
        "nonce_supported": true,
        "real_user_status": 2,
        "name": null,
    });
    let body = json!({
        "identityToken": issuer.mint(&of(&apple)), "nonce": "chosen", "authorizationCode": "c0ffee.0.abc",
        "fullName": "Yan Example",
    });
    let (status, yan) = post(&server, "/auth/corp", None, &body);
    assert_eq!(status, 200, "{yan}");
    let user = &yan["user"];
    assert_eq!(user["email"], json!("x7f4k2m9qz@privaterelay.example.com"));
    assert_eq!((&user["emailVerified"], &user["fullName"]), (&json!(true), &json!("Yan Example")));
    assert_eq!(ways_in(&server, text(&yan["token"])), json!(["corp"]));
    // An address that nobody has verified is none.
    let unverified = of(&apple).claim("sub", "002").claim("email_verified", "false").without("nonce");
    let (status, nobody) = sign_in(&server, &issuer.mint(&unverified));
    assert_eq!((status, &nobody["user"]["email"]), (200, &Value::Null));
}
