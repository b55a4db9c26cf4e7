//! Histories of a device that uploads a part of its rows only, beside somebody who edits the same rows.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use bytestring::ByteString;
use lattice_engine::{Cursor, Effects, Row, RowRef, Rule, Seq, WriterId};
use lattice_protocol::value::integer;
use lattice_protocol::{Change, EntryId, Field, Operation, RowId, RowKey, Spelling};

use super::Memory;
use super::draw::Rng;

const COLUMNS: [&str; 3] = ["a", "b", "c"];
const DEVICE: u8 = 1;
const OTHER: u8 = 2;

type Columns = BTreeMap<String, Bytes>;

struct History {
    rng: Rng,
    store: Memory,
    /// What the device holds.
    local: BTreeMap<RowRef, Columns>,
    /// What its user has set since it was last equal to the store.
    edited: BTreeSet<(RowRef, String)>,
    /// What it has applied.
    applied: Seq,
    ids: u8,
}

fn row_id(number: u8) -> RowId {
    RowId { key: RowKey::Uuid([number; 16]), spelling: Spelling::default() }
}

fn reference(number: u8) -> RowRef {
    RowRef { table: ByteString::from_static("Item"), key: row_id(number).key }
}

impl History {
    fn change(&mut self, operation: Operation, row: u8, fields: Vec<(String, Bytes)>) -> Change {
        self.ids += 1;
        let fields = fields.into_iter().map(|(name, value)| Field { name: name.into(), value });
        Change {
            id: EntryId([self.ids; 16]),
            id_spelling: Spelling::default(),
            table: ByteString::from_static("Item"),
            operation,
            row: row_id(row),
            fields: fields.collect(),
            timestamp_us: None,
            synthesized: false,
            filter_removal: false,
            by_filter: false,
            raw: Bytes::from_static(b"{}"),
        }
    }

    fn upload(&mut self, writer: u8, change: Change) -> Effects {
        // Few values: what one has set may be what another had.
        self.store.applied = (writer == DEVICE).then(|| Cursor::complete(self.applied));
        self.store.upload(writer, vec![change])
    }

    fn stored(&self, row: u8) -> Option<Row> {
        let stored = self.store.rows.get(&reference(row))?;
        Some(Row::decode(stored).expect("what was encoded"))
    }

    fn value(&mut self) -> Bytes {
        integer(self.rng.below(3) as i64)
    }

    fn other_acts(&mut self, row: u8) {
        let live = self.stored(row).is_some_and(|row| row.is_live());
        let column = *self.rng.pick(&COLUMNS);
        let (operation, fields) = match (live, self.rng.below(6)) {
            (false, _) => {
                let fields = COLUMNS.map(|column| (column.to_owned(), self.value()));
                (Operation::Insert, fields.to_vec())
            }
            (true, 0) => (Operation::Delete, Vec::new()),
            (true, _) => (Operation::Update, vec![(column.to_owned(), self.value())]),
        };
        let change = self.change(operation, row, fields);
        self.upload(OTHER, change);
    }

    fn receives(&mut self) {
        self.local = self.store.live();
        self.edited.clear();
        self.applied = self.store.head.seq;
    }

    fn edits(&mut self, row: u8) {
        let (column, value) = (*self.rng.pick(&COLUMNS), self.value());
        if let Some(held) = self.local.get_mut(&reference(row)) {
            held.insert(column.to_owned(), value);
            self.edited.insert((reference(row), column.to_owned()));
        }
    }

    /// The whole row goes out, as newer or as older versions send it.
    fn resends(&mut self, row: u8) -> Result<(), String> {
        let Some(held) = self.local.get(&reference(row)).cloned() else { return Ok(()) };
        let before = self.stored(row);
        let mut change = self.change(Operation::Insert, row, held.clone().into_iter().collect());
        if self.rng.chance(50) {
            // Later than anything so far: whether older times lose is not the matter here.
            change.timestamp_us = Some(self.store.head.arrival_us.max(1_000_000) + 1);
            (change.synthesized, change.by_filter) = (true, true);
        }
        self.upload(DEVICE, change);
        let after = self.stored(row);
        let (Some(before), Some(after)) = (before, after) else {
            return Err("what a device holds is not known".into());
        };
        if before.deleted {
            let news = before.last_seq > self.applied;
            return if after.deleted || !news { Ok(()) } else { Err("a deleted row lives again".into()) };
        }
        for column in COLUMNS {
            let edited = self.edited.contains(&(reference(row), column.to_owned()));
            let (was, is) = (before.field(column), after.field(column));
            let foreign = was.is_some_and(|was| {
                was.stamp.seq > self.applied && was.stamp.writer != WriterId([DEVICE; 16])
            });
            let (was, is) = (was.map(|field| &field.value), is.map(|field| &field.value));
            if was != is && (foreign || !edited) {
                return Err(format!("{column} was not edited, and is {is:?} instead of {was:?}"));
            }
            if edited && !foreign && is != held.get(column) {
                return Err(format!("the edit of {column} is lost"));
            }
        }
        // It is answered with the whole row.
        let current = self.store.live().remove(&reference(row)).unwrap_or_default();
        self.local.insert(reference(row), current);
        self.edited.retain(|(held, _)| *held != reference(row));
        Ok(())
    }

    fn leaves(&mut self, row: u8) -> Result<(), String> {
        let before = self.stored(row);
        let mut change = self.change(Operation::Delete, row, Vec::new());
        change.by_filter = true;
        let visible = self.upload(DEVICE, change).visible.len();
        match self.stored(row) == before && visible == 0 {
            true => Ok(()),
            false => Err("a row that left one device's filter has changed".into()),
        }
    }

    fn run(mut self) -> Result<(), String> {
        for _ in 0..self.rng.below(60) {
            let row = self.rng.below(3) as u8 + 1;
            match self.rng.below(9) {
                0..=2 => self.other_acts(row),
                3 => self.receives(),
                4 | 5 => self.edits(row),
                6 if self.stored(row).is_some() => self.leaves(row)?,
                _ => self.resends(row)?,
            }
        }
        Ok(())
    }
}

/// The first seed whose history goes wrong, and how.
pub(crate) fn first_wrong(seeds: std::ops::Range<u64>) -> Option<(u64, String)> {
    seeds.into_iter().find_map(|seed| {
        let history = History {
            rng: Rng(seed),
            store: Memory::new(Rule::Field),
            local: BTreeMap::new(),
            edited: BTreeSet::new(),
            applied: 0,
            ids: 0,
        };
        history.run().err().map(|problem| (seed, problem))
    })
}
