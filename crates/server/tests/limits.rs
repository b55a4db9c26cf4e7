//! Clients that send too much, read too little, or meet a store that fails: nobody is wedged, and memory stays bounded.

mod common;

use std::io::{Read, Write};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use common::entry::{Entry, new_row};
use common::http::sign_up;
use common::server::TestServer;
use common::socket::{BINARY, PING, Socket, handshake, raw_frame};

/// What a client that is never read from may cost the server, in KiB. Its own buffers and those of the allocator.
const MAX_GROWTH_KIB: u64 = 24 << 10;

#[test]
fn uploads_beyond_the_budget_wait_and_are_stored() {
    let server = TestServer::start(&[("MAX_UPLOAD_MIB", "1")]);
    let ann = sign_up(&server, "ann");
    let mut sockets = [(); 3].map(|()| Socket::open(&server, &ann.token, None));
    let big = "x".repeat(700 << 10);
    let mut sent = Vec::new();
    // Each frame takes more than half of the budget, and all are on their way before any ack is read.
    for socket in &mut sockets {
        let entries = [(); 4].map(|()| Entry::insert("Item", &new_row()).text("name", &big));
        for entry in &entries {
            socket.upload(&[entry]);
        }
        sent.push(entries);
    }
    for (socket, entries) in sockets.iter_mut().zip(&sent) {
        socket.until_acked(&entries.each_ref().map(|entry| &*entry.id));
    }
    // A single frame larger than the budget passes as well.
    let huge = Entry::insert("Item", &new_row()).text("name", &"y".repeat(3 << 20));
    sockets[0].store(&[&huge]);
}

/// A client sends the same frame over and over and reads nothing. Once the server has stopped reading, or has read
/// everything, its memory is measured. Then the client reads, and nothing is lost: its last upload is stored.
#[track_caller]
fn assert_bounded(frame: &[u8], times: usize) {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut other = Socket::open(&server, &ann.token, None);
    other.store(&[&Entry::insert("Item", &new_row()).integer("n", 1)]);
    let mut mute = Socket::open(&server, &ann.token, None);
    let last = Entry::insert("Item", &new_row()).integer("n", 2);
    let mut bytes = frame.repeat(times);
    bytes.extend(raw_frame(BINARY, &Entry::frame(&[&last])));
    let mut stream = mute.stream().try_clone().expect("a second handle");
    let before = server.resident_kib();
    let writer = std::thread::spawn(move || stream.write_all(&bytes));
    let everything_was_read = other.next_within(Duration::from_secs(5)).is_some();
    let growth = server.resident_kib().saturating_sub(before);
    assert!(
        growth < MAX_GROWTH_KIB,
        "a client that does not read cost {growth} KiB (all of it was read: {everything_was_read})"
    );
    mute.until_acked(&[&last.id]);
    writer.join().expect("no panic").expect("the server reads on once its answers are read");
}

#[test]
fn garbage_whose_answers_are_not_read_costs_no_memory() {
    assert_bounded(&raw_frame(BINARY, b"x"), 400_000);
}

#[test]
fn pings_whose_answers_are_not_read_cost_no_memory() {
    assert_bounded(&raw_frame(PING, b""), 1_000_000);
}

#[test]
fn many_refusals_of_a_frame_are_told_in_few_events() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut socket = Socket::open(&server, &ann.token, None);
    let good = Entry::insert("Item", &new_row()).integer("n", 1);
    let frame = format!(r#"{{"auditLog":[{}{}]}}"#, "0,{},".repeat(5_000), good.to_json());
    socket.send(frame);
    let heard = socket.until_acked(&[&good.id]);
    let probe = Entry::insert("Item", &new_row()).integer("n", 1);
    let events = heard.events.len() + socket.store(&[&probe]).events.len();
    assert!((1..=4).contains(&events), "{events} events about one frame");
}

#[test]
fn a_slow_reader_is_not_taken_for_dead() {
    let server = TestServer::start(&[("PING_SECONDS", "1")]);
    let ann = sign_up(&server, "ann");
    let mut writer = Socket::open(&server, &ann.token, None);
    const SIZE: usize = 48 << 20;
    writer.store(&[&Entry::insert("Item", &new_row()).text("name", &"z".repeat(SIZE))]);
    let answer = handshake(&server, "/sync", Some(&ann.token), b"");
    let (mut stream, mut read) = (answer.stream, answer.rest.len());
    stream.set_read_timeout(Some(common::PATIENCE)).expect("a time-out");
    // For six intervals a trickle, then the rest: a frame of this size on a slow line. `pace` is never told anything.
    let (_never, pace) = channel::<()>();
    let mut chunk = vec![0_u8; 1 << 20];
    let slow_until = Instant::now() + Duration::from_secs(6);
    while read < SIZE {
        match stream.read(&mut chunk) {
            Ok(0) => panic!("the server gave up on a client that reads slowly, after {read} bytes"),
            Ok(count) => read += count,
            Err(error) => {
                panic!("the server gave up on a client that reads slowly, after {read} bytes: {error}")
            }
        }
        if Instant::now() < slow_until {
            assert_eq!(pace.recv_timeout(Duration::from_millis(200)), Err(RecvTimeoutError::Timeout));
        }
    }
}
