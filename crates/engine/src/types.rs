//! Small words that every part of the engine uses.

use core::fmt;

/// A space's own counter of changes: 1, 2, 3, …; 0 is before the first.
pub type Seq = u64;

/// Largest seq: minted ids carry seqs in 36 bits.
pub const MAX_SEQ: Seq = (1 << 36) - 1;

/// Who wrote something: a random number per connection or named client, never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WriterId(pub [u8; 16]);

/// The public id of a space.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpaceId(pub [u8; 16]);

/// A keyed hash of (link table, lhs, rhs, rhs_type): of all link rows with one such key at most one is live.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PairKey(pub [u8; 16]);

/// The clock of a change: the later time wins, and of two with the same microsecond the one that arrived later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Clock {
    /// Microseconds since 1970; negative before.
    pub time_us: i64,
    /// The tie-break: its place in the space's order of arrival.
    pub seq: Seq,
}

impl Clock {
    /// Before every change.
    pub const NEVER: Self = Self { time_us: i64::MIN, seq: 0 };
}

/// What a replica has: the complete state at `base`, and since then the rows up to `position` in the order of their last
/// change. It is complete when both are equal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cursor {
    /// Everything up to here has been received.
    pub base: Seq,
    /// Of what came after `base`, the rows whose last change is up to here have been received.
    pub position: Seq,
}

impl Cursor {
    /// Everything up to `seq`.
    #[must_use]
    pub const fn complete(seq: Seq) -> Self {
        Self { base: seq, position: seq }
    }
}

/// What a space counts, kept under its lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SpaceHead {
    /// The last seq that was given out.
    pub seq: Seq,
    /// The last arrival time that was given out, in microseconds since 1970.
    pub arrival_us: i64,
    /// Bytes of all changes in its audit log, as they came.
    pub bytes: u64,
}

macro_rules! hex_debug {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    )*};
}
hex_debug!(WriterId, SpaceId, PairKey);
