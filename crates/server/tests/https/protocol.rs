//! What is spoken: sign-in and sync as over plain HTTP, and what TLS itself is to do.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use crate::authority::{Authority, Files};
use crate::client::{agreed, ask, config, config_of, connect, header};
use crate::common::PATIENCE;
use crate::common::device::{Device, converge};
use crate::common::edit::edit;
use crate::common::entry::{Entry, new_row};
use crate::common::http::{get, log_out, sign_up};
use crate::common::server::{TestServer, run_to_end};
use crate::common::socket::{Got, Socket, handshake};
use crate::tunnel::Tunnel;

/// The name that the certificates of these tests are for: not the address at which the server listens.
pub(crate) const NAME: &str = "sync.example.com";
pub(crate) const HEALTH: &str =
    "GET /healthz HTTP/1.1\r\nhost: sync.example.com\r\nconnection: close\r\n\r\n";

/// A server with a certificate for [`NAME`].
pub(crate) fn start(authority: &Authority, more: &[(&str, &str)]) -> (TestServer, Files) {
    let files = Files::new(&authority.issue(&[NAME]));
    let (cert, key) = (files.text("cert.pem"), files.text("key.pem"));
    let own = [("TLS_CERT", cert.as_str()), ("TLS_KEY", key.as_str())];
    (TestServer::start(&[&own, more].concat()), files)
}

/// The same, reached through a tunnel by all that speaks no TLS.
pub(crate) fn start_behind_tunnel(
    authority: &Authority,
    more: &[(&str, &str)],
) -> (TestServer, Files, Tunnel) {
    let (mut server, files) = start(authority, more);
    let tunnel = Tunnel::to(server.own_address(), NAME, config(authority.roots(), &["http/1.1"]));
    server.reach_by(tunnel.address);
    (server, files, tunnel)
}

#[test]
fn people_sign_in_and_devices_sync() {
    let authority = Authority::new();
    let (server, _files, _tunnel) = start_behind_tunnel(&authority, &[]);
    assert!(server.greeting().contains("listens on https://") && server.greeting().contains("wss://"));
    let ann = sign_up(&server, "ann");
    assert_eq!(get(&server, "/profile", &ann.token).0, 200);
    let mut phone = Device::new("the phone", &ann, 1);
    let mut laptop = Device::new("the laptop", &ann, 2);
    phone.connect(&server);
    laptop.connect(&server);
    for _ in 0..60 {
        edit(&mut phone, "phone");
        edit(&mut laptop, "laptop");
    }
    converge(&mut [&mut phone, &mut laptop]);
    // More than TLS and the system take at once, both ways.
    let big = "x".repeat(5 << 20);
    let mut socket = Socket::open(&server, &ann.token, None);
    socket.store(&[&Entry::insert("Item", &new_row()).text("name", &big)]);
    let mut late = Socket::open(&server, &ann.token, None);
    let heard = late.until(|heard| heard.entries.iter().any(|entry| entry.to_string().contains(&big)));
    assert!(heard.entries.len() > 1);
    // The end of a session, and of the server, is told as ever.
    log_out(&server, &ann.token);
    assert_eq!(late.closed().0, 1008);
}

#[test]
fn sockets_and_idle_connections_leave_when_the_server_ends() {
    let authority = Authority::new();
    let (mut server, _files, _tunnel) = start_behind_tunnel(&authority, &[]);
    let ann = sign_up(&server, "ann");
    let mut socket = Socket::open(&server, &ann.token, None);
    let _idle = connect(server.own_address(), NAME, config(authority.roots(), &["h2"])).expect("TLS");
    server.ask_to_end();
    assert_eq!(socket.closed().0, 1001);
    drop(socket);
    assert!(server.wait_for_end(PATIENCE).success());
}

#[test]
fn versions_and_protocols_are_agreed_on() {
    let authority = Authority::new();
    let (server, _files) = start(&authority, &[]);
    let at = server.own_address();
    for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
        for (offered, expected) in [
            (&["h2", "http/1.1"][..], Some("h2")),
            (&["http/1.1"], Some("http/1.1")),
            (&["http/1.1", "h2"], Some("h2")),
            (&[], None),
        ] {
            let stream = connect(at, NAME, config_of(authority.roots(), offered, versions)).expect("TLS");
            assert_eq!(agreed(&stream).as_deref(), expected);
            if expected != Some("h2") {
                let answer = ask(stream, HEALTH);
                assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
                assert_eq!(header(&answer, "strict-transport-security"), Some("max-age=31536000"));
            }
        }
    }
    // Protocols that we do not have; a name that the certificate is not for; an authority that nobody knows.
    for (name, roots, offered) in [
        (NAME, authority.roots(), &["spdy/3"][..]),
        (NAME, authority.roots(), &["acme-tls/1"]),
        ("other.example.com", authority.roots(), &[]),
        (NAME, Authority::new().roots(), &[]),
    ] {
        assert!(connect(at, name, config(roots, offered)).is_err(), "{name} {offered:?}");
    }
}

#[test]
fn browsers_are_told_to_come_by_https_where_there_is_some() {
    let plain = TestServer::start(&[]);
    let stream = TcpStream::connect(plain.own_address()).expect("a connection");
    let answer = ask(stream, HEALTH);
    assert!(answer.starts_with("HTTP/1.1 200 OK") && header(&answer, "strict-transport-security").is_none());
    let authority = Authority::new();
    for (seconds, expected) in [("0", None), ("600", Some("max-age=600"))] {
        let (server, _files) = start(&authority, &[("HSTS_SECONDS", seconds)]);
        for request in
            [HEALTH.to_owned(), HEALTH.replace("/healthz", "/nowhere"), HEALTH.replace("GET", "POST")]
        {
            let stream = connect(server.own_address(), NAME, config(authority.roots(), &[])).expect("TLS");
            let answer = ask(stream, &request);
            assert_eq!(header(&answer, "strict-transport-security"), expected, "{answer}");
        }
    }
}

#[test]
fn who_takes_long_to_shake_hands_holds_up_nobody() {
    let authority = Authority::new();
    let (server, _files) = start(&authority, &[]);
    let at = server.own_address();
    let slow: Vec<TcpStream> = (0..100)
        .map(|number| {
            let mut tcp = TcpStream::connect(at).expect("a connection");
            // Nothing at all, or the beginning of a handshake.
            if number % 2 == 0 {
                tcp.write_all(&[22, 3, 1, 2, 0, 1]).expect("written");
            }
            tcp
        })
        .collect();
    let began = Instant::now();
    let stream = connect(at, NAME, config(authority.roots(), &[])).expect("TLS");
    assert!(ask(stream, HEALTH).starts_with("HTTP/1.1 200 OK"));
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    // They are not waited for without end.
    for mut tcp in slow {
        tcp.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let mut rest = Vec::new();
        match tcp.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
    }
}

#[test]
fn who_speaks_no_tls_is_told_so() {
    let authority = Authority::new();
    let (server, _files) = start(&authority, &[]);
    let at = server.own_address();
    let answer = ask(TcpStream::connect(at).expect("a connection"), HEALTH);
    assert!(answer.starts_with("HTTP/1.1 400 ") && header(&answer, "strict-transport-security").is_none());
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).expect("a body")).expect("JSON");
    assert_eq!(body["code"], "https_required");
    // Nothing that is no TLS gets any further, nor does TLS that turns out to be none.
    for bytes in
        [&b"\0\0\0\0"[..], b"\x16\x03\x01\xff\xff", b"\x16garbage that is no handshake", b"SSH-2.0-x\r\n"]
    {
        let mut tcp = TcpStream::connect(at).expect("a connection");
        tcp.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        tcp.write_all(bytes).expect("written");
        tcp.shutdown(std::net::Shutdown::Write).expect("said");
        let mut answer = Vec::new();
        let _ = tcp.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    }
    let stream = connect(at, NAME, config(authority.roots(), &[])).expect("TLS");
    assert!(ask(stream, HEALTH).starts_with("HTTP/1.1 200 OK"));
}

#[test]
fn the_health_check_asks_by_tls_and_does_not_mind_the_name() {
    let authority = Authority::new();
    let (server, files) = start(&authority, &[]);
    let port = server.own_address().port().to_string();
    let check = |settings: &[(&str, String)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lattice-server"));
        command.env_clear().args(["--port", &port, "healthcheck"]);
        command.envs(settings.iter().map(|(name, value)| (*name, value)));
        command.output().expect("it runs")
    };
    let tls = [("TLS_CERT", files.text("cert.pem")), ("TLS_KEY", files.text("key.pem"))];
    let output = check(&tls);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!check(&[]).status.success(), "without TLS it is told that it should");
    drop(server);
    assert!(!check(&tls).status.success());
}

#[test]
fn an_app_s_socket_needs_http_1_1_and_its_early_bytes_arrive() {
    let authority = Authority::new();
    let (server, _files, _tunnel) = start_behind_tunnel(&authority, &[]);
    let ann = sign_up(&server, "ann");
    let entry = Entry::insert("Item", &new_row()).text("name", "early");
    let frame = crate::common::socket::raw_frame(crate::common::socket::BINARY, &Entry::frame(&[&entry]));
    let mut socket = handshake(&server, "/sync", Some(&ann.token), &frame).socket();
    socket.until_acked(&[&entry.id]);
    // One that ends without a word is gone, as ever.
    socket.stream().shutdown(std::net::Shutdown::Both).expect("said");
    assert!(matches!(socket.next(), Got::Gone));
}

#[test]
fn files_that_cannot_be_used_are_one_sentence() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    let (good, other) = (authority.issue(&[NAME]), authority.issue(&[NAME]));
    let files = Files::new(&good);
    files.write("other.pem", &other.key);
    files.write("empty.pem", "");
    let path = |name: &str| files.text(name);
    for (cert, key, text) in [
        ("missing.pem", "key.pem", "cannot serve HTTPS: TLS_CERT: cannot read"),
        ("cert.pem", "missing.pem", "cannot serve HTTPS: TLS_KEY: cannot read"),
        ("empty.pem", "key.pem", "there is no certificate in"),
        ("cert.pem", "cert.pem", "there is no private key in"),
        ("cert.pem", "other.pem", "is not that of the certificate in"),
    ] {
        let ended = run_to_end(folder.path(), &[("TLS_CERT", &path(cert)), ("TLS_KEY", &path(key))]);
        assert!(!ended.status.success() && ended.stdout.is_empty(), "{}", ended.stdout);
        assert!(ended.stderr.contains(text), "{text}: {}", ended.stderr);
        assert_eq!(ended.stderr.trim().lines().count(), 1, "{}", ended.stderr);
    }
    let ended = run_to_end(folder.path(), &[("HTTP_REDIRECT_PORT", "0")]);
    assert!(ended.stderr.contains("there is no HTTPS to go to"), "{}", ended.stderr);
}
