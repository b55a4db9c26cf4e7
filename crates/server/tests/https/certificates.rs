//! Certificates that are replaced while the server runs.

use std::time::Instant;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::authority::{Authority, Pems};
use crate::client::{config, connect, shown};
use crate::common::PATIENCE;
use crate::common::entry::{Entry, new_row};
use crate::common::http::{get, sign_up};
use crate::common::server::TestServer;
use crate::common::socket::Socket;
use crate::protocol::{NAME, start_behind_tunnel};

fn der(pems: &Pems) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pems.cert.as_bytes()).expect("a certificate")
}

/// Connects anew until the server shows this certificate.
#[track_caller]
fn until_shown(server: &TestServer, authority: &Authority, expected: &CertificateDer<'_>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stream = connect(server.own_address(), NAME, config(authority.roots(), &[])).expect("TLS");
        if shown(&stream) == *expected {
            return;
        }
        assert!(Instant::now() < deadline, "the new certificate is not taken");
    }
}

/// Waits until the server has said something.
#[track_caller]
pub(crate) fn until_logged(server: &TestServer, text: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !server.log().contains(text) {
        assert!(Instant::now() < deadline, "{text}");
        std::thread::yield_now();
    }
}

fn store(socket: &mut Socket) {
    socket.store(&[&Entry::insert("Item", &new_row()).text("name", "x")]);
}

#[test]
fn a_new_certificate_is_taken_and_open_sockets_go_on() {
    let authority = Authority::new();
    let (server, files, _tunnel) = start_behind_tunnel(&authority, &[]);
    let ann = sign_up(&server, "ann");
    let mut socket = Socket::open(&server, &ann.token, None);
    store(&mut socket);
    let new = authority.issue(&[NAME]);
    files.put(&new);
    until_shown(&server, &authority, &der(&new));
    store(&mut socket);
    let mut other = Socket::open(&server, &ann.token, None);
    store(&mut other);
    assert_eq!(get(&server, "/profile", &ann.token).0, 200);
}

#[test]
fn a_broken_certificate_is_told_and_the_old_one_stays() {
    let authority = Authority::new();
    let (server, files, _tunnel) = start_behind_tunnel(&authority, &[]);
    let ann = sign_up(&server, "ann");
    let mut socket = Socket::open(&server, &ann.token, None);
    let stream = connect(server.own_address(), NAME, config(authority.roots(), &[])).expect("TLS");
    let old = shown(&stream);
    let new = authority.issue(&[NAME]);
    // Its key never comes.
    files.write("cert.pem", &new.cert);
    until_logged(&server, "is not that of the certificate in");
    until_shown(&server, &authority, &old);
    std::fs::remove_file(files.path("cert.pem")).expect("removed");
    until_logged(&server, "TLS_CERT: cannot read");
    files.write("cert.pem", "nonsense");
    until_logged(&server, "there is no certificate in");
    until_shown(&server, &authority, &old);
    store(&mut socket);
    // Each is said once, and what is good at last is taken.
    assert_eq!(server.log().matches("the one before stays").count(), 3, "{}", server.log());
    assert!(!server.log().contains("PRIVATE KEY"));
    files.put(&new);
    until_shown(&server, &authority, &der(&new));
    store(&mut socket);
}
