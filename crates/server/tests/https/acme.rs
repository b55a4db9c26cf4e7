//! Certificates that are fetched by ACME, from a directory of the test's own.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use crate::authority::{Authority, Files, Pems};
use crate::certificates::until_logged;
use crate::client::{TlsStream, ask, config, connect};
use crate::common::PATIENCE;
use crate::common::server::TestServer;
use crate::directory::Directory;
use crate::protocol::{HEALTH, NAME};

const OTHER: &str = "sync.example.org";

/// A server that fetches its certificate from there.
fn start(directory: &Directory, authority: &Authority) -> (TestServer, Files) {
    let files = Files::new(&Pems { cert: authority.pem(), key: String::new() });
    let (ca, url) = (files.text("cert.pem"), directory.url());
    let server = TestServer::start(&[
        ("ACME_DOMAINS", &format!("{NAME},{OTHER}")),
        ("ACME_EMAIL", "admin@example.com"),
        ("ACME_DIRECTORY", &url),
        ("ACME_DIRECTORY_CA", &ca),
        ("LOG", "info"),
    ]);
    directory.lead_to(server.own_address());
    (server, files)
}

/// Connects as soon as there is a certificate that clients believe.
#[track_caller]
fn once_there(server: &TestServer, name: &str, authority: &Authority) -> TlsStream {
    let begun = Instant::now();
    loop {
        match connect(server.own_address(), name, config(authority.roots(), &[])) {
            Ok(stream) => return stream,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "no certificate: {error}\n{}", server.log()),
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_certificate_is_ordered_checked_used_and_kept() {
    let authority = Arc::new(Authority::new());
    let directory = Directory::start(Arc::clone(&authority));
    let (mut server, _files) = start(&directory, &authority);
    for name in [NAME, OTHER] {
        let answer = ask(once_there(&server, name, &authority), HEALTH);
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
    assert_eq!(["order", "challenge", "finalize"].map(|what| directory.counted(what)), [1, 2, 1]);
    assert_eq!(directory.contact(), json!(["mailto:admin@example.com"]));
    assert!(connect(server.own_address(), "other.example.com", config(authority.roots(), &[])).is_err());
    let mut kept = Vec::new();
    for file in std::fs::read_dir(server.data_dir().join("acme")).expect("a folder") {
        let file = file.expect("a file");
        assert_eq!(file.metadata().expect("data").permissions().mode() & 0o777, 0o600, "its owner's alone");
        kept.push(std::fs::read(file.path()).expect("bytes"));
    }
    assert_eq!(kept.len(), 2, "account and certificate");
    // The next run has it at once, and asks for none.
    server.restart_same_folder();
    directory.lead_to(server.own_address());
    let answer = ask(once_there(&server, NAME, &authority), HEALTH);
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert_eq!((directory.counted("order"), directory.counted("account")), (1, 1));
    let log = server.log();
    assert!(log.contains("the certificate of the last run is in use"), "{log}");
    for bytes in kept {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let line = text.lines().find(|line| line.len() == 64).map(str::to_owned);
        assert!(line.is_none_or(|line| !log.contains(&line)), "a key was logged");
    }
}

#[test]
fn an_authority_that_is_not_believed_is_not_asked() {
    let authority = Arc::new(Authority::new());
    let directory = Directory::start(Arc::clone(&authority));
    let (server, _files) = start(&directory, &Authority::new());
    until_logged(&server, "cannot fetch a certificate by ACME");
    assert_eq!(directory.counted("account"), 0);
    assert!(connect(server.own_address(), NAME, config(authority.roots(), &[])).is_err());
}
