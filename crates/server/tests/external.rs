//! Tokens of another issuer, which is a process of its own, over real sockets.

mod common;

use std::time::UNIX_EPOCH;

use common::device::{Device, ITEM, converge, field, row_id};
use common::entry::{Entry, new_row};
use common::http::{self, Account, get, post, sign_up};
use common::json_client::{JsonClient, change};
use common::server::{TestServer, run_to_end};
use common::socket::{Socket, handshake};
use lattice_protocol::value;
use lattice_testkit::{IdToken, Issuer, KeyKind, KeySet, OldKeys, Signature};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Life of a short-lived token, in seconds. Long enough to connect with on a loaded machine.
const SHORT_LIFE_S: i64 = 6;

fn start(issuer: &Issuer, more: &[(&str, &str)]) -> TestServer {
    let own = [("EXTERNAL_ISSUER", issuer.url()), ("EXTERNAL_AUDIENCE", "somebody-else,lattice-test")];
    TestServer::start(&[&own, more].concat())
}

fn now_s() -> i64 {
    i64::try_from(UNIX_EPOCH.elapsed().expect("a time after 1970").as_secs()).expect("a time")
}

fn token(sub: &str) -> IdToken {
    IdToken::new().claim("sub", sub)
}

/// Somebody with this token.
#[track_caller]
fn account(server: &TestServer, token: String) -> Account {
    let (status, profile) = get(server, "/profile", &token);
    assert_eq!(status, 200, "{profile}");
    let user = profile["id"].as_str().expect("an id").to_owned();
    Account { email: String::new(), token, user }
}

#[track_caller]
fn refused(server: &TestServer, token: &str) -> (u16, String) {
    let (status, answer) = get(server, "/profile", token);
    let code = answer["code"].as_str().unwrap_or_default().to_owned();
    // Sockets are opened by the same rules.
    let problem = handshake(server, "/sync", Some(token), b"").problem();
    assert_eq!(problem["code"], json!(code), "{problem}");
    (status, code)
}

#[test]
fn people_of_another_issuer_sync() {
    let issuer = Issuer::start();
    let server = start(&issuer, &[]);
    let ann = account(&server, issuer.mint(&token("ann")));
    let mut phone = Device::new("Ann's phone", &ann, 1);
    let mut laptop = Device::new("Ann's laptop", &account(&server, issuer.mint(&token("ann"))), 2);
    phone.connect(&server);
    laptop.connect(&server);
    let item = row_id(1);
    phone.insert(ITEM, &item, vec![field("name", value::text("Ada")), field("count", value::integer(1))]);
    converge(&mut [&mut phone, &mut laptop]);
    assert_eq!(laptop.value(ITEM, &item, "name"), Some(value::text("Ada")));
    let mut browser = JsonClient::in_space(&server, "browser", &ann, "me");
    browser.store("me", vec![change("insert", "Trip", "t1", json!({"name": "Oslo"}))]);
    let bob = account(&server, issuer.mint(&token("bob")));
    assert_ne!(bob.user, ann.user);
    let (_, profile) = get(&server, "/profile", &ann.token);
    assert_eq!((&profile["email"], &profile["fullName"]), (&json!("ann@example.com"), &json!("Ann Example")));
    let (_, profile) = get(&server, "/profile", &bob.token);
    assert_eq!(profile["email"], Value::Null, "the address is Ann's already");
    // Accounts of this server stay what they were.
    let local = sign_up(&server, "local");
    Socket::open(&server, &local.token, None);
}

#[test]
fn keys_rotate_under_open_connections() {
    let issuer = Issuer::start();
    let server = start(&issuer, &[("EXTERNAL_JWKS_URL", &issuer.jwks_url())]);
    let ann = account(&server, issuer.mint(&token("ann")));
    let mut client = JsonClient::in_space(&server, "ann", &ann, "me");
    assert_eq!((issuer.requests("jwks"), issuer.requests("discovery")), (1, 0));
    issuer.rotate(KeyKind::Es256, OldKeys::Drop);
    let renewed = issuer.mint(&token("ann"));
    client.send(&json!({"type": "auth", "token": renewed}));
    assert!(client.event("auth")["expiresIn"].is_u64());
    assert_eq!(issuer.requests("jwks"), 2);
    client.store("me", vec![change("insert", "Trip", "t1", json!({"name": "Oslo"}))]);
    assert_eq!(refused(&server, &ann.token), (401, "token_invalid".to_owned()), "its key was withdrawn");
    // Names that nobody knows do not make the server ask for each.
    let hidden = issuer.secret_key(KeyKind::EdDsa);
    for _ in 0..3 {
        let unknown = issuer.mint(&token("ann").key(&hidden));
        assert_eq!(refused(&server, &unknown), (401, "token_invalid".to_owned()));
    }
    assert_eq!(issuer.requests("jwks"), 2);
    Socket::open(&server, &renewed, None);
}

#[test]
fn tokens_that_are_wrong_are_refused() {
    let issuer = Issuer::start();
    let (rsa, p256) = ("key-1".to_owned(), issuer.rotate(KeyKind::Es256, OldKeys::Keep));
    let server = start(&issuer, &[]);
    let good = || token("ann");
    account(&server, issuer.mint(&good()));
    let other = Issuer::start();
    let wrong = [
        issuer.mint(&good().claim("aud", "nobody")),
        issuer.mint(&good().without("aud")),
        issuer.mint(&good().claim("iss", other.url())),
        issuer.mint(&good().without("iss")),
        issuer.mint(&good().claim("iat", now_s() + 3_600)),
        issuer.mint(&good().claim("nbf", now_s() + 3_600)),
        issuer.mint(&good().without("exp")),
        issuer.mint(&good().claim("exp", now_s() + 86_400 * 365)),
        issuer.mint(&good().without("sub")),
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
        other.mint(&good().claim("iss", "lattice-server").claim("aud", "lattice")),
    ];
    for (at, token) in wrong.iter().enumerate() {
        assert_eq!(refused(&server, token), (401, "token_invalid".to_owned()), "{at}");
    }
    let expired = issuer.mint(&good().claim("iat", now_s() - 60).claim("exp", now_s() - 30));
    assert_eq!(refused(&server, &expired), (401, "token_expired".to_owned()));
    // A token of another user does not take over a connection, and a bad one changes nothing.
    let ann = account(&server, issuer.mint(&good()));
    let mut client = JsonClient::in_space(&server, "ann", &ann, "me");
    for (token, code) in [
        (issuer.mint(&token("bob")), "token_invalid"),
        (issuer.mint(&good().signature(Signature::Damaged)), "token_invalid"),
        (expired, "token_expired"),
    ] {
        client.send(&json!({"type": "auth", "token": token}));
        assert_eq!(client.error(), code);
    }
    client.store("me", vec![change("insert", "Trip", "t1", json!({"name": "Oslo"}))]);
}

#[test]
fn a_connection_lasts_as_long_as_its_token_or_the_next() {
    let issuer = Issuer::start();
    let server = start(&issuer, &[]);
    let short = || issuer.mint(&token("ann").claim("exp", now_s() + SHORT_LIFE_S));
    let ann = account(&server, issuer.mint(&token("ann")));
    let short_lived =
        |name: &str| JsonClient::in_space(&server, name, &Account { token: short(), ..ann.clone() }, "me");
    let mut renewed = short_lived("renewed");
    let mut idle = short_lived("idle");
    let mut native = Socket::open(&server, &short(), None);
    renewed.send(&json!({"type": "auth", "token": ann.token}));
    renewed.event("auth");
    for (code, reason) in [idle.closed(), native.closed()] {
        assert_eq!((code, reason.split(':').next()), (1008, Some("token_expired")));
    }
    renewed.ping();
    // What ends sessions ends these: all tokens that were made before.
    http::log_out(&server, &ann.token);
    let (code, reason) = renewed.closed();
    assert_eq!((code, reason.split(':').next()), (1008, Some("session_revoked")));
    assert_eq!(refused(&server, &ann.token), (401, "session_revoked".to_owned()));
}

#[test]
fn an_account_goes_and_its_old_tokens_do_not_bring_it_back() {
    let issuer = Issuer::start();
    let server = start(&issuer, &[]);
    let ann = account(&server, issuer.mint(&token("ann")));
    let mut client = JsonClient::in_space(&server, "ann", &ann, "me");
    let (status, answer) = http::call(&server, "DELETE", "/profile", &ann.token, Some(&json!({})));
    assert_eq!(status, 204, "{answer}");
    let (code, reason) = client.closed();
    assert_eq!((code, reason.split(':').next()), (1008, Some("session_revoked")));
    assert_eq!(refused(&server, &ann.token), (401, "session_revoked".to_owned()));
}

#[test]
fn an_issuer_that_is_down_makes_no_token_bad() {
    let issuer = Issuer::start();
    issuer.set_key_set(KeySet::Fails, &[]);
    let server = start(&issuer, &[]);
    let good = issuer.mint(&token("ann"));
    assert_eq!(refused(&server, &good), (503, "provider_unavailable".to_owned()));
    let shaken = handshake(&server, "/sync", Some(&good), b"");
    assert!(shaken.header("retry-after").is_some());
    issuer.set_key_set(KeySet::Good, &[]);
    let mut server = server;
    server.restart_same_folder();
    account(&server, good.clone());
    drop(issuer);
    Socket::open(&server, &good, None);
    let local = sign_up(&server, "local");
    Socket::open(&server, &local.token, None);
}

#[test]
fn a_token_that_may_only_read_changes_nothing() {
    let issuer = Issuer::start();
    let server = start(&issuer, &[("EXTERNAL_PERMISSIONS_CLAIM", "scope")]);
    let ann = account(&server, issuer.mint(&token("ann").claim("scope", "openid read write")));
    let reader = Account { token: issuer.mint(&token("ann").claim("scope", "read")), ..ann.clone() };
    let nobody = issuer.mint(&token("ann").claim("scope", "openid"));
    assert_eq!(refused(&server, &nobody), (403, "permission_denied".to_owned()));
    assert_eq!(refused(&server, &issuer.mint(&token("ann"))), (403, "permission_denied".to_owned()));

    let mut writing = JsonClient::in_space(&server, "writes", &ann, "me");
    let mut reading = JsonClient::in_space(&server, "reads", &reader, "me");
    writing.store("me", vec![change("insert", "Trip", "t1", json!({"name": "Oslo"}))]);
    reading.until_row("me", "Trip", "t1");
    reading.send(&json!({"type": "upload", "id": 1, "changes": [change("delete", "Trip", "t1", json!({}))]}));
    assert_eq!(reading.error(), "permission_denied");
    let mut native = Socket::open(&server, &reader.token, None);
    native.until_entries(1);
    // Change by change, as a viewer's: each is acknowledged, undone on the device, and listed.
    let made = Entry::insert("Trip", &new_row()).integer("days", 1);
    let changed = Entry::update("Trip", "t1").text("name", "mine");
    let heard = native.store(&[&made, &changed]);
    assert_eq!(heard.acks, [&*made.id, &*changed.id]);
    assert!(heard.events.is_empty(), "{:?}", heard.events);
    let last = |row: &str| heard.entries.iter().rfind(|entry| entry["globalRowId"] == *row);
    assert_eq!(last(&made.row).expect("a correction")["operation"], "DELETE");
    assert_eq!(last("t1").expect("a correction")["changedFields"]["name"]["value"], "Oslo");
    let (_, inbox) = get(&server, "/refusals", &reader.token);
    let codes: Vec<_> =
        inbox["refusals"].as_array().expect("a list").iter().map(|one| &one["code"]).collect();
    assert_eq!(codes, ["permission_denied"; 2], "{inbox}");
    assert_eq!(writing.space("me").value("Trip", "t1", "name"), Some("\"Oslo\""));
    for (path, body) in [
        ("/sync/changes", json!({"changes": [change("delete", "Trip", "t1", json!({}))]})),
        ("/spaces", json!({"name": "x", "kind": "shared"})),
    ] {
        let (status, answer) = post(&server, path, Some(&reader.token), &body);
        assert_eq!((status, &answer["code"]), (403, &json!("permission_denied")), "{path}");
    }
    assert_eq!(get(&server, "/spaces", &reader.token).0, 200);
    // The next token decides.
    reading.send(&json!({"type": "auth", "token": ann.token}));
    reading.event("auth");
    reading.store("me", vec![change("delete", "Trip", "t1", json!({}))]);
    writing.until_gone("me", "Trip", "t1");
}

#[test]
fn other_ways_in_can_be_closed() {
    let issuer = Issuer::start();
    let server = start(&issuer, &[("LOCAL_SIGN_IN", "false")]);
    let body = json!({"email": "ann@example.com", "password": "correct horse battery"});
    for path in ["/auth/signup", "/auth/login", "/register", "/login"] {
        let (status, answer) = post(&server, path, None, &body);
        assert_eq!((status, &answer["code"]), (403, &json!("sign_in_disabled")), "{path}");
    }
    let ann = account(&server, issuer.mint(&token("ann")));
    Socket::open(&server, &ann.token, None);
    http::log_out(&server, &ann.token);
    let folder = TempDir::new().expect("a folder");
    let ended = run_to_end(folder.path(), &[("LOCAL_SIGN_IN", "false")]);
    assert!(server.greeting().contains(issuer.url()));
    assert!(!ended.status.success() && ended.stderr.contains("EXTERNAL_ISSUER"), "{}", ended.stderr);
}
