//! Which account an identity signs in to.

use lattice_testkit::Issuer;
use serde_json::{Value, json};

use super::common::http::{PASSWORD, call, get, post, sign_up};
use super::common::json_client::JsonClient;
use super::common::server::TestServer;
use super::{refused, sign_in, start, start_with, text, token, ways_in};

#[track_caller]
fn link(server: &TestServer, bearer: &str, token: &str) -> (u16, Value) {
    post(server, "/profile/identities", Some(bearer), &json!({"provider": "corp", "idToken": token}))
}

#[test]
fn an_account_that_is_there_is_linked_by_its_owner() {
    let issuer = Issuer::start();
    let server = start(&issuer);
    let ann = sign_up(&server, "ann");
    // Who has the address at the provider does not come in for it: the account may be somebody else's.
    let vouched = issuer.mint(&token("ann"));
    refused(sign_in(&server, &vouched), 409, "account_exists");
    // What was refused is still good for whoever owns the account as well.
    let (status, linked) = link(&server, &ann.token, &vouched);
    assert_eq!(
        (status, &linked["provider"], &linked["email"]),
        (201, &json!("corp"), &json!("ann@example.com"))
    );
    let (status, login) = sign_in(&server, &issuer.mint(&token("ann")));
    assert_eq!((status, &login["user"]["id"]), (200, &json!(ann.user)));
    assert_eq!(login["user"]["providers"], json!(["email", "corp"]));
    // Once more is no harm, and another account cannot have it.
    assert_eq!(link(&server, &ann.token, &issuer.mint(&token("ann"))).0, 201);
    let bob = sign_up(&server, "bob");
    refused(link(&server, &bob.token, &issuer.mint(&token("ann"))), 409, "identity_taken");
    // The address need not be the account's; that it is somebody's must be vouched for.
    let unverified = token("zoe").claim("email_verified", false);
    refused(link(&server, &bob.token, &issuer.mint(&unverified)), 403, "identity_email_unverified");
    refused(link(&server, &bob.token, &issuer.mint(&token("b").claim("aud", "x"))), 401, "id_token_invalid");
    assert_eq!(link(&server, &bob.token, &issuer.mint(&token("zoe"))).0, 201);
    let (_, zoe) = sign_in(&server, &issuer.mint(&token("zoe")));
    assert_eq!((&zoe["user"]["id"], &zoe["user"]["email"]), (&json!(bob.user), &json!("bob@example.com")));
    for body in
        [json!({}), json!({"provider": "corp"}), json!({"code": "x"}), json!({"idToken": "x", "code": "y"})]
    {
        refused(post(&server, "/profile/identities", Some(&bob.token), &body), 400, "bad_request");
    }
    let (_, log) = get(&server, "/profile/access-log", &bob.token);
    assert!(log.to_string().contains("identity_linked"), "{log}");
    assert!(!log.to_string().contains("zoe@example.com"), "{log}");
}

#[test]
fn unlinking_locks_nobody_out() {
    let issuer = Issuer::start();
    let server = start(&issuer);
    let ann = sign_up(&server, "ann");
    let list = |bearer: &str| get(&server, "/profile/identities", bearer).1["identities"].clone();
    let unlink = |bearer: &str, id: &Value| {
        call(&server, "DELETE", &format!("/profile/identities/{}", text(id)), bearer, None)
    };
    assert_eq!(link(&server, &ann.token, &issuer.mint(&token("work"))).0, 201);
    assert_eq!(link(&server, &ann.token, &issuer.mint(&token("home"))).0, 201);
    let identities = list(&ann.token);
    assert_eq!(identities.as_array().map(Vec::len), Some(2));
    let (_, zoe) = sign_in(&server, &issuer.mint(&token("zoe")));
    let zoe = text(&zoe["token"]);
    refused(unlink(zoe, &identities[0]["id"]), 404, "identity_not_found");
    refused(unlink(zoe, &list(zoe)[0]["id"]), 409, "last_way_in");
    assert_eq!(unlink(&ann.token, &identities[0]["id"]).0, 204);
    assert_eq!(unlink(&ann.token, &identities[1]["id"]).0, 204, "there is a password");
    refused(unlink(&ann.token, &identities[1]["id"]), 404, "identity_not_found");
    assert_eq!(ways_in(&server, &ann.token), json!(["email"]));
    // It is nobody's now, and makes an account of its own.
    let (_, work) = sign_in(&server, &issuer.mint(&token("work")));
    assert_ne!(work["user"]["id"], json!(ann.user));
}

#[test]
fn anonymous_accounts_get_a_way_back() {
    let issuer = Issuer::start();
    let server = start_with(&issuer, &json!({}), &[("ANONYMOUS_ACCOUNTS", "true")]);
    let (status, somebody) = post(&server, "/auth/anonymous", None, &json!({}));
    assert_eq!(status, 201, "{somebody}");
    let bearer = text(&somebody["token"]);
    assert_eq!(link(&server, bearer, &issuer.mint(&token("ann"))).0, 201);
    let (_, ann) = sign_in(&server, &issuer.mint(&token("ann")));
    assert_eq!(ann["user"]["id"], somebody["user"]["id"]);
    let upgrade = json!({"email": "ann@example.com", "password": PASSWORD});
    refused(post(&server, "/auth/upgrade", Some(bearer), &upgrade), 409, "not_anonymous");
}

#[test]
fn an_account_that_goes_frees_its_identity() {
    let issuer = Issuer::start();
    let server = start(&issuer);
    let ann = sign_up(&server, "ann");
    assert_eq!(link(&server, &ann.token, &issuer.mint(&token("ann"))).0, 201);
    let mut socket = JsonClient::in_space(&server, "ann", &ann, "me");
    let (status, answer) =
        call(&server, "DELETE", "/profile", &ann.token, Some(&json!({"password": PASSWORD})));
    assert_eq!(status, 204, "{answer}");
    assert_eq!(socket.closed().0, 1008);
    let (status, again) = sign_in(&server, &issuer.mint(&token("ann")));
    assert_eq!(status, 200, "{again}");
    assert_ne!(again["user"]["id"], json!(ann.user));
    // Without a password it goes as well, for whoever has just signed in.
    let (status, answer) = call(&server, "DELETE", "/profile", text(&again["token"]), Some(&json!({})));
    assert_eq!(status, 204, "{answer}");
    refused(get(&server, "/profile", text(&again["token"])), 401, "token_invalid");
}
