//! Quotas, over real sockets: what is refused, that nothing is lost, and that a command raises them while the server runs.

mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use common::entry::{Entry, new_row};
use common::http::{Account, get, join, make_space, sign_up};
use common::json_client::{JsonClient, change};
use common::raw::post;
use common::server::TestServer;
use common::socket::Socket;
use lattice_testkit::Database;
use serde_json::{Value, json};

/// Runs `lattice-server quota` on the database of a server, which goes on running.
#[track_caller]
fn quota(server: &TestServer, arguments: &[&str]) -> String {
    let url = match server.database() {
        Some(database) => database.url(),
        None => format!("sqlite:{}", server.data_dir().join("lattice.db").display()),
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_lattice-server"));
    let output = command.env_clear().args(["--database-url", &url, "quota"]).args(arguments).output();
    let output = output.expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn entries(count: usize) -> Vec<Entry> {
    (0..count).map(|n| Entry::insert("Item", &new_row()).integer("n", n as i64)).collect()
}

fn upload(socket: &mut Socket, entries: &[Entry]) -> Vec<String> {
    socket.upload(&entries.iter().collect::<Vec<_>>());
    entries.iter().map(|entry| entry.id.to_string()).collect()
}

fn count(server: &TestServer, account: &Account, space: &str) -> usize {
    let (_, page) = get(server, &format!("/sync/changes?limit=1000&space={space}"), &account.token);
    page["changes"].as_array().map_or(0, Vec::len)
}

#[track_caller]
fn assert_over_quota((code, reason): (u16, String)) {
    assert_eq!(code, 1013, "{reason}");
    assert!(reason.starts_with("quota_exceeded: "), "{reason}");
}

fn native_clients_lose_nothing(server: &TestServer) {
    let (ann, bob) = (sign_up(server, "ann"), sign_up(server, "bob"));
    let mut socket = Socket::open(server, &ann.token, None);
    let (fits, beyond, small) = (entries(6), entries(7), entries(1));
    let begin = Instant::now();
    // All at once: what fits is acknowledged before the socket ends, and nothing after what did not fit.
    let ids = upload(&mut socket, &fits);
    upload(&mut socket, &beyond);
    upload(&mut socket, &small);
    let heard = socket.until_acked(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(heard.acks, ids);
    assert_over_quota(socket.closed());
    assert!(begin.elapsed() >= Duration::from_secs(1), "who is over quota is not let go at once");
    let stored = count(server, &ann, "me");
    assert!((6..=7).contains(&stored), "nothing of the frame that did not fit is stored: {stored}");

    // Reading goes on, and others are not concerned.
    let mut reader = Socket::open(server, &ann.token, None);
    assert_eq!(reader.until_entries(stored).entries.len(), stored);
    Socket::open(server, &bob.token, None).store(&entries(9).iter().collect::<Vec<_>>());
    // Deletes are kept in the log like everything, so they count as well.
    let mut socket = Socket::open(server, &ann.token, None);
    let deletes: Vec<_> = beyond.iter().map(|_| Entry::delete("Item", &new_row())).collect();
    upload(&mut socket, &deletes);
    assert_over_quota(socket.closed());

    // The client comes again with all that was not acknowledged, and it is taken once the quota is raised.
    let said = quota(server, &["set", "--user", "ann@example.com", "--changes", "40"]);
    assert!(said.contains(&format!("changes: {stored} of 40")), "{said}");
    let mut socket = Socket::open(server, &ann.token, None);
    let again: Vec<&Entry> = beyond.iter().chain(&small).collect();
    socket.upload(&again);
    let ids: Vec<&str> = again.iter().map(|entry| &*entry.id).collect();
    socket.until_acked(&ids);
    assert_eq!(count(server, &ann, "me"), 14);
}

#[test]
fn a_native_client_over_its_quota_loses_nothing() {
    native_clients_lose_nothing(&TestServer::start(&[("QUOTA_USER_CHANGES", "10")]));
}

#[test]
fn nor_does_one_on_two_instances_of_postgres() {
    let server = TestServer::start_on(Database::create(), &[("QUOTA_USER_CHANGES", "10")], 2);
    native_clients_lose_nothing(&server);
}

#[test]
fn a_json_client_is_told_and_closed() {
    let server = TestServer::start(&[("QUOTA_SPACE_CHANGES", "3")]);
    let ann = sign_up(&server, "ann");
    let mut client = JsonClient::open(&server, "phone", &ann);
    let rows = |count: usize| -> Vec<Value> {
        (0..count).map(|n| change("insert", "Item", &new_row(), json!({"n": n}))).collect()
    };
    client.store("me", rows(2));
    client.upload("me", rows(2));
    let error = client.event("error");
    assert_eq!((&error["code"], &error["space"]), (&json!("quota_exceeded"), &json!("me")));
    assert_eq!(error["id"], json!(2), "the upload that was not stored");
    assert!(error["retryAfter"].as_u64().is_some_and(|after| after > 0), "{error}");
    assert_over_quota(client.closed());
    assert_eq!(count(&server, &ann, "me"), 2);
}

#[test]
fn an_upload_by_http_over_the_quota_is_refused_as_a_whole() {
    let server = TestServer::start(&[("QUOTA_USER_SPACES", "1")]);
    let (ann, bob) = (sign_up(&server, "ann"), sign_up(&server, "bob"));
    let space = make_space(&server, &ann, "shared");
    join(&server, &space, &ann, &bob, "editor");
    let another = post(&server, "/spaces", Some(&ann.token), &json!({"name": "x", "kind": "shared"}));
    assert_eq!((another.status, another.code().as_str()), (409, "too_many_spaces"));

    let send = |account: &Account, space: &str, count: usize| {
        let rows: Vec<_> =
            (0..count).map(|n| change("insert", "Item", &new_row(), json!({"n": n}))).collect();
        post(&server, "/sync/changes", Some(&account.token), &json!({"space": space, "changes": rows}))
    };
    assert_eq!(send(&bob, &space, 3).status, 200);
    // The owner answers for what members upload, in whatever space of theirs.
    quota(&server, &["set", "--user", "ann@example.com", "--changes", "4"]);
    for (account, space) in [(&bob, &*space), (&ann, "me")] {
        let refused = send(account, space, 2);
        assert_eq!((refused.status, refused.code().as_str()), (507, "quota_exceeded"), "{}", refused.body);
        assert!(refused.header("retry-after").is_none(), "it does not help to wait");
    }
    assert_eq!((count(&server, &bob, &space), count(&server, &ann, "me")), (3, 0));
    assert_eq!(send(&bob, "me", 9).status, 200);
    quota(&server, &["set", "--space", &space, "--bytes", "1KiB"]);
    quota(&server, &["set", "--user", "ann@example.com", "--changes", "off"]);
    assert_eq!(send(&bob, &space, 30).status, 507, "more than the space's bytes");
    let said = quota(&server, &["show", "--space", &space]);
    assert!(said.contains("of 1024\nchanges: 3 of default"), "{said}");
    quota(&server, &["set", "--space", &space, "--bytes", "default"]);
    assert_eq!(send(&bob, &space, 30).status, 200);
}
