//! Requests that are too large, too deep, ambiguous, or that set what is not theirs to set.

use serde_json::{Value, json};

use crate::common::http::{PASSWORD, join, make_space, sign_up};
use crate::common::raw::{ask, exchange, post, send};
use crate::common::server::TestServer;

/// Largest body of a request, in bytes; `MAX_BODY_BYTES` of the server.
const MAX_BODY_BYTES: usize = 64 << 10;

#[test]
fn nobody_assigns_what_is_not_theirs_to_set() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let bob = sign_up(&server, "bob");
    let chosen = "11111111-1111-4111-8111-111111111111";
    let body = json!({
        "email": "mallory@example.com", "password": PASSWORD, "id": chosen, "userId": ann.user, "emailVerified": true,
        "email_verified_us": 1, "emailVerifiedAt": 1, "role": "admin", "isAdmin": true, "admin": true, "createdAt": 0,
        "passwordHash": "$argon2id$x", "password_hash": "x", "providers": ["google"], "permissions": ["admin"],
    });
    let answer = post(&server, "/auth/signup", None, &body);
    assert_eq!(answer.status, 201, "{}", answer.body);
    let mallory = answer.json();
    let user = &mallory["user"];
    assert!(user["id"] != chosen && user["id"] != json!(ann.user));
    assert_eq!((&user["emailVerified"], &user["providers"]), (&json!(false), &json!(["email"])));
    assert!(user.get("admin").is_none() && user.get("role").is_none() && user.get("passwordHash").is_none());
    let login =
        post(&server, "/auth/login", None, &json!({"email": "mallory@example.com", "password": PASSWORD}));
    assert_eq!(login.status, 200, "the password is the one that was given");

    let token = mallory["token"].as_str();
    let body = json!({
        "name": "mine", "kind": "shared", "id": chosen, "owner": ann.user, "ownerId": ann.user, "role": "viewer",
        "archived": true, "members": [{"userId": ann.user, "role": "owner"}],
    });
    let space = post(&server, "/spaces", token, &body).json();
    assert!(space["id"] != chosen && space["role"] == "owner" && space["archived"] != true, "{space}");
    let path = format!("/spaces/{}", space["id"].as_str().expect("an id"));
    let members = ask(&server, "GET", &format!("{path}/members"), token, &Value::Null).json();
    assert_eq!(members["members"].as_array().map(Vec::len), Some(1), "{members}");
    let body =
        json!({"name": "still mine", "owner": ann.user, "kind": "public", "id": chosen, "role": "viewer"});
    let changed = ask(&server, "PATCH", &path, token, &body).json();
    assert_eq!(
        (&changed["kind"], &changed["role"], &changed["id"]),
        (&json!("shared"), &json!("owner"), &space["id"])
    );

    // Nobody becomes an owner by an invite or by a role.
    let shared = make_space(&server, &ann, "shared");
    join(&server, &shared, &ann, &bob, "editor");
    for role in ["owner", "admin", "", "Owner"] {
        let answer =
            post(&server, &format!("/spaces/{shared}/invites"), Some(&ann.token), &json!({"role": role}));
        assert!((400..500).contains(&answer.status), "{role}: {}", answer.body);
        let path = format!("/spaces/{shared}/members/{}", bob.user);
        let answer = ask(&server, "PATCH", &path, Some(&bob.token), &json!({"role": role}));
        assert!((400..500).contains(&answer.status), "{role}: {}", answer.body);
    }
    // Neither does a token in the body or the address count for one in the header.
    let answer = post(
        &server,
        &format!("/spaces/{shared}/leave?token={}", ann.token),
        None,
        &json!({"token": ann.token}),
    );
    assert_eq!((answer.status, answer.code().as_str()), (401, "token_missing"));
}

#[test]
fn what_is_too_large_is_refused_and_nothing_else_suffers() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let long = "x".repeat(20_000);
    let huge = "x".repeat(MAX_BODY_BYTES);
    let credentials = |email: &str, password: &str, name: &str| json!({"email": email, "password": password, "fullName": name, "deviceName": name});
    for (body, code) in [
        (credentials(&format!("{long}@example.com"), PASSWORD, ""), "bad_email"),
        (credentials("bob@example.com", &long, ""), "weak_password"),
        (credentials("bob@example.com", PASSWORD, &long), "bad_name"),
        (credentials("bob@example.com", PASSWORD, &huge), "body_too_large"),
    ] {
        for path in ["/auth/signup", "/register"] {
            assert_eq!(post(&server, path, None, &body).code(), code, "{path}");
        }
    }
    for body in [credentials(&long, PASSWORD, ""), credentials("ann@example.com", &long, "")] {
        assert_eq!(post(&server, "/auth/login", None, &body).code(), "invalid_credentials");
    }
    let name = json!({"email": "ann@example.com", "password": PASSWORD, "deviceName": long});
    let login = post(&server, "/auth/login", None, &name);
    assert_eq!(login.status, 200, "what is shown to its owner alone is cut");
    let sessions = ask(&server, "GET", "/auth/sessions", Some(&ann.token), &Value::Null).json();
    assert_eq!(sessions["sessions"][0]["deviceName"].as_str().map(str::len), Some(128));
    assert_eq!(post(&server, "/auth/refresh", None, &json!({"refreshToken": long})).code(), "token_invalid");
    assert_eq!(
        post(&server, "/spaces", Some(&ann.token), &json!({"name": long, "kind": "shared"})).status,
        422
    );
    // A head that never ends, and one with a thousand headers.
    let path = format!("/profile?{}", "x".repeat(200_000));
    let answer = exchange(&server, format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes());
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer:.80}");
    let many = (0..1_000).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    let answer = exchange(&server, format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{many}\r\n").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer:.80}");
    assert_eq!(ask(&server, "GET", "/profile", Some(&ann.token), &Value::Null).status, 200);
}

#[test]
fn json_of_any_shape_is_answered_in_a_sentence() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let bearer = format!("Bearer {}", ann.token);
    let deep = "[".repeat(60_000);
    let nested = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    let bodies: Vec<Vec<u8>> = vec![
        deep.into_bytes(),
        nested.into_bytes(),
        b"{\"email\":\"\\ud800\",\"password\":\"x\"}".to_vec(),
        b"{\"email\":1e999,\"password\":-0}".to_vec(),
        b"{\"email\":null,\"password\":null}".to_vec(),
        b"{\"email\":{\"$gt\":\"\"},\"password\":{\"$gt\":\"\"}}".to_vec(),
        b"{\"email\":\"a\",\"email\":\"b\",\"password\":\"c\"}".to_vec(),
        b"{\"__proto__\":{\"admin\":true},\"constructor\":{}}".to_vec(),
        b"\xff\xfe\x00".to_vec(),
        b"\xef\xbb\xbf{}".to_vec(),
        b"true".to_vec(),
        b"".to_vec(),
    ];
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    for path in
        ["/auth/signup", "/auth/login", "/login", "/register", "/auth/refresh", "/spaces", "/invites/accept"]
    {
        for body in &bodies {
            let answer = send(&server, "POST", path, &headers, body);
            let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
            assert!((400..500).contains(&answer.status), "{path} {shown}: {} {}", answer.status, answer.body);
            assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path} {shown}");
            assert!(!answer.code().is_empty(), "{path} {shown}");
        }
    }
    assert!(!server.log().contains("panicked"));
}

#[test]
fn a_request_ends_where_it_says_and_only_there() {
    let server = TestServer::start(&[]);
    let smuggled = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let ambiguous = [
        format!(
            "POST /auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
        ),
        format!(
            "POST /auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\ncontent-length: {}\r\n\r\n{smuggled}",
            smuggled.len()
        ),
        format!(
            "POST /auth/login HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}"
        ),
        format!("POST /auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: +4\r\n\r\nabcd{smuggled}"),
        format!(
            "POST /auth/login HTTP/1.1\r\nhost: x\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n{smuggled}"
        ),
        format!("GET /healthz\r\n\r\n{smuggled}"),
    ];
    for request in &ambiguous {
        // Closing says that nothing more comes, so that a server that waits for more answers what it has.
        let request = format!("{request}GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = exchange(&server, request.as_bytes());
        let refused = answer.starts_with("HTTP/1.1 400") && answer.matches("HTTP/1.1").count() == 1;
        assert!(
            refused || answer.is_empty() || !answer.contains("200 OK") || answer.starts_with("HTTP/1.1 4"),
            "{request:?}\n{answer}"
        );
    }
    // A method in a header or a parameter is none.
    let answer =
        send(&server, "POST", "/profile?_method=DELETE", &[("x-http-method-override", "DELETE")], b"");
    assert_eq!((answer.status, answer.code().as_str()), (405, "method_not_allowed"));
    for method in ["TRACE", "CONNECT", "PROPFIND", "get"] {
        let answer = exchange(
            &server,
            format!("{method} /profile HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes(),
        );
        assert!(answer.starts_with("HTTP/1.1 4"), "{method}: {answer:.80}");
        assert!(!answer.contains("host: x"), "nothing of the request comes back");
    }
}

#[test]
fn the_database_and_the_keys_are_not_served() {
    let server = TestServer::start(&[]);
    for path in [
        "/keys.json",
        "/data/keys.json",
        "/lattice.db",
        "/data/lattice.db",
        "/.git/config",
        "/../keys.json",
        "/%2e%2e/keys.json",
        "/..%2fkeys.json",
        "/spaces/../keys.json",
        "/.env",
        "/debug",
        "/metrics/../keys.json",
        "//keys.json",
    ] {
        let answer = send(&server, "GET", path, &[], b"");
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.status);
        assert!(!answer.body.contains("seed") && !answer.body.contains("SQLite format"), "{path}");
    }
}
