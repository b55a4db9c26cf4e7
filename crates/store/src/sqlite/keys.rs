//! How places and row keys are written as keys of tables.

use lattice_engine::Seq;
use lattice_protocol::RowKey;

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

/// A row key as bytes: 16 for a UUID; text is padded with 0xFF, which is in no text, to at least 17.
pub(super) fn key_bytes(key: &RowKey) -> Vec<u8> {
    match key {
        RowKey::Uuid(bytes) => bytes.to_vec(),
        RowKey::Text(text) => {
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize((bytes.len() + 1).max(17), 0xFF);
            bytes
        }
    }
}

/// Reads a row key from its bytes.
pub(super) fn key_from_bytes(bytes: &[u8]) -> Option<RowKey> {
    if let Ok(uuid) = bytes.try_into() {
        return Some(RowKey::Uuid(uuid));
    }
    let end = bytes.iter().position(|byte| *byte == 0xFF)?;
    std::str::from_utf8(&bytes[..end]).ok().map(|text| RowKey::Text(text.into()))
}
