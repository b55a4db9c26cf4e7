//! How an upload is written to the log: blocks, each of which can be read on its own.
//!
//! ```text
//! version u8 = 1, space u32, writer 16, head u64, arrival i64, then items until the end, each a tag and
//!   1 record: seq varint, id 16, spelling u32, verdict u8 (5: code (len u8, text)), clamped u8, time i64, arrived i64, raw
//!   2 row:    where it was stored (0, or seq + 1: varint), state
//!   3 pair:   pair 16, 0 | 1 keeper: name, key
//! ```
//!
//! Integers are little-endian; varints are LEB128; `raw`, `state`, `name` and `key` stand behind their lengths (varints).
//! `head` and `arrival` are the space's counters after the upload. Rows stand behind the records that they come from, whose
//! values they repeat. A large block is packed by LZ4: version u8 = 2, length u32, then the above as an LZ4 block.

use bytes::Bytes;
use lattice_engine::{
    Effects, LogRecord, PairKey, PairWrite, RowRef, RowWrite, Seq, SpaceHead, Verdict, WriterId,
};
use lattice_protocol::{Code, EntryId, Spelling};

use super::keys;

const VERSION: u8 = 1;
const PACKED: u8 = 2;
const RECORD: u8 = 1;
const ROW: u8 = 2;
const PAIR: u8 = 3;
const REJECTED: u8 = 5;

/// An upload takes a further block once one has this many bytes, so that reading a line never takes much more than that.
const MAX_BLOCK_BYTES: usize = 1 << 20;
/// Blocks from this size on are packed. Small ones have little to gain.
const MIN_PACKED_BYTES: usize = 8 << 10;
/// Longest block that is unpacked: SQLite itself stores no longer ones.
const MAX_UNPACKED_BYTES: usize = 1_000_000_000;
/// What stands before a packed block.
const PACKED_HEADER_BYTES: usize = 5;
/// What an item takes without its variable parts, at most; to reserve memory by.
const ITEM_BYTES: usize = 72;

/// A block that is to be appended.
pub(super) struct Part {
    /// Its stored form.
    pub(super) content: Vec<u8>,
    /// The last audit line in it.
    pub(super) last_record: Option<Seq>,
}

/// A row as a block holds it.
pub(super) struct StoredRow {
    /// Where it was stored before.
    pub(super) stored_at: Option<Seq>,
    /// Its stored form.
    pub(super) state: Bytes,
}

/// What a block holds.
pub(super) struct Block {
    /// The space.
    pub(super) space: u32,
    /// The sender.
    pub(super) writer: WriterId,
    /// The space's counters after the upload, but for its bytes.
    pub(super) head: SpaceHead,
    /// Lines of the audit log.
    pub(super) records: Vec<LogRecord>,
    /// Rows that it changed.
    pub(super) rows: Vec<StoredRow>,
    /// Pairs that it changed.
    pub(super) pairs: Vec<PairWrite>,
}

/// Writes what an upload does. `states` are the stored forms of its rows, in their order.
pub(super) fn encode(space: u32, writer: WriterId, effects: &Effects, states: &[Bytes]) -> Vec<Part> {
    let records = effects.log.iter().map(|record| record.raw.len() + ITEM_BYTES).sum::<usize>();
    let rows = states.iter().map(|state| state.len() + 16).sum::<usize>();
    let all = records + rows + effects.pairs.len() * 2 * ITEM_BYTES + ITEM_BYTES;
    let header = |capacity: usize| {
        let mut content = Vec::with_capacity(capacity.min(MAX_BLOCK_BYTES + (MAX_BLOCK_BYTES >> 2)));
        content.push(VERSION);
        content.extend_from_slice(&space.to_le_bytes());
        content.extend_from_slice(&writer.0);
        content.extend_from_slice(&effects.head.seq.to_le_bytes());
        content.extend_from_slice(&effects.head.arrival_us.to_le_bytes());
        Part { content, last_record: None }
    };
    let (mut parts, mut part) = (Vec::with_capacity(1), header(all));
    let mut next = |part: &mut Part| {
        if part.content.len() >= MAX_BLOCK_BYTES {
            parts.push(std::mem::replace(part, header(all)));
        }
    };
    let put_row = |part: &mut Part, (write, state): (&RowWrite, &Bytes)| {
        part.content.push(ROW);
        put_varint(&mut part.content, write.stored_at.map_or(0, |seq| seq + 1));
        put_bytes(&mut part.content, state);
    };
    let mut rows: Vec<(&RowWrite, &Bytes)> = effects.rows.iter().zip(states).collect();
    rows.sort_unstable_by_key(|(write, _)| write.row.last_seq);
    let mut rows = rows.into_iter().peekable();
    for record in &effects.log {
        next(&mut part);
        put_record(&mut part.content, record);
        part.last_record = Some(record.seq);
        while let Some(row) = rows.next_if(|(write, _)| write.row.last_seq <= record.seq) {
            next(&mut part);
            put_row(&mut part, row);
        }
    }
    for row in rows {
        next(&mut part);
        put_row(&mut part, row);
    }
    for PairWrite { pair, keeper } in &effects.pairs {
        next(&mut part);
        part.content.push(PAIR);
        part.content.extend_from_slice(&pair.0);
        part.content.push(u8::from(keeper.is_some()));
        if let Some(keeper) = keeper {
            put_bytes(&mut part.content, keeper.table.as_bytes());
            put_bytes(&mut part.content, &keys::key_bytes(&keeper.key));
        }
    }
    parts.push(part);
    parts.iter_mut().for_each(Part::pack);
    parts
}

impl Part {
    fn pack(&mut self) {
        let Ok(length) = u32::try_from(self.content.len()) else { return };
        if self.content.len() < MIN_PACKED_BYTES {
            return;
        }
        let most = lz4_flex::block::get_maximum_output_size(self.content.len());
        let mut packed = vec![0; PACKED_HEADER_BYTES + most];
        let Ok(size) = lz4_flex::block::compress_into(&self.content, &mut packed[PACKED_HEADER_BYTES..])
        else {
            return;
        };
        packed[0] = PACKED;
        packed[1..PACKED_HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
        packed.truncate(PACKED_HEADER_BYTES + size);
        if packed.len() < self.content.len() {
            self.content = packed;
        }
    }
}

/// The plain form of what is stored.
fn unpack(stored: &Bytes) -> Option<Bytes> {
    match stored.first() {
        Some(&PACKED) => {
            let length = stored.get(1..PACKED_HEADER_BYTES)?.try_into().ok()?;
            let length = usize::try_from(u32::from_le_bytes(length)).ok()?;
            let packed = stored.get(PACKED_HEADER_BYTES..).filter(|_| length <= MAX_UNPACKED_BYTES)?;
            lz4_flex::block::decompress(packed, length).ok().map(Bytes::from)
        }
        _ => Some(stored.clone()),
    }
}

fn put_record(out: &mut Vec<u8>, record: &LogRecord) {
    out.push(RECORD);
    put_varint(out, record.seq);
    out.extend_from_slice(&record.id.0);
    out.extend_from_slice(&record.id_spelling.0.to_le_bytes());
    match record.verdict {
        Verdict::Applied => out.push(0),
        Verdict::Merged => out.push(1),
        Verdict::Superseded => out.push(2),
        Verdict::Duplicate => out.push(3),
        Verdict::Ignored => out.push(4),
        Verdict::Rejected(code) => {
            out.push(REJECTED);
            put_bytes(out, code.as_str().as_bytes());
        }
    }
    out.push(u8::from(record.clamped));
    out.extend_from_slice(&record.time_us.to_le_bytes());
    out.extend_from_slice(&record.arrived_us.to_le_bytes());
    put_bytes(out, &record.raw);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

impl Block {
    /// Reads the stored form. `None` when the bytes are not a block of a known version. What it holds are slices of
    /// `stored`, or of what that unpacks to.
    pub(super) fn decode(stored: &Bytes) -> Option<Self> {
        let plain = unpack(stored)?;
        let mut reader = Reader { bytes: &plain, at: 0 };
        if reader.u8()? != VERSION {
            return None;
        }
        let space = u32::from_le_bytes(reader.array()?);
        let writer = WriterId(reader.array()?);
        let head = SpaceHead {
            seq: u64::from_le_bytes(reader.array()?),
            arrival_us: i64::from_le_bytes(reader.array()?),
            // They follow from the records before.
            bytes: 0,
        };
        let mut block =
            Self { space, writer, head, records: Vec::new(), rows: Vec::new(), pairs: Vec::new() };
        while reader.at < plain.len() {
            match reader.u8()? {
                RECORD => block.records.push(reader.record()?),
                ROW => {
                    let stored_at = reader.varint()?.checked_sub(1);
                    block.rows.push(StoredRow { stored_at, state: reader.bytes()? });
                }
                PAIR => block.pairs.push(reader.pair()?),
                _ => return None,
            }
        }
        Some(block)
    }
}

struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl Reader<'_> {
    fn record(&mut self) -> Option<LogRecord> {
        let seq = self.varint()?;
        let (id, id_spelling) = (EntryId(self.array()?), Spelling(u32::from_le_bytes(self.array()?)));
        let verdict = match self.u8()? {
            0 => Verdict::Applied,
            1 => Verdict::Merged,
            2 => Verdict::Superseded,
            3 => Verdict::Duplicate,
            4 => Verdict::Ignored,
            REJECTED => Verdict::Rejected(Code::parse(self.text()?.as_str())?),
            _ => return None,
        };
        let clamped = self.u8()? != 0;
        let (time_us, arrived_us) = (i64::from_le_bytes(self.array()?), i64::from_le_bytes(self.array()?));
        Some(LogRecord { seq, id, id_spelling, verdict, time_us, arrived_us, clamped, raw: self.bytes()? })
    }

    fn pair(&mut self) -> Option<PairWrite> {
        let pair = PairKey(self.array()?);
        let keeper = match self.u8()? {
            0 => None,
            _ => {
                let table = self.text()?.into();
                Some(RowRef { table, key: keys::key_from_bytes(&self.bytes()?)? })
            }
        };
        Some(PairWrite { pair, keeper })
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let array = self.bytes.get(self.at..self.at.checked_add(N)?)?.try_into().ok()?;
        self.at += N;
        Some(array)
    }

    fn bytes(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.varint()?).ok()?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len())?;
        let taken = self.bytes.slice(self.at..end);
        self.at = end;
        Some(taken)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
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
