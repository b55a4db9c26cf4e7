//! What is left of an account that was deleted: that there was one, and what others have of it.

mod common;

use std::time::Instant;

use common::caller::Caller;
use common::database;
use common::http::{PASSWORD, call, get, join, make_space, sign_up};
use common::server::TestServer;
use common::socket::handshake;
use serde_json::{Value, json};

const EMAIL: &str = "zoraida.quill@mail.example.com";
const NAME: &str = "Zoraida Quillfeather";
const ADDRESS: &str = "127.0.0.77";
const AGENT: &str = "ZoraidasPhone/7";
const HOME: &str = "a-secret-of-the-private-space";
const OWNED: &str = "a-secret-of-the-owned-space";
const SHARED: &str = "a-word-to-the-others";

fn insert(marker: &str, row: u32, space: &str) -> Value {
    json!({"space": space, "changes": [
        {"tableName": "Note", "operation": "insert", "globalRowId": format!("00000000-0000-4000-8000-{row:012}"),
         "changedFields": {"text": marker}},
    ]})
}

/// Waits until what is to be erased after a deletion is erased.
fn wait_until_erased(server: &TestServer) {
    let deadline = Instant::now() + common::PATIENCE;
    loop {
        let look = database::open(server);
        let left: i64 = match &look {
            database::Look::File(file) => {
                let sql = "SELECT (SELECT count(*) FROM space WHERE deleted_us IS NOT NULL AND purged = 0)
                    + (SELECT count(*) FROM writer WHERE address = ?1)
                    + (SELECT count(*) FROM access_log WHERE address = ?1)";
                file.query_row(sql, [ADDRESS], |row| row.get(0)).expect("a count")
            }
            database::Look::Postgres(database) => {
                let sql = format!(
                    "SELECT (SELECT count(*) FROM space WHERE deleted_us IS NOT NULL AND NOT purged)
                        + (SELECT count(*) FROM writer WHERE address = '{ADDRESS}')
                        + (SELECT count(*) FROM access_log WHERE address = '{ADDRESS}')"
                );
                database.query(&sql)[0][0].parse().expect("a count")
            }
        };
        if left == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "{left} records are left");
    }
}

#[test]
fn nothing_is_left_of_an_account_but_what_others_have() {
    let mut server = TestServer::start(&[]);
    let bob = sign_up(&server, "bob");
    let theirs = make_space(&server, &bob, "shared");
    let phone = Caller::at(ADDRESS, AGENT);
    let body = json!({"email": EMAIL, "password": PASSWORD, "fullName": NAME});
    let (status, made) = phone.json(&server, "POST", "/auth/signup", None, &body);
    assert_eq!(status, 201, "{made}");
    let token = made["accessToken"].as_str().expect("a token");
    let zoraida = common::http::Account {
        email: EMAIL.to_owned(),
        token: token.to_owned(),
        user: made["user"]["id"].as_str().expect("an id").to_owned(),
    };
    let wrong = json!({"email": EMAIL, "password": "not this one"});
    assert_eq!(phone.json(&server, "POST", "/auth/login", None, &wrong).0, 401);
    join(&server, &theirs, &bob, &zoraida, "editor");
    let owned = make_space(&server, &zoraida, "shared");
    // An invite for an address that was not accepted.
    let invites = format!("/spaces/{}/invites", make_space(&server, &bob, "public"));
    let invite = json!({"role": "viewer", "email": EMAIL});
    assert_eq!(call(&server, "POST", &invites, &bob.token, Some(&invite)).0, 201);
    for (marker, row, space) in [(HOME, 1, "me"), (OWNED, 2, &*owned), (SHARED, 3, &*theirs)] {
        // Written several times, so that there is something older to be left behind.
        for suffix in ["", "-2", "-3"] {
            let body = insert(&format!("{marker}{suffix}"), row, space);
            let (status, answer) = phone.json(&server, "POST", "/sync/changes", Some(token), &body);
            assert_eq!(status, 200, "{answer}");
        }
    }
    let mut socket = handshake(&server, "/sync", Some(token), b"").socket();
    // That all of it was there is what makes it mean something that it is not there any more.
    get(&server, "/profile/access-log", token);
    let held = database::dump(&database::open(&server));
    for there in [EMAIL, NAME, ADDRESS, AGENT, HOME, OWNED, SHARED] {
        assert!(database::finds(&held, there), "{there} is to be found");
    }

    let (status, answer) =
        phone.json(&server, "DELETE", "/profile", Some(token), &json!({"password": PASSWORD}));
    assert_eq!(status, 204, "{answer}");
    let (_, reason) = socket.closed();
    assert!(["session_revoked", "space_not_found"].iter().any(|code| reason.starts_with(code)), "{reason}");
    assert_eq!(get(&server, "/profile", token).0, 401);
    // Erasing begins at every start.
    server.restart_same_folder();
    wait_until_erased(&server);
    let (status, log) = get(&server, &format!("/spaces/{theirs}/access-log"), &bob.token);
    assert_eq!(status, 200);
    assert!(log.to_string().contains(&zoraida.user), "others know that somebody was there");
    assert!(server.terminate().success());

    assert_gone(&server);
    server.start_again();
    // The address is free for somebody else.
    assert_eq!(phone.json(&server, "POST", "/auth/signup", None, &body).0, 201);
}

/// That neither tables nor the file hold anything of the account, and that both hold what is others'.
fn assert_gone(server: &TestServer) {
    let held = database::dump(&database::open(server));
    for gone in [EMAIL, NAME, ADDRESS, AGENT, HOME, OWNED] {
        let line = held.lines().find(|line| database::finds(line, gone));
        assert_eq!(line, None, "{gone} is in the tables");
    }
    assert!(database::finds(&held, SHARED), "what was written for others is theirs");
    assert!(database::finds(&held, "account_deleted"));
    let file = database::bytes(server);
    let finds = |text: &str| file.windows(text.len()).any(|window| window == text.as_bytes());
    if server.database().is_none() {
        assert!(finds(SHARED), "the file is looked through");
    }
    for gone in [EMAIL, NAME, ADDRESS, AGENT, HOME, OWNED] {
        assert!(!finds(gone), "{gone} is in the file");
    }
}
