//! Frames of the server, and the bodies of its answers over HTTP.

use alloc::{string::ToString, vec::Vec};
use bytes::Bytes;

use super::{AckId, Role, Space, UploadId};
use crate::{Code, Spelling, json::write_string, native::write_uuid, timestamp};

/// What became of a change.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    /// It won.
    Applied,
    /// Some of its fields won; `current` has those that did not.
    Merged,
    /// Everything that it says was overwritten by something newer.
    Superseded,
    /// It had been received before.
    Duplicate,
    /// Nothing was to be done, as for a row that left the sender's filter.
    Ignored,
    /// It was refused; the code says why.
    Rejected,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 6] =
        [Self::Applied, Self::Merged, Self::Superseded, Self::Duplicate, Self::Ignored, Self::Rejected];

    /// The status as it is written on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Merged => "merged",
            Self::Superseded => "superseded",
            Self::Duplicate => "duplicate",
            Self::Ignored => "ignored",
            Self::Rejected => "rejected",
        }
    }
}

/// The verdict on one change of an upload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UploadResult<'a> {
    /// The id of the change, given or derived.
    pub id: &'a AckId,
    /// What became of it.
    pub status: Status,
    /// Why it was rejected.
    pub code: Option<Code>,
    /// One sentence for people.
    pub detail: Option<&'a str>,
}

/// Why a stream starts over: the client drops what it holds of the space, but for changes that it has not uploaded yet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ResetReason {
    /// The client named no cursor.
    NoCursor,
    /// The cursor was made for other data, or belongs to another space.
    UnknownCursor,
    /// The cursor is not known, and the database was put back to an older state. What the server acknowledged at `since_us`,
    /// in microseconds since 1970, or later may be lost: the client sends again what it still has of it, under the same ids.
    Restored {
        /// Everything that was acknowledged before is there.
        since_us: i64,
    },
    /// The cursor was made for another filter or other rights, from which no way leads here.
    ViewChanged,
}

impl ResetReason {
    /// Every reason.
    pub const ALL: [Self; 4] =
        [Self::NoCursor, Self::UnknownCursor, Self::Restored { since_us: 0 }, Self::ViewChanged];

    /// The reason as it is written on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCursor => "no_cursor",
            Self::UnknownCursor => "unknown_cursor",
            Self::Restored { .. } => "restored",
            Self::ViewChanged => "view_changed",
        }
    }
}

/// The first frame of a connection: what the server took from `hello`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Welcome<'a> {
    /// Who is signed in.
    pub user: [u8; 16],
    /// What the client calls itself.
    pub client_id: Option<&'a str>,
    /// Largest frame that is accepted.
    pub max_frame_bytes: u64,
    /// Most changes of an upload that are accepted.
    pub max_changes: u64,
    /// The server's clock, in microseconds since 1970.
    pub now_us: i64,
}

/// An object in the making.
struct Object {
    out: Vec<u8>,
    separator: u8,
}

impl Object {
    fn new() -> Self {
        Self { out: Vec::with_capacity(128), separator: b'{' }
    }

    /// A frame of this type.
    fn frame(kind: &str) -> Self {
        let mut frame = Self::new();
        frame.text("type", kind);
        frame
    }

    fn key(&mut self, key: &str) -> &mut Vec<u8> {
        self.out.push(self.separator);
        self.separator = b',';
        write_string(&mut self.out, key);
        self.out.push(b':');
        &mut self.out
    }

    fn raw(&mut self, key: &str, json: &[u8]) {
        self.key(key).extend_from_slice(json);
    }

    fn text(&mut self, key: &str, text: &str) {
        write_string(self.key(key), text);
    }

    fn text_or_null(&mut self, key: &str, text: Option<&str>) {
        match text {
            Some(text) => self.text(key, text),
            None => self.raw(key, b"null"),
        }
    }

    fn number(&mut self, key: &str, number: u64) {
        self.raw(key, number.to_string().as_bytes());
    }

    /// Why a stream starts over, under `key`, and since when changes are lost.
    fn reset(&mut self, key: &str, reason: ResetReason) {
        self.text(key, reason.as_str());
        if let ResetReason::Restored { since_us } = reason {
            timestamp::write(self.key("since"), since_us);
        }
    }

    /// Seconds since 1970, as the `timestamp` of changes.
    fn time(&mut self, key: &str, time_us: i64) {
        timestamp::write(self.key(key), time_us);
    }

    fn uuid(&mut self, key: &str, id: &[u8; 16]) {
        write_uuid(self.key(key), id, Spelling::default());
    }

    fn space(&mut self, space: Space) {
        match space {
            Space::Me => self.raw("space", b"\"me\""),
            Space::Id(id) => self.uuid("space", &id),
        }
    }

    fn entries<'a>(&mut self, key: &str, entries: impl IntoIterator<Item = &'a Bytes>) {
        let out = self.key(key);
        out.push(b'[');
        for (at, entry) in entries.into_iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(entry);
        }
        out.push(b']');
    }

    fn results<'a>(&mut self, results: impl IntoIterator<Item = UploadResult<'a>>) {
        let out = self.key("results");
        out.push(b'[');
        for (at, result) in results.into_iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            let mut object = Self { out: core::mem::take(out), separator: b'{' };
            match result.id {
                AckId::Uuid(id, spelling) => write_uuid(object.key("id"), &id.0, *spelling),
                AckId::Text(text) => object.text("id", text),
            }
            object.text("status", result.status.as_str());
            if let Some(code) = result.code {
                object.text("code", code.as_str());
            }
            if let Some(detail) = result.detail {
                object.text("detail", detail);
            }
            object.out.push(b'}');
            *out = object.out;
        }
        out.push(b']');
    }

    fn upload_id(&mut self, id: Option<&UploadId>) {
        self.raw("id", id.map_or("null", UploadId::as_json).as_bytes());
    }

    fn finish(mut self) -> Bytes {
        self.out.push(b'}');
        self.out.into()
    }
}

/// The connection is ready; sent once, in answer to `hello` or to whatever came instead.
#[must_use]
pub fn encode_welcome(welcome: &Welcome<'_>) -> Bytes {
    let mut frame = Object::frame("ready");
    frame.text("protocol", super::SUBPROTOCOL);
    frame.uuid("user", &welcome.user);
    frame.text_or_null("clientId", welcome.client_id);
    frame.number("maxFrameBytes", welcome.max_frame_bytes);
    frame.number("maxChanges", welcome.max_changes);
    frame.time("serverTime", welcome.now_us);
    frame.finish()
}

/// A subscription has begun: the state up to `seq` follows, and then what comes later, without a gap.
#[must_use]
pub fn encode_ready(space: Space, seq: u64, role: Role) -> Bytes {
    let mut frame = Object::frame("ready");
    frame.space(space);
    frame.number("seq", seq);
    frame.text("role", role.as_str());
    frame.finish()
}

/// A frame of changes in the making.
#[derive(Clone, Debug)]
pub struct ChangesFrame {
    bytes: Vec<u8>,
    count: usize,
}

impl ChangesFrame {
    /// A frame without changes.
    #[must_use]
    pub fn new(space: Space) -> Self {
        let mut frame = Object::frame("changes");
        frame.space(space);
        frame.raw("changes", b"[");
        Self { bytes: frame.out, count: 0 }
    }

    /// Appends an entry, as [`super::encode_entry`] wrote it.
    pub fn push(&mut self, entry: &[u8]) {
        if self.count > 0 {
            self.bytes.push(b',');
        }
        self.count += 1;
        self.bytes.extend_from_slice(entry);
    }

    /// How many bytes it has so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// How many changes it holds.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether it holds no change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The frame. `cursor` is where the client is with these changes, `None` for where it was; `more` whether others are
    /// waiting to be sent.
    #[must_use]
    pub fn finish(self, cursor: Option<&str>, more: bool) -> Bytes {
        let mut frame = Object { out: self.bytes, separator: b',' };
        frame.out.push(b']');
        frame.text_or_null("cursor", cursor);
        frame.raw("more", if more { b"true" } else { b"false" });
        frame.finish()
    }
}

/// A page of changes, as the answer to `GET /sync/changes`.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// The space.
    pub space: Space,
    /// The changes, as [`super::encode_entry`] wrote them.
    pub changes: &'a [Bytes],
    /// Where the client is with these changes, `None` for where it was.
    pub cursor: Option<&'a str>,
    /// Whether others are waiting.
    pub more: bool,
    /// Set on the first page of a stream that starts over.
    pub reset: Option<ResetReason>,
}

/// Writes a page.
#[must_use]
pub fn encode_page(page: &Page<'_>) -> Bytes {
    let mut object = Object::new();
    object.space(page.space);
    if let Some(reason) = page.reset {
        object.reset("reset", reason);
    }
    object.entries("changes", page.changes);
    object.text_or_null("cursor", page.cursor);
    object.raw("more", if page.more { b"true" } else { b"false" });
    object.finish()
}

/// The verdicts on an upload are final; all of its changes that were not refused are durable. `cursor` is the position up to
/// which the client has been sent the space, if it has been sent any of it.
#[must_use]
pub fn encode_ack<'a>(
    id: Option<&UploadId>,
    cursor: Option<&str>,
    results: impl IntoIterator<Item = UploadResult<'a>>,
) -> Bytes {
    let mut frame = Object::frame("ack");
    frame.upload_id(id);
    frame.text_or_null("cursor", cursor);
    frame.results(results);
    frame.finish()
}

/// The answer to `POST /sync/changes`: what `ack` and `current` say on a socket.
#[must_use]
pub fn encode_upload_answer<'a>(
    id: Option<&UploadId>,
    cursor: Option<&str>,
    results: impl IntoIterator<Item = UploadResult<'a>>,
    current: &[Bytes],
) -> Bytes {
    let mut object = Object::new();
    object.upload_id(id);
    object.text_or_null("cursor", cursor);
    object.results(results);
    object.entries("current", current);
    object.finish()
}

/// What the client must hold instead of what it uploaded. Sent before the `ack`.
#[must_use]
pub fn encode_current<'a>(space: Space, entries: impl IntoIterator<Item = &'a Bytes>) -> Bytes {
    let mut frame = Object::frame("current");
    frame.space(space);
    frame.entries("changes", entries);
    frame.finish()
}

/// What another client of the space shows; `None` when it shows nothing any more. `state` is JSON.
#[must_use]
pub fn encode_presence(
    space: Space,
    user: &[u8; 16],
    client_id: Option<&str>,
    state: Option<&[u8]>,
) -> Bytes {
    let mut frame = Object::frame("presence");
    frame.space(space);
    frame.uuid("user", user);
    frame.text_or_null("clientId", client_id);
    frame.raw("state", state.unwrap_or(b"null"));
    frame.finish()
}

/// The client's rights in a space have changed; `None` when it has none any more.
#[must_use]
pub fn encode_access(space: Space, role: Option<Role>) -> Bytes {
    let mut frame = Object::frame("access");
    frame.space(space);
    frame.text_or_null("role", role.map(Role::as_str));
    frame.finish()
}

/// The stream of a space starts over.
#[must_use]
pub fn encode_reset(space: Space, reason: ResetReason) -> Bytes {
    let mut frame = Object::frame("reset");
    frame.space(space);
    frame.reset("reason", reason);
    frame.finish()
}

/// The connection goes on with a new token, which is good for so many seconds; `None` if it does not expire.
#[must_use]
pub fn encode_auth(expires_in_s: Option<u64>) -> Bytes {
    let mut frame = Object::frame("auth");
    match expires_in_s {
        Some(seconds) => frame.number("expiresIn", seconds),
        None => frame.raw("expiresIn", b"null"),
    }
    frame.finish()
}

/// A frame was refused, or a subscription ended. `message` is one sentence for people; `upload` is what the client called the
/// upload that was refused.
#[must_use]
pub fn encode_error(
    code: Code,
    message: &str,
    retry_after_s: Option<u64>,
    space: Option<Space>,
    upload: Option<&UploadId>,
) -> Bytes {
    let mut frame = Object::frame("error");
    frame.text("code", code.as_str());
    frame.text("message", message);
    if let Some(seconds) = retry_after_s {
        frame.number("retryAfter", seconds);
    }
    if let Some(space) = space {
        frame.space(space);
    }
    if upload.is_some() {
        frame.upload_id(upload);
    }
    frame.finish()
}

/// The answer to `ping`. `now_us` is the server's clock, in microseconds since 1970.
#[must_use]
pub fn encode_pong(now_us: i64) -> Bytes {
    let mut frame = Object::frame("pong");
    frame.time("serverTime", now_us);
    frame.finish()
}
