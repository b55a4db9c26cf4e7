//! What a space session asks of a store, and what it is answered.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use lattice_engine::{Cursor, Minter, PullData, PullRequest, Seq, SpaceId, View, WriterId};
use lattice_protocol::EntryId;
use lattice_protocol::plain::Filter;

use crate::access::{RememberedView, SpaceAccess};
use crate::refusal::Refusal;

/// What a client comes with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ResumeFrom {
    /// With nothing: it is new.
    Nothing,
    /// Without a checkpoint, though it may hold something from earlier.
    Unknown,
    /// With the id of what it was sent last.
    Checkpoint(String),
}

/// How a space is to be shown.
#[derive(Clone, Debug, Default)]
pub struct SubscribeRequest {
    /// Which rows; `None` for all that the user may see.
    pub filter: Option<Arc<Filter>>,
    /// The version of the app's schema that the client declares.
    pub schema_version: Option<u64>,
}

/// A request to the store. A space session has one at a time; it may be answered at any time later.
#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// Everything that a stream starts from, in this order: the version of access, what the user may do, the receipt of the
    /// checkpoint, the space's head, the views that the user was shown. From before the first of these reads on the driver must
    /// tell the session of every commit ([`Hint::head`]).
    Enter {
        /// The id whose place in the log is wanted.
        receipt_of: Option<EntryId>,
    },
    /// The version of access, and then what the user may do.
    Access,
    /// Remembers a view as the user's newest, if their rights still show it. Nothing of it is sent before that is durable.
    Remember {
        /// The view.
        view: Arc<View>,
    },
    /// A page and what is to be corrected, in one snapshot; and then the version of access.
    Pull(PullRequest),
}

/// What the store answers.
#[derive(Debug)]
pub enum Answer {
    /// To [`Request::Enter`]; `None` when there is no such space, or the user may not see it.
    Entered(Option<Box<Entered>>),
    /// To [`Request::Access`].
    Access {
        /// What the user may do; `None` when they may not see the space.
        access: Option<SpaceAccess>,
        /// The version of access, read before `access`.
        version: u64,
        /// Drawn at random.
        nonce: u64,
    },
    /// To [`Request::Remember`].
    Remembered,
    /// To [`Request::Remember`]: the view is not what the user's rights show any more, and was not remembered.
    Outdated,
    /// To [`Request::Pull`].
    Pulled {
        /// What was read.
        data: PullData,
        /// The version of access, read after the snapshot.
        version: u64,
    },
    /// To any of them: it was not done.
    Refused(Refusal),
}

/// What a stream starts from.
#[derive(Clone)]
pub struct Entered {
    /// What the user may do.
    pub access: SpaceAccess,
    /// The version of access, read before everything else.
    pub version: u64,
    /// The space's public id.
    pub space: SpaceId,
    /// Mints ids for everything in the space.
    pub minter: Minter,
    /// Where the log has the entry that was asked for.
    pub receipt: Option<Seq>,
    /// The space's head.
    pub head: Seq,
    /// Since when changes may be lost, if the database was put back to an older state: microseconds since 1970.
    pub restored_since_us: Option<i64>,
    /// The views that the user was shown before, the newest first.
    pub views: Vec<RememberedView>,
    /// The session's own id as a writer: at random, and never used again.
    pub writer: WriterId,
    /// Drawn at random.
    pub nonce: u64,
}

impl core::fmt::Debug for Entered {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Entered")
            .field("space", &self.space)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

/// What a session says of an upload as it is handed to the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UploadTerms {
    /// It is answered with current values, whatever is shown since.
    pub echoes: bool,
    /// The token of the connection may only read: each change is refused by itself, like a viewer's.
    pub read_only: bool,
    /// Of a native client: what it is known to have applied.
    pub applied: Option<Cursor>,
}

/// What a driver knows of a space without asking the store. Losing a hint costs time, never data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hint {
    /// The space's last seq that is known of.
    pub head: Seq,
    /// The version of access: it only rises. What was read under an earlier one is read again.
    pub version: u64,
    /// Others show something else than the client was told.
    pub presence: bool,
}
