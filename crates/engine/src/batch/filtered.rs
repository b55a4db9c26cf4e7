//! What native clients upload that sync a part of their rows only.
//!
//! Their filter holds back what does not match it. It is not the user's act that goes out then but what the library makes of
//! it: a DELETE without columns where a row left the filter, and an INSERT of the whole row where one came into it, or where the
//! client had only received it so far. Older versions send that INSERT without saying what it is.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use lattice_protocol::change::is_link_table;
use lattice_protocol::value::is_alike;
use lattice_protocol::{Change, Field, Operation};

use super::Batch;
use crate::mutation::Mutation;
use crate::rows::{FieldState, Row, RowRef};
use crate::types::Seq;

/// An INSERT of a row that its sender holds already.
pub(super) enum Resent {
    /// It edits nothing.
    Nothing,
    /// It edits these fields.
    Edit(Change),
    /// The row was deleted, which its sender did not know.
    Buried,
}

impl Batch<'_> {
    /// Whether a DELETE means that the row left its sender's filter: it lives on for everybody, its sender included, whose copy
    /// is only not uploaded any more. A real DELETE names the columns of its table; a row without columns has none to name, and
    /// none by which it could leave a filter.
    pub(super) fn left_filter(&self, reference: &RowRef, change: &Change) -> bool {
        let bare = || self.row(reference).is_some_and(|row| row.is_live() && row.fields.is_empty());
        change.by_filter
            && change.operation == Operation::Delete
            && !Mutation::DeletesByFilter.is_active()
            && !bare()
    }

    /// What an INSERT means whose sender holds the row: an edit of those fields whose values are not the ones that it had been
    /// sent. `None` where it is what it says.
    ///
    /// A field that somebody else has set since what the sender is known to have applied is not edited, whatever value it
    /// comes with: that is most often the old one, and which one its sender had is not kept. Of two people who set the same
    /// field at the same time one loses in any case.
    pub(super) fn resent(&self, reference: &RowRef, change: &Change) -> Option<Resent> {
        if change.operation != Operation::Insert || is_link_table(&change.table) {
            return None;
        }
        let row = self.row(reference).filter(|row| row.exists)?;
        if !change.by_filter && (change.synthesized || !self.held_by_sender(row)) {
            return None;
        }
        if row.deleted {
            return self.deleted_unknown(row).then_some(Resent::Buried);
        }
        // Found by name once for all: a row has up to 2,000 columns.
        let held: BTreeMap<&str, &FieldState> = row.fields.iter().map(|held| (&*held.name, held)).collect();
        let edits = |sent: &&Field| self.edits(row, held.get(&*sent.name).copied(), sent);
        let fields: Vec<Field> = change.fields.iter().filter(edits).cloned().collect();
        if fields.is_empty() {
            return Some(Resent::Nothing);
        }
        let edit = Change { operation: Operation::Update, fields, synthesized: false, ..change.clone() };
        Some(Resent::Edit(edit))
    }

    /// Whether the sender, a native client that is shown everything, was sent the row by somebody else before. Of a row that lives
    /// again it may hold an earlier life.
    fn held_by_sender(&self, row: &Row) -> bool {
        !self.context.echoes
            && self.context.applied.is_some()
            && row.inserter != Some(self.context.writer)
            && (row.revived || self.applied(row, row.created_seq))
    }

    /// Whether a tombstone is news to whoever sends an INSERT over it. Its own DELETE is not, nor one that it has applied.
    fn deleted_unknown(&self, row: &Row) -> bool {
        row.writer != Some(self.context.writer) && !self.applied(row, row.last_seq)
    }

    /// Whether the sender had applied what happened to the row at `seq`.
    fn applied(&self, row: &Row, seq: Seq) -> bool {
        self.context.applied.is_some_and(|applied| seq <= applied.base || row.last_seq <= applied.position)
    }

    /// Whether a field that was sent is an edit of the one that the row has.
    fn edits(&self, row: &Row, held: Option<&FieldState>, sent: &Field) -> bool {
        let known = |held: &FieldState| {
            held.stamp.writer == self.context.writer
                || self.applied(row, held.stamp.seq)
                || Mutation::StaleEdits.is_active()
        };
        match held {
            Some(held) => !is_alike(&held.value, &sent.value) && known(held),
            // A column that nobody has set: whoever has no value for it holds null.
            None => !is_alike(&lattice_protocol::value::null(), &sent.value),
        }
    }
}
