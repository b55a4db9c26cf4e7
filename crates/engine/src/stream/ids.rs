//! Ids of what a stream sends.

use alloc::vec::Vec;
use bytestring::ByteString;
use lattice_protocol::names::CHECKPOINT_TABLE;
use lattice_protocol::{EntryId, Field, Operation, Outgoing, RowId, RowKey, Spelling};

use super::{MAX_RECENT_IDS, Stream};
use crate::mint::Minter;
use crate::mutation::Mutation;
use crate::rows::{FieldState, Row};
use crate::types::{Cursor, Seq};

/// What an entry does to its receiver's row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Act {
    Insert,
    Update,
    Delete,
    /// The row is not deleted, but not shown any more.
    TakeBack,
}

/// Mint ids that claim a cursor in the stream's view, ids that claim a part of the way to it from other views, and from nothing.
pub(super) struct Minters {
    view: Minter,
    transition: Minter,
    fresh: Minter,
}

impl Minters {
    /// Everything up to `head`, in the stream's view.
    pub(super) fn complete(&self, head: Seq) -> Claim<'_> {
        Claim { minter: &self.view, cursor: Cursor::complete(head) }
    }
}

/// What an id says that its receiver has.
#[derive(Clone, Copy)]
pub(super) struct Claim<'a> {
    minter: &'a Minter,
    cursor: Cursor,
}

impl Stream {
    /// An id that claims what the stream has sent: the cursor of clients that keep it apart from the entries. Resolves like
    /// the id of an entry ([`crate::Resume`]), and is that of no entry. `minter` is the space's own.
    #[must_use]
    pub fn cursor_id(&self, minter: &Minter) -> EntryId {
        let minters = self.minters(minter);
        let Claim { minter, cursor } = self.claim(&minters, self.cursor);
        minter.mint(cursor, [b"cursor".as_slice()], 0)
    }

    /// An entry that does nothing but claim where the stream is on its way to another view; once for each such way, and to be
    /// sent in a frame of its own before anything else. A native client applies a frame before it saves its checkpoint: one
    /// that dies in between would come with a checkpoint of the view before, while rows of the new one were shown or taken
    /// back. Clients that keep cursors apart get [`Stream::cursor_id`] instead. `minter` is the space's own.
    pub fn announcement(&mut self, minter: &Minter) -> Option<Outgoing> {
        let due = core::mem::take(&mut self.announces) && !Mutation::SavedFirst.is_active();
        due.then(|| {
            // Old clients drop a whole frame for a table that they do not have, later ones record no entry of it: the checkpoint
            // would stay. Every one of them has this table, and no row with an id that was minted this moment.
            let spelling = Spelling::default();
            let nobody = RowId { key: RowKey::Uuid([0; 16]), spelling };
            let row = Row::stub(ByteString::from_static(CHECKPOINT_TABLE), nobody);
            let minters = self.minters(minter);
            let claim = self.claim(&minters, self.cursor);
            let entry = self.mint(claim, &row, Act::Delete, Vec::new(), 0);
            Outgoing { row: RowId { key: RowKey::Uuid(entry.id.0), spelling }, ..entry }
        })
    }

    pub(super) fn minters(&self, minter: &Minter) -> Minters {
        let view = self.view.id();
        let (transition, fresh) = (minter.of_transition(view), minter.of_fresh(view));
        Minters { view: minter.of_view(view), transition, fresh }
    }

    /// A claim of what the stream itself has sent.
    pub(super) fn claim<'a>(&self, minters: &'a Minters, cursor: Cursor) -> Claim<'a> {
        match (&self.prior, self.empty_at) {
            (Some(_), _) => Claim { minter: &minters.transition, cursor },
            // Its base is 0. In its place stands from when on it must be told of tombstones.
            (None, Some(empty_at)) => {
                Claim { minter: &minters.fresh, cursor: Cursor { base: empty_at, ..cursor } }
            }
            (None, None) => Claim { minter: &minters.view, cursor },
        }
    }

    pub(super) fn mint(
        &mut self,
        claim: Claim<'_>,
        row: &Row,
        act: Act,
        fields: Vec<Field>,
        nonce: u64,
    ) -> Outgoing {
        let id = self.fresh_id(claim, row, act, &fields, nonce);
        let sets = |held: &&FieldState| fields.iter().any(|field| field.name == held.name);
        let newest = row.fields.iter().filter(sets).map(|field| field.stamp.clock.time_us).max();
        let time_us = newest.unwrap_or(row.clock.time_us).max(0);
        Outgoing {
            id,
            id_spelling: Spelling::default(),
            table: row.table.clone(),
            operation: match act {
                Act::Insert => Operation::Insert,
                Act::Update => Operation::Update,
                Act::Delete | Act::TakeBack => Operation::Delete,
            },
            row: row.id.clone(),
            fields,
            time_us,
            taken_back: act == Act::TakeBack,
        }
    }

    /// The state of a row is named by its place in the order, so values need not be hashed.
    fn fresh_id(&mut self, claim: Claim<'_>, row: &Row, act: Act, fields: &[Field], nonce: u64) -> EntryId {
        let key: &[u8] = match &row.id.key {
            RowKey::Uuid(bytes) => bytes,
            RowKey::Text(text) => text.as_bytes(),
        };
        let kind = [act as u8, u8::from(nonce > 0)];
        let state = row.last_seq.to_le_bytes();
        let writer: &[u8] = if nonce > 0 { &self.writer.0 } else { &[] };
        // A row may be shown, taken back and shown again without having changed.
        let transition = match &self.prior {
            Some(_) if !Mutation::ReusedTransitions.is_active() => self.transition.to_le_bytes(),
            _ => [0; 8],
        };
        if self.recent.len() >= MAX_RECENT_IDS {
            self.recent.clear();
        }
        for attempt in 0_u64.. {
            let salt = attempt.to_le_bytes();
            let parts = [str::as_bytes(&row.table), key, &kind, &state, writer, &transition, &salt];
            let names = fields.iter().map(|field| str::as_bytes(&field.name));
            let id = claim.minter.mint(claim.cursor, parts.into_iter().chain(names), nonce);
            if self.recent.insert(id) {
                return id;
            }
        }
        unreachable!("the salt takes 2^64 values and at most MAX_RECENT_IDS ids are taken")
    }
}
