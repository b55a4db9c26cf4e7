//! The storage trait of spaces: uploads go in, pages and receipts come out.

use std::sync::Arc;

use lattice_engine::{
    Cursor, LogRecord, Minter, Outcome, PullData, PullRequest, Receipt, Rules, Seq, SpaceHead, SpaceId,
    WriterId,
};
use lattice_protocol::{EntryId, Incoming, Outgoing, Spelling};
use tokio::sync::oneshot;

use crate::{BoxFuture, StoreError};

/// A space as connections use it.
#[derive(Clone)]
pub struct Space {
    /// The number that SQLite knows it by; 0 where ids are used.
    pub no: u32,
    /// Its public id.
    pub id: SpaceId,
    /// It is somebody's private one, and always will be.
    pub private: bool,
    /// Merge rules.
    pub rules: Rules,
    /// Mints ids for everything in the space.
    pub minter: Minter,
}

/// Who stands behind a writer: kept with the audit log.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The connection's own id.
    pub writer: WriterId,
    /// The user.
    pub user: [u8; 16],
    /// The session or device token.
    pub session: [u8; 16],
    /// Network address of the peer.
    pub address: String,
    /// What the client calls itself.
    pub user_agent: String,
    /// When the connection was opened, in microseconds since 1970.
    pub opened_us: i64,
}

/// Changes of one frame, for one space.
pub struct Upload {
    /// The space.
    pub space: Arc<Space>,
    /// The sender.
    pub origin: Arc<Origin>,
    /// The changes, in the order of the frame.
    pub incoming: Vec<Incoming>,
    /// The changes were plain JSON, which says less of a value than the column may know of it.
    pub plain: bool,
    /// The sender is answered with current values always ([`lattice_engine::Stream::echoes`]).
    pub echoes: bool,
    /// The token of the sender may only read: its changes are refused one by one, like a viewer's.
    pub read_only: bool,
    /// Of a native client: what it is known to have applied when it sent this.
    pub applied: Option<Cursor>,
    /// Size of the frame, for the limits of a group commit.
    pub bytes: usize,
}

/// What a durable commit made visible to others.
pub struct Committed {
    /// The space.
    pub space: SpaceId,
    /// The connection that wrote it.
    pub writer: WriterId,
    /// The space's head before this upload.
    pub before: Seq,
    /// The space's head with this upload.
    pub head: Seq,
    /// Entries for everyone but the writer, in order.
    pub visible: Vec<(Seq, Outgoing)>,
}

/// Is told of every upload after its commit is durable and before its sender is answered, in commit order.
pub trait CommitSink: Send + Sync {
    /// Must be quick and must not block: it runs between two commits.
    fn committed(&self, commit: Committed);

    /// Everything that became durable together has been told: time to wake who waits for it, once for all of it.
    fn group_done(&self) {}
}

/// Takes no notice of commits: for whoever stores nothing, and for tests.
#[derive(Clone, Copy, Default, Debug)]
pub struct NoSink;

impl CommitSink for NoSink {
    fn committed(&self, _: Committed) {}
}

/// A line of the audit log with who wrote it.
#[derive(Clone, Debug)]
pub struct AuditLine {
    /// The change and its verdict.
    pub record: LogRecord,
    /// The writer.
    pub writer: WriterId,
    /// The user behind the writer.
    pub user: Option<[u8; 16]>,
}

/// Resolves after the commit is durable and the sink was told, with one outcome for each change. On an error nothing of
/// the upload was stored, and nothing else was lost.
pub type UploadAnswer = oneshot::Receiver<Result<Vec<Outcome>, StoreError>>;

/// Stores spaces.
pub trait SpaceStore: Send + Sync {
    /// The private space of a user; made at the first call.
    fn private_space(&self, user: [u8; 16]) -> BoxFuture<'_, Result<Arc<Space>, StoreError>>;

    /// Hands an upload over, to be merged and stored after what was handed over before. Waits while the queue is full.
    fn upload(&self, upload: Upload) -> BoxFuture<'_, Result<UploadAnswer, StoreError>>;

    /// Since when acknowledged changes may be lost, in microseconds since 1970: the database was put back to an older state. `None`
    /// where it never was.
    fn restored_since_us(&self) -> Option<i64>;

    /// Reads a page, the head and what is to be corrected, in one snapshot.
    fn pull<'a>(
        &'a self,
        space: &'a Space,
        request: &'a PullRequest,
    ) -> BoxFuture<'a, Result<PullData, StoreError>>;

    /// Where the audit log has an entry.
    fn receipt<'a>(
        &'a self,
        space: &'a Space,
        id: EntryId,
    ) -> BoxFuture<'a, Result<Option<Receipt>, StoreError>>;

    /// The space's counters.
    fn head<'a>(&'a self, space: &'a Space) -> BoxFuture<'a, Result<SpaceHead, StoreError>>;

    /// The last seqs of many spaces, in any order; those that are not there are left out. What an instance missed is found by
    /// it: others write to the same spaces, and hints get lost.
    fn heads<'a>(&'a self, spaces: &'a [SpaceId]) -> BoxFuture<'a, Result<Vec<(SpaceId, Seq)>, StoreError>>;

    /// The newest change of the audit log that was accepted: `None` where there is none, or none among the last hundred uploads or
    /// so, or where it would take long to find out.
    fn newest_accepted<'a>(
        &'a self,
        space: &'a Space,
    ) -> BoxFuture<'a, Result<Option<(EntryId, Spelling)>, StoreError>>;

    /// Lines of the audit log after a seq, in order.
    fn audit<'a>(
        &'a self,
        space: &'a Space,
        after: Seq,
        max_lines: usize,
    ) -> BoxFuture<'a, Result<Vec<AuditLine>, StoreError>>;
}
