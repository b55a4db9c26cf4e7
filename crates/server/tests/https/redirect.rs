//! The port without TLS.

use std::net::{SocketAddr, TcpStream};

use crate::authority::{Authority, Files};
use crate::client::{ask, header};
use crate::common::server::TestServer;
use crate::protocol::{NAME, start};

fn redirect_address(server: &TestServer) -> SocketAddr {
    let greeting = server.greeting();
    let line = greeting.lines().find(|line| line.ends_with(" sends clients there")).expect("a second port");
    let address = line.strip_prefix("http://").and_then(|rest| rest.split(' ').next());
    address.and_then(|address| address.parse().ok()).expect("an address")
}

fn send(at: SocketAddr, head: &str) -> String {
    ask(TcpStream::connect(at).expect("a connection"), &format!("{head}\r\nconnection: close\r\n\r\n"))
}

#[test]
fn everybody_is_sent_to_https() {
    let (server, _files) = start(&Authority::new(), &[("HTTP_REDIRECT_PORT", "0")]);
    let (at, port) = (redirect_address(&server), server.own_address().port());
    for (head, path) in [
        ("GET /a/b?c=d%20e HTTP/1.1\r\nhost: sync.example.com", "/a/b?c=d%20e"),
        ("GET / HTTP/1.1\r\nhost: SYNC.example.com:80", "/"),
        ("POST /auth/login HTTP/1.1\r\nhost: sync.example.com\r\ncontent-length: 0", "/auth/login"),
        ("GET http://sync.example.com/x HTTP/1.1\r\nhost: evil.example", "/x"),
        ("GET //evil.example/x HTTP/1.1\r\nhost: sync.example.com", "//evil.example/x"),
    ] {
        let answer = send(at, head);
        assert!(answer.starts_with("HTTP/1.1 308 "), "{head}: {answer}");
        let expected = format!("https://{NAME}:{port}{path}");
        assert_eq!(header(&answer, "location"), Some(expected.as_str()), "{head}");
        assert!(header(&answer, "strict-transport-security").is_none(), "not to be said without TLS");
    }
}

#[test]
fn nobody_is_sent_anywhere_else() {
    let (server, _files) = start(&Authority::new(), &[("HTTP_REDIRECT_PORT", "0")]);
    let at = redirect_address(&server);
    for head in [
        "GET / HTTP/1.1\r\nhost: evil.example",
        "GET / HTTP/1.1\r\nhost: sync.example.com.evil.example",
        "GET / HTTP/1.1\r\nhost: sync.example.com@evil.example",
        "GET / HTTP/1.1\r\nhost: evil.example@sync.example.com",
        "GET / HTTP/1.1\r\nhost: sync.example.com:80@evil.example",
        "GET / HTTP/1.1\r\nhost: sync.example.com, evil.example",
        "GET / HTTP/1.1\r\nhost: sync.example.com\r\nhost: evil.example",
        "GET / HTTP/1.1\r\nhost: sync.example.com/.evil.example",
        "GET / HTTP/1.1\r\nhost: sync.example.com#.evil.example",
        "GET / HTTP/1.1\r\nhost: 127.0.0.1",
        "GET / HTTP/1.1\r\nhost: [::1]",
        "GET / HTTP/1.1\r\nhost:",
        "GET / HTTP/1.1",
        "GET http://evil.example/ HTTP/1.1\r\nhost: sync.example.com",
        "GET / HTTP/1.1\r\nhost: evil.example\r\nx-forwarded-host: sync.example.com",
        "CONNECT sync.example.com:443 HTTP/1.1\r\nhost: sync.example.com",
        "OPTIONS * HTTP/1.1\r\nhost: sync.example.com",
    ] {
        let answer = send(at, head);
        assert!(answer.starts_with("HTTP/1.1 4"), "{head}: {answer}");
        assert_eq!(header(&answer, "location"), None, "{head}");
    }
    // A name that is nothing but a line break further is no header of ours.
    let answer = send(at, "GET /%0d%0aset-cookie:x HTTP/1.1\r\nhost: sync.example.com");
    assert_eq!(header(&answer, "set-cookie"), None, "{answer}");
}

#[test]
fn other_ports_names_and_addresses_are_those_of_the_certificate() {
    let authority = Authority::new();
    let files = Files::new(&authority.issue(&["*.example.com", "127.0.0.1", "::1"]));
    let (cert, key) = (files.text("cert.pem"), files.text("key.pem"));
    let server = TestServer::start(&[
        ("TLS_CERT", &cert),
        ("TLS_KEY", &key),
        ("HTTP_REDIRECT_PORT", "0"),
        ("HTTP_REDIRECT_TO_PORT", "443"),
    ]);
    let at = redirect_address(&server);
    for (host, expected) in [
        ("a.example.com", Some("https://a.example.com/x")),
        ("127.0.0.1:8080", Some("https://127.0.0.1/x")),
        ("[::1]:80", Some("https://[::1]/x")),
        ("a.b.example.com", None),
        ("example.com", None),
        ("127.0.0.2", None),
    ] {
        let answer = send(at, &format!("GET /x HTTP/1.1\r\nhost: {host}"));
        assert_eq!(header(&answer, "location"), expected, "{host}: {answer}");
    }
}
