//! Histories of one connection whose client fails to store some of what it is sent, for a while or for good.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytestring::ByteString;
use lattice_engine::{
    Cursor, Delivered, Deliveries, MAX_FAILING_ROWS, MAX_WAITING_ENTRIES, PAUSES_US, RowRef,
};
use lattice_protocol::{EntryId, RowKey};

use super::draw::Rng;

/// How a client takes a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taking {
    Stores,
    /// Until so many entries of it have failed.
    FailsFor(u32),
    Never,
}

/// A connection, its client, and what the client should hold.
struct Connection {
    deliveries: Deliveries,
    /// Frames on their way, in order.
    on_the_way: Vec<Arc<[Delivered]>>,
    takings: BTreeMap<RowRef, Taking>,
    holds: BTreeSet<RowRef>,
    next_id: u64,
    sent: u64,
    sent_again: BTreeMap<RowRef, usize>,
    now_us: i64,
}

fn row(number: u8) -> RowRef {
    RowRef { table: ByteString::from_static("Item"), key: RowKey::Uuid([number; 16]) }
}

impl Connection {
    fn new(rng: &mut Rng) -> Self {
        let taking = |rng: &mut Rng| match rng.below(6) {
            0 => Taking::Never,
            1 => Taking::FailsFor(1 + rng.below(4) as u32),
            _ => Taking::Stores,
        };
        Self {
            deliveries: Deliveries::default(),
            on_the_way: Vec::new(),
            takings: (0..8).map(|number| (row(number), taking(rng))).collect(),
            holds: BTreeSet::new(),
            next_id: 1,
            sent: 0,
            sent_again: BTreeMap::new(),
            now_us: 1,
        }
    }

    fn send(&mut self, rows: impl IntoIterator<Item = (RowRef, bool)>) {
        let before = Cursor::complete(self.sent);
        let mut frame = Vec::new();
        for (row, whole) in rows {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&self.next_id.to_le_bytes());
            self.next_id += 1;
            frame.push(Delivered { id: EntryId(id), row, whole });
        }
        self.sent += frame.len() as u64;
        let frame: Arc<[Delivered]> = frame.into();
        if !frame.is_empty() {
            self.on_the_way.push(Arc::clone(&frame));
        }
        self.deliveries.sent(before, frame, self.now_us);
    }

    /// The client applies the oldest frame, and answers it.
    fn apply(&mut self) {
        if self.on_the_way.is_empty() {
            return;
        }
        let frame = self.on_the_way.remove(0);
        let mut acks = Vec::new();
        for Delivered { id, row, whole } in &*frame {
            let taking = self.takings.entry(row.clone()).or_insert(Taking::Stores);
            // An UPDATE of a row that is missing does nothing, and is acknowledged.
            let fails = (*whole || self.holds.contains(row)) && *taking != Taking::Stores;
            if fails {
                if let Taking::FailsFor(left) = taking {
                    *taking = if *left > 1 { Taking::FailsFor(*left - 1) } else { Taking::Stores };
                }
                continue;
            }
            if *whole {
                self.holds.insert(row.clone());
            }
            acks.push(*id);
        }
        if !acks.is_empty() {
            self.deliveries.acked(&acks, self.now_us);
        }
    }

    fn send_due(&mut self) {
        let due = self.deliveries.take_due(self.now_us);
        for row in &due {
            *self.sent_again.entry(row.clone()).or_default() += 1;
        }
        self.send(due.into_iter().map(|row| (row, true)));
    }
}

/// What goes wrong in the history of this seed.
fn run(seed: u64) -> Result<(), String> {
    let mut rng = Rng(seed);
    let mut connection = Connection::new(&mut rng);
    let mut changes: BTreeMap<RowRef, usize> = BTreeMap::new();
    for _ in 0..rng.below(60) {
        match rng.below(6) {
            0 | 1 => {
                let mut sent = Vec::new();
                for _ in 0..1 + rng.below(4) {
                    let (row, updates) = (row(rng.below(8) as u8), rng.chance(50));
                    let times = changes.entry(row.clone()).or_default();
                    *times += 1;
                    // What was never sent before is sent whole.
                    sent.push((row, *times == 1 || !updates));
                }
                connection.send(sent);
            }
            2 => connection.now_us += i64::from(rng.below(90) as u32) * 1_000_000,
            3 => connection.send_due(),
            _ => connection.apply(),
        }
        let (entries, failing) = connection.deliveries.held();
        if entries > MAX_WAITING_ENTRIES || failing > MAX_FAILING_ROWS {
            return Err(format!("{entries} entries and {failing} rows are held"));
        }
    }
    // Time passes, and all that is due is sent and answered.
    for _ in 0..PAUSES_US.len() * 4 {
        while !connection.on_the_way.is_empty() {
            connection.apply();
        }
        connection.now_us += 400_000_000;
        connection.send_due();
    }
    while !connection.on_the_way.is_empty() {
        connection.apply();
    }
    let listed = connection.deliveries.take_unstorable().unwrap_or_default();
    for (row, times) in &changes {
        let held = connection.holds.contains(row);
        let never = connection.takings[row] == Taking::Never;
        if held == never || listed.contains(row) != never {
            return Err(format!("{row:?}: held {held}, listed {}", listed.contains(row)));
        }
        // Each change of a row that cannot be stored may begin anew.
        let most = PAUSES_US.len() * (1 + times);
        let again = connection.sent_again.get(row).copied().unwrap_or(0);
        if again > most {
            return Err(format!("{row:?} was sent again {again} times"));
        }
    }
    match connection.deliveries.held() {
        (0, failing) if failing == listed.len() => Ok(()),
        held => Err(format!("{held:?} is held at the end, {} rows are listed", listed.len())),
    }
}

/// The first seed whose history goes wrong, and how.
pub(crate) fn first_wrong(seeds: std::ops::Range<u64>) -> Option<(u64, String)> {
    seeds.into_iter().find_map(|seed| run(seed).err().map(|problem| (seed, problem)))
}
