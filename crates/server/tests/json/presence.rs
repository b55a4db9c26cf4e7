//! Presence: what clients of a space show one another.

use serde_json::{Value, json};

use crate::common::entry::{Entry, new_row};
use crate::common::http::{join, make_space, remove, sign_up};
use crate::common::json_client::JsonClient;
use crate::common::server::TestServer;
use crate::common::socket::{Socket, handshake};

fn show(client: &mut JsonClient, space: &str, state: Value) {
    client.send(&json!({"type": "presence", "space": space, "state": state}));
}

#[test]
fn clients_of_a_space_see_one_another() {
    let server = TestServer::start(&[]);
    let (ann, bob, cat) = (sign_up(&server, "ann"), sign_up(&server, "bob"), sign_up(&server, "cat"));
    let space = make_space(&server, &ann, "shared");
    join(&server, &space, &ann, &bob, "viewer");
    let mut anns = JsonClient::in_space(&server, "ann", &ann, &space);
    let mut bobs = JsonClient::in_space(&server, "bob", &bob, &space);
    let mut native = handshake(&server, &format!("/sync/{space}"), Some(&ann.token), b"").socket();
    let state = json!({"typing": true, "cell": [3, 14]});
    show(&mut anns, &space, state.clone());
    let frame = bobs.event("presence");
    let id = anns.hello["clientId"].clone();
    assert_eq!(
        frame,
        json!({"type": "presence", "space": space, "user": ann.user, "clientId": id, "state": state})
    );
    // Another one who comes later is told at once; one that does not subscribe is not.
    let mut later = JsonClient::in_space(&server, "later", &bob, &space);
    assert_eq!(later.event("presence")["state"], state);
    let mut elsewhere = JsonClient::in_space(&server, "elsewhere", &cat, "me");
    show(&mut elsewhere, &space, json!(1));
    assert_eq!(elsewhere.error(), "space_not_found");
    let mut uploader = JsonClient::open(&server, "uploader", &ann);
    show(&mut uploader, &space, json!("up"));
    assert_eq!(bobs.event("presence")["state"], "up");
    // Nobody is told of itself, and a native client of nothing.
    anns.ping();
    let own: Vec<&Value> =
        anns.events.iter().filter(|event| event["clientId"] == id && event["type"] == "presence").collect();
    assert!(own.is_empty(), "{own:?}");
    let row = new_row();
    let mut writer = handshake(&server, &format!("/sync/{space}"), Some(&ann.token), b"").socket();
    writer.store(&[&Entry::insert("Trip", &row).integer("n", 1)]);
    let heard = native.until_entries(1);
    assert!(heard.events.is_empty());
    uploader.ping();
    assert!(!uploader.events.iter().any(|event| event["type"] == "presence"));
    // Another filter is no leaving.
    anns.subscribe(&space, json!({"tables": ["Trip"]}));
    anns.until_complete(&space);
    show(&mut anns, &space, json!("new"));
    assert_eq!(bobs.event("presence")["state"], "new");
    // Taken away, shown again, and gone with the connection.
    show(&mut anns, &space, Value::Null);
    let gone = bobs.event("presence");
    assert_eq!((&gone["clientId"], &gone["state"]), (&id, &json!(null)));
    show(&mut anns, &space, json!(2));
    assert_eq!(bobs.event("presence")["state"], 2);
    anns.disconnect();
    let gone = bobs.event("presence");
    assert_eq!((&gone["clientId"], &gone["user"], &gone["state"]), (&id, &json!(ann.user), &json!(null)));
    uploader.disconnect();
    assert_eq!(bobs.event("presence")["state"], json!(null));
}

#[test]
fn presence_ends_with_the_right_to_be_there() {
    let server = TestServer::start(&[]);
    let (ann, bob) = (sign_up(&server, "ann"), sign_up(&server, "bob"));
    let space = make_space(&server, &ann, "shared");
    join(&server, &space, &ann, &bob, "editor");
    let mut anns = JsonClient::in_space(&server, "ann", &ann, &space);
    let mut bobs = JsonClient::in_space(&server, "bob", &bob, &space);
    show(&mut bobs, &space, json!("here"));
    assert_eq!(anns.event("presence")["state"], "here");
    remove(&server, &space, &ann, &bob);
    assert_eq!(anns.event("presence")["state"], json!(null));
    bobs.event("access");
    // What is shown from now on is not for Bob.
    let before = bobs.events.len();
    show(&mut anns, &space, json!("alone"));
    anns.ping();
    bobs.ping();
    assert!(bobs.events[before..].iter().all(|event| event["type"] != "presence"));
}

#[test]
fn the_last_state_wins() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut watcher = JsonClient::in_space(&server, "watcher", &ann, "me");
    let mut mover = JsonClient::in_space(&server, "mover", &ann, "me");
    for step in 0..500 {
        show(&mut mover, "me", json!({"x": step}));
    }
    let mut last = -1;
    while last < 499 {
        let step = watcher.event("presence")["state"]["x"].as_i64().expect("a number");
        assert!(step > last, "{step} after {last}");
        last = step;
    }
    // The largest that is kept, and one byte more.
    show(&mut mover, "me", json!("x".repeat(4_094)));
    assert_eq!(watcher.event("presence")["state"].as_str().map(str::len), Some(4_094));
    show(&mut mover, "me", json!("x".repeat(4_095)));
    assert_eq!(mover.error(), "bad_presence");
    // Data goes on beside it.
    let row = new_row();
    Socket::open(&server, &ann.token, None).store(&[&Entry::insert("Trip", &row).integer("n", 1)]);
    watcher.until_row("me", "Trip", &row);
}
