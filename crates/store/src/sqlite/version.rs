//! The counter behind [`Directory::version`](crate::directory::Directory::version).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Transaction;

use super::SqliteStore;
use super::group::Group;
use super::writer::{Call, Job};
use crate::StoreError;

/// A job that may change what decides access. The counter is raised by the writer itself, as whoever asked may be gone by
/// then: before the commit, so that nobody reads what is new under the old version, and between the commit and the answer, so
/// that who looked too early looks again.
struct Versioned<J> {
    job: J,
    version: Arc<AtomicU64>,
}

impl<J: Job> Job for Versioned<J> {
    fn run(&mut self, transaction: &Transaction<'_>, group: &mut Group, now_us: i64) {
        self.version.fetch_add(1, Ordering::Release);
        self.job.run(transaction, group, now_us);
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        self.version.fetch_add(1, Ordering::Release);
        Box::new(self.job).answer(committed);
    }
}

impl SqliteStore {
    /// Like [`write`](Self::write), for writes that may change what decides access.
    pub(super) async fn write_access<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (job, answer) = Call::new(write);
        self.submit(Box::new(Versioned { job, version: Arc::clone(&self.inner.version) })).await?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}
