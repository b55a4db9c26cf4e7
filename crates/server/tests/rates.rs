//! Limits on how often and how fast, over real sockets.

mod common;

use std::time::{Duration, Instant};

use common::entry::{Entry, new_row};
use common::http::{PASSWORD, sign_up};
use common::json_client::change;
use common::raw::{Answer, ask, post, send};
use common::server::TestServer;
use common::socket::{Socket, handshake};
use common::{PATIENCE, http};
use lattice_testkit::{Database, RedisServer};
use serde_json::{Value, json};

const PROXIED: (&str, &str) = ("TRUSTED_PROXIES", "127.0.0.1");

fn wrong(server: &TestServer, email: &str, headers: &[(&str, &str)]) -> Answer {
    let body = json!({"email": email, "password": "wrong horse"}).to_string();
    send(server, "POST", "/auth/login", headers, body.as_bytes())
}

#[track_caller]
fn assert_limited(answer: &Answer, max_s: u64) {
    assert_eq!((answer.status, answer.code().as_str()), (429, "rate_limited"), "{}", answer.body);
    let after: u64 = answer.header("retry-after").and_then(|after| after.parse().ok()).expect("Retry-After");
    assert!((1..=max_s).contains(&after), "{after}");
}

/// Asks again until it is granted.
#[track_caller]
fn until_granted(ask: impl Fn() -> Answer) -> Answer {
    let begin = Instant::now();
    loop {
        let answer = ask();
        if answer.status != 429 {
            return answer;
        }
        assert!(begin.elapsed() < PATIENCE, "it stays refused");
        std::thread::yield_now();
    }
}

#[test]
fn an_account_is_guessed_at_only_so_often_from_wherever() {
    let server = TestServer::start(&[("RATE_SIGN_IN_ACCOUNT", "3/3s"), PROXIED]);
    sign_up(&server, "ann");
    sign_up(&server, "bob");
    for (email, other) in
        [("ann@example.com", " ANN@example.com "), ("nobody@example.com", "Nobody@Example.com")]
    {
        for n in 0..3 {
            // From everywhere at once.
            let from = format!("203.0.113.{n}");
            assert_eq!(wrong(&server, email, &[("x-forwarded-for", &from)]).status, 401, "{email}");
        }
        assert_limited(&wrong(&server, other, &[("x-forwarded-for", "203.0.113.77")]), 3);
    }
    // The right password is none the better for it, by whichever door.
    let credentials = json!({"email": "ann@example.com", "password": PASSWORD});
    assert_limited(&post(&server, "/login", None, &credentials), 3);
    let bobs = json!({"email": "bob@example.com", "password": PASSWORD});
    assert_eq!(post(&server, "/auth/login", None, &bobs).status, 200, "others are not concerned");
    let granted = until_granted(|| post(&server, "/auth/login", None, &credentials));
    assert_eq!(granted.status, 200, "nobody is locked out for longer");
}

#[test]
fn an_owner_is_not_locked_out_by_whoever_guesses_from_everywhere() {
    let server = TestServer::start(&[("RATE_SIGN_IN_ACCOUNT", "3/600s"), PROXIED]);
    let at = |address: &'static str| [("x-forwarded-for", address)];
    let home = at("2001:db8::1");
    let body = json!({"email": "ann@example.com", "password": PASSWORD}).to_string();
    assert_eq!(send(&server, "POST", "/auth/signup", &home, body.as_bytes()).status, 201);
    for n in 0..3 {
        let from = format!("203.0.113.{n}");
        assert_eq!(wrong(&server, "ann@example.com", &[("x-forwarded-for", &from)]).status, 401);
    }
    let log_in = |headers: &[(&str, &str)]| send(&server, "POST", "/login", headers, body.as_bytes());
    assert_limited(&log_in(&at("203.0.113.9")), 600);
    // Where she is signed in already; there it has a limit as well.
    for _ in 0..2 {
        assert_eq!(log_in(&at("2001:db8::ffff")).status, 200);
    }
    assert_eq!(wrong(&server, "ann@example.com", &home).status, 401);
    assert_limited(&log_in(&home), 600);
}

#[test]
fn an_address_may_try_so_often_whatever_it_says_of_itself() {
    let server =
        TestServer::start(&[("RATE_SIGN_IN_ADDRESS", "3/600s"), ("RATE_SIGN_UP_ADDRESS", "1/600s"), PROXIED]);
    let from = |line: &str, n: usize| {
        wrong(&server, &format!("nobody{n}@example.com"), &[("x-forwarded-for", line)])
    };
    for (n, line) in
        ["198.51.100.7", "1.1.1.1, 198.51.100.7", "2.2.2.2,3.3.3.3 , 198.51.100.7"].into_iter().enumerate()
    {
        assert_eq!(from(line, n).status, 401, "{line}");
    }
    for line in ["198.51.100.7", "9.9.9.9, 198.51.100.7", "198.51.100.7:4711"] {
        assert_limited(&from(line, 9), 600);
    }
    assert_eq!(from("198.51.100.8", 9).status, 401, "another address");
    let sign_up = |name: &str, line: &str| {
        let body = json!({"email": format!("{name}@example.com"), "password": PASSWORD}).to_string();
        send(&server, "POST", "/auth/signup", &[("x-forwarded-for", line)], body.as_bytes())
    };
    assert_eq!(sign_up("ann", "198.51.100.7").status, 201, "counted for itself");
    assert_limited(&sign_up("bob", "198.51.100.7"), 600);
    assert_eq!(sign_up("bob", "2001:db8::1").status, 201);
    assert_limited(&sign_up("cy", "2001:db8::2"), 600);
}

#[test]
fn whoever_is_no_trusted_proxy_speaks_for_nobody() {
    let server =
        TestServer::start(&[("RATE_SIGN_IN_ADDRESS", "1/600s"), ("TRUSTED_PROXIES", "10.0.0.0/8,192.0.2.1")]);
    let ann = sign_up(&server, "ann");
    let headers = [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=203.0.113.9")];
    let body = json!({"email": "ann@example.com", "password": PASSWORD}).to_string();
    assert_eq!(send(&server, "POST", "/login", &headers, body.as_bytes()).status, 200);
    let sessions = ask(&server, "GET", "/auth/sessions", Some(&ann.token), &Value::Null).json();
    assert_eq!(sessions["sessions"][0]["address"], "127.0.0.1");
}

#[test]
fn sockets_are_opened_and_sessions_refreshed_only_so_often() {
    let server =
        TestServer::start(&[("RATE_HANDSHAKE_ACCOUNT", "2/600s"), ("RATE_REFRESH_SESSION", "2/600s")]);
    let (ann, bob) = (sign_up(&server, "ann"), sign_up(&server, "bob"));
    let _open = [Socket::open(&server, &ann.token, None), Socket::open(&server, &ann.token, None)];
    let refused = handshake(&server, "/sync", Some(&ann.token), b"");
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.problem()["code"], "rate_limited");
    Socket::open(&server, &bob.token, None);
    let login = |name: &str| {
        let body = json!({"email": format!("{name}@example.com"), "password": PASSWORD});
        post(&server, "/auth/login", None, &body).json()
    };
    let refresh = |session: &Value| {
        let token = session["refreshToken"].clone();
        post(&server, "/auth/refresh", None, &json!({"refreshToken": token}))
    };
    let (mut one, other) = (login("ann"), login("ann"));
    for _ in 0..2 {
        let next = refresh(&one);
        assert_eq!(next.status, 200);
        one = next.json();
    }
    assert_limited(&refresh(&one), 600);
    assert_eq!(refresh(&other).status, 200, "another session of the same account");
}

#[test]
fn an_upload_that_is_too_fast_is_slowed_and_nothing_of_it_is_lost() {
    let server = TestServer::start(&[("RATE_UPLOAD_CHANGES_ACCOUNT", "50/1s"), ("PING_SECONDS", "1")]);
    let ann = sign_up(&server, "ann");
    let mut fast = Socket::open(&server, &ann.token, None);
    let entries: Vec<_> = (0..300).map(|n| Entry::insert("Item", &new_row()).integer("n", n)).collect();
    let begin = Instant::now();
    for frame in entries.chunks(30) {
        fast.upload(&frame.iter().collect::<Vec<_>>());
    }
    let ids: Vec<&str> = entries.iter().map(|entry| &*entry.id).collect();
    let heard = fast.until_acked(&ids);
    assert!(
        begin.elapsed() >= Duration::from_secs(4),
        "250 changes beyond the first 50 take 5 seconds at 50 a second"
    );
    assert_eq!(heard.acks, ids, "in the order in which they came");
    let mut reader = Socket::open(&server, &ann.token, None);
    assert_eq!(reader.until_entries(300).entries.len(), 300, "whoever listens hears of all");
    // A frame that takes longer than a client may be silent is taken whole, and the socket goes on.
    let large: Vec<_> = (0..400).map(|n| Entry::insert("Item", &new_row()).integer("n", n)).collect();
    fast.upload(&large.iter().collect::<Vec<_>>());
    let begin = Instant::now();
    fast.store(&[&Entry::insert("Item", &new_row()).integer("n", 1)]);
    assert!(begin.elapsed() >= Duration::from_secs(6), "it was not read from for seven intervals of pings");
}

#[test]
fn an_upload_by_http_that_is_too_fast_is_told_when_to_come_again() {
    let server = TestServer::start(&[("RATE_UPLOAD_CHANGES_SESSION", "10/1s")]);
    let ann = sign_up(&server, "ann");
    let upload = |count: usize| {
        let changes: Vec<_> =
            (0..count).map(|n| change("insert", "Item", &new_row(), json!({"n": n}))).collect();
        post(&server, "/sync/changes", Some(&ann.token), &json!({"changes": changes}))
    };
    assert_eq!(upload(40).status, 200, "more than may come at once passes, once");
    assert_limited(&upload(1), 3);
    let (_, page) = http::get(&server, "/sync/changes?limit=1000", &ann.token);
    assert_eq!(page["changes"].as_array().map(Vec::len), Some(40), "what was refused is not stored");
    assert_eq!(until_granted(|| upload(1)).status, 200);
    let (_, page) = http::get(&server, "/sync/changes?limit=1000", &ann.token);
    assert_eq!(page["changes"].as_array().map(Vec::len), Some(41));
}

#[test]
fn instances_count_together_and_each_alone_while_redis_is_gone() {
    let mut redis = RedisServer::start();
    let settings = [("REDIS_URL", &*redis.url()), ("RATE_SIGN_IN_ACCOUNT", "4/600s"), ("LOG", "error")];
    let server = TestServer::start_on(Database::create(), &settings, 2);
    for n in 0..4 {
        assert_eq!(wrong(server.on(n % 2), "nobody@example.com", &[]).status, 401);
    }
    for instance in 0..2 {
        assert_limited(&wrong(server.on(instance), "nobody@example.com", &[]), 600);
    }
    redis.kill();
    for instance in 0..2 {
        for _ in 0..4 {
            assert_eq!(
                wrong(server.on(instance), "somebody@example.com", &[]).status,
                401,
                "nobody is refused for it"
            );
        }
        assert_limited(&wrong(server.on(instance), "somebody@example.com", &[]), 600);
    }
}
