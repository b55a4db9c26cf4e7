//! Starting, ending and starting again.

mod common;

use std::collections::BTreeSet;
use std::io::Read;
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use common::entry::{Entry, new_row};
use common::http::{device_token, get, sign_up};
use common::server::TestServer;
use common::socket::{Got, Socket, handshake};
use common::{PATIENCE, database};
use lattice_protocol::EntryId;
use serde_json::Value;

fn acks(frame: &[u8]) -> Vec<String> {
    let frame: Value = serde_json::from_slice(frame).expect("JSON");
    let ids = frame["ack"].as_array().cloned().unwrap_or_default();
    ids.iter().map(|id| id.as_str().expect("an id").to_owned()).collect()
}

/// Uploads until the server closes, and says what was acknowledged and how it closed.
fn upload_until_closed(mut socket: Socket, tell: &std::sync::mpsc::Sender<()>) -> (Vec<String>, Got) {
    let mut acked = Vec::new();
    let send = |socket: &mut Socket| {
        let entries = [(); 5].map(|()| Entry::insert("Item", &new_row()).text("name", "x"));
        // The server may be closing: then the bytes go nowhere.
        let _ = socket.try_send(Entry::frame(&entries.each_ref()));
    };
    // Always two frames in flight, as clients have.
    send(&mut socket);
    loop {
        send(&mut socket);
        let before = acked.len();
        while acked.len() < before + 5 {
            match socket.next() {
                Got::Frame(frame) => acked.extend(acks(&frame)),
                Got::Ping | Got::Pong => {}
                end => return (acked, end),
            }
        }
        let _ = tell.send(());
    }
}

#[test]
fn an_end_in_order_keeps_and_acknowledges_everything_that_it_took() {
    let mut server = TestServer::start(&[]);
    let (ann, bob) = (sign_up(&server, "ann"), sign_up(&server, "bob"));
    let (tell, told) = channel();
    let mut idle = Socket::open(&server, &ann.token, None);
    let uploads: Vec<_> = [&ann, &ann, &bob, &bob]
        .map(|account| {
            let (socket, tell) = (Socket::open(&server, &account.token, None), tell.clone());
            let user = account.user.clone();
            std::thread::spawn(move || (user, upload_until_closed(socket, &tell)))
        })
        .into_iter()
        .collect();
    for _ in 0..40 {
        told.recv_timeout(PATIENCE).expect("uploads are under way");
    }
    let address = server.address();
    let asked = Instant::now();
    server.ask_to_end();
    let mut acked: BTreeSet<(String, [u8; 16])> = BTreeSet::new();
    for upload in uploads {
        let (user, (ids, end)) = upload.join().expect("no panic");
        assert!(matches!(&end, Got::Closed(1001, _)), "{end:?}");
        acked.extend(ids.iter().map(|id| (user.clone(), EntryId::parse(id).expect("an id").0.0)));
    }
    loop {
        match idle.next() {
            Got::Closed(code, reason) => {
                assert_eq!(code, 1001, "{reason}");
                break;
            }
            Got::Gone => panic!("the idle socket ended without a close frame"),
            _ => {}
        }
    }
    drop(idle);
    let status = server.wait_for_end(Duration::from_secs(10));
    assert!(status.success(), "{status}");
    assert!(asked.elapsed() < Duration::from_secs(10));
    assert!(TcpStream::connect(address).is_err(), "nothing listens any more");
    server.start_again();
    let log = database::open(&server);
    for user in [&ann.user, &bob.user] {
        let stored: BTreeSet<[u8; 16]> = database::audit_ids(&log, user);
        let acked: BTreeSet<[u8; 16]> =
            acked.iter().filter(|(of, _)| of == user).map(|(_, id)| *id).collect();
        assert_eq!(stored.difference(&acked).count(), 0, "something was stored and not acknowledged");
        assert_eq!(acked.difference(&stored).count(), 0, "something that was acknowledged is lost");
        assert!(!stored.is_empty());
    }
    let stored = database::audit_ids(&log, &ann.user).len();
    let state = Socket::open(&server, &ann.token, None).until_entries(stored);
    assert_eq!(state.entries.len(), stored);
}

#[test]
fn an_end_does_not_wait_for_clients_that_do_not_listen() {
    let mut server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut socket = Socket::open(&server, &ann.token, None);
    // More than the buffers on the way take, so that the mute client's page cannot leave.
    let entry = Entry::insert("Item", &new_row()).text("name", &"z".repeat(24 << 20));
    socket.store(&[&entry]);
    let mute = handshake(&server, "/sync", Some(&ann.token), b"");
    let mut half = TcpStream::connect(server.address()).expect("a connection");
    std::io::Write::write_all(
        &mut half,
        b"POST /auth/login HTTP/1.1\r\nHost: x\r\ncontent-length: 5\r\n\r\n{",
    )
    .expect("a half");
    let status = server.terminate();
    assert!(status.success(), "{status}");
    drop((mute, half));
}

#[test]
fn a_restart_keeps_accounts_tokens_and_data() {
    let mut server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let device = device_token(&server, &ann);
    let entry = Entry::insert("Item", &new_row()).text("name", "kept");
    let mut socket = Socket::open(&server, &ann.token, None);
    socket.store(&[&entry]);
    let minted = Socket::open(&server, &ann.token, None).until_entries(1).entries[0]["globalId"].clone();
    socket.close();
    for kill in [false, true] {
        if kill {
            server.kill_9();
            server.start_again();
        } else {
            server.restart_same_folder();
        }
        for token in [&ann.token, &device] {
            assert_eq!(get(&server, "/profile", token).0, 200);
            let state = Socket::open(&server, token, None).until_entries(1);
            assert_eq!(state.entries[0]["changedFields"]["name"]["value"], "kept");
        }
        // Checkpoints as well, own ones and minted ones.
        for checkpoint in [&*entry.id, minted.as_str().expect("an id")] {
            let mut socket = Socket::open(&server, &ann.token, Some(checkpoint));
            let probe = Entry::insert("Probe", &new_row()).integer("n", 1);
            let heard = socket.store(&[&probe]);
            assert!(
                heard.events.is_empty() && heard.entries.iter().all(|entry| entry["tableName"] == "Probe"),
                "{heard:?}"
            );
        }
    }
}

#[test]
fn idle_clients_are_pinged_and_the_dead_are_dropped() {
    let server = TestServer::start(&[("PING_SECONDS", "1")]);
    let ann = sign_up(&server, "ann");
    let mut alive = Socket::open(&server, &ann.token, None);
    let mut dead = handshake(&server, "/sync", Some(&ann.token), b"").stream;
    // Its system takes what comes, and nobody answers.
    let came = std::thread::spawn(move || {
        let mut came = Vec::new();
        dead.read_to_end(&mut came).map(|_| came)
    });
    // The other one is silent for longer, and answers.
    for _ in 0..5 {
        assert!(matches!(alive.next(), Got::Ping));
    }
    let came = came.join().expect("no panic").expect("the connection ends");
    assert!(
        came.chunks(2).filter(|frame| *frame == [0x89, 0]).count() >= 1,
        "it was pinged first: {came:x?}"
    );
    alive.store(&[&Entry::insert("Item", &new_row()).integer("n", 1)]);
}
