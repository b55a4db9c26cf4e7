//! Finding out who has an account: by what is answered, and by how long it takes.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::http::{PASSWORD, make_space, sign_up};
use crate::common::raw::{Answer, post};
use crate::common::server::TestServer;

/// Everything of an answer that does not change by itself.
fn shape(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let headers = answer
        .headers
        .iter()
        .filter(|(name, _)| !matches!(&**name, "date" | "x-request-id"))
        .cloned()
        .collect();
    (answer.status, headers, answer.body.clone())
}

#[test]
fn a_login_answers_alike_whether_or_not_there_is_an_account() {
    let server = TestServer::start(&[]);
    sign_up(&server, "ann");
    for path in ["/auth/login", "/login"] {
        let known =
            post(&server, path, None, &json!({"email": "ann@example.com", "password": "wrong horse"}));
        assert_eq!((known.status, known.code().as_str()), (401, "invalid_credentials"));
        for email in ["nobody@example.com", "not an address", "ANN@EXAMPLE.COM", ""] {
            let other = post(&server, path, None, &json!({"email": email, "password": "wrong horse"}));
            assert_eq!(shape(&other), shape(&known), "{path} {email}");
        }
    }
}

/// Without the hash of a password that nobody has, an unknown address would be answered a hundred times as fast.
#[test]
fn a_login_takes_as_long_whether_or_not_there_is_an_account() {
    let server = TestServer::start(&[]);
    sign_up(&server, "ann");
    let time = |email: &str| {
        let before = Instant::now();
        let answer = post(&server, "/auth/login", None, &json!({"email": email, "password": "wrong horse"}));
        assert_eq!(answer.status, 401);
        before.elapsed()
    };
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    time("ann@example.com");
    // In turn, so that whatever else the machine does meets both.
    let (known, unknown): (Vec<_>, Vec<_>) =
        (0..9).map(|_| (time("ann@example.com"), time("nobody@example.com"))).unzip();
    let (known, unknown) = (median(known), median(unknown));
    assert!(known < unknown * 2 && unknown < known * 2, "known {known:?}, unknown {unknown:?}");
}

#[test]
fn an_invite_says_nothing_of_whether_the_address_has_an_account() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    sign_up(&server, "bob");
    let space = make_space(&server, &ann, "shared");
    let keys = ["bob@example.com", "nobody@example.com"].map(|email| {
        let body = json!({"role": "viewer", "email": email});
        let answer = post(&server, &format!("/spaces/{space}/invites"), Some(&ann.token), &body);
        assert_eq!(answer.status, 201, "{}", answer.body);
        let invite = answer.json();
        invite.as_object().expect("an object").keys().cloned().collect::<Vec<_>>()
    });
    assert_eq!(keys[0], keys[1]);
}

#[test]
fn tokens_that_never_were_are_answered_like_those_of_others() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let refresh = |token: &str| post(&server, "/auth/refresh", None, &json!({"refreshToken": token}));
    let unknown = refresh(&format!("lrt_{}", "A".repeat(86)));
    for other in ["", "lrt_", &ann.token, PASSWORD] {
        assert_eq!(shape(&refresh(other)), shape(&unknown), "{other}");
    }
}
