//! What a client does with the entries of others: the statements that its database runs, and what it keeps of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytestring::ByteString;
use lattice_protocol::native::AckId;
use lattice_protocol::{Field, Operation, Outgoing, RowId, RowKey};

use super::generation::UnknownTable;
use super::{Generation, LocalRow, MAX_RECENT, NativeClient, Table};
use crate::wire;

/// Entries that are applied in one transaction.
const ENTRIES_OF_A_TRANSACTION: usize = 50;

/// The table of the log itself, which every client has. No entry names a row of it.
const LOG_TABLE: &str = "AuditLog";

/// What an entry of others came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Applied {
    /// It is remembered by its id: it is never applied again.
    Recorded,
    /// Its id was known.
    Known,
    /// It could do nothing here, and is not remembered.
    LeftOut,
    /// The database refused it.
    Failed,
    /// It ended its transaction, and everything after it.
    Aborted,
}

/// What a row lacks because entries about it could not be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unstored {
    /// It may be in any state: an entry about it was dropped together with its delivery.
    Dropped,
    /// It may be missing: the database refused it.
    Row,
    /// Only these columns may be behind.
    Columns(BTreeSet<ByteString>),
}

impl NativeClient {
    /// Applies a delivery, or its first transactions if the database is locked after them. Returns what is acknowledged, in that
    /// order.
    pub(super) fn take_delivery(&mut self, entries: &[Outgoing], transactions: usize) -> Vec<AckId> {
        let ack = |entry: &Outgoing| AckId::Uuid(entry.id, entry.id_spelling);
        // The later generations take marked removals out before anything else.
        let applies_marked = self.generation.applies_marked_removals();
        let (taken_out, entries): (Vec<&Outgoing>, Vec<&Outgoing>) =
            entries.iter().partition(|entry| entry.taken_back && !applies_marked);
        let mut acks = Vec::new();
        self.checkpoint.begin();
        for (at, transaction) in entries.chunks(ENTRIES_OF_A_TRANSACTION).enumerate() {
            if at >= transactions || !self.take_transaction(transaction, &mut acks) {
                let left: Vec<&Outgoing> = entries[at * ENTRIES_OF_A_TRANSACTION..].to_vec();
                left.into_iter().for_each(|entry| self.note_unstored(entry, true));
                self.checkpoint.interrupted(self.generation.advance());
                // Before 1.4 what was committed is acknowledged to nobody.
                if matches!(self.generation, Generation::Old | Generation::First | Generation::Early) {
                    acks.clear();
                }
                return acks;
            }
        }
        self.checkpoint.end(self.generation.advance());
        acks.extend(taken_out.into_iter().map(ack));
        acks
    }

    /// Applies the entries of one transaction. False, and nothing has changed, if one of them ends it.
    fn take_transaction(&mut self, entries: &[&Outgoing], acks: &mut Vec<AckId>) -> bool {
        let before = (self.generation.unknown_table() == UnknownTable::Aborts).then(|| self.clone());
        for entry in entries {
            let applied = self.deliver(entry);
            match applied {
                Applied::Aborted => {
                    if let Some(before) = before {
                        *self = before;
                    }
                    return false;
                }
                Applied::Failed => self.checkpoint.failed(),
                Applied::Recorded | Applied::Known | Applied::LeftOut => {
                    acks.push(AckId::Uuid(entry.id, entry.id_spelling));
                    let is_recorded = applied == Applied::Recorded;
                    self.checkpoint.passed(self.generation.advance(), entry, is_recorded);
                }
            }
        }
        true
    }

    /// The client dies when it has stored the first `stored` entries of a delivery.
    pub(super) fn die_in_delivery(&mut self, entries: &[Outgoing], stored: usize) {
        let applies_marked = self.generation.applies_marked_removals();
        let applied: Vec<&Outgoing> =
            entries.iter().take(stored).filter(|entry| !entry.taken_back || applies_marked).collect();
        self.checkpoint.begin();
        self.take_transaction(&applied, &mut Vec::new());
        self.checkpoint.interrupted(self.generation.advance());
    }

    /// Applies one delivered entry.
    pub(super) fn deliver(&mut self, entry: &Outgoing) -> Applied {
        let applied = match self.known.contains(&entry.id) {
            true => Applied::Known,
            false => self.apply(&entry.table, entry.operation, &entry.row, &entry.fields),
        };
        match applied {
            Applied::Recorded | Applied::Known => {
                self.known.insert(entry.id);
                self.recent.push_back(entry.clone());
                if self.recent.len() > MAX_RECENT {
                    self.recent.pop_front();
                }
            }
            Applied::Failed => {
                self.failures += 1;
                self.note_unstored(entry, false);
            }
            Applied::LeftOut | Applied::Aborted => {}
        }
        applied
    }

    /// Runs the statement that an entry stands for. Arrival order wins: no time is looked at.
    pub(super) fn apply(
        &mut self,
        name: &ByteString,
        operation: Operation,
        row: &RowId,
        fields: &[Field],
    ) -> Applied {
        // A DELETE names its row alone: whatever else it lists is no column.
        let named: &[Field] = if operation == Operation::Delete { &[] } else { fields };
        if name.eq_ignore_ascii_case(LOG_TABLE) && operation == Operation::Delete {
            return Applied::Recorded;
        }
        let Some(table) = self.table(name).or_else(|| self.create_relation(name, fields)) else {
            return match self.generation.unknown_table() {
                UnknownTable::Aborts => Applied::Aborted,
                UnknownTable::Fails => Applied::Failed,
                UnknownTable::IsLeftOut => Applied::LeftOut,
            };
        };
        let is_tolerated = self.generation.leaves_out_unknown_columns() && Table::is_model(name);
        let is_unknown = |field: &Field| self.schema[table].column(&field.name).is_none();
        if named.iter().any(is_unknown) && !is_tolerated {
            return Applied::Failed;
        }
        let key = (table, row.key.clone());
        let stored = match operation {
            Operation::Insert => self.upsert(table, row, named),
            Operation::Update => self.set(table, row, named),
            Operation::Delete => {
                self.rows.remove(&key);
                self.unstored.remove(&key);
                true
            }
        };
        if !stored {
            return Applied::Failed;
        }
        self.note_stored(&key, operation, named);
        Applied::Recorded
    }

    /// Sets columns of a row, and makes it if it is not there. False when the database refuses that.
    pub(super) fn upsert(&mut self, table: usize, row: &RowId, fields: &[Field]) -> bool {
        let it = &self.schema[table];
        let mut fresh = LocalRow { id: row.clone(), values: it.blank() };
        self.set_values(table, &mut fresh, fields);
        // Constraints that look at one row are looked at before the row that is there already.
        if !it.admits(&fresh.values) {
            return false;
        }
        if self.rows.contains_key(&(table, row.key.clone())) {
            return self.set(table, row, fields);
        }
        if self.clashes(table, &fresh) {
            return false;
        }
        self.rows.insert((table, row.key.clone()), fresh);
        true
    }

    /// Sets columns of a row if it is there. False when the database refuses that.
    pub(super) fn set(&mut self, table: usize, row: &RowId, fields: &[Field]) -> bool {
        let key = (table, row.key.clone());
        let Some(held) = self.rows.get(&key) else { return true };
        let mut new = held.clone();
        self.set_values(table, &mut new, fields);
        // Where nothing differs nothing is written.
        if new.values == held.values {
            return true;
        }
        if !self.schema[table].admits(&new.values) || self.clashes(table, &new) {
            return false;
        }
        self.rows.insert(key, new);
        true
    }

    /// Whether another row keeps this one out.
    fn clashes(&self, table: usize, row: &LocalRow) -> bool {
        let of_table = (table, RowKey::Uuid([0; 16]))..(table + 1, RowKey::Uuid([0; 16]));
        let mut others = self.rows.range(of_table).filter(|((_, key), _)| *key != row.id.key);
        others.any(|(_, other)| self.schema[table].clash(&row.values, &other.values))
    }

    /// Whether all that keeps a link out is another one of its pair whose end was dropped together with its delivery.
    #[must_use]
    pub fn keeps_out(&self, (table, key): &(usize, RowKey)) -> bool {
        let of_table = self.unstored.iter().filter(|((of, other), _)| of == table && other != key);
        of_table
            .into_iter()
            .any(|(other, unstored)| *unstored == Unstored::Dropped && self.rows.contains_key(other))
    }

    fn set_values(&self, table: usize, row: &mut LocalRow, fields: &[Field]) {
        for Field { name, value } in fields {
            if let Some(column) = self.schema[table].column(name) {
                row.values[column] = (**value != *wire::NULL).then(|| value.clone());
            }
        }
    }

    /// Every client makes the tables of relations that it does not know, as the first entry about them lets it think.
    fn create_relation(&mut self, name: &ByteString, fields: &[Field]) -> Option<usize> {
        if Table::is_model(name) {
            return None;
        }
        let has_type = fields.iter().any(|field| field.name == "rhs_type");
        Arc::make_mut(&mut self.schema).push(Table::unknown_link(name, has_type));
        Some(self.schema.len() - 1)
    }

    /// An entry was stored: the columns that it names are not behind any more.
    fn note_stored(&mut self, key: &(usize, RowKey), operation: Operation, named: &[Field]) {
        if !self.rows.contains_key(key) {
            return;
        }
        let Some(unstored) = self.unstored.get_mut(key) else { return };
        if !matches!(unstored, Unstored::Columns(_)) && operation == Operation::Insert {
            *unstored = Unstored::Columns(self.schema[key.0].columns.iter().cloned().collect());
        }
        let Unstored::Columns(columns) = unstored else { return };
        columns.retain(|column| !named.iter().any(|field| field.name == *column));
        if columns.is_empty() {
            self.unstored.remove(key);
        }
    }

    /// An entry could not be stored: until another one can, its row is behind. `whole` where it was not looked at by itself.
    fn note_unstored(&mut self, entry: &Outgoing, whole: bool) {
        let Some(table) = self.table(&entry.table) else { return };
        let key = (table, entry.row.key.clone());
        let is_behind = self.rows.contains_key(&key) && !whole && entry.operation != Operation::Delete;
        let columns = entry.fields.iter().map(|field| field.name.clone());
        let unstored = match self.unstored.remove(&key) {
            _ if whole => Unstored::Dropped,
            Some(Unstored::Columns(mut held)) if is_behind => {
                held.extend(columns);
                Unstored::Columns(held)
            }
            None if is_behind => Unstored::Columns(columns.collect()),
            Some(Unstored::Dropped) => Unstored::Dropped,
            _ => Unstored::Row,
        };
        self.unstored.insert(key, unstored);
    }
}
