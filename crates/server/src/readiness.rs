//! Whether this instance can serve clients now. Whoever asks sends them elsewhere while it cannot.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lattice_store::StoreError;
use lattice_store::accounts::{AccountStore, UserId};

use crate::instances::Looks;
use crate::work::Work;

/// How long the database may take: less than those who ask commonly wait.
const MAX_ANSWER_TIME: Duration = Duration::from_secs(2);
/// How long an upload may wait for its commit before its writer counts as stuck: longer than a backend tries once.
const MAX_UPLOAD_TIME: Duration = Duration::from_secs(30);
/// How long reading one page may take before the connection that reads it counts as stuck: longer than a backend tries once.
/// Where the connection's client stands is nothing to go by: one that does not read may stay where it is.
const MAX_PULL_TIME: Duration = Duration::from_secs(30);

/// What decides whether the instance is ready.
pub struct Readiness {
    accounts: Arc<dyn AccountStore>,
    /// Uploads that wait for their commit.
    pub uploads: Arc<Work>,
    /// Pages that are being read for connections.
    pub pulls: Arc<Work>,
    /// It is about to close.
    closing: AtomicBool,
    shared: Option<Shared>,
}

/// What there is besides where several instances share a database.
struct Shared {
    /// Whether the bus is connected.
    bus: Arc<AtomicBool>,
    /// When changes made elsewhere were looked for.
    looks: Arc<Looks>,
}

/// How ready an instance is that can serve clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ready {
    /// All is well.
    Well,
    /// The bus is cut: changes made on other instances arrive late.
    WithoutBus,
}

/// Why it cannot serve clients.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotReady {
    /// It is about to close.
    #[error("the server is closing")]
    Closing,
    /// The database fails.
    #[error("the database does not answer: {0}")]
    Failed(StoreError),
    /// The database answers late or not at all.
    #[error("the database takes too long")]
    Slow,
    /// An upload does not get to its commit.
    #[error("an upload has waited {waited_s} s for its commit", waited_s = .0.as_secs())]
    Uploads(Duration),
    /// A page does not get to its connection.
    #[error("a connection has waited {waited_s} s for a page", waited_s = .0.as_secs())]
    Pulls(Duration),
    /// What others change is not found.
    #[error("changes made elsewhere were last looked for {ago_s} s ago", ago_s = .0.as_secs())]
    Looks(Duration),
}

impl Readiness {
    /// The readiness of an instance that has its database for itself.
    #[must_use]
    pub fn new(accounts: Arc<dyn AccountStore>) -> Self {
        Self {
            accounts,
            uploads: Arc::default(),
            pulls: Arc::default(),
            closing: AtomicBool::new(false),
            shared: None,
        }
    }

    /// The same where others share the database.
    #[must_use]
    pub fn shared(self, bus: Arc<AtomicBool>, looks: Arc<Looks>) -> Self {
        Self { shared: Some(Shared { bus, looks }), ..self }
    }

    /// From now on it is not ready.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Looks whether it is ready.
    ///
    /// # Errors
    /// Why it is not.
    pub async fn look(&self) -> Result<Ready, NotReady> {
        if self.closing.load(Ordering::Acquire) {
            return Err(NotReady::Closing);
        }
        let asked = self.accounts.user_by_id(UserId([0; 16]));
        match tokio::time::timeout(MAX_ANSWER_TIME, asked).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(NotReady::Failed(error)),
            Err(_) => return Err(NotReady::Slow),
        }
        let late = |time: Duration, max: Duration| (time > max).then_some(time);
        if let Some(waited) = late(self.uploads.oldest(), MAX_UPLOAD_TIME) {
            return Err(NotReady::Uploads(waited));
        }
        if let Some(waited) = late(self.pulls.oldest(), MAX_PULL_TIME) {
            return Err(NotReady::Pulls(waited));
        }
        let Some(shared) = &self.shared else { return Ok(Ready::Well) };
        if let Some(ago) = shared.looks.overdue() {
            return Err(NotReady::Looks(ago));
        }
        Ok(if shared.bus.load(Ordering::Acquire) { Ready::Well } else { Ready::WithoutBus })
    }
}
