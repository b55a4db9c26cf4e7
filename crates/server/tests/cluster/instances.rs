//! What one instance does reaches the clients of another: by PostgreSQL alone, by Redis, and by looking while both are cut.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::PATIENCE;
use crate::common::entry::{Entry, new_row};
use crate::common::http::{
    Account, call, device_token, get, join, log_out, make_space, remove, set_role, sign_up,
};
use crate::common::json_client::{JsonClient, Poller, change};
use crate::common::server::TestServer;
use crate::common::socket::{Got, Socket, handshake};

/// Nobody listens there: the bus is cut from the start.
const NO_REDIS: &str = "redis://127.0.0.1:1";
/// What is revoked takes effect within 5 s; the rest is for a loaded machine.
const SOON: Duration = Duration::from_secs(8);

/// Two instances without Redis, with it, and with a Redis that is not there.
fn pairs() -> [(&'static str, TestServer); 3] {
    let redis = lattice_testkit::redis_url();
    [
        ("PostgreSQL", TestServer::start_shared(&[], 2)),
        ("Redis", TestServer::start_shared(&[("REDIS_URL", &redis)], 2)),
        ("nothing", cut_off(2)),
    ]
}

/// Instances whose bus is cut; they warn of it.
fn cut_off(instances: usize) -> TestServer {
    TestServer::start_shared(&[("REDIS_URL", NO_REDIS), ("LOG", "error")], instances)
}

fn readiness(server: &TestServer, at: usize) -> (u16, Value) {
    get(server.on(at), "/readyz", "")
}

/// Waits until both instances say that they are connected.
#[track_caller]
fn until_connected(server: &TestServer, instances: usize) {
    let deadline = Instant::now() + PATIENCE;
    for at in 0..instances {
        while readiness(server, at) != (200, json!({"status": "ok"})) {
            assert!(Instant::now() < deadline, "instance {at}: {:?}", readiness(server, at));
        }
    }
}

fn show(client: &mut JsonClient, space: &str, state: Value) {
    client.send(&json!({"type": "presence", "space": space, "state": state}));
}

/// A shared space of Ann's with Bob in it.
fn shared(server: &TestServer) -> (Account, Account, String) {
    let (ann, bob) = (sign_up(server.on(0), "ann"), sign_up(server.on(1), "bob"));
    let space = make_space(server, &ann, "shared");
    join(server, &space, &ann, &bob, "editor");
    (ann, bob, space)
}

#[test]
fn a_change_reaches_listeners_on_another_instance() {
    for (bus, server) in pairs() {
        if bus != "nothing" {
            until_connected(&server, 2);
        }
        let (ann, bob, space) = shared(&server);
        let mut json = JsonClient::in_space(server.on(1), "json", &bob, &space);
        let target = format!("/sync/{space}");
        let mut native = handshake(server.on(1), &target, Some(&bob.token), b"").socket();
        let mut here = handshake(server.on(1), &target, Some(&bob.token), b"").socket();
        let mut writer = handshake(server.on(0), &target, Some(&ann.token), b"").socket();
        let mut seen = 0;
        let mut slowest = Duration::ZERO;
        // Changes of both instances in turn: what the ring of one has and what it has not follow one another.
        for round in 0..6_i64 {
            let row = new_row();
            let started = Instant::now();
            let entry = Entry::insert("Trip", &row).integer("n", round);
            if round % 3 == 2 {
                here.store(&[&entry])
            } else {
                writer.store(&[&entry])
            };
            json.until_row(&space, "Trip", &row);
            slowest = slowest.max(started.elapsed());
            seen += 1;
        }
        let heard = native.until_entries(seen);
        let values: Vec<_> =
            heard.entries.iter().map(|entry| entry["changedFields"]["n"]["value"].clone()).collect();
        assert_eq!(values, (0..6).map(|n| json!(n)).collect::<Vec<_>>(), "by {bus}");
        assert!(slowest < SOON, "by {bus} it took {slowest:?}");
        // A poll that waits is woken as well.
        let mut poller = Poller::new(&bob, &space);
        poller.catch_up(server.on(1));
        let row = new_row();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                while poller.replica.row("Trip", &row).is_none() {
                    poller.poll(&server, "&wait=20");
                }
            });
            writer.store(&[&Entry::insert("Trip", &row).integer("n", 7)]);
            waiting.join().expect("no panic");
        });
    }
}

#[test]
fn whoever_is_removed_is_disconnected_everywhere() {
    for (bus, server) in pairs() {
        let (ann, bob, space) = shared(&server);
        let mut native = handshake(server.on(1), &format!("/sync/{space}"), Some(&bob.token), b"").socket();
        let mut json = JsonClient::in_space(server.on(1), "json", &bob, &space);
        set_role(server.on(0), &space, &ann, &bob, "viewer");
        let started = Instant::now();
        json.until(|client| client.space(&space).role.as_deref() == Some("viewer"));
        assert!(started.elapsed() < SOON, "by {bus} a role took {:?}", started.elapsed());
        remove(server.on(0), &space, &ann, &bob);
        let removed = Instant::now();
        let (code, reason) = native.closed();
        assert!(code == 1008 && reason.starts_with("space_not_found"), "{code} {reason}");
        assert_eq!(json.event("access")["role"], json!(null));
        assert!(removed.elapsed() < SOON, "by {bus} it took {:?}", removed.elapsed());
        // What is written from then on is not for Bob.
        let mut anns = JsonClient::in_space(server.on(0), "ann", &ann, &space);
        anns.store(&space, vec![change("insert", "Trip", &new_row(), json!({"n": 1}))]);
        json.ping();
        assert!(json.space(&space).rows.is_empty());
    }
}

#[test]
fn a_session_that_ends_ends_everywhere() {
    for (bus, server) in pairs() {
        let ann = sign_up(server.on(0), "ann");
        let device = device_token(server.on(0), &ann);
        let mut ends = Socket::open(server.on(1), &device, None);
        let mut stays = Socket::open(server.on(1), &ann.token, None);
        log_out(server.on(0), &device);
        let ended = Instant::now();
        let (code, reason) = ends.closed();
        assert!(code == 1008 && reason.starts_with("session_revoked"), "{code} {reason}");
        assert!(ended.elapsed() < SOON, "by {bus} it took {:?}", ended.elapsed());
        assert_eq!(get(server.on(1), "/profile", &device).0, 401);
        stays.store(&[&Entry::insert("Trip", &new_row()).integer("n", 1)]);
    }
}

#[test]
fn any_instance_takes_any_token() {
    let server = TestServer::start_shared(&[], 3);
    let ann = sign_up(server.on(0), "ann");
    let keys: Vec<Value> = (0..3).map(|at| get(server.on(at), "/.well-known/jwks.json", "").1).collect();
    assert!(keys[0]["keys"].as_array().is_some_and(|keys| keys.len() == 1));
    assert!(keys.iter().all(|set| *set == keys[0]), "of several first starts one makes the key");
    for at in 0..3 {
        assert_eq!(get(server.on(at), "/profile", &ann.token).0, 200);
    }
    assert!(!server.data_dir().exists(), "nothing is kept beside the database");
}

#[test]
fn clients_of_all_instances_see_one_another() {
    for redis in [None, Some(lattice_testkit::redis_url())] {
        let settings: Vec<(&str, &str)> = redis.iter().map(|url| ("REDIS_URL", url.as_str())).collect();
        let mut server = TestServer::start_shared(&settings, 3);
        until_connected(&server, 3);
        let (ann, bob, space) = shared(&server);
        let mut anns = JsonClient::in_space(server.on(0), "ann", &ann, &space);
        let mut bobs = JsonClient::in_space(server.on(1), "bob", &bob, &space);
        show(&mut anns, &space, json!({"cell": 1}));
        let frame = bobs.event("presence");
        assert_eq!((&frame["state"], &frame["user"]), (&json!({"cell": 1}), &json!(ann.user)));
        assert_eq!(frame["clientId"], anns.hello["clientId"]);
        // Whoever comes later is told as well.
        let mut later = JsonClient::in_space(server.on(2), "later", &bob, &space);
        assert_eq!(later.event("presence")["state"], json!({"cell": 1}));
        show(&mut bobs, &space, json!("here"));
        assert_eq!(anns.event("presence")["state"], "here");
        assert_eq!(later.event("presence")["state"], "here");
        show(&mut anns, &space, json!(2));
        assert_eq!(bobs.event("presence")["state"], 2);
        anns.disconnect();
        assert_eq!(bobs.event("presence")["state"], json!(null));
        // Those of an instance that dies are gone after a while.
        assert_eq!(later.event("presence")["state"], 2);
        assert_eq!(later.event("presence")["state"], json!(null));
        server.kill_instance(1);
        let gone = later.event("presence");
        assert_eq!((&gone["state"], &gone["user"]), (&json!(null), &json!(bob.user)));
    }
}

#[test]
fn readiness_tells_of_the_bus_and_of_the_end() {
    let server = cut_off(1);
    assert_eq!(readiness(&server, 0), (200, json!({"status": "degraded"})));
    let mut server = TestServer::start_shared(&[("DRAIN_SECONDS", "3"), ("LOG", "error")], 2);
    until_connected(&server, 2);
    let ann = sign_up(server.on(0), "ann");
    let mut client = Socket::open(server.on(0), &ann.token, None);
    server.ask_instance_to_end(0);
    // Until its clients are told, it serves them, and says that no more are to be sent.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (status, answer) = readiness(&server, 0);
        if status == 503 {
            assert_eq!(answer["code"], "not_ready");
            break;
        }
        assert!(Instant::now() < deadline, "it stays ready while it closes");
    }
    client.store(&[&Entry::insert("Trip", &new_row()).integer("n", 1)]);
    assert_eq!(client.closed().0, 1001);
    assert!(server.wait_for_instance(0, Duration::from_secs(13)).success());
    // The other one goes on, from where the client was.
    let mut client = Socket::open(server.on(1), &ann.token, None);
    assert_eq!(client.until_entries(1).entries.len(), 1);
    assert_eq!(readiness(&server, 1), (200, json!({"status": "ok"})));
}

#[test]
fn a_rolling_restart_loses_nothing() {
    let mut server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut stored = 0;
    for at in 0..3 {
        let mut writer = Socket::open(server.on(at), &ann.token, None);
        let mut listener = Socket::open(server.on((at + 1) % 3), &ann.token, None);
        listener.until_entries(stored);
        for _ in 0..20 {
            writer.store(&[&Entry::insert("Trip", &new_row()).integer("n", 1)]);
            stored += 1;
        }
        listener.until_entries(20);
        server.ask_instance_to_end(at);
        assert_eq!(writer.closed().0, 1001);
        assert!(server.wait_for_instance(at, Duration::from_secs(10)).success());
        // Meanwhile the others serve.
        let mut elsewhere = Socket::open(server.on((at + 1) % 3), &ann.token, None);
        elsewhere.store(&[&Entry::insert("Trip", &new_row()).integer("n", 1)]);
        stored += 1;
        server.start_instance(at);
    }
    let state = Socket::open(server.in_turn(), &ann.token, None).until_entries(stored);
    assert_eq!(state.entries.len(), stored);
}

#[test]
fn a_cut_bus_comes_back() {
    let server = TestServer::start_shared(&[("LOG", "error")], 2);
    until_connected(&server, 2);
    let (ann, bob, space) = shared(&server);
    let mut bobs = JsonClient::in_space(server.on(1), "bob", &bob, &space);
    let mut anns = JsonClient::in_space(server.on(0), "ann", &ann, &space);
    for _ in 0..3 {
        server.database().expect("a database").execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'lattice-server bus'",
        );
        let row = new_row();
        anns.store(&space, vec![change("insert", "Trip", &row, json!({"n": 1}))]);
        bobs.until_row(&space, "Trip", &row);
        until_connected(&server, 2);
        show(&mut anns, &space, json!(row));
        while bobs.event("presence")["state"] != json!(row) {}
    }
    let (status, _) = call(&server, "GET", "/readyz", "", None);
    assert_eq!(status, 200);
    assert!(!matches!(
        bobs.socket.as_mut().expect("a connection").next_within(Duration::ZERO),
        Some(Got::Gone)
    ));
}
