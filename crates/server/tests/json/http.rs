//! The JSON dialect over HTTP.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::entry::{Entry, new_id, new_row};
use crate::common::http::{call, get, post, sign_up};
use crate::common::json_client::{JsonClient, Poller, change};
use crate::common::server::TestServer;
use crate::common::socket::Socket;

#[test]
fn uploads_and_pages() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut live = JsonClient::in_space(&server, "live", &ann, "me");
    let rows: Vec<String> = (0..7).map(|_| new_row()).collect();
    let changes: Vec<Value> =
        rows.iter().map(|row| change("insert", "Trip", row, json!({"days": 1}))).collect();
    let body = json!({"id": "batch-1", "clientId": "c", "changes": changes});
    let (status, answer) = post(&server, "/sync/changes", Some(&ann.token), &body);
    assert_eq!((status, &answer["id"], &answer["cursor"]), (200, &json!("batch-1"), &json!(null)));
    assert_eq!(answer["current"], json!([]));
    let results = answer["results"].as_array().expect("results");
    assert!(results.len() == 7 && results.iter().all(|result| result["status"] == "applied"), "{answer}");
    let (_, again) = post(&server, "/sync/changes", Some(&ann.token), &body);
    let again = again["results"].as_array().expect("results");
    assert!(again.iter().all(|result| result["status"] == "duplicate"));
    rows.iter().for_each(|row| live.until_row("me", "Trip", row));

    let mut poller = Poller::new(&ann, "me");
    let mut pages = Vec::new();
    loop {
        let before = poller.replica.log.len();
        let more = poller.poll(&server, "&limit=3");
        pages.push(poller.replica.log.len() - before);
        if !more {
            break;
        }
    }
    assert_eq!((pages, &*poller.replica.resets), (vec![3, 3, 1], &["no_cursor".to_owned()][..]));
    assert_eq!(poller.replica.rows, live.space("me").rows);
    // From there on only what changed.
    live.store("me", vec![change("update", "Trip", &rows[0], json!({"days": 2}))]);
    assert!(!poller.poll(&server, ""));
    assert_eq!(poller.replica.log.last().expect("a change").columns().len(), 1);
    assert_eq!((poller.replica.log.len(), poller.replica.resets.len()), (8, 1));
    poller.replica.cursor = Some("a0000000-1000-8000-8000-1d2e3f405162".into());
    poller.poll(&server, "");
    assert_eq!(poller.replica.resets, ["no_cursor", "unknown_cursor"]);
    assert_eq!(poller.replica.rows, live.space("me").rows);
    // What loses is answered with what won.
    let mut late = change("update", "Trip", &rows[0], json!({"days": 9}));
    late["timestamp"] = json!(5);
    assert_eq!(poller.store(&server, &[late])[0]["status"], "superseded");
    assert_eq!(poller.replica.value("Trip", &rows[0], "days"), Some("2"));
}

#[test]
fn a_poll_waits_for_a_change() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut poller = Poller::new(&ann, "me");
    poller.catch_up(&server);
    // Nothing happens: an empty page, after the time that was asked for.
    let started = Instant::now();
    assert!(!poller.poll(&server, "&wait=2"));
    assert!(started.elapsed() >= Duration::from_secs(2), "it did not wait");
    assert!(poller.replica.log.is_empty() && poller.replica.resets.len() == 1);
    // Something happens: it is answered then, long before its time. Whether the request or the change comes first does
    // not matter.
    let row = new_row();
    let started = Instant::now();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            poller.poll(&server, "&wait=25");
            poller
        });
        let mut native = Socket::open(&server, &ann.token, None);
        native.store(&[&Entry::insert("Trip", &row).integer("days", 1)]);
        let poller = waiting.join().expect("a poller");
        assert_eq!(poller.replica.value("Trip", &row, "days"), Some("1"));
    });
    assert!(started.elapsed() < Duration::from_secs(20), "it was not woken");
}

#[test]
fn what_cannot_be_answered_is_a_problem() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let long = "x".repeat(129);
    for (path, status, code) in [
        ("/sync/changes?limit=0", 400, "bad_query"),
        ("/sync/changes?limit=x", 400, "bad_query"),
        ("/sync/changes?wait=-1", 400, "bad_query"),
        (&*format!("/sync/changes?cursor={long}"), 400, "bad_cursor"),
        ("/sync/changes?cursor=nonsense", 400, "bad_cursor"),
        ("/sync/changes?space=x", 404, "space_not_found"),
        (&*format!("/sync/changes?space={}", new_id()), 404, "space_not_found"),
        ("/sync/changes?schema-version=x", 400, "bad_schema_version"),
    ] {
        let (got, problem) = get(&server, path, &ann.token);
        assert_eq!((got, problem["code"].as_str()), (status, Some(code)), "{path}");
    }
    let (status, problem) = get(&server, "/sync/changes", "nonsense");
    assert_eq!((status, problem["code"].as_str()), (401, Some("token_invalid")));
    for (body, status, code) in [
        (json!([]), 400, "bad_frame"),
        (json!({"changes": {}}), 400, "bad_frame"),
        (json!({"changes": [], "clientId": ""}), 400, "bad_frame"),
        (json!({"changes": [], "space": new_id()}), 404, "space_not_found"),
        (json!({"changes": [], "space": 7}), 404, "space_not_found"),
    ] {
        let (got, problem) = post(&server, "/sync/changes", Some(&ann.token), &body);
        assert_eq!((got, problem["code"].as_str()), (status, Some(code)), "{body}");
    }
    let (status, answer) = call(&server, "POST", "/sync/changes", &ann.token, Some(&json!({"changes": []})));
    assert_eq!((status, &answer["results"]), (200, &json!([])));
}

#[test]
fn a_retry_is_recognised_however_it_comes() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let change = |time: Option<f64>| {
        json!({"tableName": "Trip", "operation": "insert", "globalRowId": "r", "changedFields": {"days": 1},
               "timestamp": time})
    };
    let body = json!({"id": "u1", "clientId": "c1", "changes": [change(None), change(Some(1_000.5))]});
    let upload = |body: &Value| {
        let (status, answer) = post(&server, "/sync/changes", Some(&ann.token), body);
        assert_eq!(status, 200, "{answer}");
        answer["results"].as_array().expect("results").clone()
    };
    let first = upload(&body);
    assert_eq!((&first[0]["status"], &first[1]["status"]), (&json!("applied"), &json!("superseded")));
    let again = upload(&body);
    assert!(again.iter().all(|result| result["status"] == "duplicate"), "{again:?}");
    // The same client on a socket.
    let mut client = JsonClient::new("c1", &ann);
    client.hello["clientId"] = json!("c1");
    client.connect(&server);
    let mut frame = body.clone();
    frame["type"] = json!("upload");
    client.send(&frame);
    let results = client.event("ack")["results"].as_array().expect("results").clone();
    assert!(results.iter().all(|result| result["status"] == "duplicate"), "{results:?}");
    assert_eq!((&results[0]["id"], &results[1]["id"]), (&first[0]["id"], &first[1]["id"]));
    // Another one is another author.
    let mut other = body;
    other["clientId"] = json!("c2");
    assert!(upload(&other).iter().all(|result| result["status"] != "duplicate"));
}
