//! A model of the deployed native client, as `native-protocol.md` describes it: wire frames in, wire frames out.
//!
//! It compares nothing: whatever arrives later wins. It draws no random numbers and knows no time; ids and timestamps
//! are given by its driver, so the same model runs in the simulation and against real sockets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use lattice_protocol::native::{AckId, FrameError, ServerFrame, decode_server, encode_ack};
use lattice_protocol::{EntryId, Field, Operation, Outgoing, RowId, RowKey, Spelling, names};

use crate::wire;

/// Deliveries that are remembered so as to be handed to other clients.
const MAX_RECENT: usize = 8;

/// A table of a client's schema.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name; link tables start with `_`.
    pub name: ByteString,
    /// Its columns. The key columns of a link table are all of them.
    pub columns: Vec<ByteString>,
}

impl Table {
    /// A table with these columns.
    #[must_use]
    pub fn new(name: &'static str, columns: &[&'static str]) -> Self {
        let columns = columns.iter().map(|column| ByteString::from_static(column)).collect();
        Self { name: ByteString::from_static(name), columns }
    }

    /// Whether its rows are links.
    #[must_use]
    pub fn is_link(&self) -> bool {
        self.name.starts_with('_')
    }
}

/// A client's tables. Entries for other tables and columns are dropped and acknowledged.
pub type Schema = Vec<Table>;

/// What names a change and says when it was made.
#[derive(Clone, Debug)]
pub struct Label {
    /// The id.
    pub id: EntryId,
    /// Its letter case: acks must repeat it.
    pub spelling: Spelling,
    /// What to write as `timestamp`; released clients write nothing.
    pub timestamp: String,
}

/// A change as it is kept until it is acknowledged.
#[derive(Clone, Debug)]
pub struct LocalEntry {
    /// Id and timestamp.
    pub label: Label,
    /// Table name.
    pub table: ByteString,
    /// What it does.
    pub operation: Operation,
    /// To which row.
    pub row: RowId,
    /// Columns that it names, with their new values.
    pub fields: Vec<Field>,
    /// As it is uploaded.
    pub wire: Bytes,
}

/// One row of a replica: a value for each column, `None` for null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalRow {
    /// Its id.
    pub id: RowId,
    /// In the order of the table's columns.
    pub values: Vec<Option<Bytes>>,
}

#[derive(Clone, Debug)]
struct Pending {
    entry: Arc<LocalEntry>,
    in_flight: bool,
}

/// What a received frame leads to.
#[derive(Debug, Default)]
pub struct Received {
    /// Frames to send back.
    pub replies: Vec<Bytes>,
    /// Own changes that are acknowledged now.
    pub acked: Vec<EntryId>,
}

/// A client and its database. A clone is a copied database.
#[derive(Clone, Debug)]
pub struct NativeClient {
    schema: Arc<Schema>,
    window: usize,
    rows: BTreeMap<(usize, RowKey), LocalRow>,
    known: BTreeSet<EntryId>,
    pending: Vec<Pending>,
    checkpoint: Option<(EntryId, Spelling)>,
    /// The checkpoint before the last frame: what is left when a crash comes between applying and saving.
    previous_checkpoint: Option<(EntryId, Spelling)>,
    recent: VecDeque<Outgoing>,
    refused_links: usize,
}

impl NativeClient {
    /// An empty database. `window` is the most entries of an upload, 1,000 in released clients.
    #[must_use]
    pub fn new(schema: Arc<Schema>, window: usize) -> Self {
        Self {
            schema,
            window,
            rows: BTreeMap::new(),
            known: BTreeSet::new(),
            pending: Vec::new(),
            checkpoint: None,
            previous_checkpoint: None,
            recent: VecDeque::new(),
            refused_links: 0,
        }
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

    /// Own changes that are not acknowledged, oldest first.
    pub fn pending(&self) -> impl ExactSizeIterator<Item = &Arc<LocalEntry>> {
        self.pending.iter().map(|pending| &pending.entry)
    }

    /// The last entries that were delivered.
    #[must_use]
    pub fn recent(&self) -> &VecDeque<Outgoing> {
        &self.recent
    }

    /// Deliveries of link rows that failed on the primary key so far.
    #[must_use]
    pub fn refused_links(&self) -> usize {
        self.refused_links
    }

    /// Inserts a row that is not there, naming some or all columns. False, and nothing happens, when the row is there or
    /// its pair is linked.
    pub fn insert(&mut self, label: Label, table: usize, row: RowId, fields: Vec<Field>) -> bool {
        if self.rows.contains_key(&(table, row.key.clone())) || !self.upsert(table, &row, &fields) {
            return false;
        }
        self.record(label, table, Operation::Insert, row, fields, false);
        true
    }

    /// Sets columns of a row that is there; false when it is not.
    pub fn update(&mut self, label: Label, table: usize, key: &RowKey, fields: Vec<Field>) -> bool {
        let Some(id) = self.rows.get(&(table, key.clone())).map(|row| row.id.clone()) else { return false };
        self.set(table, &id, &fields);
        self.record(label, table, Operation::Update, id, fields, false);
        true
    }

    /// Deletes a row that is there; false when it is not.
    pub fn delete(&mut self, label: Label, table: usize, key: &RowKey) -> bool {
        let Some(row) = self.rows.remove(&(table, key.clone())) else { return false };
        let fields = self.fields_of(table, &row);
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
        self.pending.clear();
        if forget {
            self.known.clear();
            self.checkpoint = None;
            self.previous_checkpoint = None;
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
        let wire = wire::entry(&label, &entry.table, entry.operation, &entry.row, &fields, columns, false);
        self.take_over(Arc::new(LocalEntry {
            label,
            table: entry.table.clone(),
            operation: entry.operation,
            row: entry.row.clone(),
            fields,
            wire,
        }))
    }

    /// Takes over another client's own entry: applied if unknown, then uploaded under the same id. False when it is
    /// known or cannot be applied.
    pub fn take_over(&mut self, entry: Arc<LocalEntry>) -> bool {
        let id = entry.label.id;
        if self.known.contains(&id) || !self.apply(&entry.table, entry.operation, &entry.row, &entry.fields) {
            return false;
        }
        self.known.insert(id);
        self.pending.push(Pending { entry, in_flight: false });
        true
    }

    /// A new connection is about to be made: the `last-event-id` to ask with.
    #[must_use]
    pub fn connect(&mut self) -> Option<String> {
        self.resend();
        self.checkpoint.map(|(id, spelling)| id.to_text(spelling))
    }

    /// The next upload, if anything waits and fewer than two windows are in flight.
    pub fn next_upload(&mut self) -> Option<Bytes> {
        let in_flight = self.pending.iter().filter(|pending| pending.in_flight).count();
        let room = (2 * self.window).saturating_sub(in_flight).min(self.window);
        let next = self.pending.iter_mut().filter(|pending| !pending.in_flight).take(room);
        let entries: Vec<&Bytes> = next
            .map(|pending| {
                pending.in_flight = true;
                &pending.entry.wire
            })
            .collect();
        (!entries.is_empty()).then(|| wire::frame(entries))
    }

    /// No progress for long, or a new connection: everything that was not acknowledged is sent again.
    pub fn resend(&mut self) {
        self.pending.iter_mut().for_each(|pending| pending.in_flight = false);
    }

    /// Takes a frame of the server.
    ///
    /// # Errors
    /// When no client could read the frame.
    pub fn receive(&mut self, frame: &Bytes) -> Result<Received, FrameError> {
        let mut received = Received::default();
        match decode_server(frame)? {
            ServerFrame::Ack(ids) => self.acknowledged(&ids, &mut received.acked),
            ServerFrame::Entries(entries) => {
                self.previous_checkpoint = self.checkpoint;
                let (mut applied, mut complete) = (Vec::new(), true);
                for entry in entries {
                    if self.deliver(&entry) {
                        applied.push(AckId::Uuid(entry.id, entry.id_spelling));
                        if complete {
                            self.checkpoint = Some((entry.id, entry.id_spelling));
                        }
                    } else {
                        complete = false;
                    }
                }
                if !applied.is_empty() {
                    received.replies.push(encode_ack(applied.into_iter()));
                }
            }
            _ => {}
        }
        Ok(received)
    }

    /// The client dies while it takes a frame: the first `entries` of it are stored and nothing else.
    ///
    /// # Errors
    /// When no client could read the frame.
    pub fn receive_and_die(&mut self, frame: &Bytes, entries: usize) -> Result<(), FrameError> {
        if let ServerFrame::Entries(delivered) = decode_server(frame)? {
            for entry in delivered.iter().take(entries) {
                self.deliver(entry);
            }
        }
        Ok(())
    }

    /// The client dies after it has stored the last frame and before it has saved the checkpoint.
    pub fn lose_checkpoint(&mut self) {
        self.checkpoint = self.previous_checkpoint;
    }

    fn acknowledged(&mut self, ids: &[AckId], acked: &mut Vec<EntryId>) {
        self.pending.retain(|pending| {
            let label = &pending.entry.label;
            // The exact string is looked up, so the letter case must be its own.
            let is_acked = ids.contains(&AckId::Uuid(label.id, label.spelling));
            if is_acked {
                acked.push(label.id);
            }
            !is_acked
        });
    }

    fn deliver(&mut self, entry: &Outgoing) -> bool {
        if !self.known.contains(&entry.id) {
            if !self.apply(&entry.table, entry.operation, &entry.row, &entry.fields) {
                self.refused_links += 1;
                return false;
            }
            self.known.insert(entry.id);
        }
        // What is taken back is gone from here, and nobody else's business.
        if entry.taken_back {
            return true;
        }
        self.recent.push_back(entry.clone());
        if self.recent.len() > MAX_RECENT {
            self.recent.pop_front();
        }
        true
    }

    /// Arrival order wins. False for a second link row of a pair, which cannot be stored.
    fn apply(&mut self, table: &str, operation: Operation, row: &RowId, fields: &[Field]) -> bool {
        let Some(table) = self.table(table) else { return true };
        match operation {
            Operation::Insert => return self.upsert(table, row, fields),
            Operation::Update => self.set(table, row, fields),
            Operation::Delete if fields.iter().any(|field| field.name == *names::FILTER_REMOVAL) => {}
            Operation::Delete => {
                self.rows.remove(&(table, row.key.clone()));
            }
        }
        true
    }

    fn upsert(&mut self, table: usize, row: &RowId, fields: &[Field]) -> bool {
        let key = (table, row.key.clone());
        let columns = self.schema[table].columns.len();
        let held = self.rows.get(&key).cloned();
        let mut new = held.unwrap_or_else(|| LocalRow { id: row.clone(), values: vec![None; columns] });
        self.set_values(table, &mut new, fields);
        if self.schema[table].is_link() {
            let of_table = (table, RowKey::Uuid([0; 16]))..(table + 1, RowKey::Uuid([0; 16]));
            if self.rows.range(of_table).any(|(other, held)| *other != key && held.values == new.values) {
                return false;
            }
        }
        self.rows.insert(key, new);
        true
    }

    fn set(&mut self, table: usize, row: &RowId, fields: &[Field]) {
        if let Some(mut held) = self.rows.remove(&(table, row.key.clone())) {
            self.set_values(table, &mut held, fields);
            self.rows.insert((table, row.key.clone()), held);
        }
    }

    fn set_values(&self, table: usize, row: &mut LocalRow, fields: &[Field]) {
        for Field { name, value } in fields {
            if let Some(column) = self.schema[table].columns.iter().position(|column| column == name) {
                row.values[column] = (**value != *wire::NULL).then(|| value.clone());
            }
        }
    }

    fn record(
        &mut self,
        label: Label,
        table: usize,
        operation: Operation,
        row: RowId,
        fields: Vec<Field>,
        snapshot: bool,
    ) {
        let Table { name, columns } = &self.schema[table];
        let wire = wire::entry(&label, name, operation, &row, &fields, columns, snapshot);
        self.known.insert(label.id);
        let entry = LocalEntry { label, table: name.clone(), operation, row, fields, wire };
        self.pending.push(Pending { entry: Arc::new(entry), in_flight: false });
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
        self.schema.iter().position(|table| table.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lattice_protocol::native::{AuditLogFrame, ClientFrame, decode};
    use lattice_protocol::{Incoming, value};

    fn schema() -> Arc<Schema> {
        Arc::new(vec![Table::new("Item", &["a", "b"]), Table::new("_links", &["lhs", "rhs"])])
    }

    fn id(number: u8) -> EntryId {
        EntryId([number; 16])
    }

    fn label(number: u8) -> Label {
        Label { id: id(number), spelling: Spelling::default(), timestamp: String::new() }
    }

    fn row(text: &str) -> RowId {
        RowId { key: RowKey::Text(text.into()), spelling: Spelling::default() }
    }

    fn fields(pairs: &[(&'static str, i64)]) -> Vec<Field> {
        let field = |(name, number): &(&'static str, i64)| Field {
            name: ByteString::from_static(name),
            value: value::integer(*number),
        };
        pairs.iter().map(field).collect()
    }

    fn entry(
        number: u8,
        table: &'static str,
        operation: Operation,
        row_id: &str,
        values: &[(&'static str, i64)],
    ) -> Outgoing {
        Outgoing {
            id: id(number),
            id_spelling: Spelling::default(),
            table: ByteString::from_static(table),
            operation,
            row: row(row_id),
            fields: fields(values),
            time_us: 1,
            taken_back: false,
        }
    }

    fn frame(entries: &[Outgoing]) -> Bytes {
        let mut frame = AuditLogFrame::new();
        entries.iter().for_each(|entry| frame.push(entry));
        frame.finish()
    }

    fn values(client: &NativeClient, table: usize, key: &str) -> Option<Vec<Option<Bytes>>> {
        client.rows().get(&(table, RowKey::Text(key.into()))).map(|row| row.values.clone())
    }

    #[test]
    fn whatever_arrives_later_wins_and_known_ids_are_skipped() {
        let mut client = NativeClient::new(schema(), 10);
        assert!(client.insert(label(1), 0, row("r"), fields(&[("a", 1)])));
        let insert = entry(2, "Item", Operation::Insert, "r", &[("b", 2), ("unknown", 3)]);
        let known = entry(1, "Item", Operation::Delete, "r", &[]);
        let received = client.receive(&frame(&[insert, known])).unwrap();
        assert_eq!(values(&client, 0, "r"), Some(vec![Some(value::integer(1)), Some(value::integer(2))]));
        assert_eq!(decode(&received.replies[0], 10), Ok(ClientFrame::Ack { count: 2 }), "both are acked");
        assert_eq!(client.connect(), Some(id(1).to_string()), "a known entry moves the checkpoint too");
        let nothing = entry(3, "Item", Operation::Update, "missing", &[("a", 1)]);
        client.receive(&frame(&[nothing])).unwrap();
        assert_eq!(values(&client, 0, "missing"), None);
    }

    #[test]
    fn a_second_link_of_a_pair_stops_the_checkpoint_of_its_frame_only() {
        let mut client = NativeClient::new(schema(), 10);
        let link = |number, row| entry(number, "_links", Operation::Insert, row, &[("lhs", 1), ("rhs", 2)]);
        let item = |number| entry(number, "Item", Operation::Insert, "r", &[("a", 1)]);
        let received = client.receive(&frame(&[link(1, "x"), link(2, "y"), item(3)])).unwrap();
        assert_eq!(decode(&received.replies[0], 10), Ok(ClientFrame::Ack { count: 2 }));
        assert_eq!(client.connect(), Some(id(1).to_string()));
        assert_eq!((values(&client, 1, "y"), client.refused_links()), (None, 1));
        client.receive(&frame(&[item(4)])).unwrap();
        assert_eq!(client.connect(), Some(id(4).to_string()));
        client.lose_checkpoint();
        assert_eq!(client.connect(), Some(id(1).to_string()));
    }

    #[test]
    fn uploads_name_what_changed_and_keep_two_windows_in_flight() {
        let mut client = NativeClient::new(schema(), 1);
        client.insert(label(1), 0, row("r"), fields(&[("a", 1), ("b", 1)]));
        client.update(label(0xAA), 0, &row("r").key, fields(&[("b", 2)]));
        client.delete(label(3), 0, &row("r").key);
        let first = client.next_upload().unwrap();
        let second = client.next_upload().unwrap();
        assert_eq!(client.next_upload(), None, "two windows are in flight");
        assert!(std::str::from_utf8(&second).unwrap().contains(r#""a":{"kind":4,"value":null}"#));
        let Ok(ClientFrame::Changes(changes)) = decode(&second, 10) else { panic!("changes") };
        let [Incoming::Change(change)] = &changes[..] else { panic!("one change") };
        assert_eq!(change.fields, fields(&[("b", 2)]));
        let ack = encode_ack([AckId::Uuid(id(1), Spelling::default())].into_iter());
        assert_eq!(client.receive(&ack).unwrap().acked, [id(1)]);
        assert!(client.next_upload().is_some());
        let _ = client.connect();
        assert_eq!(client.next_upload(), Some(second), "what was not acked is sent again");
        assert_ne!(first, client.next_upload().unwrap());
        let misspelled = encode_ack([AckId::Uuid(id(0xAA), Spelling(1))].into_iter());
        assert_eq!(client.receive(&misspelled).unwrap().acked, []);
    }

    #[test]
    fn compaction_uploads_the_whole_state_as_snapshots() {
        let mut client = NativeClient::new(schema(), 10);
        client.insert(label(1), 0, row("r"), fields(&[("a", 1)]));
        client.receive(&frame(&[entry(2, "Item", Operation::Insert, "s", &[("a", 2)])])).unwrap();
        let mut next = 10;
        client.compact(true, || {
            next += 1;
            label(next)
        });
        assert_eq!((client.connect(), client.pending().len()), (None, 2));
        let Ok(ClientFrame::Changes(changes)) = decode(&client.next_upload().unwrap(), 10) else {
            panic!("changes")
        };
        let full = |change: &Incoming| matches!(change, Incoming::Change(change) if change.synthesized && change.fields.len() == 2);
        assert!(changes.iter().all(full));
    }
}
