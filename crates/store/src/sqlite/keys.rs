//! How places are written as keys of tables.

use lattice_engine::Seq;

pub(super) use crate::stored::keys::{key_bytes, key_from_bytes};

/// Bits of a place that hold the seq.
const SEQ_BITS: u32 = 36;
/// Spaces that one file can number.
pub(super) const MAX_SPACE_NO: u32 = (1 << 27) - 1;

/// Where something with this seq stands.
pub(super) const fn place(space: u32, seq: Seq) -> i64 {
    ((space as i64) << SEQ_BITS) | seq as i64
}

/// The seq of what stands at a place.
pub(super) const fn seq_of(place: i64) -> Seq {
    place as u64 & ((1 << SEQ_BITS) - 1)
}
