//! The sync socket.

mod answer;
pub mod handshake;
mod outbox;
mod socket;

use std::sync::Arc;

use lattice_auth::AuthService;
use lattice_store::spaces::SpaceStore;
use lattice_store::time::{Clock, Random};
use tokio_util::task::TaskTracker;

use crate::hub::Hub;

/// What sync sockets share.
#[derive(Clone)]
pub struct SyncState {
    /// Spaces.
    pub store: Arc<dyn SpaceStore>,
    /// Commits of this instance.
    pub hub: Arc<Hub>,
    /// Who is who.
    pub auth: Arc<AuthService>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Writer ids.
    pub random: Arc<dyn Random>,
    /// Sockets that are open: shutdown waits for them.
    pub tracker: TaskTracker,
    /// Compressors that sockets share.
    pub deflate: yawc::DeflatePool,
    /// What is left of [`SyncLimits::max_upload_kib`].
    pub upload_kib: Arc<tokio::sync::Semaphore>,
    /// Limits of sockets.
    pub limits: Arc<SyncLimits>,
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
