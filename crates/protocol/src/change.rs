//! Changes as clients upload them and entries as the server delivers them.

use alloc::{string::String, vec::Vec};
use bytes::Bytes;
use bytestring::ByteString;

use crate::{Code, EntryId, RowId, Spelling};

/// What a change does to its row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    /// An upsert of the named columns.
    Insert,
    /// Sets the named columns of an existing row.
    Update,
    /// Removes the row.
    Delete,
}

/// A column and its value, as the bytes of the JSON object `{"kind":K,"value":V}` that came over the wire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// Column name: [`crate::limits::MAX_NAME_BYTES`] bytes at most, `[A-Za-z_][A-Za-z0-9_]*`, or
    /// [`crate::names::UNION_CASE`].
    pub name: ByteString,
    /// The value, valid for every deployed client, unchanged byte for byte; bare values are wrapped when decoded.
    pub value: Bytes,
}

/// One change that is well formed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The idempotency key.
    pub id: EntryId,
    /// How the client spelled the id: acks repeat it.
    pub id_spelling: Spelling,
    /// Table name, valid by the same rule as column names.
    pub table: ByteString,
    /// What is done to the row.
    pub operation: Operation,
    /// The row.
    pub row: RowId,
    /// The columns that changed: only those listed by `changedFieldsNames`, each once, in the listed order. For a DELETE
    /// of a link row its `lhs`, `rhs` and `rhs_type` where they can be read; for other DELETEs none.
    pub fields: Vec<Field>,
    /// Microseconds since 1970, or `None` when the client sent no time that can be read.
    pub timestamp_us: Option<i64>,
    /// A full-row snapshot regenerated from local state, possibly stale: insert if absent.
    pub synthesized: bool,
    /// A DELETE that means "left my filter": acknowledged, never applied.
    pub filter_removal: bool,
    /// Of a native client: its filter may have made this, and not an act of its user. A DELETE in an ordinary table that names
    /// no column, or an INSERT that is `synthesized` and has a time.
    pub by_filter: bool,
    /// The entry as it was received, for the audit log.
    pub raw: Bytes,
}

/// One change that is not well formed. It blocks none of the others of its frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The id text to acknowledge, exactly as received; `None` when the entry has no id that could be repeated.
    pub ack: Option<ByteString>,
    /// The id, where it is a UUID.
    pub id: Option<(EntryId, Spelling)>,
    /// The row that it named, where table, row id and every column name are valid: its sender can be corrected.
    pub target: Option<(ByteString, RowId)>,
    /// Why.
    pub code: Code,
    /// One sentence for people. Never contains a value.
    pub detail: String,
    /// The entry as it was received, for the audit log.
    pub raw: Bytes,
}

/// One element of an uploaded frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Incoming {
    /// Well formed.
    Change(Change),
    /// Not well formed.
    Refused(Refused),
}

/// An entry to be delivered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// The id of the client's change, or one that the server minted.
    pub id: EntryId,
    /// How to spell it.
    pub id_spelling: Spelling,
    /// Table name.
    pub table: ByteString,
    /// What to do.
    pub operation: Operation,
    /// The row.
    pub row: RowId,
    /// Columns and values; empty for a DELETE.
    pub fields: Vec<Field>,
    /// When the change was made, in microseconds since 1970.
    pub time_us: i64,
    /// A DELETE that takes the row back from this receiver, who may no longer see it or did not ask for it. The row itself
    /// lives on. Its `fields` are not sent. Only the JSON dialect says so: to native clients it is a DELETE. Meaningless for
    /// other operations.
    pub taken_back: bool,
}

/// The columns of link tables that name the pair.
pub const LINK_COLUMNS: [&str; 3] = ["lhs", "rhs", "rhs_type"];

/// Whether the table may be a link table, the rows of a to-many relation: its name starts with `_`. Clients keep lists of
/// bounds and unions in such tables too; only rows that name [`LINK_COLUMNS`] are links.
#[must_use]
pub fn is_link_table(table: &str) -> bool {
    table.starts_with('_')
}
