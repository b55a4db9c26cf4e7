//! The log of a client's own changes, and the window in which it uploads them.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use lattice_protocol::native::AckId;
use lattice_protocol::{EntryId, Field, Operation, RowId, Spelling};

use crate::wire::{self, Origin};

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
    /// How it came to be.
    pub origin: Origin,
    /// As it is uploaded.
    pub wire: Bytes,
}

#[derive(Clone, Debug)]
struct Pending {
    entry: Arc<LocalEntry>,
    in_flight: bool,
}

/// Own changes that are not acknowledged.
#[derive(Clone, Debug)]
pub(super) struct UploadLog {
    /// The most entries of an upload. At most two such windows are in flight.
    window: usize,
    pending: Vec<Pending>,
}

impl UploadLog {
    pub(super) fn new(window: usize) -> Self {
        Self { window, pending: Vec::new() }
    }

    pub(super) fn push(&mut self, entry: Arc<LocalEntry>) {
        self.pending.push(Pending { entry, in_flight: false });
    }

    /// Takes everything out.
    pub(super) fn take(&mut self) -> Vec<Arc<LocalEntry>> {
        std::mem::take(&mut self.pending).into_iter().map(|pending| pending.entry).collect()
    }

    /// The oldest first.
    pub(super) fn entries(&self) -> impl ExactSizeIterator<Item = &Arc<LocalEntry>> {
        self.pending.iter().map(|pending| &pending.entry)
    }

    /// The next upload, if anything waits and fewer than two windows are in flight.
    pub(super) fn next_upload(&mut self) -> Option<Bytes> {
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
    pub(super) fn resend(&mut self) {
        self.pending.iter_mut().for_each(|pending| pending.in_flight = false);
    }

    /// Takes an ack; returns the own changes in it. The exact string is looked up, so the letter case must be the change's own.
    pub(super) fn acknowledged(&mut self, ids: &[AckId]) -> Vec<EntryId> {
        self.drop_where(|pending| {
            let label = &pending.entry.label;
            ids.contains(&AckId::Uuid(label.id, label.spelling))
        })
    }

    /// Takes everything that is in flight as done with; returns it.
    pub(super) fn give_up_in_flight(&mut self) -> Vec<EntryId> {
        self.drop_where(|pending| pending.in_flight)
    }

    fn drop_where(&mut self, is_done: impl Fn(&Pending) -> bool) -> Vec<EntryId> {
        let mut done = Vec::new();
        self.pending.retain(|pending| {
            let is_done = is_done(pending);
            if is_done {
                done.push(pending.entry.label.id);
            }
            !is_done
        });
        done
    }
}
