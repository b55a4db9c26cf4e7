//! The other end of the dialect: what a client reads and writes. For test clients and load generators.

use alloc::{format, string::String, vec::Vec};
use bytes::Bytes;
use bytestring::ByteString;
use serde_json::value::RawValue;

use super::{
    AckId, AuditLogFrame, FrameError,
    decode::{frame_text, json_error},
    encode::Sender,
    entry,
};
use crate::{
    Code, Incoming, Outgoing,
    json::{self, Elements, Members},
    timestamp,
};

/// A frame of the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServerFrame {
    /// Entries to be applied and then acknowledged.
    Entries(Vec<Outgoing>),
    /// The server's verdict on these entries is final.
    Ack(Vec<AckId>),
    /// These entries were not stored and may be sent again.
    Nack {
        /// The entries.
        ids: Vec<AckId>,
        /// `nackReason`.
        why: String,
    },
    /// A whole frame was refused: `code: why`.
    Rejected(String),
    /// The checkpoint is unknown; full state follows.
    FloorReset {
        /// The checkpoint that the client named.
        id: Option<String>,
        /// `floorReason`.
        why: String,
    },
    /// Anything else, which clients ignore.
    Other,
}

/// When an uploaded change was made, as the client writes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UploadTimestamp<'a> {
    /// `""`, as released clients send it.
    Empty,
    /// The entry's own `time_us`, as a number in a string.
    Exact,
    /// Any text.
    Text(&'a str),
}

/// One change to be uploaded.
#[derive(Clone, Copy, Debug)]
pub struct Upload<'a> {
    /// The change.
    pub entry: &'a Outgoing,
    /// What to write as its timestamp.
    pub timestamp: UploadTimestamp<'a>,
    /// Whether it is a snapshot regenerated from local state.
    pub synthesized: bool,
}

impl<'a> Upload<'a> {
    /// An upload as released clients send it, without a time.
    #[must_use]
    pub fn new(entry: &'a Outgoing) -> Self {
        Self { entry, timestamp: UploadTimestamp::Empty, synthesized: false }
    }
}

/// Writes a client's upload.
#[must_use]
pub fn encode_upload<'a>(uploads: impl IntoIterator<Item = Upload<'a>>) -> Bytes {
    let mut frame = AuditLogFrame::new();
    for Upload { entry, timestamp, synthesized } in uploads {
        frame.push_as(entry, Sender::client(synthesized), |out| match timestamp {
            UploadTimestamp::Empty => {}
            UploadTimestamp::Exact => timestamp::write(out, entry.time_us),
            UploadTimestamp::Text(text) => json::write_escaped(out, text),
        });
    }
    frame.finish()
}

/// Reads a frame of the server, telling events apart as clients do: by their keys.
///
/// # Errors
///
/// [`Code::BadFrame`] when the frame is not a JSON object or a known key has the wrong type, and the entry's own code
/// when a delivered entry is not well formed or has no readable timestamp: a server never sends such a frame.
pub fn decode_server(frame: &Bytes) -> Result<ServerFrame, FrameError> {
    let text = frame_text(frame)?;
    let raw: &RawValue = serde_json::from_str(&text).map_err(|error| json_error(&error))?;
    let Some(members) = Members::of(raw.get()) else {
        return Err(bad("the frame is not an object"));
    };
    let (mut entries, mut ack, mut nack) = (None, None, None);
    let (mut rejected, mut floor_id, mut nack_why, mut floor_why) = (None, None, None, None);
    for (key, value) in members {
        let slot = match key {
            "\"auditLog\"" => &mut entries,
            "\"ack\"" => &mut ack,
            "\"nack\"" => &mut nack,
            "\"nackReason\"" => &mut nack_why,
            "\"rejected\"" => &mut rejected,
            "\"floorReset\"" => &mut floor_id,
            "\"floorReason\"" => &mut floor_why,
            _ => continue,
        };
        *slot = Some(value);
    }
    if let Some(entries) = entries {
        let entries = Elements::of(entries).ok_or_else(|| bad("auditLog is not an array"))?;
        return entries.map(|raw| read_entry(&text, raw)).collect::<Result<_, _>>().map(ServerFrame::Entries);
    }
    if let Some(ids) = ack {
        return Ok(ServerFrame::Ack(read_ids(&text, ids)?));
    }
    if let Some(ids) = nack {
        return Ok(ServerFrame::Nack { ids: read_ids(&text, ids)?, why: read_text(nack_why)? });
    }
    if rejected.is_some() {
        return Ok(ServerFrame::Rejected(read_text(rejected)?));
    }
    if floor_id.is_some() || floor_why.is_some() {
        let id = if floor_id.is_some() { Some(read_text(floor_id)?) } else { None };
        return Ok(ServerFrame::FloorReset { id, why: read_text(floor_why)? });
    }
    Ok(ServerFrame::Other)
}

fn bad(detail: &str) -> FrameError {
    FrameError::new(Code::BadFrame, detail)
}

fn read_entry(text: &ByteString, raw: &str) -> Result<Outgoing, FrameError> {
    match entry::decode::<entry::FromServer>(text, raw) {
        Incoming::Refused(refused) => Err(FrameError::new(refused.code, refused.detail)),
        Incoming::Change(change) => Ok(Outgoing {
            id: change.id,
            id_spelling: change.id_spelling,
            table: change.table,
            operation: change.operation,
            row: change.row,
            fields: change.fields,
            taken_back: change.filter_removal,
            time_us: change.timestamp_us.ok_or_else(|| {
                FrameError::new(Code::BadEntry, format!("entry {} has no readable timestamp", change.id))
            })?,
        }),
    }
}

fn read_ids(text: &ByteString, ids: &str) -> Result<Vec<AckId>, FrameError> {
    Elements::of(ids)
        .ok_or_else(|| bad("the ids are not an array"))?
        .map(|id| {
            let id = json::decode_string(id).ok_or_else(|| bad("an id is not a string"))?;
            Ok(AckId::parse(json::keep(text, id)))
        })
        .collect()
}

/// The text of a member that is a string, or is absent.
fn read_text(json: Option<&str>) -> Result<String, FrameError> {
    let Some(json) = json else {
        return Ok(String::new());
    };
    json::decode_string(json).map(Into::into).ok_or_else(|| bad("a reason is not a string"))
}
