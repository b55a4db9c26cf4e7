//! Identifiers: UUIDs are compared without case, kept as 16 bytes, and always written back as they were first spelled.

use alloc::{boxed::Box, string::String};
use core::fmt;

/// The id of an entry: a UUID, as its 16 bytes. The order is the tie-break of last-write-wins.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(pub [u8; 16]);

/// Which of the 32 hex digits of a UUID were written in upper case: bit `i` stands for digit `i`.
///
/// Native clients mix cases (`…-Ad19-…`) and look an acknowledged id up by its exact string.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Spelling(pub u32);

/// The key under which a row is stored and compared: UUIDs without their case, anything else as text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RowKey {
    /// A UUID as its 16 bytes.
    Uuid([u8; 16]),
    /// Any other text of 1 to [`crate::limits::MAX_ROW_ID_BYTES`] bytes.
    Text(Box<str>),
}

/// A global row id: its key and the spelling to send it with.
#[derive(Clone, PartialEq, Eq)]
pub struct RowId {
    /// What the row is found and compared by.
    pub key: RowKey,
    /// The letter case of a UUID; unused for other text.
    pub spelling: Spelling,
}

const HYPHENS: [usize; 4] = [8, 13, 18, 23];
const LOWER: &[u8; 16] = b"0123456789abcdef";
const UPPER: &[u8; 16] = b"0123456789ABCDEF";

/// Reads a UUID in its hyphenated form of 36 characters, of any case. Other forms are not UUIDs.
#[must_use]
pub fn parse_uuid(text: &str) -> Option<([u8; 16], Spelling)> {
    let text: &[u8; 36] = text.as_bytes().try_into().ok()?;
    let (mut bytes, mut upper, mut digit) = ([0_u8; 16], 0_u32, 0_usize);
    for (at, &character) in text.iter().enumerate() {
        if HYPHENS.contains(&at) {
            if character != b'-' {
                return None;
            }
            continue;
        }
        let value = match character {
            b'0'..=b'9' => character - b'0',
            b'a'..=b'f' => character - b'a' + 10,
            b'A'..=b'F' => {
                upper |= 1 << digit;
                character - b'A' + 10
            }
            _ => return None,
        };
        bytes[digit / 2] = (bytes[digit / 2] << 4) | value;
        digit += 1;
    }
    Some((bytes, Spelling(upper)))
}

/// Writes a UUID in its hyphenated form, 36 ASCII characters, in the given spelling.
#[must_use]
pub fn format_uuid(bytes: &[u8; 16], spelling: Spelling) -> [u8; 36] {
    let (mut text, mut digit) = ([b'-'; 36], 0_usize);
    for (at, out) in text.iter_mut().enumerate() {
        if HYPHENS.contains(&at) {
            continue;
        }
        let byte = bytes[digit / 2];
        let value = if digit.is_multiple_of(2) { byte >> 4 } else { byte & 15 };
        let digits = if spelling.0 & (1 << digit) == 0 { LOWER } else { UPPER };
        *out = digits[usize::from(value)];
        digit += 1;
    }
    text
}

impl EntryId {
    /// Reads an entry id as clients write it.
    #[must_use]
    pub fn parse(text: &str) -> Option<(Self, Spelling)> {
        parse_uuid(text).map(|(bytes, spelling)| (Self(bytes), spelling))
    }

    /// The id in the given spelling.
    #[must_use]
    pub fn to_text(self, spelling: Spelling) -> String {
        String::from_utf8_lossy(&format_uuid(&self.0, spelling)).into_owned()
    }
}

impl RowId {
    /// Reads a global row id. `None` when it is empty or longer than [`crate::limits::MAX_ROW_ID_BYTES`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((bytes, spelling)) = parse_uuid(text) {
            return Some(Self { key: RowKey::Uuid(bytes), spelling });
        }
        if text.is_empty() || text.len() > crate::limits::MAX_ROW_ID_BYTES {
            return None;
        }
        Some(Self { key: RowKey::Text(text.into()), spelling: Spelling::default() })
    }

    /// The id as it was first spelled.
    #[must_use]
    pub fn to_text(&self) -> String {
        match &self.key {
            RowKey::Uuid(bytes) => String::from_utf8_lossy(&format_uuid(bytes, self.spelling)).into_owned(),
            RowKey::Text(text) => text.as_ref().into(),
        }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text(Spelling::default()))
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(bytes) => f.write_str(&String::from_utf8_lossy(&format_uuid(bytes, Spelling::default()))),
            Self::Text(text) => fmt::Debug::fmt(text, f),
        }
    }
}

impl fmt::Debug for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}
