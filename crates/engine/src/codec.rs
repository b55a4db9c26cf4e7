//! How a row is stored: a compact binary form, read without copying.
//!
//! ```text
//! version u8 (4 with a creator, else 3; of a link of which an end is known 6 or 5), flags varint, table (len u8, bytes),
//! row id (0, 16 bytes, case u32 | 1, len u8, text), created_seq, last_seq (varints), clock (time i64, seq varint), [writer 16],
//! [inserter 16], [pair 16], [creator 16, born_seq varint], [ends], stamps (count, then time i64, seq varint, writer 16 each),
//! fields (count, then name, stamp index << 1 | shared, value), former fields (count, then name)
//! ```
//!
//! `ends` are for lhs and for rhs 0, or 1, since (varint) and its table, or 2, since, its table and its creator (16). Fields that were set by one change share one stamp. Integers are little-endian; varints are LEB128.
//!
//! Versions 1 and 2 broke ties by entry ids: 16 bytes of id stand behind each time, the row's own clock has no seq, and flags are
//! one byte. They are read as long as rows that have not changed since are stored. The ids are dropped, the times stay; a clock
//! without a seq gets 0. Every change that arrives has a greater seq than any that is stored, so one with the same time wins either way.

use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;
use bytestring::ByteString;
use lattice_protocol::{RowId, RowKey, Spelling};

use crate::rows::{End, Ends, FieldState, Row, Stamp};
use crate::types::{Clock, PairKey, WriterId};

/// Where the flags are, whatever the version. Stores look there without decoding: see [`Row::is_stored_deleted`].
const FLAGS_AT: usize = 1;
const VERSION: u8 = 3;
/// The row says who created it: in spaces that several people write.
const VERSION_WITH_CREATOR: u8 = 4;
/// The same two, and the row is a link of which an end is known.
const VERSION_WITH_ENDS: u8 = 5;
const VERSION_WITH_ENDS_AND_CREATOR: u8 = 6;
/// The first two when ids broke ties.
const VERSION_WITH_IDS: u8 = 1;
const VERSION_WITH_IDS_AND_CREATOR: u8 = 2;
/// An entry id behind a time.
const ID_BYTES: usize = 16;
const EXISTS: u64 = 1;
const DELETED: u64 = 2;
const SHARED: u64 = 4;
const HIDDEN: u64 = 8;
const REVIVED: u64 = 16;
const HAS_WRITER: u64 = 32;
const HAS_INSERTER: u64 = 64;
const HAS_PAIR: u64 = 128;

/// Stored bytes that are not a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CorruptRow {
    /// The first byte that makes no sense.
    pub offset: usize,
}

impl Row {
    /// Appends the stored form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let has_ends = self.ends.is_some();
        out.push(match (self.creator.is_some(), has_ends) {
            (false, false) => VERSION,
            (true, false) => VERSION_WITH_CREATOR,
            (false, true) => VERSION_WITH_ENDS,
            (true, true) => VERSION_WITH_ENDS_AND_CREATOR,
        });
        put_varint(out, self.flags());
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
        if has_ends {
            self.encode_ends(out);
        }
        self.encode_fields(out);
    }

    fn encode_ends(&self, out: &mut Vec<u8>) {
        for (end, since) in self.ends().rows.iter().zip(self.ends().since) {
            let Some(End { table, creator }) = end else {
                out.push(0);
                continue;
            };
            out.push(if creator.is_some() { 2 } else { 1 });
            put_varint(out, since);
            put_short(out, str::as_bytes(table));
            out.extend_from_slice(creator.as_ref().map_or(&[], <[u8; 16]>::as_slice));
        }
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
            put_clock(out, stamp.clock());
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

    fn flags(&self) -> u64 {
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

    /// Whether this is the stored form of a tombstone: bit 1 of byte 1, in every version (the first seven flags of a varint stand there).
    #[must_use]
    pub fn is_stored_deleted(stored: &[u8]) -> bool {
        stored.get(FLAGS_AT).is_some_and(|flags| u64::from(*flags) & DELETED != 0)
    }

    /// Reads the stored form. Values are slices of `stored`.
    ///
    /// # Errors
    /// [`CorruptRow`] when the bytes are not a row of a known version.
    pub fn decode(stored: &Bytes) -> Result<Self, CorruptRow> {
        let mut reader = Reader { bytes: stored, at: 0, has_ids: false };
        reader.row().ok_or(CorruptRow { offset: reader.at })
    }
}

struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
    /// It is of a version in which ids broke ties.
    has_ids: bool,
}

impl Reader<'_> {
    fn row(&mut self) -> Option<Row> {
        let version = self.u8()?;
        let has_creator = match version {
            VERSION | VERSION_WITH_ENDS | VERSION_WITH_IDS => false,
            VERSION_WITH_CREATOR | VERSION_WITH_ENDS_AND_CREATOR | VERSION_WITH_IDS_AND_CREATOR => true,
            _ => return None,
        };
        let has_ends = matches!(version, VERSION_WITH_ENDS | VERSION_WITH_ENDS_AND_CREATOR);
        self.has_ids = matches!(version, VERSION_WITH_IDS | VERSION_WITH_IDS_AND_CREATOR);
        let flags = if self.has_ids { self.u8()?.into() } else { self.varint()? };
        let has = |bit: u64| flags & bit != 0;
        let table = self.name()?;
        let id = match self.u8()? {
            0 => RowId {
                key: RowKey::Uuid(self.array()?),
                spelling: Spelling(u32::from_le_bytes(self.array()?)),
            },
            1 => RowId { key: RowKey::Text((&*self.name()?).into()), spelling: Spelling::default() },
            _ => return None,
        };
        let (created_seq, last_seq) = (self.varint()?, self.varint()?);
        let clock = Clock { time_us: self.time()?, seq: if self.has_ids { 0 } else { self.varint()? } };
        let writer = if has(HAS_WRITER) { Some(WriterId(self.array()?)) } else { None };
        let inserter = if has(HAS_INSERTER) { Some(WriterId(self.array()?)) } else { None };
        let pair = if has(HAS_PAIR) { Some(PairKey(self.array()?)) } else { None };
        let creator = if has_creator { Some(self.array()?) } else { None };
        let born_seq = if has_creator { self.varint()? } else { 0 };
        let ends = if has_ends { Some(Box::new(self.ends()?)) } else { None };
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
            ends,
        })
    }

    fn ends(&mut self) -> Option<Ends> {
        let mut ends = Ends::default();
        for (end, since) in ends.rows.iter_mut().zip(&mut ends.since) {
            let kind = self.u8()?;
            if kind == 0 {
                continue;
            }
            *since = self.varint()?;
            let table = self.name()?;
            let creator = match kind {
                1 => None,
                2 => Some(self.array()?),
                _ => return None,
            };
            *end = Some(End { table, creator });
        }
        Some(ends)
    }

    fn fields(&mut self) -> Option<Vec<FieldState>> {
        let mut stamps = Vec::new();
        for _ in 0..self.varint()? {
            let (time_us, seq) = (self.time()?, self.varint()?);
            stamps.push(Stamp { time_us, seq, writer: WriterId(self.array()?) });
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

    /// A time, without the id that may stand behind it.
    fn time(&mut self) -> Option<i64> {
        let time_us = i64::from_le_bytes(self.array()?);
        if self.has_ids {
            self.array::<ID_BYTES>()?;
        }
        Some(time_us)
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
    put_varint(out, clock.seq);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
