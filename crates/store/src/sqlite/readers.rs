//! Connections that read, each on a blocking thread while it works, so that no async thread waits for the disk.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::Semaphore;

use super::log;
use super::open::{OpenError, open_reader};
use super::recent::{Recent, Snapshot};
use crate::StoreError;

/// Page cache of each reading connection, in KiB. Small: the operating system caches the file as well.
const READER_CACHE_KIB: i32 = 2 << 10;

pub(super) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    recent: Arc<Recent>,
    slots: Arc<Semaphore>,
    count: usize,
}

impl Readers {
    pub(super) fn open(path: &Path, count: usize, recent: Arc<Recent>) -> Result<Self, OpenError> {
        let idle: Vec<Connection> =
            (0..count).map(|_| open_reader(path, READER_CACHE_KIB)).collect::<Result<_, _>>()?;
        let slots = Arc::new(Semaphore::new(count));
        Ok(Self { idle: Arc::new(Mutex::new(idle)), recent, slots, count })
    }

    /// Waits for reads that are under way and closes the connections. Later reads answer [`StoreError::Closed`].
    pub(super) async fn close(&self) {
        let all = u32::try_from(self.count).unwrap_or(u32::MAX);
        let slots = self.slots.acquire_many(all).await;
        self.slots.close();
        drop(slots);
        if let Ok(mut idle) = self.idle.lock() {
            idle.clear();
        }
    }

    /// Runs `read` in one snapshot.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.on_connection(move |connection| snapshot(connection, read)).await
    }

    /// Runs `read` in one snapshot, together with what is not flushed in it.
    pub(super) async fn run_with_recent<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection, &Snapshot) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let recent = Arc::clone(&self.recent);
        let read = move |connection: &Connection| snapshot_with_recent(connection, &recent, read);
        self.on_connection(move |connection| snapshot(connection, read)).await
    }

    async fn on_connection<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let idle = Arc::clone(&self.idle);
        let on_thread = move || {
            let taken = idle.lock().map_err(|_| StoreError::Closed)?.pop();
            let mut connection = taken.ok_or(StoreError::Closed)?;
            let result = work(&mut connection);
            idle.lock().map_err(|_| StoreError::Closed)?.push(connection);
            drop(slot);
            result
        };
        tokio::task::spawn_blocking(on_thread).await.map_err(|_| StoreError::Closed)?
    }
}

/// A snapshot begins with its first read, so that is made under the lock of what is in memory.
fn snapshot_with_recent<T>(
    connection: &Connection,
    recent: &Recent,
    read: impl FnOnce(&Connection, &Snapshot) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let ((), snapshot) = recent.begin(|| log::flushed(connection).map(|_| ()))?;
    read(connection, &snapshot)
}

fn snapshot<T>(
    connection: &mut Connection,
    read: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
    let result = read(&transaction)?;
    transaction.commit()?;
    Ok(result)
}
