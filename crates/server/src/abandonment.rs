//! The end of anonymous accounts that nobody can come back to.

use std::sync::Arc;
use std::time::Duration;

use lattice_auth::{AuthError, AuthService};
use lattice_store::directory::Denied;
use tokio_util::sync::CancellationToken;

use crate::spaces::{SpaceError, Spaces};

/// How often they are looked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(3_600);
/// Accounts that are asked for at once.
const BATCH: u32 = 100;
const DAY_US: i64 = 24 * 3_600 * 1_000_000;

/// Deletes anonymous accounts some time after their session has ended.
pub struct Abandonment {
    auth: Arc<AuthService>,
    spaces: Arc<Spaces>,
    retention_us: i64,
}

impl Abandonment {
    /// With how long accounts are kept, in days.
    #[must_use]
    pub fn new(auth: Arc<AuthService>, spaces: Arc<Spaces>, retention_days: u32) -> Self {
        Self { auth, spaces, retention_us: i64::from(retention_days) * DAY_US }
    }

    /// Deletes what has been abandoned for long enough, and says how many accounts. Those that own what others are members of stay:
    /// they are looked at again the next time.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete(&self) -> Result<u64, AuthError> {
        let (mut deleted, mut after) = (0, None);
        loop {
            let batch = self.auth.abandoned(self.retention_us, after, BATCH).await?;
            for account in &batch {
                match self.spaces.delete_account(account.user).await {
                    Ok(()) => deleted += 1,
                    Err(SpaceError::Denied(Denied::OwnsSpaces | Denied::NoUser)) => {}
                    Err(SpaceError::Store(error)) => return Err(error.into()),
                    Err(error) => tracing::warn!(user = %account.user, %error, "an abandoned account stays"),
                }
            }
            if batch.len() < BATCH as usize {
                return Ok(deleted);
            }
            after = batch.last().copied();
        }
    }

    /// Does so now and then, until `stop` is cancelled.
    pub(crate) async fn watch(self, stop: CancellationToken) {
        let mut due = tokio::time::interval(LOOK_INTERVAL);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = due.tick() => {}
            }
            let deleted = tokio::select! {
                () = stop.cancelled() => return,
                deleted = self.delete() => deleted,
            };
            match deleted {
                Ok(0) => {}
                Ok(accounts) => {
                    tracing::info!(accounts, "deleted anonymous accounts that nobody can come back to")
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot delete abandoned accounts; it is tried again later");
                }
            }
        }
    }
}
