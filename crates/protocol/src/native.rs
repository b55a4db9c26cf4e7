//! The native dialect: JSON frames as LatticeCore's clients read and write them.
//!
//! Clients tell frames apart by which of the keys `auditLog`, `ack` and `replayRequest` is present and never look at
//! `kind`: nothing that is written here holds one of those keys in another event.

mod client;
mod decode;
mod encode;
mod entry;

use alloc::vec::Vec;
use bytestring::ByteString;

use crate::{EntryId, Incoming, Spelling};

pub(crate) use decode::{frame_text, json_error};
pub(crate) use encode::write_uuid;

pub use crate::code::FrameError;
pub use client::{ServerFrame, Upload, UploadTimestamp, decode_server, encode_upload};
pub use decode::decode;
pub use encode::{AuditLogFrame, encode_ack, encode_floor_reset, encode_nack, encode_rejected};

/// A frame of a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientFrame {
    /// Changes to be stored, each well formed or refused on its own.
    Changes(Vec<Incoming>),
    /// The client applied these entries of what was delivered, or had them already.
    Ack {
        /// Those that can be ids of entries, in their order, and no more than a delivery may hold.
        ids: Vec<EntryId>,
    },
    /// A frame with a `type`: the client speaks the JSON dialect ([`crate::plain`]).
    Typed,
    /// A frame of an unknown kind.
    Other,
}

/// An id in an acknowledgement, always written as it was received.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum AckId {
    /// A UUID in the letter case of its sender.
    Uuid(EntryId, Spelling),
    /// An id that is no UUID, of an entry that will never be stored: unless it is acknowledged it is sent for ever.
    Text(ByteString),
}

impl AckId {
    /// The id with this text.
    #[must_use]
    pub fn parse(text: ByteString) -> Self {
        EntryId::parse(&text).map_or(Self::Text(text), |(id, spelling)| Self::Uuid(id, spelling))
    }
}
