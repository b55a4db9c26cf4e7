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

const LOWER: &[u8; 16] = b"0123456789abcdef";
const UPPER: &[u8; 16] = b"0123456789ABCDEF";

/// Where the two digits of each byte stand in the hyphenated form.
const DIGITS_AT: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
/// Set in [`DIGIT_VALUES`] for upper case letters.
const IS_UPPER: u8 = 16;
/// Anything that is no hex digit.
const NO_DIGIT: u8 = 0x80;

/// What each character is worth as a hex digit. Two ids are read for every change, so this is a table.
static DIGIT_VALUES: [u8; 256] = {
    let mut table = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        table[UPPER[value] as usize] = value as u8 | IS_UPPER;
        table[LOWER[value] as usize] = value as u8;
        value += 1;
    }
    let mut digit = b'0';
    while digit <= b'9' {
        table[digit as usize] = digit - b'0';
        digit += 1;
    }
    table
};

/// Reads a UUID in its hyphenated form of 36 characters, of any case. Other forms are not UUIDs.
#[must_use]
pub fn parse_uuid(text: &str) -> Option<([u8; 16], Spelling)> {
    let text: &[u8; 36] = text.as_bytes().try_into().ok()?;
    if [text[8], text[13], text[18], text[23]] != *b"----" {
        return None;
    }
    let (mut bytes, mut upper, mut all) = ([0_u8; 16], 0_u32, 0_u8);
    for (at, byte) in bytes.iter_mut().enumerate() {
        let high = DIGIT_VALUES[usize::from(text[DIGITS_AT[at]])];
        let low = DIGIT_VALUES[usize::from(text[DIGITS_AT[at] + 1])];
        *byte = (high << 4) | (low & 15);
        upper |= u32::from(high & IS_UPPER != 0) << (2 * at);
        upper |= u32::from(low & IS_UPPER != 0) << (2 * at + 1);
        all |= high | low;
    }
    (all & NO_DIGIT == 0).then_some((bytes, Spelling(upper)))
}

/// Writes a UUID in its hyphenated form, 36 ASCII characters, in the given spelling.
#[must_use]
pub fn format_uuid(bytes: &[u8; 16], spelling: Spelling) -> [u8; 36] {
    let mut text = [b'-'; 36];
    for (at, byte) in bytes.iter().enumerate() {
        let digits = |digit: usize| {
            if spelling.0 & (1 << digit) == 0 { LOWER } else { UPPER }
        };
        text[DIGITS_AT[at]] = digits(2 * at)[usize::from(byte >> 4)];
        text[DIGITS_AT[at] + 1] = digits(2 * at + 1)[usize::from(byte & 15)];
    }
    text
}

impl EntryId {
    /// Reads an entry id as clients write it.
    #[must_use]
    pub fn parse(text: &str) -> Option<(Self, Spelling)> {
        parse_uuid(text).map(|(bytes, spelling)| (Self(bytes), spelling))
    }

    /// Whether it has the form of an id that a server mints: a UUID of version 8 (RFC 9562). Clients make no such ids.
    #[must_use]
    pub fn is_minted(self) -> bool {
        self.0[6] >> 4 == 8 && self.0[8] >> 6 == 2
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
            Self::Uuid(bytes) => {
                f.write_str(&String::from_utf8_lossy(&format_uuid(bytes, Spelling::default())))
            }
            Self::Text(text) => fmt::Debug::fmt(text, f),
        }
    }
}

impl fmt::Debug for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn uuids_come_back_as_they_were_spelled() {
        for text in [
            "06960229-c369-47dd-Ad19-3f07bf7488b3",
            "AAAAAAAA-BBBB-4CCC-8DDD-EEEEEEEEEEEE",
            "00000000-0000-0000-0000-000000000000",
            "Ffffffff-ffff-fFff-ffff-fffffffffffF",
        ] {
            let (id, spelling) = EntryId::parse(text).unwrap();
            assert_eq!(id.to_text(spelling), text);
            assert_eq!(id.to_string(), text.to_ascii_lowercase());
            assert_eq!(RowId::parse(text).unwrap().to_text(), text);
        }
        let (_, spelling) = EntryId::parse("A0000000-0000-0000-0000-00000000000b").unwrap();
        assert_eq!(spelling, Spelling(1));
        let (id, spelling) = EntryId::parse("00000000-0000-0000-0000-00000000000B").unwrap();
        assert_eq!((id.0[15], spelling), (11, Spelling(1 << 31)));
    }

    #[test]
    fn anything_else_is_no_uuid() {
        for text in [
            "",
            "069602290c369047dd0Ad1903f07bf7488b3",
            "06960229-c369-47dd-Ad19-3f07bf7488b",
            "06960229-c369-47dd-Ad19-3f07bf7488b33",
            "06960229-c369-47dd-Ad19-3f07bf7488bg",
            "06960229-c369-47dd-Ad193-f07bf7488b3",
            "{6960229-c369-47dd-Ad19-3f07bf7488b}",
            "06960229c36947ddAd193f07bf7488b3",
            "06960229-c369-47dd-Ad19-3f07bf7488é",
        ] {
            assert_eq!(EntryId::parse(text), None, "{text}");
        }
        assert_eq!(RowId::parse(""), None);
        assert!(RowId::parse(&"x".repeat(crate::limits::MAX_ROW_ID_BYTES)).is_some());
        assert_eq!(RowId::parse(&"x".repeat(crate::limits::MAX_ROW_ID_BYTES + 1)), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_and_spelling_come_back(bytes: [u8; 16], upper: u32) {
            let text = EntryId(bytes).to_text(Spelling(upper));
            let (id, spelling) = EntryId::parse(&text).unwrap();
            proptest::prop_assert_eq!(id.0, bytes);
            proptest::prop_assert_eq!(id.to_text(spelling), text);
        }
    }
}
