//! What a page of somebody else's makes a browser do: forged requests, frames, sockets, redirects.

use serde_json::{Value, json};

use crate::common::http::{PASSWORD, sign_up};
use crate::common::raw::{ask, exchange, post, send};
use crate::common::server::TestServer;

const EVIL: &str = "https://evil.example";

#[test]
fn a_browser_adds_nothing_that_signs_in() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    for (method, path, body) in [
        ("POST", "/auth/login", json!({"email": "ann@example.com", "password": PASSWORD})),
        ("POST", "/login", json!({"email": "ann@example.com", "password": PASSWORD})),
        ("GET", "/profile", Value::Null),
        ("GET", "/auth/sessions", Value::Null),
    ] {
        let answer = ask(&server, method, path, Some(&ann.token), &body);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("set-cookie"), None, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
        assert_eq!(answer.header("access-control-allow-credentials"), None, "{path}");
    }
    // A form of another page, with whatever a browser might keep of us.
    let cookie = format!("token={0}; session={0}; Authorization={0}", ann.token);
    for content_type in ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data"] {
        let headers = [("origin", EVIL), ("cookie", cookie.as_str()), ("content-type", content_type)];
        for path in ["/auth/logout", "/spaces", "/invites/accept"] {
            let answer = send(
                &server,
                "POST",
                path,
                &headers,
                b"{\"name\":\"x\",\"kind\":\"shared\",\"token\":\"x\"}",
            );
            assert_eq!((answer.status, answer.code().as_str()), (401, "token_missing"), "{path}");
        }
        let answer = send(&server, "DELETE", "/auth/sessions", &headers, b"");
        assert_eq!(answer.status, 401);
    }
    assert_eq!(ask(&server, "GET", "/profile", Some(&ann.token), &Value::Null).status, 200);
}

#[test]
fn pages_that_are_not_named_get_nothing() {
    let server = TestServer::start(&[("ALLOWED_ORIGINS", "https://app.example.com,http://localhost:3000")]);
    let ann = sign_up(&server, "ann");
    let bearer = format!("Bearer {}", ann.token);
    let read = |origin: &str| {
        send(&server, "GET", "/profile", &[("origin", origin), ("authorization", &bearer)], b"")
    };
    assert_eq!(
        read("https://app.example.com").header("access-control-allow-origin"),
        Some("https://app.example.com")
    );
    for origin in
        [EVIL, "null", "https://app.example.com.evil.example", "https://evil.example/https://app.example.com"]
    {
        assert_eq!(read(origin).header("access-control-allow-origin"), None, "{origin}");
    }
    let socket = |origin: &str| {
        let request = format!(
            "GET /sync?token={} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\norigin: {origin}\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            ann.token
        );
        // A close frame behind it, so that a socket that opens ends.
        let mut bytes = request.into_bytes();
        bytes.extend([0x88, 0x80, 1, 2, 3, 4]);
        exchange(&server, &bytes)
    };
    assert!(socket("https://app.example.com").starts_with("HTTP/1.1 101"));
    for origin in [EVIL, "null"] {
        let answer = socket(origin);
        assert!(
            answer.starts_with("HTTP/1.1 403") && answer.contains("origin_not_allowed"),
            "{origin}: {answer}"
        );
    }
}

#[test]
fn answers_are_not_rendered_framed_or_kept() {
    let server = TestServer::start(&[]);
    let script = "<script>alert(1)</script>";
    for answer in [
        send(&server, "GET", "/%3Cscript%3Ealert(1)%3C/script%3E", &[], b""),
        post(&server, "/auth/signup", None, &json!({"email": script, "password": PASSWORD})),
        post(&server, "/auth/login", None, &json!({"email": script, "password": script})),
        send(&server, "GET", "/openapi.json", &[], b""),
    ] {
        assert!(!answer.body.contains(script), "{}", answer.body);
        assert!(answer.header("content-type").is_some_and(|kind| kind.contains("json")));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    }
}

#[test]
fn nobody_is_sent_elsewhere() {
    let server = TestServer::start(&[]);
    for path in [
        "//evil.example",
        "//evil.example/..",
        "/\\evil.example",
        "/auth/login?redirect=https://evil.example",
        "/auth/login?next=//evil.example",
        "/.//evil.example",
        "/%0d%0aLocation:%20https://evil.example",
    ] {
        let answer = send(
            &server,
            "GET",
            path,
            &[("host", "evil.example"), ("x-forwarded-host", "evil.example")],
            b"",
        );
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.status);
        assert_eq!(answer.header("location"), None, "{path}");
        assert!(!answer.body.contains("evil.example"), "{path}: {}", answer.body);
    }
}
