//! What goes into a batch and what comes out of it.

use alloc::vec::Vec;

use bytes::Bytes;
use lattice_protocol::native::AckId;
use lattice_protocol::{EntryId, Outgoing, Spelling};

use crate::merge::{Correction, Verdict};
use crate::mint::Minter;
use crate::rows::{Row, RowRef};
use crate::rules::Rules;
use crate::types::{Cursor, PairKey, Seq, SpaceHead, WriterId};

/// What an upload is merged under.
pub struct Context<'a> {
    /// The connection that sent it.
    pub writer: WriterId,
    /// How far in the future a timestamp may be before it counts as the time of arrival, in microseconds.
    pub max_skew_us: i64,
    /// The space's merge rules.
    pub rules: &'a Rules,
    /// Names pairs and entries without an id.
    pub minter: &'a Minter,
    /// The changes came as plain values: the kind that a column has wins where a value fits it.
    pub plain: bool,
    /// The sender is answered with current values whether or not it needs them: what it is sent depends on more than who
    /// wrote last (see [`crate::View`]).
    pub echoes: bool,
    /// The token of the sender may only read, whatever its user may do.
    pub read_only: bool,
    /// Of a native client: what it is known to have applied when it sent this.
    pub applied: Option<Cursor>,
    /// The space is somebody's private one: who created a row makes no difference there, so links need not know their ends.
    pub private: bool,
}

/// Stored state to load for a batch.
#[derive(Default, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Entries that may have been received before.
    pub entries: Vec<EntryId>,
    /// Rows.
    pub rows: Vec<RowRef>,
    /// Pairs of link rows.
    pub pairs: Vec<PairKey>,
}

impl Needs {
    /// Whether nothing is left to load.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.rows.is_empty() && self.pairs.is_empty()
    }
}

/// What is remembered of a change that was received before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// Where the audit log has it.
    pub seq: Seq,
    /// Whether it was refused.
    pub refused: bool,
}

/// One line of the audit log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogRecord {
    /// Its place in the space's order.
    pub seq: Seq,
    /// The change's id.
    pub id: EntryId,
    /// The id's spelling.
    pub id_spelling: Spelling,
    /// What became of it.
    pub verdict: Verdict,
    /// The time it counts as made at, in microseconds since 1970.
    pub time_us: i64,
    /// When it arrived.
    pub arrived_us: i64,
    /// Its timestamp was too far in the future, so the time of arrival was taken.
    pub clamped: bool,
    /// The entry as it was received.
    pub raw: Bytes,
}

/// A row to store at `row.last_seq`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RowWrite {
    /// Where it is stored now; `None` for a new one.
    pub stored_at: Option<Seq>,
    /// The new state.
    pub row: Row,
}

/// A pair of link rows to store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PairWrite {
    /// The pair.
    pub pair: PairKey,
    /// The one live row that links it; `None` when there is none now.
    pub keeper: Option<RowRef>,
}

/// What the sender of a change is to be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The id to acknowledge, as it was spelled; `None` when it cannot be repeated.
    pub ack: Option<AckId>,
    /// What became of the change.
    pub verdict: Verdict,
    /// What must be sent before the ack.
    pub correction: Option<Correction>,
}

/// Everything an upload does. To be stored in one transaction; nothing of it may leave before that is durable.
#[derive(Debug, Default)]
pub struct Effects {
    /// The space's last seq before.
    pub before: Seq,
    /// The space's counters afterwards.
    pub head: SpaceHead,
    /// New lines of the audit log, in the order of their seqs.
    pub log: Vec<LogRecord>,
    /// Rows to store.
    pub rows: Vec<RowWrite>,
    /// Pairs to store.
    pub pairs: Vec<PairWrite>,
    /// One for each change, in the order of the upload.
    pub outcomes: Vec<Outcome>,
    /// What other connections are to be sent, each with its seq, in order.
    pub visible: Vec<(Seq, Outgoing)>,
}
