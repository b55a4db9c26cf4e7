//! Sync: sockets of both dialects, and the JSON dialect over HTTP.

pub mod admission;
mod audited;
pub mod changes;
mod connection;
mod farewell;
pub mod handshake;
mod json;
mod logged;
mod native;
mod outbox;
mod space;
pub mod unstorable;

use std::sync::Arc;

use lattice_auth::AuthService;
use lattice_protocol::plain::DerivationKey;
use lattice_store::StoreError;
use lattice_store::directory::Directory;
use lattice_store::spaces::SpaceStore;
use lattice_store::time::{Clock, Random};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::hub::Hub;
use crate::limits::Limits;
use crate::work::Work;

use admission::Admission;
use unstorable::Unstorable;

/// What sync sockets share.
#[derive(Clone)]
pub struct SyncState {
    /// Spaces.
    pub store: Arc<dyn SpaceStore>,
    /// Who may use which space, and how.
    pub directory: Arc<dyn Directory>,
    /// Commits of this instance.
    pub hub: Arc<Hub>,
    /// Who is who.
    pub auth: Arc<AuthService>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Writer ids.
    pub random: Arc<dyn Random>,
    /// Names changes that come without an id.
    pub derivation_key: DerivationKey,
    /// Sockets that are open: shutdown waits for them.
    pub tracker: TaskTracker,
    /// The server is closing.
    pub stop: CancellationToken,
    /// Compressors that sockets share.
    pub deflate: yawc::DeflatePool,
    /// What is left of [`SyncLimits::max_upload_kib`].
    pub upload_kib: Arc<Semaphore>,
    /// Turns at the database.
    pub admission: Arc<Admission>,
    /// Uploads that wait for their commit.
    pub uploads: Arc<Work>,
    /// Pages that are being read.
    pub pulls: Arc<Work>,
    /// Rows that connected devices cannot store.
    pub unstorable: Arc<Unstorable>,
    /// Limits of sockets.
    pub limits: Arc<SyncLimits>,
    /// How often anybody may try.
    pub rates: Arc<Limits>,
}

impl SyncState {
    /// A part of the memory that uploads on their way share; waits until it is there.
    async fn upload_permit(&self, bytes: usize) -> Result<OwnedSemaphorePermit, StoreError> {
        let permits = u32::try_from(bytes / 1_024 + 1).unwrap_or(u32::MAX).min(self.limits.max_upload_kib);
        Arc::clone(&self.upload_kib).acquire_many_owned(permits).await.map_err(|_| StoreError::Closed)
    }
}

/// Limits of a sync socket.
#[derive(Clone, Debug)]
pub struct SyncLimits {
    /// Largest frame that is accepted, in bytes.
    pub max_frame_bytes: usize,
    /// Silence after which the server pings; after two of them without an answer the socket is dead.
    pub ping_interval: std::time::Duration,
    /// Uploads that may wait for their commit on all sockets together, in KiB.
    pub max_upload_kib: u32,
}
