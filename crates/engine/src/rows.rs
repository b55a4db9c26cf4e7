//! The merged state of a row.

use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;
use bytestring::ByteString;
use lattice_protocol::{Field, RowId, RowKey};

use crate::types::{Clock, PairKey, Seq, WriterId};

/// Names a row.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RowRef {
    /// Table name.
    pub table: ByteString,
    /// The row's key.
    pub key: RowKey,
}

impl RowRef {
    /// Names whichever row links this pair: it has no table, as no table's name is empty.
    #[must_use]
    pub fn of_pair(pair: PairKey) -> Self {
        Self { table: ByteString::new(), key: RowKey::Uuid(pair.0) }
    }

    /// The pair, if this names whichever row links one.
    #[must_use]
    pub fn pair(&self) -> Option<PairKey> {
        match &self.key {
            RowKey::Uuid(bytes) if self.table.is_empty() => Some(PairKey(*bytes)),
            _ => None,
        }
    }
}

/// Who set a field, when, and at which place in the order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// Time of the winning change, in microseconds since 1970.
    pub time_us: i64,
    /// The seq that set it.
    pub seq: Seq,
    /// The writer that set it.
    pub writer: WriterId,
}

impl Stamp {
    /// The clock of the winning change.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        Clock { time_us: self.time_us, seq: self.seq }
    }
}

/// One field of a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldState {
    /// Column name.
    pub name: ByteString,
    /// Wire bytes of the value.
    pub value: Bytes,
    /// Its last winner.
    pub stamp: Stamp,
    /// A second replica wrote it, or it was sent back to its writer, or it was first set on a shared row: from then on
    /// its winners are echoed to their senders.
    pub shared: bool,
}

/// Who may read an end of a link: what is known of the row that bears its id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct End {
    /// Its table.
    pub table: ByteString,
    /// Who created it first, if that is known. Like the table it never changes.
    pub creator: Option<[u8; 16]>,
}

/// What is known of the rows that a link names. It is kept when the link is deleted: its ends never change.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ends {
    /// The row of `lhs`, and that of `rhs`, once they were created.
    pub rows: [Option<End>; 2],
    /// For each of them the seq from which on it was known, where that was after the link: until then the link may have been shown to
    /// people who may not read the row. Else 0.
    pub since: [Seq; 2],
}

/// Of a row that names none, or of which nothing is known.
static NO_ENDS: Ends = Ends { rows: [None, None], since: [0, 0] };

impl Ends {
    /// What was known of the rows right before a seq.
    #[must_use]
    pub fn before(&self, seq: Seq) -> [Option<End>; 2] {
        let known = |at: usize| self.rows[at].clone().filter(|_| self.since[at] < seq);
        [known(0), known(1)]
    }
}

/// The merged state of a row, also of a deleted one and of one that nobody may see yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Table name.
    pub table: ByteString,
    /// Id, in the spelling first seen.
    pub id: RowId,
    /// Fields, in the order first seen. Empty for a tombstone.
    pub fields: Vec<FieldState>,
    /// Names of the fields that a tombstone had: those that its revival does not name become null.
    pub former: Vec<ByteString>,
    /// The seq that created or revived it; 0 while it does not exist.
    pub created_seq: Seq,
    /// The seq that created it for the first time; 0 while that is not known, as in private spaces.
    pub born_seq: Seq,
    /// Its place in the order: the seq of its last change that others may see, or of the change that made a hidden row.
    pub last_seq: Seq,
    /// Clock of the last delete or revival.
    pub clock: Clock,
    /// An INSERT or a DELETE of it was seen. `false`: only UPDATEs that came before it, or refused changes.
    pub exists: bool,
    /// It is a tombstone.
    pub deleted: bool,
    /// Its existence concerns more than one replica (see [`FieldState::shared`]).
    pub shared: bool,
    /// It was never visible to anyone: not part of any catch-up.
    pub hidden: bool,
    /// It lives again after a tombstone.
    pub revived: bool,
    /// The writer of its last change.
    pub writer: Option<WriterId>,
    /// The writer of the INSERT that created or revived it.
    pub inserter: Option<WriterId>,
    /// The user whose INSERT created it first; kept when it is deleted and revived by another one, so that who may see it
    /// never changes. Unknown in private spaces, where every row is its owner's.
    pub creator: Option<[u8; 16]>,
    /// For a link row, the pair that it links.
    pub pair: Option<PairKey>,
    /// For a link row, the rows that it names.
    pub ends: Option<Box<Ends>>,
}

impl Row {
    /// What is known of the rows that it names.
    #[must_use]
    pub fn ends(&self) -> &Ends {
        self.ends.as_deref().unwrap_or(&NO_ENDS)
    }

    pub(crate) fn ends_mut(&mut self) -> &mut Ends {
        self.ends.get_or_insert_with(Box::default)
    }

    /// A row of which nothing is known yet.
    #[must_use]
    pub fn stub(table: ByteString, id: RowId) -> Self {
        Self {
            table,
            id,
            fields: Vec::new(),
            former: Vec::new(),
            created_seq: 0,
            born_seq: 0,
            last_seq: 0,
            clock: Clock::NEVER,
            exists: false,
            deleted: false,
            shared: false,
            hidden: true,
            revived: false,
            writer: None,
            inserter: None,
            creator: None,
            pair: None,
            ends: None,
        }
    }

    /// What the row is found by.
    #[must_use]
    pub fn reference(&self) -> RowRef {
        RowRef { table: self.table.clone(), key: self.id.key.clone() }
    }

    /// Whether replicas hold it.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.exists && !self.deleted
    }

    /// The newest clock of anything in the row.
    #[must_use]
    pub fn newest_clock(&self) -> Clock {
        self.fields.iter().map(|field| field.stamp.clock()).fold(self.clock, Clock::max)
    }

    /// The field with this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&FieldState> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// All values, to be sent.
    #[must_use]
    pub fn values(&self) -> Vec<Field> {
        self.fields.iter().map(FieldState::to_field).collect()
    }

    /// The row and the fields that `wanted` picks concern more than one replica from now on. Returns whether that is new.
    pub fn share(&mut self, wanted: impl Fn(&str) -> bool) -> bool {
        let mut changed = !self.shared;
        self.shared = true;
        for field in self.fields.iter_mut().filter(|field| !field.shared && wanted(&field.name)) {
            field.shared = true;
            changed = true;
        }
        changed
    }
}

impl FieldState {
    /// The field, to be sent.
    #[must_use]
    pub fn to_field(&self) -> Field {
        Field { name: self.name.clone(), value: self.value.clone() }
    }
}
