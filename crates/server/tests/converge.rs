//! Many devices of one user, all at once, coming and going: whatever happens, they end with equal rows.

mod common;

use common::device::{Device, ITEM, Lost, converge, field};
use common::edit::{assert_own, edit};
use common::http::sign_up;
use common::server::TestServer;
use lattice_protocol::value;
use lattice_store::time::{Clock, SystemClock};

const SEED: u64 = 20_261_122;
/// Times that each device connects.
const CONNECTIONS: usize = 12;
/// Frames that each device takes in one connection, at most.
const MAX_FRAMES: usize = 40;

/// An edit with a time of its own, up to some seconds wrong; sometimes one that the server must refuse.
fn odd_edit(device: &mut Device, user: &str) {
    let key = device.db.rows().keys().find(|(table, _)| *table == ITEM).cloned();
    let Some((table, key)) = key else { return };
    let wrong_us = device.rng.below(20_000_000) as i64 - 10_000_000;
    let time = lattice_sim::wire::time_text(SystemClock.now_us() + wrong_us);
    let label = device.label_at(&time);
    let text = value::text(&format!("{user} {}", device.rng.below(1_000_000)));
    match device.rng.below(6) {
        0 => device.db.leave_filter(label, table, &key),
        1 => device.db.update(label, table, &key, vec![field("name", text), field("note", BAD.into())]),
        2 => device.db.delete(label, table, &key),
        _ => device.db.update(label, table, &key, vec![field("name", text)]),
    };
}

const BAD: &[u8] = br#"{"kind":1,"value":"x"}"#;

/// One connection: edits before and during it, and an end at any moment.
fn connection(device: &mut Device, user: &str, server: &TestServer) -> Result<(), Lost> {
    for _ in 0..device.rng.below(8) {
        edit(device, user);
    }
    if device.rng.chance(5) {
        // The audit log is compacted: the whole state goes up again as snapshots. A log that still holds changes is
        // forgotten with its checkpoint: what it deleted and did not upload could never come back otherwise.
        let mut labels: Vec<_> = (0..device.db.rows().len()).map(|_| device.label()).collect();
        let forget = device.db.pending().len() > 0 || device.rng.chance(50);
        device.db.compact(forget, || labels.pop().expect("a label for each row"));
    }
    device.try_connect(server)?;
    for _ in 0..device.rng.below(MAX_FRAMES) {
        for _ in 0..device.rng.below(3) {
            if device.rng.chance(25) { odd_edit(device, user) } else { edit(device, user) }
        }
        if device.rng.chance(5) {
            // No progress, as far as the device can tell: everything that waits is sent again.
            device.db.resend();
        }
        device.upload()?;
        if device.db.pending().len() > 0 {
            device.step()?;
        }
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the seed names the history")]
fn play(seed: u64, settings: &[(&str, &str)]) {
    println!("seed {seed}");
    let server = TestServer::start(settings);
    let ann = sign_up(&server, "ann");
    let mut devices: Vec<Device> =
        (0..5).map(|number| Device::new(&format!("device {number}"), &ann, seed + number)).collect();
    std::thread::scope(|scope| {
        for device in &mut devices {
            let server = &server;
            scope.spawn(move || {
                for number in 0..CONNECTIONS {
                    connection(device, "ann", server).expect("the server stays");
                    if number + 1 < CONNECTIONS {
                        device.disconnect();
                        if device.rng.chance(10) {
                            device.db.lose_checkpoint();
                        }
                    }
                }
            });
        }
    });
    let mut fresh = Device::new("a fresh device", &ann, seed + 100);
    fresh.connect(&server);
    let mut all: Vec<&mut Device> = devices.iter_mut().chain([&mut fresh]).collect();
    converge(&mut all);
    all.iter().for_each(|device| assert_own(device, "ann"));
    // And again, for those who connect anew with what they have.
    let device = &mut all[0];
    device.disconnect();
    device.connect(&server);
    converge(&mut all);
}

/// Seeds of histories with another merge rule begin here.
const ROW_SEEDS: u64 = SEED + 10_000;

fn seeds(first: u64) -> impl Iterator<Item = u64> {
    let count =
        std::env::var("CONVERGE_RUNS").map_or(3, |count| count.parse().expect("CONVERGE_RUNS is a number"));
    (0..count).map(move |number| first + 1_000_000 * number)
}

#[test]
fn devices_that_come_and_go_converge() {
    seeds(SEED).for_each(|seed| play(seed, &[]));
}

#[test]
fn devices_converge_where_whole_rows_win() {
    seeds(ROW_SEEDS).for_each(|seed| play(seed, &[("MERGE_RULE", "row")]));
}
