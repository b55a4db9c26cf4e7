//! Clients that upload only the rows that match a predicate of their own. What they are sent they apply in full.
//!
//! A row is uploaded as it is once the client has sent it whole: the rows that it has sent are its *set*. Entries that stand for a
//! row's way into the filter or out of it are made when they are sent, and kept nowhere: a connection that breaks loses them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use lattice_protocol::{Operation, RowId, RowKey, Spelling};

use super::{Generation, Label, LocalEntry, NativeClient, Table};
use crate::wire::Origin;

/// A column, and the values of it that pass.
pub type Condition = (ByteString, Vec<Option<Bytes>>);

/// Which rows are uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadFilter {
    /// By the name of the table: all of its rows, or those that fulfil a condition.
    pub tables: Vec<(ByteString, Option<Condition>)>,
}

/// What a client with a filter keeps.
#[derive(Clone, Debug)]
pub(super) struct Filtered {
    filter: UploadFilter,
    /// Rows that it has sent.
    set: BTreeSet<(usize, RowKey)>,
    /// Own changes that are not looked at yet.
    waiting: VecDeque<Arc<LocalEntry>>,
    /// Rows that others do not have as they are here: what happened to them was not uploaded, or was lost.
    private: BTreeSet<(usize, RowKey)>,
}

impl NativeClient {
    /// The same client, with a filter for what it uploads.
    #[must_use]
    pub fn with_filter(mut self, filter: UploadFilter) -> Self {
        let (set, waiting, private) = (BTreeSet::new(), VecDeque::new(), BTreeSet::new());
        self.filtered = Some(Filtered { filter, set, waiting, private });
        self
    }

    /// Whether it uploads by a filter.
    #[must_use]
    pub fn is_filtered(&self) -> bool {
        self.filtered.is_some()
    }

    /// Rows that others do not have as they are here, since what happened to them was not uploaded.
    #[must_use]
    pub fn is_private(&self, key: &(usize, RowKey)) -> bool {
        self.filtered.as_ref().is_some_and(|filtered| filtered.private.contains(key))
    }

    /// Keeps an own change until it is looked at; gives it back where there is no filter.
    pub(super) fn keep_for_filter(&mut self, entry: Arc<LocalEntry>) -> Option<Arc<LocalEntry>> {
        let Some(filtered) = &mut self.filtered else { return Some(entry) };
        filtered.waiting.push_back(entry);
        None
    }

    /// A connection has been made. What was made for the last one and not acknowledged is lost; what its log holds is looked at
    /// once more. Then each row that matches and was never sent is put into the log whole. `label` makes ids, without a time.
    pub fn reconcile(&mut self, mut label: impl FnMut() -> Label) {
        let Some(mut filtered) = self.filtered.take() else { return };
        for entry in self.log.take().into_iter().rev() {
            match entry.origin.is_stored {
                true => filtered.waiting.push_front(entry),
                false => filtered.private.extend(self.key_of(&entry)),
            }
        }
        let set = filtered.set.iter();
        let left: Vec<_> = set.filter(|key| !self.matches(&filtered.filter, key)).cloned().collect();
        for key in left {
            if self.generation == Generation::Old {
                // Up to 0.9 it says so, by what cannot be told from the entry of a row that leaves the filter later.
                let row = RowId { key: key.1.clone(), spelling: Spelling::default() };
                let entry = self.entry(label(), key.0, Operation::Delete, row, Vec::new(), Origin::LOG);
                filtered.waiting.push_back(entry);
            } else {
                filtered.set.remove(&key);
            }
        }
        let rows = self.rows.keys().filter(|key| {
            Table::is_model(&self.schema[key.0].name)
                && !filtered.set.contains(*key)
                && !self.waits_whole(&filtered, key)
                && self.matches(&filtered.filter, key)
        });
        for key in rows.cloned().collect::<Vec<_>>() {
            let row = self.rows[&key].clone();
            let fields = self.fields_of(key.0, &row);
            let origin = Origin { synthesized: self.says_synthesized(), is_stored: true };
            let entry = self.entry(label(), key.0, Operation::Insert, row.id, fields, origin);
            filtered.waiting.push_back(entry);
        }
        self.filtered = Some(filtered);
    }

    fn waits_whole(&self, filtered: &Filtered, key: &(usize, RowKey)) -> bool {
        let mut inserts = filtered.waiting.iter().filter(|entry| entry.operation == Operation::Insert);
        inserts.any(|entry| self.key_of(entry).as_ref() == Some(key))
    }

    /// Looks at what waits, and puts what is to be sent where uploads are taken from. `label` makes ids: with a time for a row
    /// that is sent whole, without one otherwise.
    pub fn enumerate(&mut self, mut label: impl FnMut(bool) -> Label) {
        let Some(mut filtered) = self.filtered.take() else { return };
        for entry in std::mem::take(&mut filtered.waiting) {
            let Some(key) = self.key_of(&entry) else { continue };
            let name = &self.schema[key.0].name;
            // Links and lists go with the model that their name begins with, whatever its rows are.
            let covered = filtered.covers(name);
            let matches = covered && (!Table::is_model(name) || self.matches(&filtered.filter, &key));
            let made = Origin { synthesized: false, is_stored: false };
            match (entry.operation, matches, filtered.set.contains(&key)) {
                (Operation::Delete, _, true) if covered => {
                    filtered.set.remove(&key);
                    self.log.push(entry);
                }
                (Operation::Insert, true, false) => {
                    filtered.set.insert(key);
                    self.log.push(entry);
                }
                (Operation::Insert | Operation::Update, true, true) => self.log.push(entry),
                (Operation::Update, true, false) => {
                    let Some(row) = self.rows.get(&key).cloned() else { continue };
                    let fields = self.fields_of(key.0, &row);
                    let origin = Origin { synthesized: self.says_synthesized(), ..made };
                    let whole = self.entry(label(true), key.0, Operation::Insert, row.id, fields, origin);
                    filtered.set.insert(key);
                    self.log.push(whole);
                }
                (Operation::Insert | Operation::Update, false, true) => {
                    filtered.set.remove(&key);
                    filtered.private.insert(key.clone());
                    let row = entry.row.clone();
                    let left = self.entry(label(false), key.0, Operation::Delete, row, Vec::new(), made);
                    self.log.push(left);
                }
                _ => {
                    filtered.private.insert(key);
                }
            }
        }
        self.filtered = Some(filtered);
    }

    /// Rows that are sent whole are marked as such since 1.1.
    fn says_synthesized(&self) -> bool {
        !matches!(self.generation, Generation::Old | Generation::First)
    }

    fn key_of(&self, entry: &LocalEntry) -> Option<(usize, RowKey)> {
        Some((self.table(&entry.table)?, entry.row.key.clone()))
    }

    fn matches(&self, filter: &UploadFilter, key: &(usize, RowKey)) -> bool {
        let table = &self.schema[key.0];
        let Some((_, condition)) = filter.tables.iter().find(|(name, _)| *name == table.name) else {
            return false;
        };
        let Some(row) = self.rows.get(key) else { return false };
        condition.as_ref().is_none_or(|(column, values)| {
            table.column(column).is_some_and(|column| values.contains(&row.values[column]))
        })
    }
}

impl Filtered {
    fn covers(&self, table: &str) -> bool {
        let model = table.strip_prefix('_').and_then(|rest| Some(rest.split_once('_')?.0));
        let name = model.unwrap_or(table);
        self.filter.tables.iter().any(|(table, _)| *table == name)
    }
}
