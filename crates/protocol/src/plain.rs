//! The JSON dialect: for everyone who is not a native client. Plain values, a `type` in every frame, several spaces on one
//! connection; the same objects over HTTP.

mod change;
mod decode;
mod encode;
mod entry;
mod filter;
mod ids;
mod values;

use bytes::Bytes;
use bytestring::ByteString;
use core::fmt;

use crate::{Spelling, id};

pub use crate::{code::FrameError, native::AckId};
pub use change::Changes;
pub use decode::{decode, decode_upload, is_cursor};
pub use encode::{
    ChangesFrame, Page, ResetReason, Status, UploadResult, Welcome, encode_access, encode_ack, encode_auth,
    encode_current, encode_error, encode_page, encode_pong, encode_presence, encode_ready, encode_reset,
    encode_upload_answer, encode_welcome,
};
pub use entry::{FieldsFormat, Format, IntegersFormat, encode_entry};
pub use filter::{Filter, same_value};
pub use ids::{DerivationKey, IdSource};
pub use values::{from_plain, rekind, write_plain};

/// The WebSocket subprotocol of the dialect.
pub const SUBPROTOCOL: &str = "lattice.json.v1";

/// How a frame names a space.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Space {
    /// `"me"`: the private space of whoever is signed in.
    #[default]
    Me,
    /// The space with this id.
    Id([u8; 16]),
}

impl Space {
    /// Reads `me` or a UUID in its hyphenated form, of any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "me" { Some(Self::Me) } else { id::parse_uuid(text).map(|(id, _)| Self::Id(id)) }
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Me => f.write_str("me"),
            Self::Id(id) => {
                let text = id::format_uuid(id, Spelling::default());
                f.write_str(core::str::from_utf8(&text).unwrap_or_default())
            }
        }
    }
}

/// What somebody may do in a space.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// Everything, the space itself included.
    Owner,
    /// Read and write.
    Editor,
    /// Read.
    Viewer,
}

impl Role {
    /// The role as it is written on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Editor => "editor",
            Self::Viewer => "viewer",
        }
    }
}

/// A frame of a client.
#[derive(Clone, PartialEq, Debug)]
pub enum ClientFrame {
    /// Who is speaking, and how it wants to be answered.
    Hello(Hello),
    /// Send what is in a space, from a cursor on, and what comes later.
    Subscribe(Subscribe),
    /// Send no more of a space.
    Unsubscribe {
        /// The space.
        space: Space,
    },
    /// Changes to be stored.
    Upload(Upload),
    /// Send one page of what is in a space.
    Poll(Poll),
    /// The client has stored everything up to a cursor.
    Ack {
        /// The space.
        space: Space,
        /// The cursor.
        cursor: ByteString,
    },
    /// What the others of a space shall see of this client for as long as it is connected.
    Presence {
        /// The space.
        space: Space,
        /// Any JSON but `null`, of [`crate::limits::MAX_PRESENCE_STATE_BYTES`] at most, which every parser can read; `None`
        /// for nothing any more.
        state: Option<Bytes>,
    },
    /// A new token for the same user.
    Auth {
        /// The token.
        token: ByteString,
    },
    /// Answer with `pong`.
    Ping,
}

/// `hello`
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hello {
    /// The replica, the same after a restart: 1 to [`crate::limits::MAX_CLIENT_ID_BYTES`] bytes.
    pub client_id: Option<ByteString>,
    /// The version of the schema that the client was built for.
    pub schema_version: Option<u64>,
    /// How changes are to be written.
    pub format: Format,
}

/// `subscribe`
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Subscribe {
    /// The space.
    pub space: Space,
    /// Where the client is. `None` for the full state.
    pub cursor: Option<ByteString>,
    /// Which rows it wants.
    pub filter: Filter,
}

/// `poll`
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Poll {
    /// The space.
    pub space: Space,
    /// Where the client is. `None` for the full state.
    pub cursor: Option<ByteString>,
    /// Most changes in the answer, at least 1; the answer may always hold fewer.
    pub limit: Option<u32>,
}

/// `upload`, or the body of an upload over HTTP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upload {
    /// What the client calls this upload.
    pub id: Option<UploadId>,
    /// The space.
    pub space: Space,
    /// The replica. Over HTTP only: on a socket `hello` says it, and this is `None`.
    pub client_id: Option<ByteString>,
    /// The changes, not yet read.
    pub changes: Changes,
}

/// What a client calls an upload: the JSON of a string or an integer of at most [`crate::limits::MAX_UPLOAD_ID_BYTES`], which
/// is repeated as it came.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UploadId(ByteString);

impl UploadId {
    /// The id as JSON.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }
}
