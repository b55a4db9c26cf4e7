//! Everybody comes at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::common::entry::{Entry, new_row};
use crate::common::http::{Account, sign_up};
use crate::common::server::TestServer;
use crate::common::socket::{Got, Socket, handshake_of, target};
use crate::crew::LONG_PATIENCE;

const CLIENTS: usize = 2_000;
const THREADS: usize = 50;
const USERS: usize = 20;

/// Connects, as often as it takes, when it is told to.
fn connect(server: &TestServer, token: &str, sent_away: &AtomicUsize) -> Socket {
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < LONG_PATIENCE, "a client was not let in");
        let retry_after_s = match handshake_of(server, &target(None), Some(token), b"") {
            Ok(answer) if answer.status == 101 => return answer.socket(),
            Ok(answer) => {
                let seconds = answer.header("retry-after").and_then(|text| text.parse().ok());
                assert_eq!(answer.problem()["code"], "overloaded");
                sent_away.fetch_add(1, Ordering::Relaxed);
                let seconds: u64 = seconds.expect("it says when to come again");
                assert!((1..=30).contains(&seconds), "{seconds}");
                seconds
            }
            // The system's own line is full.
            Err(_) => 1,
        };
        let waits = (Mutex::new(()), Condvar::new());
        let lock = waits.0.lock().expect("a lock");
        let _ = waits.1.wait_timeout(lock, Duration::from_secs(retry_after_s)).expect("a lock");
    }
}

/// All clients at once; answers their sockets by account.
fn storm(server: &TestServer, accounts: &[Account]) -> (Vec<(usize, Socket)>, usize) {
    let (sent_away, barrier) = (AtomicUsize::new(0), Barrier::new(THREADS));
    let sockets = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (sent_away, barrier) = (&sent_away, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let clients = (thread..CLIENTS).step_by(THREADS);
                    let connect = |client: usize| {
                        let user = client % USERS;
                        (user, connect(server, &accounts[user].token, sent_away))
                    };
                    clients.map(connect).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    (sockets, sent_away.into_inner())
}

#[test]
fn two_thousand_clients_come_again_at_once() {
    let settings = [("MAX_HANDSHAKES", "4"), ("MAX_PAGES", "2"), ("DATABASE_POOL", "6")];
    let mut server = TestServer::start_shared(&settings, 2);
    let accounts: Vec<Account> = (0..USERS).map(|user| sign_up(&server, &format!("user{user}"))).collect();
    for account in &accounts {
        Socket::open(&server, &account.token, None)
            .store(&[&Entry::insert("Item", &new_row()).integer("n", 1)]);
    }
    let (sockets, _) = storm(&server, &accounts);
    assert_eq!(sockets.len(), CLIENTS);
    // Everybody is sent home, and comes again at once.
    server.ask_to_end();
    for (_, mut socket) in sockets {
        loop {
            match socket.next() {
                Got::Frame(_) | Got::Ping | Got::Pong => {}
                end => {
                    assert!(matches!(end, Got::Closed(1001, _)), "{end:?}");
                    break;
                }
            }
        }
    }
    assert!(server.wait_for_end(Duration::from_secs(20)).success());
    server.start_again();
    let (mut sockets, _) = storm(&server, &accounts);
    assert_eq!(sockets.len(), CLIENTS);
    // Nobody stands in a corner: what is written now reaches all of them.
    let row = new_row();
    for account in &accounts {
        Socket::open(&server, &account.token, None).store(&[&Entry::insert("Item", &row).integer("n", 2)]);
    }
    for (_, socket) in &mut sockets {
        let heard = socket.until(|heard| heard.entries.iter().any(|entry| entry["globalRowId"] == *row));
        assert!(!heard.entries.is_empty());
    }
}
