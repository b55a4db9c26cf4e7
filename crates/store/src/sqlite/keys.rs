//! Row addresses, and other keys of tables.

use lattice_engine::Seq;

pub(super) use crate::stored::keys::{key_bytes, key_from_bytes};

/// Bits of a row address that hold the seq.
const SEQ_BITS: u32 = 36;
/// Spaces that one file can number.
pub(super) const MAX_SPACE_NO: u32 = (1 << 27) - 1;

/// Where something with this seq stands.
pub(super) const fn row_address(space: u32, seq: Seq) -> i64 {
    ((space as i64) << SEQ_BITS) | seq as i64
}

/// The seq of a row address.
pub(super) const fn seq_of(address: i64) -> Seq {
    address as u64 & ((1 << SEQ_BITS) - 1)
}
