//! The version of an app's schema that a space asks for.

use serde_json::{Value, json};

use super::cast::{Cast, soon};
use crate::common::http::{call, get, set_policy};
use crate::common::json_client::JsonClient;
use crate::common::socket::{Handshake, handshake_with};

fn native(cast: &Cast, query: &str, header: Option<u64>) -> Handshake {
    let target = format!("/sync/{}{query}", cast.space);
    let header = header.map(|version| format!("Lattice-Schema-Version: {version}\r\n")).unwrap_or_default();
    handshake_with(&cast.server, &target, Some(&cast.bob.token), &header, b"").expect("an answer")
}

#[track_caller]
fn assert_refused(problem: &Value, texts: &[&str]) {
    assert_eq!((&problem["code"], &problem["status"]), (&json!("schema_version"), &json!(409)));
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(texts.iter().all(|text| detail.contains(text)), "{detail}");
}

#[test]
fn versions_are_refused_with_both_numbers_and_then_admitted() {
    let cast = Cast::with_bob("editor");
    let (server, space) = (&cast.server, &*cast.space);
    set_policy(server, space, &cast.ann, &json!({}), &json!({"minimum": 31}));
    assert_refused(&native(&cast, "", None).problem(), &["31", "none"]);
    assert_refused(&native(&cast, "", Some(30)).problem(), &["31", "30"]);
    assert_refused(&native(&cast, "?schema-version=29", None).problem(), &["31", "29"]);
    native(&cast, "", Some(31)).socket();
    native(&cast, "?schema-version=32", None).socket();
    assert_eq!(native(&cast, "?schema-version=x", None).problem()["code"], "bad_schema_version");
    let path = format!("/sync/changes?space={space}");
    let (_, problem) = get(server, &format!("{path}&schema-version=30"), &cast.bob.token);
    assert_refused(&problem, &["31", "30"]);
    assert_eq!(get(server, &format!("{path}&schema-version=31"), &cast.bob.token).0, 200);
    let body = json!({"space": space, "changes": []});
    let (_, problem) = call(server, "POST", "/sync/changes", &cast.bob.token, Some(&body));
    assert_refused(&problem, &["31", "none"]);

    let mut old = JsonClient::new("old", &cast.bob);
    old.hello["schemaVersion"] = json!(30);
    old.connect(server);
    for frame in ["subscribe", "upload", "poll"] {
        old.send(&json!({"type": frame, "space": space, "changes": []}));
        let error = old.event("error");
        let message = error["message"].as_str().expect("a message");
        assert!(
            error["code"] == "schema_version" && message.contains("31") && message.contains("30"),
            "{error}"
        );
        assert_eq!(error["space"], json!(space));
    }
    let mut new = JsonClient::new("new", &cast.bob);
    new.hello["schemaVersion"] = json!(31);
    new.connect(server);
    new.subscribe(space, json!({}));
    new.until_complete(space);

    // The rule moves while they are connected.
    let mut socket = native(&cast, "", Some(31)).socket();
    set_policy(server, space, &cast.ann, &json!({}), &json!({"exact": 40}));
    soon("another version", || {
        let (code, reason) = socket.closed();
        assert!(
            code == 1008 && reason.starts_with("schema_version: ") && reason.contains("40"),
            "{code} {reason}"
        );
        let error = new.event("error");
        assert_eq!((&error["code"], &error["space"]), (&json!("schema_version"), &json!(space)));
    });
    new.ping();
    assert_refused(&native(&cast, "", Some(41)).problem(), &["40", "41"]);
    native(&cast, "", Some(40)).socket();
}

#[test]
fn a_space_is_named_by_path_or_query() {
    let cast = Cast::with_bob("editor");
    let (server, space) = (&cast.server, &*cast.space);
    let open =
        |target: &str| handshake_with(server, target, Some(&cast.bob.token), "", b"").expect("an answer");
    let mut by_path = open(&format!("/sync/{space}")).socket();
    let mut by_query = open(&format!("/sync?space={}", space.to_ascii_uppercase())).socket();
    let mut own = open("/sync/me").socket();
    let mut also_own = open("/sync?space=me").socket();
    let entry = |row: &str| crate::common::entry::Entry::insert("Item", row).integer("n", 1);
    by_path.store(&[&entry("shared")]);
    assert_eq!(by_query.until_entries(1).entries[0]["globalRowId"], "shared");
    own.store(&[&entry("own")]);
    assert_eq!(also_own.until_entries(1).entries[0]["globalRowId"], "own");
    let mut plain = open("/sync").socket();
    assert_eq!(plain.until_entries(1).entries[0]["globalRowId"], "own");
}
