//! Keys that rotate while servers run.

mod common;

use std::process::Command;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::PATIENCE;
use common::entry::{Entry, new_row};
use common::http::{Account, PASSWORD, get, sign_up};
use common::raw::{ask, post};
use common::server::TestServer;
use common::socket::Socket;
use serde_json::{Value, json};

/// Somebody logs in until another key signs.
const UNLIMITED: [(&str, &str); 1] = [("RATE_SIGN_IN_ACCOUNT", "off")];

/// Runs `lattice-server keys` while the server runs.
#[track_caller]
fn keys(server: &TestServer, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lattice-server"));
    command.env_clear().env("DATA_DIR", server.data_dir()).arg("keys").args(arguments);
    if let Some(database) = server.database() {
        command.env("DATABASE_URL", database.url());
    }
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn key_of(token: &str) -> String {
    let head = URL_SAFE_NO_PAD.decode(token.split('.').next().expect("a head")).expect("base64url");
    let head: Value = serde_json::from_slice(&head).expect("JSON");
    head["kid"].as_str().expect("a key").to_owned()
}

fn log_in(server: &TestServer, account: &Account) -> Value {
    let answer = post(server, "/auth/login", None, &json!({"email": account.email, "password": PASSWORD}));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn published(server: &TestServer) -> Vec<String> {
    let set = ask(server, "GET", "/.well-known/jwks.json", None, &Value::Null).json();
    let keys = set["keys"].as_array().expect("keys").iter();
    keys.map(|key| key["kid"].as_str().expect("a name").to_owned()).collect()
}

#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// `instances` are all of those that serve.
fn rotate_under(server: &TestServer, instances: usize) {
    let ann = sign_up(server.on(0), "ann");
    let session = log_in(server.on(0), &ann);
    let first = key_of(&ann.token);
    let mut socket = Socket::open(server.on(0), &ann.token, None);
    let store = |socket: &mut Socket| socket.store(&[&Entry::insert("Item", &new_row()).text("name", "x")]);
    store(&mut socket);

    // A new key is known everywhere before it signs.
    keys(server, &["rotate"]);
    for instance in 0..instances {
        until("both keys are published", || published(server.on(instance)).len() == 2);
        assert_eq!(key_of(log_in(server.on(instance), &ann)["token"].as_str().expect("a token")), first);
        assert_eq!(get(server.on(instance), "/profile", &ann.token).0, 200);
    }
    // At once: what one instance signs by it, every other takes, and what was signed before as well.
    keys(server, &["rotate", "--now"]);
    let newest =
        |instance: usize| log_in(server.on(instance), &ann)["token"].as_str().expect("a token").to_owned();
    for instance in 0..instances {
        until("a new key signs", || key_of(&newest(instance)) != first);
        let token = newest(instance);
        for other in 0..instances {
            assert_eq!(get(server.on(other), "/profile", &token).0, 200);
            assert_eq!(get(server.on(other), "/profile", &ann.token).0, 200);
        }
    }
    store(&mut socket);
    assert!(keys(server, &["list"]).contains(&first));

    // A key that has leaked: its tokens and sockets are void, and clients refresh theirs by themselves.
    keys(server, &["rotate", "--now", "--revoke-old"]);
    for instance in 0..instances {
        until("old tokens are void", || get(server.on(instance), "/profile", &ann.token).0 == 401);
    }
    assert_eq!(socket.closed().0, 1008);
    let refreshed =
        post(server.on(0), "/auth/refresh", None, &json!({"refreshToken": session["refreshToken"]}));
    assert_eq!(refreshed.status, 200, "{}", refreshed.body);
    let token = refreshed.json()["token"].as_str().expect("a token").to_owned();
    assert_eq!(get(server.on(0), "/profile", &token).0, 200);
    assert!(!published(server.on(0)).contains(&first));
}

#[test]
fn keys_rotate_under_a_server() {
    rotate_under(&TestServer::start(&UNLIMITED), 1);
}

#[test]
fn keys_rotate_under_two_that_share_a_database() {
    rotate_under(&TestServer::start_shared(&UNLIMITED, 2), 2);
}

#[test]
fn a_secret_is_not_the_command_s_to_rotate() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_lattice-server"));
    command
        .env_clear()
        .env("DATA_DIR", folder.path())
        .env("JWT_SECRET", "x".repeat(32))
        .args(["keys", "rotate"]);
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("JWT_SECRET_PREVIOUS"), "{said}");
}
