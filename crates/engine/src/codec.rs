//! How a row is stored: a compact binary form, read without copying.
//!
//! ```text
//! version u8 (2 with a creator, else 1), flags u8, table (len u8, bytes), row id (0, 16 bytes, case u32 | 1, len u8, text),
//! created_seq, last_seq (varints), clock (time i64, id 16), [writer 16], [inserter 16], [pair 16], [creator 16, born_seq varint],
//! stamps (count, then clock, seq varint, writer 16 each), fields (count, then name, stamp index << 1 | shared, value),
//! former fields (count, then name)
//! ```
//!
//! Fields that were set by one change share one stamp. Integers are little-endian; varints are LEB128.

use alloc::vec::Vec;
use bytes::Bytes;
use bytestring::ByteString;
use lattice_protocol::{EntryId, RowId, RowKey, Spelling};

use crate::rows::{FieldState, Row, Stamp};
use crate::types::{Clock, PairKey, WriterId};

/// Where the flags are, whatever the version. Stores look there without decoding: see [`Row::is_stored_deleted`].
const FLAGS_AT: usize = 1;
const VERSION: u8 = 1;
/// The row says who created it: in spaces that several people write.
const VERSION_WITH_CREATOR: u8 = 2;
const EXISTS: u8 = 1;
const DELETED: u8 = 2;
const SHARED: u8 = 4;
const HIDDEN: u8 = 8;
const REVIVED: u8 = 16;
const HAS_WRITER: u8 = 32;
const HAS_INSERTER: u8 = 64;
const HAS_PAIR: u8 = 128;

/// Stored bytes that are not a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CorruptRow {
    /// The first byte that makes no sense.
    pub offset: usize,
}

impl Row {
    /// Appends the stored form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(if self.creator.is_some() { VERSION_WITH_CREATOR } else { VERSION });
        out.push(self.flags());
        put_short(out, str::as_bytes(&self.table));
        match &self.id.key {
            RowKey::Uuid(bytes) => {
                out.push(0);
                out.extend_from_slice(bytes);
                out.extend_from_slice(&self.id.spelling.0.to_le_bytes());
            }
            RowKey::Text(text) => {
                out.push(1);
                put_short(out, text.as_bytes());
            }
        }
        put_varint(out, self.created_seq);
        put_varint(out, self.last_seq);
        put_clock(out, self.clock);
        for id in [self.writer.map(|w| w.0), self.inserter.map(|w| w.0), self.pair.map(|p| p.0), self.creator]
            .into_iter()
            .flatten()
        {
            out.extend_from_slice(&id);
        }
        if self.creator.is_some() {
            put_varint(out, self.born_seq);
        }
        self.encode_fields(out);
    }

    fn encode_fields(&self, out: &mut Vec<u8>) {
        let mut stamps: Vec<Stamp> = Vec::new();
        let index: Vec<usize> = self
            .fields
            .iter()
            .map(|field| match stamps.iter().position(|stamp| *stamp == field.stamp) {
                Some(at) => at,
                None => {
                    stamps.push(field.stamp);
                    stamps.len() - 1
                }
            })
            .collect();
        put_varint(out, stamps.len() as u64);
        for stamp in &stamps {
            put_clock(out, stamp.clock);
            put_varint(out, stamp.seq);
            out.extend_from_slice(&stamp.writer.0);
        }
        put_varint(out, self.fields.len() as u64);
        for (field, at) in self.fields.iter().zip(index) {
            put_short(out, str::as_bytes(&field.name));
            put_varint(out, (at as u64) << 1 | u64::from(field.shared));
            put_varint(out, field.value.len() as u64);
            out.extend_from_slice(&field.value);
        }
        put_varint(out, self.former.len() as u64);
        self.former.iter().for_each(|name| put_short(out, str::as_bytes(name)));
    }

    fn flags(&self) -> u8 {
        [
            (self.exists, EXISTS),
            (self.deleted, DELETED),
            (self.shared, SHARED),
            (self.hidden, HIDDEN),
            (self.revived, REVIVED),
            (self.writer.is_some(), HAS_WRITER),
            (self.inserter.is_some(), HAS_INSERTER),
            (self.pair.is_some(), HAS_PAIR),
        ]
        .into_iter()
        .fold(0, |flags, (set, bit)| if set { flags | bit } else { flags })
    }

    /// Whether this is the stored form of a tombstone: bit 1 of byte 1, in every version.
    #[must_use]
    pub fn is_stored_deleted(stored: &[u8]) -> bool {
        stored.get(FLAGS_AT).is_some_and(|flags| flags & DELETED != 0)
    }

    /// Reads the stored form. Values are slices of `stored`.
    ///
    /// # Errors
    /// [`CorruptRow`] when the bytes are not a row of a known version.
    pub fn decode(stored: &Bytes) -> Result<Self, CorruptRow> {
        let mut reader = Reader { bytes: stored, at: 0 };
        reader.row().ok_or(CorruptRow { offset: reader.at })
    }
}

struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl Reader<'_> {
    fn row(&mut self) -> Option<Row> {
        let has_creator = match self.u8()? {
            VERSION => false,
            VERSION_WITH_CREATOR => true,
            _ => return None,
        };
        let flags = self.u8()?;
        let has = |bit: u8| flags & bit != 0;
        let table = self.name()?;
        let id = match self.u8()? {
            0 => RowId {
                key: RowKey::Uuid(self.array()?),
                spelling: Spelling(u32::from_le_bytes(self.array()?)),
            },
            1 => RowId { key: RowKey::Text((&*self.name()?).into()), spelling: Spelling::default() },
            _ => return None,
        };
        let (created_seq, last_seq, clock) = (self.varint()?, self.varint()?, self.clock()?);
        let writer = if has(HAS_WRITER) { Some(WriterId(self.array()?)) } else { None };
        let inserter = if has(HAS_INSERTER) { Some(WriterId(self.array()?)) } else { None };
        let pair = if has(HAS_PAIR) { Some(PairKey(self.array()?)) } else { None };
        let creator = if has_creator { Some(self.array()?) } else { None };
        let born_seq = if has_creator { self.varint()? } else { 0 };
        let (fields, former) = (self.fields()?, self.former()?);
        (self.at == self.bytes.len()).then_some(Row {
            table,
            id,
            fields,
            former,
            created_seq,
            born_seq,
            last_seq,
            clock,
            exists: has(EXISTS),
            deleted: has(DELETED),
            shared: has(SHARED),
            hidden: has(HIDDEN),
            revived: has(REVIVED),
            writer,
            inserter,
            creator,
            pair,
        })
    }

    fn fields(&mut self) -> Option<Vec<FieldState>> {
        let mut stamps = Vec::new();
        for _ in 0..self.varint()? {
            let (clock, seq) = (self.clock()?, self.varint()?);
            stamps.push(Stamp { clock, seq, writer: WriterId(self.array()?) });
        }
        let count = usize::try_from(self.varint()?).ok()?;
        let mut fields = Vec::with_capacity(count.min(self.bytes.len()));
        for _ in 0..count {
            let name = self.name()?;
            let mark = self.varint()?;
            let length = usize::try_from(self.varint()?).ok()?;
            fields.push(FieldState {
                name,
                value: self.take(length)?,
                stamp: *stamps.get(usize::try_from(mark >> 1).ok()?)?,
                shared: mark & 1 == 1,
            });
        }
        Some(fields)
    }

    fn former(&mut self) -> Option<Vec<ByteString>> {
        (0..self.varint()?).map(|_| self.name()).collect()
    }

    fn take(&mut self, length: usize) -> Option<Bytes> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len())?;
        let taken = self.bytes.slice(self.at..end);
        self.at = end;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let array = self.bytes.get(self.at..self.at.checked_add(N)?)?.try_into().ok()?;
        self.at += N;
        Some(array)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn name(&mut self) -> Option<ByteString> {
        let length = usize::from(self.u8()?);
        ByteString::try_from(self.take(length)?).ok()
    }

    fn clock(&mut self) -> Option<Clock> {
        Some(Clock { time_us: i64::from_le_bytes(self.array()?), id: EntryId(self.array()?) })
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

/// Names and row ids are at most 128 bytes ([`lattice_protocol::limits`]), so one byte holds their length.
fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    debug_assert!(bytes.len() <= usize::from(u8::MAX), "longer names are refused when decoded");
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

fn put_clock(out: &mut Vec<u8>, clock: Clock) {
    out.extend_from_slice(&clock.time_us.to_le_bytes());
    out.extend_from_slice(&clock.id.0);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
