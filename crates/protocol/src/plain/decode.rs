//! Frames of clients.

use alloc::{format, string::String};
use bytes::Bytes;
use bytestring::ByteString;

use super::{
    Changes, ClientFrame, FieldsFormat, Filter, Format, Hello, IntegersFormat, Poll, Space, Subscribe,
    Upload, UploadId,
};
use crate::{
    Code, EntryId, FrameError,
    json::{self, Members},
    limits::{
        MAX_CLIENT_ID_BYTES, MAX_CURSOR_BYTES, MAX_POLL_CHANGES, MAX_PRESENCE_STATE_BYTES, MAX_TOKEN_BYTES,
        MAX_UPLOAD_ID_BYTES,
    },
    native,
};

/// Reads a frame of a client, text or binary. Unknown keys are ignored.
///
/// Whatever is kept of the frame shares its memory, except for texts that had to be unescaped. `max_changes` is the
/// most changes of an upload that are accepted.
///
/// # Errors
///
/// [`Code::BadFrame`] when the frame is not one JSON object, or a known key of it is missing or has the wrong type;
/// [`Code::UnknownFrame`], [`Code::SpaceNotFound`], [`Code::BadCursor`], [`Code::BadFilter`], [`Code::BadPresence`] and
/// [`Code::TooManyChanges`]. What is wrong with a single change is no error of the frame.
pub fn decode(frame: &Bytes, max_changes: usize) -> Result<ClientFrame, FrameError> {
    let text = checked_text(frame)?;
    let keys = Keys::read(&text)?;
    let Some(kind) = keys.kind.and_then(json::decode_string) else {
        return Err(error(Code::UnknownFrame, "the frame has no type that is a string"));
    };
    Ok(match &*kind {
        "hello" => ClientFrame::Hello(keys.hello(&text)?),
        "subscribe" => ClientFrame::Subscribe(keys.subscribe(&text)?),
        "unsubscribe" => ClientFrame::Unsubscribe { space: keys.space()? },
        "upload" => ClientFrame::Upload(keys.named_upload(&text, max_changes)?),
        "poll" => ClientFrame::Poll(keys.poll(&text)?),
        "ack" => ClientFrame::Ack {
            space: keys.space()?,
            cursor: keys.cursor(&text)?.ok_or_else(|| error(Code::BadCursor, "ack has no cursor"))?,
        },
        "presence" => ClientFrame::Presence { space: keys.space()?, state: keys.state(&text)? },
        "auth" => ClientFrame::Auth {
            token: keys
                .text(&text, keys.token, MAX_TOKEN_BYTES)
                .ok_or_else(|| bad(format!("token is not a string of 1 to {MAX_TOKEN_BYTES} bytes")))?,
        },
        "ping" => ClientFrame::Ping,
        _ => return Err(error(Code::UnknownFrame, "the type of the frame is unknown")),
    })
}

/// Reads the body of an upload over HTTP: like the frame, without a type and with a `clientId` of its own.
///
/// # Errors
///
/// As for [`decode`].
pub fn decode_upload(body: &Bytes, max_changes: usize) -> Result<Upload, FrameError> {
    let text = checked_text(body)?;
    let keys = Keys::read(&text)?;
    Ok(Upload { client_id: keys.client_id(&text)?, ..keys.named_upload(&text, max_changes)? })
}

/// Whether a text may be a cursor. Every cursor that a server has made so far is the id of an entry; whether it leads anywhere is
/// for the space to say.
#[must_use]
pub fn is_cursor(text: &str) -> bool {
    text.len() <= MAX_CURSOR_BYTES && EntryId::parse(text).is_some()
}

/// The text, which is known to be one JSON value from here on.
fn checked_text(frame: &Bytes) -> Result<ByteString, FrameError> {
    let text = native::frame_text(frame)?;
    // Walks the text without recursion and keeps nothing.
    serde_json::from_str::<serde::de::IgnoredAny>(&text).map_err(|error| native::json_error(&error))?;
    Ok(text)
}

fn error(code: Code, detail: impl Into<String>) -> FrameError {
    FrameError::new(code, detail)
}

fn bad(detail: impl Into<String>) -> FrameError {
    error(Code::BadFrame, detail)
}

/// The keys of frames, as written. Of a key that is written twice the last one counts; `null` is as good as absent.
#[derive(Default)]
struct Keys<'a> {
    kind: Option<&'a str>,
    id: Option<&'a str>,
    space: Option<&'a str>,
    client_id: Option<&'a str>,
    schema_version: Option<&'a str>,
    changed_fields: Option<&'a str>,
    integers: Option<&'a str>,
    cursor: Option<&'a str>,
    tables: Option<&'a str>,
    conditions: Option<&'a str>,
    changes: Option<&'a str>,
    limit: Option<&'a str>,
    state: Option<&'a str>,
    token: Option<&'a str>,
}

impl<'a> Keys<'a> {
    fn read(text: &'a str) -> Result<Self, FrameError> {
        let members = Members::of(text.trim_ascii()).ok_or_else(|| bad("the frame is not a JSON object"))?;
        let mut keys = Self::default();
        for (key, raw) in members {
            let Some(key) = json::decode_string(key) else { continue };
            let slot = match &*key {
                "type" => &mut keys.kind,
                "id" => &mut keys.id,
                "space" => &mut keys.space,
                "clientId" => &mut keys.client_id,
                "schemaVersion" => &mut keys.schema_version,
                "changedFields" => &mut keys.changed_fields,
                "integers" => &mut keys.integers,
                "cursor" => &mut keys.cursor,
                "tables" => &mut keys.tables,
                "where" => &mut keys.conditions,
                "changes" => &mut keys.changes,
                "limit" => &mut keys.limit,
                "state" => &mut keys.state,
                "token" => &mut keys.token,
                _ => continue,
            };
            *slot = (raw != "null").then_some(raw);
        }
        Ok(keys)
    }

    /// A text of 1 to `max_bytes`.
    fn text(&self, frame: &ByteString, raw: Option<&str>, max_bytes: usize) -> Option<ByteString> {
        let text = json::decode_string(raw?).filter(|text| (1..=max_bytes).contains(&text.len()))?;
        Some(json::keep(frame, text))
    }

    fn space(&self) -> Result<Space, FrameError> {
        let Some(raw) = self.space else { return Ok(Space::Me) };
        json::decode_string(raw)
            .and_then(|text| Space::parse(&text))
            .ok_or_else(|| error(Code::SpaceNotFound, "space is neither \"me\" nor the id of a space"))
    }

    fn client_id(&self, frame: &ByteString) -> Result<Option<ByteString>, FrameError> {
        if self.client_id.is_none() {
            return Ok(None);
        }
        let id = self.text(frame, self.client_id, MAX_CLIENT_ID_BYTES);
        id.map(Some)
            .ok_or_else(|| bad(format!("clientId is not a string of 1 to {MAX_CLIENT_ID_BYTES} bytes")))
    }

    fn cursor(&self, frame: &ByteString) -> Result<Option<ByteString>, FrameError> {
        if self.cursor.is_none() {
            return Ok(None);
        }
        let cursor = self.text(frame, self.cursor, MAX_CURSOR_BYTES);
        cursor
            .filter(|cursor| is_cursor(cursor))
            .map(Some)
            .ok_or_else(|| error(Code::BadCursor, "cursor is none that a server has made"))
    }

    fn hello(&self, frame: &ByteString) -> Result<Hello, FrameError> {
        let choose = |raw: Option<&str>, plain, other, problem| match raw.map(json::decode_string) {
            None => Ok(false),
            Some(Some(text)) if text == plain => Ok(false),
            Some(Some(text)) if text == other => Ok(true),
            Some(_) => Err(bad(problem)),
        };
        let as_object = "changedFields is neither \"string\" nor \"object\"";
        let as_object = choose(self.changed_fields, "string", "object", as_object)?;
        let as_text =
            choose(self.integers, "number", "string", "integers is neither \"number\" nor \"string\"")?;
        let format = Format {
            fields: if as_object { FieldsFormat::Object } else { FieldsFormat::Text },
            integers: if as_text { IntegersFormat::Text } else { IntegersFormat::Number },
        };
        let version = self
            .schema_version
            .map(|raw| raw.parse::<u64>().map_err(|_| bad("schemaVersion is not an integer of 0 or more")));
        Ok(Hello { client_id: self.client_id(frame)?, schema_version: version.transpose()?, format })
    }

    fn subscribe(&self, frame: &ByteString) -> Result<Subscribe, FrameError> {
        let filter = Filter::read(self.tables, self.conditions);
        Ok(Subscribe {
            space: self.space()?,
            cursor: self.cursor(frame)?,
            filter: filter.map_err(|detail| error(Code::BadFilter, detail))?,
        })
    }

    fn poll(&self, frame: &ByteString) -> Result<Poll, FrameError> {
        let limit = self.limit.map(|raw| match raw.parse::<u64>() {
            Ok(limit @ 1..) => {
                Ok(u32::try_from(limit).map_or(MAX_POLL_CHANGES, |limit| limit.min(MAX_POLL_CHANGES)))
            }
            _ => Err(bad("limit is not an integer of 1 or more")),
        });
        Ok(Poll { space: self.space()?, cursor: self.cursor(frame)?, limit: limit.transpose()? })
    }

    /// An upload, or why it is refused and what it is called.
    fn named_upload(&self, frame: &ByteString, max_changes: usize) -> Result<Upload, FrameError> {
        self.upload(frame, max_changes)
            .map_err(|error| FrameError { upload: self.upload_id(frame).ok().flatten(), ..error })
    }

    fn upload(&self, frame: &ByteString, max_changes: usize) -> Result<Upload, FrameError> {
        let changes = self.changes.and_then(|raw| Changes::new(json::share(frame, raw)));
        let changes = changes.ok_or_else(|| bad("changes is not an array"))?;
        if changes.count() > max_changes {
            let detail = format!("the upload holds {} changes; {max_changes} are accepted", changes.count());
            return Err(error(Code::TooManyChanges, detail));
        }
        Ok(Upload { id: self.upload_id(frame)?, space: self.space()?, client_id: None, changes })
    }

    fn upload_id(&self, frame: &ByteString) -> Result<Option<UploadId>, FrameError> {
        let Some(raw) = self.id else { return Ok(None) };
        let is_id = if raw.starts_with('"') { json::is_text(raw) } else { super::values::is_integer(raw) };
        if !is_id || raw.len() > MAX_UPLOAD_ID_BYTES {
            return Err(bad(format!(
                "id is not a string or an integer of {MAX_UPLOAD_ID_BYTES} bytes at most"
            )));
        }
        Ok(Some(UploadId(json::share(frame, raw))))
    }

    fn state(&self, frame: &ByteString) -> Result<Option<Bytes>, FrameError> {
        let Some(raw) = self.state else { return Ok(None) };
        let refuse = |detail: String| Err(error(Code::BadPresence, detail));
        if raw.len() > MAX_PRESENCE_STATE_BYTES {
            return refuse(format!("state is larger than {MAX_PRESENCE_STATE_BYTES} bytes"));
        }
        // Half a surrogate pair, a number out of range or too deep a nesting would break the parsers of others.
        if serde_json::from_str::<serde_json::Value>(raw).is_err() {
            return refuse("state is not JSON that every parser can read".into());
        }
        Ok(Some(json::share(frame, raw).into_bytes()))
    }
}
