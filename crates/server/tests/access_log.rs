//! The access log, as people, owners of spaces and operators see it.

mod common;

use std::process::{Command, Stdio};

use common::caller::Caller;
use common::database;
use common::http::{Account, PASSWORD, call, get, join, log_out, make_space, post, set_role, sign_up};
use common::server::{TestServer, run_to_end};
use common::socket::handshake;
use serde_json::{Value, json};

const DAY_US: i64 = 24 * 3_600 * 1_000_000;

/// The events of a list, the last one first.
#[track_caller]
fn events(server: &TestServer, path: &str, token: &str) -> Vec<Value> {
    let (status, page) = get(server, path, token);
    assert_eq!(status, 200, "{page}");
    page["events"].as_array().expect("events").clone()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    let mut kinds: Vec<&str> = events.iter().map(|event| event["kind"].as_str().expect("a kind")).collect();
    kinds.sort_unstable();
    kinds
}

#[track_caller]
fn find<'a>(events: &'a [Value], kind: &str) -> &'a Value {
    events.iter().find(|event| event["kind"] == kind).unwrap_or_else(|| panic!("no {kind} in {events:?}"))
}

/// What the command lists while the server runs.
#[track_caller]
fn listed(server: &TestServer, arguments: &[&str]) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lattice-server"));
    command.env_clear().env("DATA_DIR", server.data_dir()).stdin(Stdio::null());
    if let Some(database) = server.database() {
        command.env("DATABASE_URL", database.url());
    }
    let output = command.args(["access-log", "--json"]).args(arguments).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn sign_ins_and_failures_are_noted_with_where_they_came_from() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let thief = Caller::at("127.0.0.66", "Guesser/1");
    let guess = json!({"email": ann.email, "password": "was it this one?"});
    assert_eq!(thief.json(&server, "POST", "/auth/login", None, &guess).0, 401);
    let nobody = json!({"email": "was it this one?@example.com", "password": PASSWORD});
    assert_eq!(thief.json(&server, "POST", "/auth/login", None, &nobody).0, 401);
    let phone = Caller::at("127.0.0.77", "Phone/7");
    let body = json!({"email": ann.email, "password": PASSWORD});
    let (status, login) = phone.json(&server, "POST", "/login", None, &body);
    assert_eq!(status, 200, "{login}");

    let own = events(server.on(0), "/profile/access-log", &ann.token);
    let from = |event: &Value| (event["address"].clone(), event["userAgent"].clone());
    let failed = find(&own, "sign_in_failed");
    assert_eq!(from(failed), (json!("127.0.0.66"), json!("Guesser/1")));
    assert_eq!((&failed["code"], &failed["subjectId"]), (&json!("invalid_credentials"), &json!(ann.user)));
    let sign_in = own.iter().find(|event| event["kind"] == "sign_in" && event["userAgent"] == "Phone/7");
    let sign_in = sign_in.expect("the phone");
    assert_eq!(from(sign_in), (json!("127.0.0.77"), json!("Phone/7")));
    assert_eq!(sign_in["detail"], json!({"method": "password"}));

    // An operator finds the one who tried an address that nobody has, and nothing of what was typed.
    let all = listed(&server, &["--kind", "sign_in_failed", "--since", "1h"]);
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all.iter().any(|event| event["subjectId"].is_null() && event["address"] == "127.0.0.66"));
    let of_ann = listed(&server, &["--user", &ann.email, "--kind", "sign_in"]);
    assert_eq!(of_ann.len(), 2, "{of_ann:?}");
    assert!(listed(&server, &["--until", "1h"]).is_empty());
    let held = database::dump(&database::open(&server));
    assert!(!database::finds(&held, "was it this one?"));
}

#[test]
fn tokens_are_noted_once_and_sockets_that_are_closed_with_the_reason() {
    let server = TestServer::start(&[]);
    let server = server.on(0);
    let ann = sign_up(server, "ann");
    for _ in 0..5 {
        get(server, "/profile", &ann.token);
        handshake(server, "/sync", Some(&ann.token), b"").socket().close();
    }
    for target in ["/sync?token=nonsense", "/sync?token=nonsense", "/sync/changes"] {
        assert_eq!(
            handshake(server, target, target.ends_with("changes").then_some("ldt_x"), b"").status,
            401
        );
    }
    let (_, second) = post(server, "/auth/login", None, &json!({"email": ann.email, "password": PASSWORD}));
    let second = second["token"].as_str().expect("a token");
    let mut socket = handshake(server, "/sync", Some(&ann.token), b"").socket();
    log_out(server, &ann.token);
    assert!(socket.closed().1.starts_with("session_revoked"));
    let own = events(server, "/profile/access-log", second);
    let found = kinds(&own);
    let count = |kind: &str| found.iter().filter(|found| **found == kind).count();
    assert_eq!((count("socket_opened"), count("socket_closed"), count("signed_out")), (1, 1, 1), "{found:?}");
    assert_eq!(count("token_used"), 2, "one for each session: {found:?}");
    assert_eq!(find(&own, "socket_closed")["code"], "session_revoked");
    assert_eq!(find(&own, "socket_opened")["address"], "127.0.0.1");
    // Nobody knows whose these were meant to be.
    let refused = listed(server, &["--kind", "token_refused"]);
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0]["code"], "token_invalid");
    // But whose session this was is known.
    assert_eq!(get(server, "/profile", &ann.token).0, 401);
    let own = events(server, "/profile/access-log", second);
    let refused = find(&own, "token_refused");
    assert_eq!((&refused["code"], &refused["subjectId"]), (&json!("session_revoked"), &json!(ann.user)));
}

#[test]
fn owners_see_what_happened_with_their_space_and_not_where_people_are() {
    let server = TestServer::start(&[]);
    let server = server.on(0);
    let (ann, bob, cat) = (sign_up(server, "ann"), sign_up(server, "bob"), sign_up(server, "cat"));
    let space = make_space(server, &ann, "shared");
    join(server, &space, &ann, &bob, "editor");
    set_role(server, &space, &ann, &bob, "viewer");
    assert_eq!(handshake(server, &format!("/sync/{space}"), Some(&cat.token), b"").status, 404);
    let path = format!("/spaces/{space}/access-log");
    let seen = events(server, &path, &ann.token);
    assert_eq!(
        kinds(&seen),
        ["access_refused", "invite_accepted", "invite_created", "role_changed", "space_created"]
    );
    let refused = find(&seen, "access_refused");
    assert_eq!(
        (
            &refused["actorId"],
            &refused["code"],
            &refused["address"],
            &refused["userAgent"],
            &refused["sessionId"]
        ),
        (&json!(cat.user), &json!("space_not_found"), &json!(null), &json!(null), &json!(null))
    );
    assert!(!seen.iter().any(|event| event.to_string().contains("@example.com")), "{seen:?}");
    let of_bob = events(server, "/profile/access-log", &bob.token);
    let changed = find(&of_bob, "role_changed");
    assert_eq!((&changed["actorId"], &changed["address"]), (&json!(ann.user), &json!(null)));
    assert_eq!(call(server, "GET", &path, &bob.token, None).0, 403);
    assert_eq!(call(server, "GET", &path, &cat.token, None).0, 404);
    // The server counts on its own how it is asked: an operator sees all.
    let all = listed(server, &["--space", &space]);
    assert!(all.iter().any(|event| event["kind"] == "access_refused" && event["address"] == "127.0.0.1"));
}

fn sign_in(server: &TestServer, account: &Account) {
    let body = json!({"email": account.email, "password": PASSWORD});
    assert_eq!(post(server, "/auth/login", None, &body).0, 200);
}

#[test]
fn an_end_in_order_loses_no_event() {
    let mut server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    for _ in 0..3 {
        sign_in(&server, &ann);
    }
    assert!(server.terminate().success());
    let held = listed(&server, &["--user", &ann.user, "--kind", "sign_in"]);
    assert_eq!(held.len(), 4, "{held:?}");
    server.start_again();
    sign_in(&server, &ann);
}

#[test]
fn old_events_are_forgotten_and_newer_ones_are_not() {
    let mut server = TestServer::start(&[("ACCESS_LOG_DAYS", "30")]);
    let ann = sign_up(&server, "ann");
    assert!(server.terminate().success());
    // As if they had happened then.
    let [newer, older] = [29, 31].map(|days| format!("at_us = at_us - {}", days * DAY_US));
    for (ago, kind) in [(newer, "sign_in"), (older, "sign_up")] {
        let sql = format!("UPDATE access_log SET {ago} WHERE kind = '{kind}'");
        match server.database() {
            Some(database) => database.execute(&sql),
            None => {
                let file = rusqlite::Connection::open(server.data_dir().join("lattice.db")).expect("a file");
                assert_eq!(file.execute(&sql, []).expect("an event"), 1);
            }
        }
    }
    server.start_again();
    // It is done at the start, but not before the start is over.
    let deadline = std::time::Instant::now() + common::PATIENCE;
    loop {
        let held = listed(&server, &["--user", &ann.user]);
        if kinds(&held) == ["sign_in"] {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{held:?}");
    }
    let ended = run_to_end(tempfile::tempdir().expect("a folder").path(), &[("ACCESS_LOG_DAYS", "36501")]);
    assert!(ended.stderr.contains("ACCESS_LOG_DAYS is 36501; it must be 0 to 36500"), "{}", ended.stderr);
}

#[test]
fn commands_say_what_is_wrong_with_what_they_are_asked() {
    let server = TestServer::start(&[]);
    for (arguments, words) in [
        (["--kind", "sign-in"], "--kind is one of sign_up, sign_in"),
        (["--since", "yesterday"], "--since is seconds since 1970"),
        (["--user", "nobody"], "--user is an id or an e-mail address"),
        (["--user", "nobody@example.com"], "there is no account with this e-mail address"),
        (["--space", "x"], "--space is the id of a space"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lattice-server"));
        command.env_clear().env("DATA_DIR", server.data_dir()).arg("access-log").args(arguments);
        if let Some(database) = server.database() {
            command.env("DATABASE_URL", database.url());
        }
        let output = command.output().expect("it runs");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(words), "{arguments:?}: {error}");
    }
}
