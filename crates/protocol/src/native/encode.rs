//! Frames of the server. Written straight into bytes: this is done for every client of every change.

use alloc::vec::Vec;
use bytes::Bytes;

use super::AckId;
use crate::{
    Code, Field, Operation, Outgoing, RowKey, Spelling, id::format_uuid, json::write_string,
    names::FILTER_REMOVAL, timestamp,
};

const OPEN: &[u8] = br#"{"auditLog":["#;
const CLOSE: &[u8] = br#"],"kind":"auditLog"}"#;

/// A frame of entries in the making.
#[derive(Clone, Debug)]
pub struct AuditLogFrame {
    bytes: Vec<u8>,
    count: usize,
}

impl Default for AuditLogFrame {
    fn default() -> Self {
        Self::new()
    }
}

impl AuditLogFrame {
    /// A frame without entries.
    #[must_use]
    pub fn new() -> Self {
        Self { bytes: OPEN.to_vec(), count: 0 }
    }

    /// Appends an entry.
    pub fn push(&mut self, entry: &Outgoing) {
        self.push_as(entry, Sender::SERVER, |out| timestamp::write(out, entry.time_us));
    }

    /// Appends an entry as `sender` writes it; `write_time` writes what stands between the quotes of its timestamp.
    pub(super) fn push_as(
        &mut self,
        entry: &Outgoing,
        sender: Sender,
        write_time: impl FnOnce(&mut Vec<u8>),
    ) {
        let out = &mut self.bytes;
        if self.count > 0 {
            out.push(b',');
        }
        self.count += 1;

        let taken_back = entry.taken_back && entry.operation == Operation::Delete;
        let fields: &[Field] = if taken_back { &[] } else { &entry.fields };
        let mut comma: &[u8] = b"";
        out.extend_from_slice(br#"{"changedFields":{"#);
        for field in fields {
            out.extend_from_slice(comma);
            write_string(out, &field.name);
            out.push(b':');
            out.extend_from_slice(&field.value);
            comma = b",";
        }
        comma = b"";
        out.extend_from_slice(br#"},"changedFieldsNames":["#);
        for field in fields {
            out.extend_from_slice(comma);
            write_string(out, &field.name);
            comma = b",";
        }
        if taken_back && sender.marks_removals {
            write_string(out, FILTER_REMOVAL);
        }
        out.extend_from_slice(br#"],"globalId":"#);
        write_uuid(out, &entry.id.0, entry.id_spelling);
        out.extend_from_slice(br#","globalRowId":"#);
        match &entry.row.key {
            RowKey::Uuid(bytes) => write_uuid(out, bytes, entry.row.spelling),
            RowKey::Text(text) => write_string(out, text),
        }
        out.extend_from_slice(sender.flags);
        out.extend_from_slice(match entry.operation {
            Operation::Insert => br#","operation":"INSERT","rowId":0"#,
            Operation::Update => br#","operation":"UPDATE","rowId":0"#,
            Operation::Delete => br#","operation":"DELETE","rowId":0"#,
        });
        if sender.synthesized {
            out.extend_from_slice(br#","synthesized":true"#);
        }
        out.extend_from_slice(br#","tableName":"#);
        write_string(out, &entry.table);
        out.extend_from_slice(br#","timestamp":""#);
        write_time(out);
        out.extend_from_slice(br#""}"#);
    }

    /// How many bytes the frame has when it is finished now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() + CLOSE.len()
    }

    /// How many entries it holds.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether it holds no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The frame.
    #[must_use]
    pub fn finish(mut self) -> Bytes {
        self.bytes.extend_from_slice(CLOSE);
        self.bytes.into()
    }
}

/// What depends on who writes an entry. Clients ignore what a server says here; the local numbers are always 0.
#[derive(Clone, Copy)]
pub(super) struct Sender {
    flags: &'static [u8],
    synthesized: bool,
    /// Clients drop a DELETE with the marker that comes over a WebSocket, so a server must not write it.
    marks_removals: bool,
}

impl Sender {
    const SERVER: Self = Self {
        flags: br#","id":0,"isFromRemote":true,"isSynchronized":true"#,
        synthesized: false,
        marks_removals: false,
    };

    pub(super) const fn client(synthesized: bool) -> Self {
        Self {
            flags: br#","id":0,"isFromRemote":false,"isSynchronized":false"#,
            synthesized,
            marks_removals: true,
        }
    }
}

/// An acknowledgement: these entries were stored, or never will be. The client never sends them again.
pub fn encode_ack(ids: impl Iterator<Item = AckId>) -> Bytes {
    let mut out = Vec::with_capacity(24 + ids.size_hint().0.min(1 << 20) * 39);
    out.extend_from_slice(br#"{"ack":"#);
    write_ids(&mut out, ids);
    out.extend_from_slice(br#","kind":"ack"}"#);
    out.into()
}

/// These entries were not stored; the client may send them again at once.
pub fn encode_nack(ids: impl Iterator<Item = AckId>, why: &str) -> Bytes {
    let mut out = br#"{"kind":"nack","nack":"#.to_vec();
    write_ids(&mut out, ids);
    out.extend_from_slice(br#","nackReason":"#);
    write_string(&mut out, why);
    out.push(b'}');
    out.into()
}

/// A whole frame was refused.
#[must_use]
pub fn encode_rejected(code: Code, why: &str) -> Bytes {
    let mut out = br#"{"kind":"rejected","rejected":"#.to_vec();
    write_string(&mut out, &alloc::format!("{code}: {why}"));
    out.push(b'}');
    out.into()
}

/// The client's checkpoint `id` is unknown; full state follows.
#[must_use]
pub fn encode_floor_reset(id: Option<&str>, why: &str) -> Bytes {
    let mut out = br#"{"kind":"floorReset","#.to_vec();
    if let Some(id) = id {
        out.extend_from_slice(br#""floorReset":"#);
        write_string(&mut out, id);
        out.push(b',');
    }
    out.extend_from_slice(br#""floorReason":"#);
    write_string(&mut out, why);
    out.push(b'}');
    out.into()
}

fn write_ids(out: &mut Vec<u8>, ids: impl Iterator<Item = AckId>) {
    let mut opening = b'[';
    for id in ids {
        out.push(opening);
        opening = b',';
        match id {
            AckId::Uuid(id, spelling) => write_uuid(out, &id.0, spelling),
            AckId::Text(text) => write_string(out, &text),
        }
    }
    if opening == b'[' {
        out.push(b'[');
    }
    out.push(b']');
}

/// Writes a UUID as a JSON string.
pub(crate) fn write_uuid(out: &mut Vec<u8>, bytes: &[u8; 16], spelling: Spelling) {
    out.push(b'"');
    out.extend_from_slice(&format_uuid(bytes, spelling));
    out.push(b'"');
}
