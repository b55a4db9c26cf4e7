//! Clients of two users that edit the same rows, lose their connections and come again.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::common::database;
use crate::common::device::{Device, Lost, converge};
use crate::common::edit::{assert_own, edit};
use crate::common::http::{Account, get, sign_up};
use crate::common::server::TestServer;

/// How long anything may take that waits for a fault to pass: retries and re-checks have limits of their own.
pub(crate) const LONG_PATIENCE: Duration = Duration::from_secs(90);
/// Changes that a client makes before it waits for acks.
const MAX_WAITING: usize = 40;
/// Between two attempts to connect.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
const USERS: [&str; 2] = ["ann", "bob"];

/// How many frames clients have sent and received, and whether they are to stop.
#[derive(Default)]
pub(crate) struct Progress {
    frames: Mutex<usize>,
    more: Condvar,
    stop: AtomicBool,
}

impl Progress {
    fn add(&self) {
        *self.frames.lock().expect("a count") += 1;
        self.more.notify_all();
    }

    /// Waits until so many more frames have passed.
    #[track_caller]
    pub(crate) fn wait_for(&self, more: usize) {
        let count = self.frames.lock().expect("a count");
        let wanted = *count + more;
        let waited =
            self.more.wait_timeout_while(count, LONG_PATIENCE, |count| *count < wanted).expect("a count");
        assert!(!waited.1.timed_out(), "{more} frames were to pass within {LONG_PATIENCE:?}");
    }

    fn pause(&self) {
        let count = self.frames.lock().expect("a count");
        let _ = self.more.wait_timeout(count, RECONNECT_PAUSE).expect("a count");
    }

    fn stops(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

/// Five clients of two users.
pub(crate) struct Crew {
    accounts: [Account; 2],
    devices: Vec<(usize, Device)>,
    /// How many fresh devices there were: each has ids of its own.
    fresh: u64,
}

impl Crew {
    pub(crate) fn new(server: &TestServer, seed: u64) -> Self {
        let accounts = USERS.map(|name| sign_up(server, name));
        let device = |number: usize| {
            let user = number % USERS.len();
            (user, Device::new(&format!("device {number}"), &accounts[user], seed + 1 + number as u64))
        };
        let devices = (0..5).map(device).collect();
        Self { accounts, devices, fresh: 0 }
    }

    /// Works, while `faults` does what it does to everything else.
    pub(crate) fn work_during(&mut self, server: &TestServer, faults: impl FnOnce(&Progress)) {
        /// Also when `faults` panics: the clients would work on for ever.
        struct Stop<'a>(&'a Progress);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.stop.store(true, Ordering::SeqCst);
            }
        }
        let progress = Progress::default();
        std::thread::scope(|scope| {
            for (user, device) in &mut self.devices {
                let progress = &progress;
                scope.spawn(move || {
                    while !progress.stops() {
                        if work(device, USERS[*user], server, progress).is_err() {
                            device.disconnect();
                            progress.pause();
                        }
                    }
                    device.disconnect();
                });
            }
            let _stop = Stop(&progress);
            faults(&progress);
        });
    }

    /// All clients and a fresh one of each user become equal, and nothing that was acknowledged is missing from the log.
    #[track_caller]
    pub(crate) fn assert_whole(&mut self, server: &TestServer, least_acks: usize) {
        for (user, device) in &mut self.devices {
            device.connect(server);
            assert_own(device, USERS[*user]);
        }
        for (user, account) in self.accounts.iter().enumerate() {
            self.fresh += 1;
            let mut fresh = Device::new("a fresh device", account, 1_000_000 + self.fresh);
            fresh.connect(server);
            let own = self.devices.iter_mut().filter(|(of, _)| *of == user).map(|(_, device)| device);
            let mut all: Vec<&mut Device> = own.chain([&mut fresh]).collect();
            converge(&mut all);
            all.iter().for_each(|device| assert_own(device, USERS[user]));
        }
        let look = database::open(server);
        for (user, account) in self.accounts.iter().enumerate() {
            let log = database::audit_ids(&look, &account.user);
            for (_, device) in self.devices.iter().filter(|(of, _)| *of == user) {
                let lost: BTreeSet<_> = device.acked.iter().filter(|id| !log.contains(&id.0)).collect();
                assert!(lost.is_empty(), "{}: acked changes are lost: {lost:?}", device.name);
            }
        }
        let acks: usize = self.devices.iter().map(|(_, device)| device.acked.len()).sum();
        assert!(acks >= least_acks, "only {acks} changes were acknowledged: this tested little");
        self.devices.iter_mut().for_each(|(_, device)| device.disconnect());
    }
}

/// Connects, edits, uploads and listens until the connection is lost or it is time to stop.
fn work(device: &mut Device, user: &str, server: &TestServer, progress: &Progress) -> Result<(), Lost> {
    device.try_connect(server)?;
    while !progress.stops() {
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
    Ok(())
}

/// Waits until an instance says of itself that it is ready, or is not.
#[track_caller]
pub(crate) fn until_ready(server: &TestServer, at: usize, ready: bool) {
    let deadline = Instant::now() + LONG_PATIENCE;
    loop {
        let (status, body) = get(server.on(at), "/readyz", "");
        server.in_turn();
        if (status == 200) == ready {
            return;
        }
        assert!(Instant::now() < deadline, "instance {at} says {status}: {body}");
    }
}
