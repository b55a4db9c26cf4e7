//! Starting, ending and starting again.

mod common;

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use common::entry::{Entry, new_row};
use common::http::{device_token, get, sign_up};
use common::server::{Ended, TestServer, run_to_end};
use common::socket::{Got, Socket, handshake};
use common::{PATIENCE, database};
use lattice_protocol::EntryId;
use rusqlite::Connection;
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
fn a_start_without_settings_makes_its_folder_and_says_what_to_do() {
    let server = TestServer::start_without_settings();
    assert!(server.data_dir().join("lattice.db").is_file(), "the database is in ./data");
    let greeting = server.greeting();
    let address = server.address();
    for text in ["first account", &format!("http://{address}/register"), &format!("ws://{address}/sync")] {
        assert!(greeting.contains(text), "{greeting}");
    }
    let ann = sign_up(&server, "ann");
    let mut socket = Socket::open(&server, &ann.token, None);
    socket.store(&[&Entry::insert("Item", &new_row()).integer("n", 1)]);
    assert_eq!(server.log(), "", "nothing to worry about");
}

/// One sentence on standard error, and nothing on standard output.
#[track_caller]
fn assert_refuses(ended: &Ended, words: &[&str]) {
    assert!(!ended.status.success(), "{}", ended.stdout);
    let lines: Vec<&str> = ended.stderr.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 1, "{}", ended.stderr);
    for word in words {
        assert!(lines[0].contains(word), "{word:?} is not in {:?}", lines[0]);
    }
    assert_eq!(ended.stdout, "");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    assert_refuses(&run_to_end(folder.path(), &[("PORT", &port)]), &["cannot listen", &port, "in use"]);
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "x").expect("a file");
    let below = file.join("data");
    assert_refuses(&run_to_end(&below, &[]), &["cannot use the data folder", "file/data"]);
    let url = format!("sqlite:{}", file.join("x.db").display());
    assert_refuses(
        &run_to_end(folder.path(), &[("DATABASE_URL", &url)]),
        &["cannot open the database", "file/x.db"],
    );
    // A folder where the database should be.
    std::fs::create_dir(folder.path().join("lattice.db")).expect("a folder");
    assert_refuses(&run_to_end(folder.path(), &[]), &["lattice.db"]);
}

#[test]
fn wrong_settings_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let cases = [
        ("MAX_FRAME_BYTES", "10"),
        ("MAX_FRAME_BYTES", "400000000"),
        ("PING_SECONDS", "0"),
        ("MAX_CONNECTIONS", "0"),
        ("MAX_UPLOAD_MIB", "0"),
        ("JWT_SECRET", "short"),
        ("JWT_SECRET_PREVIOUS", "a secret without a secret that follows it"),
        ("DATABASE_URL", "postgres://somewhere/x"),
        ("LOG", "lattice_server=loud"),
    ];
    for (name, value) in cases {
        let ended = run_to_end(folder.path(), &[(name, value)]);
        assert_refuses(&ended, &[name]);
        assert!(!name.contains("SECRET") || !ended.stderr.contains(value), "{}", ended.stderr);
    }
    // The parser's own refusals name the setting too, in more lines.
    for (name, value) in [("PORT", "none"), ("PORT", "70000"), ("HOST", "nowhere"), ("MERGE_RULE", "luck")] {
        let ended = run_to_end(folder.path(), &[(name, value)]);
        assert!(!ended.status.success());
        let flag = name.to_ascii_lowercase().replace('_', "-");
        assert!(ended.stderr.contains(&flag), "{name}: {}", ended.stderr);
    }
}

#[test]
fn a_file_of_another_program_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lattice.db");
    let foreign = Connection::open(&path).expect("a database");
    foreign.execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1);").expect("a table");
    drop(foreign);
    let before = std::fs::read(&path).expect("the file");
    assert_refuses(&run_to_end(folder.path(), &[]), &["lattice.db", "another program"]);
    assert_eq!(std::fs::read(&path).expect("the file"), before, "not one byte was changed");

    std::fs::write(&path, "this is a letter and no database at all, and it is quite long".repeat(50))
        .expect("a file");
    assert_refuses(&run_to_end(folder.path(), &[]), &["lattice.db", "another program"]);
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let mut server = TestServer::start(&[]);
    server.terminate();
    let connection = Connection::open(server.data_dir().join("lattice.db")).expect("the database");
    connection
        .execute_batch(
            "INSERT INTO refinery_schema_history VALUES (999, 'future', '2099-01-01T00:00:00Z', '1')",
        )
        .expect("the history");
    drop(connection);
    assert_refuses(&run_to_end(&server.data_dir(), &[]), &["newer version"]);
}

#[test]
fn two_servers_do_not_share_a_database() {
    let mut server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    assert_refuses(&run_to_end(&server.data_dir(), &[]), &["in use by another process"]);
    let elsewhere = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", server.data_dir().join("lattice.db").display());
    assert_refuses(&run_to_end(elsewhere.path(), &[("DATABASE_URL", &url)]), &["in use by another process"]);
    let mut socket = Socket::open(&server, &ann.token, None);
    socket.store(&[&Entry::insert("Item", &new_row()).integer("n", 1)]);
    // Neither way of ending leaves anything behind that keeps the next one out.
    server.kill_9();
    server.start_again();
    server.restart_same_folder();
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
