//! How row keys are written.

use lattice_protocol::RowKey;

/// A row key as bytes: 16 for a UUID; text is padded with 0xFF, which is in no text, to at least 17.
pub(crate) fn key_bytes(key: &RowKey) -> Vec<u8> {
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
pub(crate) fn key_from_bytes(bytes: &[u8]) -> Option<RowKey> {
    if let Ok(uuid) = bytes.try_into() {
        return Some(RowKey::Uuid(uuid));
    }
    let end = bytes.iter().position(|byte| *byte == 0xFF)?;
    std::str::from_utf8(&bytes[..end]).ok().map(|text| RowKey::Text(text.into()))
}
