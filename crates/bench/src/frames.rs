//! Upload frames as the real client writes them, masked and ready to be sent.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use memchr::memmem::Finder;

/// Masks hide nothing on loopback; what they cost the server does not depend on the key.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const OPEN: &[u8] = br#"{"auditLog":["#;
const CLOSE: &[u8] = br#"],"kind":"auditLog"}"#;
/// What stands before the id of an entry, in frames of clients and of servers.
pub(crate) const ID_KEY: &[u8] = br#""globalId":""#;
const ACK_OPEN: &[u8] = br#"{"ack":["#;
const ACK_CLOSE: &[u8] = br#"],"kind":"ack"}"#;

/// A UUID as text.
pub(crate) type Id = [u8; 36];

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Operation {
    /// A new row with five columns.
    Insert,
    /// One column of a row; the others are listed as null, as the real client does.
    Update,
}

/// Random ids. Xorshift: the ids only have to differ.
pub(crate) struct Ids(u64);

impl Ids {
    pub(crate) fn new() -> Self {
        Self(RandomState::new().hash_one(0_u8) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// 16 random bytes.
    pub(crate) fn bytes(&mut self) -> [u8; 16] {
        ((u128::from(self.next()) << 64) | u128::from(self.next())).to_be_bytes()
    }

    /// The id of a row: all lower case.
    pub(crate) fn row(&mut self) -> Id {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut bytes = self.bytes();
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let mut text = [b'-'; 36];
        let mut at = 0;
        for (index, byte) in bytes.iter().enumerate() {
            at += usize::from(matches!(index, 4 | 6 | 8 | 10));
            text[at] = DIGITS[usize::from(byte >> 4)];
            text[at + 1] = DIGITS[usize::from(byte & 15)];
            at += 2;
        }
        text
    }

    /// The id of an entry: the variant digit is upper case.
    pub(crate) fn entry(&mut self) -> Id {
        let mut text = self.row();
        text[19] = text[19].to_ascii_uppercase();
        text
    }
}

/// Appends one entry of the table `Item`. All entries of an operation have the same length.
fn write_entry(out: &mut Vec<u8>, operation: Operation, entry: &Id, row: &Id, number: usize) {
    let number = number % 1_000_000;
    let fields = match operation {
        Operation::Insert => format!(
            r#"{{"changedFields":{{"count":{{"kind":1,"value":{count}}},"data":{{"kind":2,"value":"00FF10{number:06}"}},"name":{{"kind":2,"value":"item {number:06}"}},"note":{{"kind":4,"value":null}},"score":{{"kind":7,"value":1.5}}}},"changedFieldsNames":["data","note","score","count","name"],"globalId":""#,
            count = 1_000_000 + number,
        ),
        Operation::Update => format!(
            r#"{{"changedFields":{{"count":{{"kind":4,"value":null}},"data":{{"kind":4,"value":null}},"name":{{"kind":2,"value":"name {number:06}"}},"note":{{"kind":4,"value":null}},"score":{{"kind":4,"value":null}}}},"changedFieldsNames":["name"],"globalId":""#,
        ),
    };
    out.extend_from_slice(fields.as_bytes());
    out.extend_from_slice(entry);
    out.extend_from_slice(br#"","globalRowId":""#);
    out.extend_from_slice(row);
    out.extend_from_slice(br#"","id":1000001,"isFromRemote":false,"isSynchronized":false,"operation":""#);
    out.extend_from_slice(match operation {
        Operation::Insert => b"INSERT",
        Operation::Update => b"UPDATE",
    });
    out.extend_from_slice(br#"","rowId":1000001,"tableName":"Item","timestamp":""}"#);
}

/// A frame of entries before it is masked, and where in it they stand.
pub(crate) struct Window {
    pub(crate) payload: Vec<u8>,
    pub(crate) entries: Vec<Range<usize>>,
}

impl Window {
    /// One entry for each row.
    pub(crate) fn new(operation: Operation, rows: &[Id], ids: &mut Ids) -> Self {
        let mut payload = Vec::with_capacity(rows.len() * 512 + 64);
        let mut entries = Vec::with_capacity(rows.len());
        payload.extend_from_slice(OPEN);
        for (number, row) in rows.iter().enumerate() {
            if number > 0 {
                payload.push(b',');
            }
            let start = payload.len();
            write_entry(&mut payload, operation, &ids.entry(), row, number);
            entries.push(start..payload.len());
        }
        payload.extend_from_slice(CLOSE);
        Self { payload, entries }
    }

    pub(crate) fn masked(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.payload.len() + 14);
        push_masked(&mut out, 0x82, &self.payload);
        out
    }
}

/// Appends a masked frame.
pub(crate) fn push_masked(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    out.push(first);
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    let start = out.len();
    out.extend_from_slice(payload);
    mask(&mut out[start..]);
}

fn mask(bytes: &mut [u8]) {
    const WIDE: u64 =
        u64::from_ne_bytes([MASK[0], MASK[1], MASK[2], MASK[3], MASK[0], MASK[1], MASK[2], MASK[3]]);
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ WIDE).to_ne_bytes();
    }
    rest.iter_mut().zip(MASK.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
}

/// A frame with one entry, whose ids are written anew for each use.
pub(crate) struct Single {
    frame: Vec<u8>,
    header: usize,
    entry_at: usize,
    row_at: usize,
    operation: Operation,
}

impl Single {
    pub(crate) fn new(operation: Operation, row: &Id, ids: &mut Ids) -> Self {
        let window = Window::new(operation, std::slice::from_ref(row), ids);
        let frame = window.masked();
        let find = |needle: &[u8]| {
            let found = Finder::new(needle).find(&window.payload);
            found.map_or(0, |at| at + needle.len())
        };
        Self {
            header: frame.len() - window.payload.len(),
            entry_at: find(ID_KEY),
            row_at: find(br#""globalRowId":""#),
            frame,
            operation,
        }
    }

    /// The frame with a fresh entry id, and for an INSERT a fresh row.
    pub(crate) fn fresh(&mut self, ids: &mut Ids) -> &[u8] {
        let id = ids.entry();
        self.patch(self.entry_at, &id);
        if self.operation == Operation::Insert {
            let row = ids.row();
            self.patch(self.row_at, &row);
        }
        &self.frame
    }

    fn patch(&mut self, at: usize, id: &Id) {
        let place = &mut self.frame[self.header + at..][..36];
        for (offset, (byte, digit)) in place.iter_mut().zip(id).enumerate() {
            *byte = digit ^ MASK[(at + offset) % 4];
        }
    }

    /// Bytes of the entry as it is stored.
    pub(crate) fn entry_bytes(&self) -> usize {
        self.frame.len() - self.header - OPEN.len() - CLOSE.len()
    }

    /// `count` frames in a row, all of the same length, which is returned as well.
    pub(crate) fn many(&mut self, count: usize, ids: &mut Ids) -> (Vec<u8>, usize) {
        let mut all = Vec::with_capacity(count * self.frame.len());
        for _ in 0..count {
            all.extend_from_slice(self.fresh(ids));
        }
        (all, self.frame.len())
    }
}

/// How many ids an ack frame holds, by its length; `None` when it is no ack.
pub(crate) fn acked(payload: &[u8]) -> Option<usize> {
    payload.starts_with(ACK_OPEN).then(|| (payload.len() + 1 - ACK_OPEN.len() - ACK_CLOSE.len()) / 39)
}

/// Reads deliveries and answers them with acks.
pub(crate) struct Acker {
    finder: Finder<'static>,
    payload: Vec<u8>,
}

impl Acker {
    pub(crate) fn new() -> Self {
        Self { finder: Finder::new(ID_KEY), payload: Vec::new() }
    }

    /// Appends the ack of a delivery to `out`, masked. Says how many entries the delivery holds.
    pub(crate) fn ack(&mut self, delivery: &[u8], out: &mut Vec<u8>) -> usize {
        self.plain(delivery);
        let count = self.payload.len().saturating_sub(ACK_OPEN.len() + ACK_CLOSE.len()).div_ceil(39);
        if count > 0 {
            push_masked(out, 0x82, &self.payload);
        }
        count
    }

    /// The ack of a delivery, not masked.
    pub(crate) fn plain(&mut self, delivery: &[u8]) -> &[u8] {
        self.payload.clear();
        self.payload.extend_from_slice(ACK_OPEN);
        for at in self.finder.find_iter(delivery) {
            let Some(id) = delivery.get(at + ID_KEY.len()..at + ID_KEY.len() + 36) else { continue };
            if self.payload.len() > ACK_OPEN.len() {
                self.payload.push(b',');
            }
            self.payload.push(b'"');
            self.payload.extend_from_slice(id);
            self.payload.push(b'"');
        }
        self.payload.extend_from_slice(ACK_CLOSE);
        &self.payload
    }
}

#[cfg(test)]
mod tests {
    use lattice_protocol::Incoming;
    use lattice_protocol::native::{ClientFrame, decode};

    use super::*;

    fn unmask(frame: &[u8]) -> Vec<u8> {
        let start = frame.windows(4).position(|bytes| bytes == MASK).expect("a mask") + 4;
        let mut payload = frame[start..].to_vec();
        mask(&mut payload);
        payload
    }

    #[test]
    fn the_server_understands_what_is_sent() {
        let mut ids = Ids::new();
        for operation in [Operation::Insert, Operation::Update] {
            let rows: Vec<Id> = (0..1_000).map(|_| ids.row()).collect();
            let window = Window::new(operation, &rows, &mut ids);
            assert_eq!(unmask(&window.masked()), window.payload);
            let Ok(ClientFrame::Changes(changes)) = decode(&window.payload.clone().into(), 1_000) else {
                panic!("not an upload")
            };
            assert_eq!(changes.len(), 1_000);
            assert!(changes.iter().all(|change| matches!(change, Incoming::Change(_))));
            let mut out = Vec::new();
            assert_eq!(Acker::new().ack(&window.payload, &mut out), 1_000);
            let ack = unmask(&out);
            assert_eq!(acked(&ack), Some(1_000));
            assert!(matches!(decode(&ack.into(), 1_000), Ok(ClientFrame::Ack { ids }) if ids.len() == 1_000));
        }
    }

    #[test]
    fn a_single_frame_is_patched_in_place() {
        let mut ids = Ids::new();
        let row = ids.row();
        let mut single = Single::new(Operation::Insert, &row, &mut ids);
        let (first, second) = (single.fresh(&mut ids).to_vec(), single.fresh(&mut ids).to_vec());
        assert_ne!(first, second);
        for frame in [first, second] {
            let Ok(ClientFrame::Changes(changes)) = decode(&unmask(&frame).into(), 1) else {
                panic!("not an upload")
            };
            assert!(matches!(&changes[..], [Incoming::Change(_)]));
        }
        assert_eq!(acked(&unmask(&single.frame)), None);
    }
}
