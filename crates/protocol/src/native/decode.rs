//! Frames of clients.

use alloc::{format, vec::Vec};
use bytes::Bytes;
use bytestring::ByteString;
use core::fmt;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{ClientFrame, FrameError, entry};
use crate::limits::MAX_ACKED_IDS;
use crate::{Code, EntryId, Incoming, json};

/// Length of a UUID as text.
const UUID_TEXT_BYTES: usize = 36;

/// Reads a frame of a client, text or binary.
///
/// Whatever is kept of the frame shares its memory, except for texts that had to be unescaped. `max_changes` is the
/// most elements of `auditLog` that are accepted.
///
/// # Errors
///
/// [`Code::BadFrame`] when the frame is not one JSON object or a known key of it has the wrong type, and
/// [`Code::TooManyChanges`]. What is wrong with a single entry is no error of the frame.
pub fn decode(frame: &Bytes, max_changes: usize) -> Result<ClientFrame, FrameError> {
    if let Some(ids) = read_acks(frame) {
        return Ok(ClientFrame::Ack { ids });
    }
    let text = frame_text(frame)?;
    let mut parser = serde_json::Deserializer::from_str(&text);
    let known = parser
        .deserialize_map(FrameVisitor { text: &text, max_changes })
        .and_then(|known| parser.end().map(|()| known))
        .map_err(|error| json_error(&error))?;
    if known.has_type {
        return Ok(ClientFrame::Typed);
    }
    match (known.changes, known.acks) {
        (Some((_, count)), _) if count > max_changes => Err(FrameError::new(
            Code::TooManyChanges,
            format!("the frame holds {count} changes; {max_changes} are accepted"),
        )),
        (Some((changes, _)), _) => Ok(ClientFrame::Changes(changes)),
        (None, Some(ids)) => Ok(ClientFrame::Ack { ids }),
        (None, None) => Ok(ClientFrame::Other),
    }
}

/// The ids of an ack that is written as clients do, byte by byte: one comes for every frame that is delivered to anybody.
/// `None` for all else, which is left to the parser.
fn read_acks(frame: &[u8]) -> Option<Vec<EntryId>> {
    /// Of an id with its quotes and the comma before the next.
    const STEP: usize = UUID_TEXT_BYTES + 3;
    let ids = frame.strip_prefix(br#"{"ack":["#)?.strip_suffix(br#"],"kind":"ack"}"#)?;
    let id = |chunk: &[u8]| {
        let quoted = if chunk.len() == STEP { chunk.strip_suffix(b",") } else { Some(chunk) };
        let id = quoted.and_then(|quoted| quoted.strip_prefix(b"\"")?.strip_suffix(b"\""))?;
        EntryId::parse(core::str::from_utf8(id).ok()?).map(|(id, _)| id)
    };
    let whole = ids.len() % STEP == STEP - 1 && ids.len() / STEP < MAX_ACKED_IDS;
    whole.then(|| ids.chunks(STEP).map(id).collect())?
}

/// The frame as text. Checked once here, so that everything cut out of it is known to be text.
pub(crate) fn frame_text(frame: &Bytes) -> Result<ByteString, FrameError> {
    ByteString::try_from(frame.clone()).map_err(|_| FrameError::new(Code::BadFrame, "the frame is not UTF-8"))
}

/// What to say of a frame that could not be parsed. The parser's own words would quote values.
pub(crate) fn json_error(error: &serde_json::Error) -> FrameError {
    let detail = if error.is_data() {
        "the frame is not a JSON object, or a known key of it is not an array".into()
    } else {
        format!("the frame is not JSON: error at line {}, column {}", error.line(), error.column())
    };
    FrameError::new(Code::BadFrame, detail)
}

/// The keys of a frame that are known. Of a key that is written twice the last one counts, as for clients.
#[derive(Default)]
struct Known {
    has_type: bool,
    /// The changes that were read, and how many there are.
    changes: Option<(Vec<Incoming>, usize)>,
    acks: Option<Vec<EntryId>>,
}

struct FrameVisitor<'a> {
    text: &'a ByteString,
    max_changes: usize,
}

impl<'de> Visitor<'de> for FrameVisitor<'de> {
    type Value = Known;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Known, A::Error> {
        let mut known = Known::default();
        while let Some(key) = map.next_key_seed(KeySeed)? {
            match key {
                Key::AuditLog => {
                    let seed = ChangesSeed { text: self.text, max_changes: self.max_changes };
                    known.changes = Some(map.next_value_seed(seed)?);
                }
                Key::Ack => known.acks = Some(map.next_value_seed(AcksSeed)?),
                Key::Type => {
                    known.has_type = true;
                    map.next_value::<IgnoredAny>()?;
                }
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(known)
    }
}

enum Key {
    AuditLog,
    Ack,
    Type,
    Other,
}

struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        Ok(match key {
            "auditLog" => Key::AuditLog,
            "ack" => Key::Ack,
            "type" => Key::Type,
            _ => Key::Other,
        })
    }
}

struct ChangesSeed<'a> {
    text: &'a ByteString,
    max_changes: usize,
}

impl<'de> DeserializeSeed<'de> for ChangesSeed<'de> {
    type Value = (Vec<Incoming>, usize);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ChangesSeed<'de> {
    type Value = (Vec<Incoming>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let (mut changes, mut count) = (Vec::new(), 0);
        while let Some(raw) = seq.next_element::<&RawValue>()? {
            count += 1;
            if count <= self.max_changes {
                // Read at once, while the parser has its text in the cache.
                changes.push(entry::decode::<entry::Native>(self.text, raw.get()));
            }
        }
        Ok((changes, count))
    }
}

struct AcksSeed;

impl<'de> DeserializeSeed<'de> for AcksSeed {
    type Value = Vec<EntryId>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for AcksSeed {
    type Value = Vec<EntryId>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut ids = Vec::new();
        while let Some(raw) = seq.next_element::<&RawValue>()? {
            if ids.len() < MAX_ACKED_IDS {
                ids.extend(
                    json::decode_string(raw.get()).and_then(|text| EntryId::parse(&text)).map(|(id, _)| id),
                );
            }
        }
        Ok(ids)
    }
}
