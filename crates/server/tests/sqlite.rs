//! What is particular to a database in a file: where it is made, who may use it, and who waits for its lock.

mod common;

use std::net::TcpListener;

use common::database;
use common::device::{Device, ITEM, converge, field, row_id};
use common::entry::{Entry, new_row};
use common::http::sign_up;
use common::server::{Ended, TestServer, run_to_end};
use common::socket::{Got, Socket};
use lattice_protocol::value;
use rusqlite::Connection;

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
        ("DATABASE_URL", "mysql://somewhere/x"),
        ("DATABASE_URL", "postgres://:5432:x"),
        ("DATABASE_POOL", "1"),
        ("DATABASE_WAIT_SECONDS", "86400"),
        ("DATABASE_GROUP_SPACES", "0"),
        ("DRAIN_SECONDS", "3600"),
        ("REDIS_URL", "redis://127.0.0.1:6379"),
        ("LOG", "lattice_server=loud"),
    ];
    for (name, value) in cases {
        let ended = run_to_end(folder.path(), &[(name, value)]);
        assert_refuses(&ended, &[name]);
        assert!(!name.contains("SECRET") || !ended.stderr.contains(value), "{}", ended.stderr);
    }
    let database = ("DATABASE_URL", "postgres://127.0.0.1:1/x?sslmode=require");
    let nowhere = folder.path().join("ca.pem").display().to_string();
    for (name, value) in [("REDIS_URL", "somewhere"), ("DATABASE_TLS_CA", &nowhere)] {
        assert_refuses(&run_to_end(folder.path(), &[database, (name, value)]), &[name]);
    }
    let ended = run_to_end(
        folder.path(),
        &[("DATABASE_URL", "postgres://ann:hunter2@127.0.0.1:1/x"), ("DATABASE_WAIT_SECONDS", "0")],
    );
    assert_refuses(&ended, &["cannot reach the database", "x on 127.0.0.1"]);
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
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
fn an_upload_that_cannot_be_stored_is_not_overtaken() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut phone = Device::new("phone", &ann, 1);
    let row = row_id(1);
    phone.connect(&server);
    phone.insert(ITEM, &row, vec![field("name", value::text("first"))]);
    phone.settle();
    // Another program holds the write lock for longer than the server waits for it.
    let blocker =
        rusqlite::Connection::open(server.data_dir().join("lattice.db")).expect("the database opens");
    blocker.execute_batch("BEGIN IMMEDIATE").expect("the lock is free");
    phone.update(ITEM, &row, vec![field("name", value::text("second"))]);
    phone.upload().expect("a connection");
    let socket = phone.socket.as_mut().expect("a connection");
    let mut failed = None;
    while failed.is_none() {
        match socket.next() {
            Got::Frame(frame) if frame.windows(6).any(|window| window == b"\"nack\"") => {}
            Got::Frame(_) | Got::Ping | Got::Pong => {}
            Got::Closed(code, reason) => failed = Some((code, reason)),
            Got::Gone => panic!("the connection ended without a close frame"),
        }
    }
    let (code, reason) = failed.expect("a close frame");
    assert_eq!(code, 1011, "{reason}");
    blocker.execute_batch("ROLLBACK").expect("the lock is given back");
    phone.disconnect();
    phone.update(ITEM, &row, vec![field("name", value::text("third"))]);
    phone.connect(&server);
    let mut fresh = Device::new("fresh", &ann, 2);
    fresh.connect(&server);
    converge(&mut [&mut phone, &mut fresh]);
    assert_eq!(fresh.value(ITEM, &row, "name"), Some(value::text("third")));
    let log = database::audit_ids(&database::open(&server), &ann.user);
    assert!(phone.acked.iter().all(|id| log.contains(&id.0)), "an acknowledged change is lost");
}
