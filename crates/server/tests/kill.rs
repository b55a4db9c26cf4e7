//! The server is killed again and again while clients of two users write to the same rows. Nothing that was acknowledged
//! is lost, the database is never damaged, and in the end all replicas are equal.

mod common;

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex};
use std::time::Instant;

use common::device::{Device, Lost, converge};
use common::edit::{assert_own, edit};
use common::http::{Account, sign_up};
use common::server::TestServer;
use common::{PATIENCE, database};
use lattice_sim::rng::Rng;

/// `KILL_SEED` plays another history.
const SEED: u64 = 20_261_122;
const KILLS: usize = 50;
/// Changes that a client makes before it waits for acks.
const MAX_WAITING: usize = 40;

/// What clients have done in a round, and whether it is time to kill.
#[derive(Default)]
struct Progress {
    events: Mutex<usize>,
    more: Condvar,
}

impl Progress {
    fn add(&self) {
        *self.events.lock().expect("a count") += 1;
        self.more.notify_one();
    }

    /// Waits until clients have sent and received so many frames together.
    #[track_caller]
    fn wait(&self, events: usize) {
        let count = self.events.lock().expect("a count");
        let enough = self.more.wait_timeout_while(count, PATIENCE, |count| *count < events).expect("a count");
        assert!(!enough.1.timed_out(), "{events} frames were to pass within {PATIENCE:?}");
    }
}

/// Edits, uploads and listens until the server is gone.
fn work(device: &mut Device, user: &str, server: &TestServer, progress: &Progress) -> Result<(), Lost> {
    device.try_connect(server)?;
    loop {
        let edits = if device.db.pending().len() < MAX_WAITING { 1 + device.rng.below(6) } else { 0 };
        for _ in 0..edits {
            edit(device, user);
        }
        device.upload()?;
        progress.add();
        if device.db.pending().len() > 0 {
            device.step()?;
            progress.add();
        }
    }
}

#[test]
fn nothing_that_was_acked_is_lost_when_the_server_is_killed() {
    let seed = std::env::var("KILL_SEED").map_or(SEED, |seed| seed.parse().expect("KILL_SEED is a number"));
    println!("seed {seed}");
    let started = Instant::now();
    let mut rng = Rng::new(seed);
    let mut server = TestServer::start(&[]);
    let accounts: [Account; 2] = ["ann", "bob"].map(|name| sign_up(&server, name));
    let mut devices: Vec<(usize, Device)> = (0..5)
        .map(|number| {
            let user = number % 2;
            (user, Device::new(&format!("device {number}"), &accounts[user], seed + 1 + number as u64))
        })
        .collect();
    let mut frames = 0;
    for kill in 0..KILLS {
        let progress = Progress::default();
        // Now and then before anybody has connected, or in the middle of everybody's catch-up.
        let target = *rng.pick(&[0, 3, 10, 30, 100, 200, 400]) + rng.below(10);
        let target = if rng.chance(10) { 0 } else { target };
        std::thread::scope(|scope| {
            for (user, device) in &mut devices {
                let (progress, server, name) = (&progress, &server, ["ann", "bob"][*user]);
                scope.spawn(move || {
                    // Ends when the server does.
                    let _ = work(device, name, server, progress);
                    device.disconnect();
                });
            }
            progress.wait(target);
            server.kill_without_waiting();
        });
        server.wait_for_end(PATIENCE);
        frames += *progress.events.lock().expect("a count");
        database::check_copy(&server);
        server.start_again();
        // Each ack is checked as soon as the server has recovered, not at the end only.
        if kill % 10 == 9 {
            assert_kept(&server, &accounts, &devices);
        }
    }
    for (user, device) in &mut devices {
        device.connect(&server);
        assert_own(device, ["ann", "bob"][*user]);
    }
    for (user, account) in accounts.iter().enumerate() {
        let mut fresh = Device::new("a fresh device", account, seed + 100 + user as u64);
        fresh.connect(&server);
        let own = devices.iter_mut().filter(|(of, _)| *of == user).map(|(_, device)| device);
        let mut all: Vec<&mut Device> = own.chain([&mut fresh]).collect();
        converge(&mut all);
        all.iter().for_each(|device| assert_own(device, ["ann", "bob"][user]));
    }
    assert_kept(&server, &accounts, &devices);
    let acked: usize = devices.iter().map(|(_, device)| device.acked.len()).sum();
    println!("{KILLS} kills, {frames} frames, {acked} acks, {:?}", started.elapsed());
    assert!(acked > 1_000, "only {acked} changes were acknowledged: this tested little");
    devices.iter_mut().for_each(|(_, device)| device.disconnect());
    server.terminate();
    database::check(&database::open(&server));
}

/// Every acknowledged change has its line in the audit log.
#[track_caller]
fn assert_kept(server: &TestServer, accounts: &[Account; 2], devices: &[(usize, Device)]) {
    let connection = database::open(server);
    for (user, account) in accounts.iter().enumerate() {
        let log = database::audit_ids(&connection, &account.user);
        for (_, device) in devices.iter().filter(|(of, _)| *of == user) {
            let lost: BTreeSet<_> = device.acked.iter().filter(|id| !log.contains(&id.0)).collect();
            assert!(
                lost.is_empty(),
                "{}: {} of {} acked changes are lost: {lost:?}",
                device.name,
                lost.len(),
                device.acked.len()
            );
        }
    }
}
