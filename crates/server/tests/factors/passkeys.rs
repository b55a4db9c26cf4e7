//! Passkeys.

use lattice_testkit::Authenticator;
use serde_json::{Value, json};

use super::common::http::{Account, call, get, post, sign_up};
use super::common::server::TestServer;
use super::{answer, challenge, log_in, refused, text};

const ORIGIN: &str = "https://app.example.com";

fn start() -> TestServer {
    TestServer::start(&[
        ("PASSKEY_DOMAIN", "example.com"),
        ("PASSKEY_ORIGINS", ORIGIN),
        ("ANONYMOUS_ACCOUNTS", "true"),
    ])
}

/// Makes a passkey.
#[track_caller]
fn add(server: &TestServer, bearer: &str, authenticator: &mut Authenticator, second: bool) -> (u16, Value) {
    let (status, asked) = post(server, "/profile/passkeys/start", Some(bearer), &json!({}));
    assert_eq!(status, 200, "{asked}");
    let credential = authenticator.create(&asked["options"]);
    let body = json!({
        "challenge": asked["challenge"], "credential": credential, "name": "My key", "secondFactor": second,
    });
    post(server, "/profile/passkeys", Some(bearer), &body)
}

/// What signing in by a passkey sends.
#[track_caller]
fn signed(server: &TestServer, authenticator: &mut Authenticator) -> Value {
    let (status, asked) = post(server, "/auth/passkey/start", None, &json!({}));
    assert_eq!(status, 200, "{asked}");
    json!({"challenge": asked["challenge"], "credential": authenticator.get(&asked["options"])})
}

#[track_caller]
fn sign_in(server: &TestServer, authenticator: &mut Authenticator) -> (u16, Value) {
    let body = signed(server, authenticator);
    post(server, "/auth/passkey", None, &body)
}

#[test]
fn a_passkey_signs_in_alone() {
    let server = start();
    let ann = sign_up(&server, "ann");
    let mut key = Authenticator::new(ORIGIN);
    let (status, kept) = add(&server, &ann.token, &mut key, false);
    assert_eq!(status, 201, "{kept}");
    assert_eq!((&kept["name"], &kept["recoveryCodes"]), (&json!("My key"), &json!([])));
    let (status, login) = sign_in(&server, &mut key);
    assert_eq!((status, &login["user"]["id"]), (200, &json!(ann.user)), "{login}");
    assert!(login["refreshToken"].is_string());
    let (_, sessions) = get(&server, "/auth/sessions", text(&login["token"]));
    assert_eq!(sessions["sessions"][0]["method"], json!("passkey"));
    assert_eq!(log_in(&server, "ann").0, 200, "the password alone is still enough");
    let (_, passkeys) = get(&server, "/profile/passkeys", &ann.token);
    assert!(passkeys["passkeys"][0]["lastUsedAt"].is_number(), "{passkeys}");
    // Nobody else's session ends it.
    let bob = sign_up(&server, "bob");
    let path = format!("/profile/passkeys/{}", text(&kept["id"]));
    refused(call(&server, "DELETE", &path, &bob.token, None), 404, "passkey_not_found");
    assert_eq!(call(&server, "DELETE", &path, &ann.token, None).0, 204);
    refused(sign_in(&server, &mut key), 401, "passkey_invalid");
}

#[test]
fn what_an_authenticator_says_wrongly_is_refused() {
    let server = start();
    let ann = sign_up(&server, "ann");
    let mut key = Authenticator::new(ORIGIN);
    assert_eq!(add(&server, &ann.token, &mut key, false).0, 201);
    // A page that fishes has what was signed for it.
    key.move_to("https://app.example.com.evil.example");
    refused(sign_in(&server, &mut key), 401, "passkey_invalid");
    key.move_to(ORIGIN);
    // Whoever finds it is not its owner.
    key.verifies = false;
    refused(sign_in(&server, &mut key), 401, "passkey_invalid");
    key.verifies = true;
    assert_eq!(sign_in(&server, &mut key).0, 200);
    // A copy is behind.
    key.counter -= 1;
    refused(sign_in(&server, &mut key), 401, "passkey_invalid");
    key.counter += 10;
    assert_eq!(sign_in(&server, &mut key).0, 200);
    // What was signed is good once, for what was asked, and not changed.
    let body = signed(&server, &mut key);
    assert_eq!(post(&server, "/auth/passkey", None, &body).0, 200);
    refused(post(&server, "/auth/passkey", None, &body), 401, "challenge_invalid");
    let (mut one, two) = (signed(&server, &mut key), signed(&server, &mut key));
    one["challenge"] = two["challenge"].clone();
    refused(post(&server, "/auth/passkey", None, &one), 401, "passkey_invalid");
    let bob = sign_up(&server, "bob");
    let mut of_bob = Authenticator::new(ORIGIN);
    assert_eq!(add(&server, &bob.token, &mut of_bob, false).0, 201);
    let (mut swapped, of_ann) = (signed(&server, &mut of_bob), signed(&server, &mut key));
    swapped["credential"]["response"]["userHandle"] = of_ann["credential"]["response"]["userHandle"].clone();
    refused(post(&server, "/auth/passkey", None, &swapped), 401, "passkey_invalid");
    let mut stranger = Authenticator::new(ORIGIN);
    let (_, asked) = post(&server, "/profile/passkeys/start", Some(&ann.token), &json!({}));
    let made = stranger.create(&asked["options"]);
    refused(sign_in(&server, &mut stranger), 401, "passkey_invalid");
    // A new one is its owner's who has asked for it, once.
    let body = json!({"challenge": asked["challenge"], "credential": made});
    refused(post(&server, "/profile/passkeys", Some(&bob.token), &body), 422, "challenge_invalid");
    refused(post(&server, "/profile/passkeys", Some(&ann.token), &body), 422, "challenge_invalid");
    let mut unverified = Authenticator::new(ORIGIN);
    unverified.verifies = false;
    refused(add(&server, &ann.token, &mut unverified, false), 422, "passkey_invalid");
    for body in
        [json!({}), json!({"challenge": "x", "credential": {}}), json!({"challenge": "x", "credential": []})]
    {
        refused(post(&server, "/auth/passkey", None, &body), 400, "bad_request");
        refused(post(&server, "/profile/passkeys", Some(&ann.token), &body), 400, "bad_request");
    }
}

#[test]
fn a_passkey_is_a_second_factor_where_its_owner_wants_it() {
    let server = start();
    let ann = sign_up(&server, "ann");
    let mut first = Authenticator::new(ORIGIN);
    assert_eq!(add(&server, &ann.token, &mut first, false).0, 201);
    let mut key = Authenticator::new(ORIGIN);
    let (status, kept) = add(&server, &ann.token, &mut key, true);
    assert_eq!((status, kept["recoveryCodes"].as_array().map(Vec::len)), (201, Some(10)), "{kept}");
    let half = challenge(&server, "ann");
    assert_eq!(half["methods"], json!(["passkey", "recovery_code"]));
    let ask = |half: &Value| {
        post(&server, "/auth/second-factor/passkey", None, &json!({"challenge": half["challenge"]}))
    };
    let (status, asked) = ask(&half);
    assert_eq!(status, 200, "{asked}");
    // The other passkey was not made for this.
    let allowed = asked["options"]["publicKey"]["allowCredentials"].as_array().map(Vec::len);
    assert_eq!(allowed, Some(1));
    let credential = key.get(&asked["options"]);
    let (status, login) = answer(&server, &half, "credential", &credential);
    assert_eq!((status, &login["user"]["id"]), (200, &json!(ann.user)), "{login}");
    let (_, sessions) = get(&server, "/auth/sessions", text(&login["token"]));
    assert_eq!(sessions["sessions"][0]["method"], json!("password+passkey"));
    // Not without having been asked, not for another challenge, not of somebody else.
    let half = challenge(&server, "ann");
    refused(answer(&server, &half, "credential", &credential), 401, "second_factor_invalid");
    let (_, asked) = ask(&half);
    let credential = key.get(&asked["options"]);
    let other = challenge(&server, "ann");
    ask(&other);
    refused(answer(&server, &other, "credential", &credential), 401, "second_factor_invalid");
    // By itself it is enough.
    assert_eq!(sign_in(&server, &mut key).0, 200);
    let half = challenge(&server, "ann");
    assert_eq!(answer(&server, &half, "recoveryCode", &kept["recoveryCodes"][3]).0, 200);
    refused(ask(&json!({"challenge": "lst_x"})), 401, "challenge_invalid");
}

#[test]
fn anonymous_accounts_get_a_way_back_that_cannot_be_lost() {
    let server = start();
    let (_, somebody) = post(&server, "/auth/anonymous", None, &json!({}));
    let account = Account {
        email: String::new(),
        token: text(&somebody["token"]).to_owned(),
        user: text(&somebody["user"]["id"]).to_owned(),
    };
    let mut key = Authenticator::new(ORIGIN);
    let (status, kept) = add(&server, &account.token, &mut key, false);
    assert_eq!(status, 201, "{kept}");
    let (status, login) = sign_in(&server, &mut key);
    assert_eq!((status, &login["user"]["id"]), (200, &json!(account.user)));
    let path = format!("/profile/passkeys/{}", text(&kept["id"]));
    refused(call(&server, "DELETE", &path, text(&login["token"]), None), 409, "last_way_in");
}

#[test]
fn without_a_domain_there_are_none() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    refused(post(&server, "/auth/passkey/start", None, &json!({})), 403, "passkeys_off");
    refused(post(&server, "/profile/passkeys/start", Some(&ann.token), &json!({})), 403, "passkeys_off");
    let folder = tempfile::tempdir().expect("a folder");
    let settings = [("PASSKEY_DOMAIN", "example.com"), ("PASSKEY_ORIGINS", "https://other.example")];
    let ended = super::common::server::run_to_end(folder.path(), &settings);
    assert!(ended.stderr.contains("PASSKEY_DOMAIN"), "{}", ended.stderr);
}
