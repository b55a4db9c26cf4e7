//! Accounts of those who do not show who they are, over real sockets.

mod common;

use common::device::{Device, converge};
use common::edit::edit;
use common::http::{Account, PASSWORD, get, post};
use common::json_client::JsonClient;
use common::server::{TestServer, run_to_end};
use serde_json::{Value, json};

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

#[track_caller]
fn somebody(server: &TestServer) -> Account {
    let (status, answer) = post(server, "/auth/anonymous", None, &json!({}));
    assert_eq!(status, 201, "{answer}");
    Account { email: String::new(), token: text(&answer["accessToken"]), user: text(&answer["user"]["id"]) }
}

#[test]
fn what_somebody_wrote_is_theirs_after_the_upgrade() {
    let mut server = TestServer::start(&[("ANONYMOUS_ACCOUNTS", "true")]);
    let anonymous = somebody(&server);
    let mut device = Device::new("a device", &anonymous, 1);
    device.connect(&server);
    (0..20).for_each(|_| edit(&mut device, "ann"));
    device.settle();
    let mut socket = JsonClient::in_space(&server, "a page", &anonymous, "me");

    device.disconnect();
    let body = json!({"email": "ann@example.com", "password": PASSWORD});
    let (status, answer) = post(&server, "/auth/upgrade", Some(&anonymous.token), &body);
    assert_eq!((status, &answer["user"]["id"]), (200, &json!(anonymous.user)), "{answer}");
    let (code, reason) = socket.closed();
    assert_eq!((code, reason.split(':').next()), (1008, Some("session_revoked")));
    assert_eq!(get(&server, "/profile", &anonymous.token).1["code"], "session_revoked");
    // Turned off, it takes nothing from anybody.
    assert!(server.terminate().success());
    server.set("ANONYMOUS_ACCOUNTS", "false");
    server.start_again();
    let (status, answer) = post(&server, "/auth/anonymous", None, &json!({}));
    assert_eq!((status, &answer["code"]), (403, &json!("anonymous_off")));

    let (status, login) = post(&server, "/auth/login", None, &body);
    assert_eq!(status, 200, "{login}");
    let email = "ann@example.com".to_owned();
    let ann = Account { email, token: text(&login["token"]), user: anonymous.user };
    // The device goes on from where it was, under the new token; another one gets what it had written before.
    edit(&mut device, "ann");
    device.token.clone_from(&ann.token);
    device.connect(&server);
    let mut fresh = Device::new("another device", &ann, 2);
    fresh.connect(&server);
    converge(&mut [&mut device, &mut fresh]);
}

#[test]
fn nobody_chooses_who_they_are_or_upgrades_for_somebody_else() {
    let server = TestServer::start(&[("ANONYMOUS_ACCOUNTS", "true")]);
    let (one, other) = (somebody(&server), somebody(&server));
    let wishes = json!({"id": one.user, "userId": one.user, "email": "eve@example.com", "emailVerified": true, "password": PASSWORD});
    let (status, answer) = post(&server, "/auth/anonymous", None, &wishes);
    assert_eq!(
        (status, &answer["user"]["email"], &answer["user"]["emailVerified"]),
        (201, &Value::Null, &json!(false))
    );
    assert_ne!(answer["user"]["id"], json!(one.user));
    let (status, answer) = post(&server, "/auth/upgrade", Some(&other.token), &wishes);
    assert_eq!(
        (status, &answer["user"]["id"], &answer["user"]["emailVerified"]),
        (200, &json!(other.user), &json!(false))
    );
    assert_eq!(get(&server, "/profile", &one.token).1["email"], Value::Null);
    // Of those who want one address at the same time one gets it, and nobody else loses anything.
    let racers: Vec<_> = (0..4).map(|_| somebody(&server)).collect();
    let body = json!({"email": "fay@example.com", "password": PASSWORD});
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let upgrade = |racer: &Account| post(&server, "/auth/upgrade", Some(&racer.token), &body).0;
        let racers: Vec<_> = racers.iter().map(|racer| scope.spawn(move || upgrade(racer))).collect();
        racers.into_iter().map(|racer| racer.join().expect("no panic")).collect()
    });
    for (racer, status) in racers.iter().zip(&statuses) {
        let expected = if *status == 200 { 401 } else { 200 };
        assert_eq!(get(&server, "/profile", &racer.token).0, expected, "{statuses:?}");
    }
    let count = |wanted| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!((count(200), count(409)), (1, 3), "{statuses:?}");
}

#[test]
fn a_retention_that_makes_no_sense_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let ended = run_to_end(folder.path(), &[("ANONYMOUS_RETENTION_DAYS", "3651")]);
    assert!(!ended.status.success());
    assert!(
        ended.stderr.contains("ANONYMOUS_RETENTION_DAYS is 3651; it must be 0 to 3650"),
        "{}",
        ended.stderr
    );
}
