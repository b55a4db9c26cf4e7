//! Models of the deployed native clients, as `native-protocol.md` describes them: wire frames in, wire frames out.
//!
//! They compare nothing: whatever arrives later wins. They draw no random numbers and know no time; ids and timestamps
//! are given by their driver, so the same models run in the simulation and against real sockets.

mod apply;
mod checkpoint;
mod filter;
mod generation;
mod log;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use lattice_protocol::native::{FrameError, ServerFrame, decode_server, encode_ack};
use lattice_protocol::{EntryId, Field, Operation, Outgoing, RowId, RowKey, names};

use crate::wire::{self, Origin};

use apply::Applied;
pub use apply::Unstored;
use checkpoint::Checkpoint;
use filter::Filtered;
pub use filter::{Condition, UploadFilter};
pub use generation::Generation;
use log::UploadLog;
pub use log::{Label, LocalEntry};
pub use schema::{CASE, LocalRow, Schema, Table};

/// Deliveries that are remembered so as to be handed to other clients.
const MAX_RECENT: usize = 8;

/// What a received frame leads to.
#[derive(Debug, Default)]
pub struct Received {
    /// Frames to send back.
    pub replies: Vec<Bytes>,
    /// Own changes that are acknowledged now.
    pub acked: Vec<EntryId>,
    /// Own changes that are given up although nobody has stored them.
    pub given_up: Vec<EntryId>,
}

/// A client and its database. A clone is a copied database.
#[derive(Clone, Debug)]
pub struct NativeClient {
    generation: Generation,
    schema: Arc<Schema>,
    rows: BTreeMap<(usize, RowKey), LocalRow>,
    known: BTreeSet<EntryId>,
    log: UploadLog,
    checkpoint: Checkpoint,
    recent: VecDeque<Outgoing>,
    failures: usize,
    /// Rows that are behind because what was sent could not be stored.
    unstored: BTreeMap<(usize, RowKey), Unstored>,
    /// Where it uploads by a filter.
    filtered: Option<Filtered>,
}

impl NativeClient {
    /// An empty database of a client of the last release. `window` is the most entries of an upload, 1,000 in released
    /// clients.
    #[must_use]
    pub fn new(schema: Arc<Schema>, window: usize) -> Self {
        Self::of(Generation::Current, schema, window)
    }

    /// An empty database of a client of this generation.
    #[must_use]
    pub fn of(generation: Generation, schema: Arc<Schema>, window: usize) -> Self {
        Self {
            generation,
            schema,
            rows: BTreeMap::new(),
            known: BTreeSet::new(),
            log: UploadLog::new(window),
            checkpoint: Checkpoint::default(),
            recent: VecDeque::new(),
            failures: 0,
            unstored: BTreeMap::new(),
            filtered: None,
        }
    }

    /// Its generation.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Whether an entry that another process handed over is what it asks from with its next connection.
    #[must_use]
    pub fn takes_checkpoints_of_others(&self) -> bool {
        self.generation.advance() == generation::Advance::Recorded
    }

    /// Its tables.
    #[must_use]
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Its rows, by the index of their table and their key.
    #[must_use]
    pub fn rows(&self) -> &BTreeMap<(usize, RowKey), LocalRow> {
        &self.rows
    }

    /// Rows that are behind because what it was sent of them could not be stored, by the index of their table and their key.
    #[must_use]
    pub fn unstored(&self) -> &BTreeMap<(usize, RowKey), Unstored> {
        &self.unstored
    }

    /// Own changes that are not acknowledged, oldest first.
    pub fn pending(&self) -> impl ExactSizeIterator<Item = &Arc<LocalEntry>> {
        self.log.entries()
    }

    /// The last entries that were delivered.
    #[must_use]
    pub fn recent(&self) -> &VecDeque<Outgoing> {
        &self.recent
    }

    /// Delivered entries that the database refused so far.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.failures
    }

    /// Inserts a row that is not there, naming some or all columns. False, and nothing happens, when the row is there or the
    /// database refuses it.
    pub fn insert(&mut self, label: Label, table: usize, row: RowId, fields: Vec<Field>) -> bool {
        if self.rows.contains_key(&(table, row.key.clone())) || !self.upsert(table, &row, &fields) {
            return false;
        }
        self.record(label, table, Operation::Insert, row, fields, false);
        true
    }

    /// Sets columns of a row that is there; false, and nothing happens, when it is not or the database refuses that.
    pub fn update(&mut self, label: Label, table: usize, key: &RowKey, fields: Vec<Field>) -> bool {
        let Some(id) = self.rows.get(&(table, key.clone())).map(|row| row.id.clone()) else { return false };
        if !self.set(table, &id, &fields) {
            return false;
        }
        self.record(label, table, Operation::Update, id, fields, false);
        true
    }

    /// Deletes a row that is there; false when it is not.
    pub fn delete(&mut self, label: Label, table: usize, key: &RowKey) -> bool {
        let Some(row) = self.rows.remove(&(table, key.clone())) else { return false };
        let names_nothing = self.schema[table].is_list();
        let fields = if names_nothing { Vec::new() } else { self.fields_of(table, &row) };
        self.record(label, table, Operation::Delete, row.id, fields, false);
        true
    }

    /// Reports that a row left the client's filter: a DELETE with a marker. The row stays.
    pub fn leave_filter(&mut self, label: Label, table: usize, key: &RowKey) -> bool {
        let Some(id) = self.rows.get(&(table, key.clone())).map(|row| row.id.clone()) else { return false };
        let marker = Field {
            name: ByteString::from_static(names::FILTER_REMOVAL),
            value: lattice_protocol::value::null(),
        };
        self.record(label, table, Operation::Delete, id, vec![marker], false);
        true
    }

    /// Compacts the audit log: what was waiting is dropped and the whole local state is uploaded again, as snapshots
    /// under new ids. With `forget` the ids and the checkpoint of the old log are gone with it.
    pub fn compact(&mut self, forget: bool, mut label: impl FnMut() -> Label) {
        self.log.take();
        if forget {
            self.known.clear();
            self.checkpoint.forget();
        }
        let rows: Vec<(usize, LocalRow)> =
            self.rows.iter().map(|((table, _), row)| (*table, row.clone())).collect();
        for (table, row) in rows {
            let fields = self.fields_of(table, &row);
            self.record(label(), table, Operation::Insert, row.id, fields, true);
        }
    }

    /// Takes over an entry that another client received from the server: applied if unknown, then uploaded under the
    /// same id. False when it is known or cannot be applied.
    pub fn take_delivered(&mut self, entry: &Outgoing) -> bool {
        let label =
            Label { id: entry.id, spelling: entry.id_spelling, timestamp: wire::time_text(entry.time_us) };
        let fields = entry.fields.clone();
        let Some(table) = self.table(&entry.table) else { return false };
        let columns = &self.schema[table].columns;
        let wire =
            wire::entry(&label, &entry.table, entry.operation, &entry.row, &fields, columns, Origin::LOG);
        self.take_over(Arc::new(LocalEntry {
            label,
            table: entry.table.clone(),
            operation: entry.operation,
            row: entry.row.clone(),
            fields,
            origin: Origin::LOG,
            wire,
        }))
    }

    /// Takes over another client's own entry: applied if unknown, then uploaded under the same id. False when it is
    /// known or cannot be applied.
    pub fn take_over(&mut self, entry: Arc<LocalEntry>) -> bool {
        let id = entry.label.id;
        if self.known.contains(&id) {
            return false;
        }
        // A row that left the filter of another process is none of this one's business.
        let is_marked = entry.operation == Operation::Delete
            && entry.fields.iter().any(|field| field.name == *names::FILTER_REMOVAL);
        let applied = match is_marked {
            true => Applied::Recorded,
            false => self.apply(&entry.table, entry.operation, &entry.row, &entry.fields),
        };
        if !matches!(applied, Applied::Recorded | Applied::LeftOut) {
            return false;
        }
        self.known.insert(id);
        self.checkpoint.relayed(self.generation.advance(), (id, entry.label.spelling));
        self.log.push(entry);
        true
    }

    /// A new connection is about to be made: the `last-event-id` to ask with.
    #[must_use]
    pub fn connect(&mut self) -> Option<String> {
        self.resend();
        self.checkpoint.text()
    }

    /// The next upload, if anything waits and fewer than two windows are in flight.
    pub fn next_upload(&mut self) -> Option<Bytes> {
        self.log.next_upload()
    }

    /// No progress for long, or a new connection: everything that was not acknowledged is sent again.
    pub fn resend(&mut self) {
        self.log.resend();
    }

    /// Takes a frame of the server.
    ///
    /// # Errors
    /// When no client could read the frame.
    pub fn receive(&mut self, frame: &Bytes) -> Result<Received, FrameError> {
        let mut received = Received::default();
        match decode_server(frame)? {
            ServerFrame::Ack(ids) => received.acked = self.log.acknowledged(&ids),
            ServerFrame::Entries(entries) => {
                let acks = self.take_delivery(&entries, usize::MAX);
                if !acks.is_empty() {
                    received.replies.push(encode_ack(acks.into_iter()));
                }
            }
            ServerFrame::Rejected(_) if self.generation.gives_up_on_rejected() => {
                received.given_up = self.log.give_up_in_flight();
            }
            _ => {}
        }
        Ok(received)
    }

    /// Takes a frame while its database is locked by another process from the end of the first `transactions` on, each of 50
    /// entries: what follows in the frame is left.
    ///
    /// # Errors
    /// When no client could read the frame.
    pub fn receive_locked(&mut self, frame: &Bytes, transactions: usize) -> Result<Received, FrameError> {
        let ServerFrame::Entries(entries) = decode_server(frame)? else { return self.receive(frame) };
        let acks = self.take_delivery(&entries, transactions);
        let replies = (!acks.is_empty()).then(|| encode_ack(acks.into_iter()));
        Ok(Received { replies: replies.into_iter().collect(), ..Received::default() })
    }

    /// The app is updated: another schema, and perhaps another version of the library. What its schema or its constraints kept out
    /// before is not excused any more: a server that is told of the update sends it again.
    pub fn upgrade(&mut self, generation: Generation, schema: &Schema) {
        let older = std::mem::replace(&mut self.schema, Arc::new(Vec::new()));
        let rows = std::mem::take(&mut self.rows);
        let mut tables: Schema = Vec::new();
        for table in schema {
            let was = older.iter().find(|was| was.name == table.name);
            tables.push(was.map_or_else(|| table.clone(), |was| table.upgraded_from(was)));
        }
        // Tables that the library made by itself stay.
        tables.extend(older.iter().filter(|was| !schema.iter().any(|table| table.name == was.name)).cloned());
        let place = |was: usize| tables.iter().position(|table| table.name == older[was].name);
        for ((was, key), row) in rows {
            let Some(table) = place(was) else { continue };
            let mut values = tables[table].blank();
            for (column, value) in row.values.into_iter().enumerate() {
                if let Some(at) = tables[table].column(&older[was].columns[column]) {
                    values[at] = value;
                }
            }
            self.rows.insert((table, key), LocalRow { id: row.id, values });
        }
        let unstored = std::mem::take(&mut self.unstored);
        self.unstored = unstored
            .into_iter()
            .filter(|(_, unstored)| *unstored == Unstored::Dropped)
            .filter_map(|((was, key), unstored)| Some(((place(was)?, key), unstored)))
            .collect();
        self.schema = Arc::new(tables);
        if generation != self.generation {
            self.checkpoint.upgraded(generation.advance());
            self.generation = generation;
        }
    }

    /// The client dies while it takes a frame: the first `entries` of it are stored and nothing else.
    ///
    /// # Errors
    /// When no client could read the frame.
    pub fn receive_and_die(&mut self, frame: &Bytes, entries: usize) -> Result<(), FrameError> {
        if let ServerFrame::Entries(delivered) = decode_server(frame)? {
            self.die_in_delivery(&delivered, entries);
        }
        Ok(())
    }

    /// The client dies after it has stored the last frame and before it has saved the checkpoint. Stricter than any release, which
    /// does both in one transaction.
    pub fn lose_checkpoint(&mut self) {
        self.checkpoint.lose();
    }

    /// Logs an own change.
    fn record(
        &mut self,
        label: Label,
        table: usize,
        operation: Operation,
        row: RowId,
        fields: Vec<Field>,
        synthesized: bool,
    ) {
        let origin = Origin { synthesized, ..Origin::LOG };
        let entry = self.entry(label, table, operation, row, fields, origin);
        if let Some(entry) = self.keep_for_filter(entry) {
            self.log.push(entry);
        }
    }

    fn entry(
        &mut self,
        label: Label,
        table: usize,
        operation: Operation,
        row: RowId,
        fields: Vec<Field>,
        origin: Origin,
    ) -> Arc<LocalEntry> {
        let Table { name, columns, .. } = &self.schema[table];
        let wire = wire::entry(&label, name, operation, &row, &fields, columns, origin);
        self.known.insert(label.id);
        Arc::new(LocalEntry { label, table: name.clone(), operation, row, fields, origin, wire })
    }

    fn fields_of(&self, table: usize, row: &LocalRow) -> Vec<Field> {
        let columns = self.schema[table].columns.iter().zip(&row.values);
        columns
            .map(|(name, value)| Field {
                name: name.clone(),
                value: value.clone().unwrap_or(Bytes::from_static(wire::NULL)),
            })
            .collect()
    }

    fn table(&self, name: &str) -> Option<usize> {
        self.schema.iter().position(|table| table.name.eq_ignore_ascii_case(name))
    }
}
