//! Rows that connected devices cannot store, whatever is sent again: a table of their app that forbids a value, a unique column
//! that another row of theirs has. The log tells of the first ones of a connection; nothing shows the list yet.
//!
//! Only connections with such rows are in it; each has at most [`lattice_engine::MAX_FAILING_ROWS`].

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lattice_engine::{RowRef, SpaceId, WriterId};
use lattice_store::accounts::{SessionId, UserId};

/// A connection of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Device {
    /// The connection.
    pub connection: WriterId,
    /// Its user.
    pub user: UserId,
    /// Their session on the device.
    pub session: SessionId,
    /// The space that it syncs.
    pub space: SpaceId,
}

/// The rows of all connections of this instance.
#[derive(Default)]
pub struct Unstorable {
    held: Mutex<BTreeMap<WriterId, (Device, Vec<RowRef>)>>,
}

impl Unstorable {
    /// What devices of this instance cannot store.
    #[must_use]
    pub fn list(&self) -> Vec<(Device, Vec<RowRef>)> {
        self.lock().values().cloned().collect()
    }

    /// These are the rows that the device cannot store now. Told to the operator the first time for each connection.
    pub fn set(&self, device: Device, rows: Vec<RowRef>) {
        let mut held = self.lock();
        if rows.is_empty() {
            held.remove(&device.connection);
            return;
        }
        let (count, first) = (rows.len(), rows.first().map(|row| row.table.clone()).unwrap_or_default());
        if held.insert(device.connection, (device, rows)).is_none() {
            let Device { user, session, space, .. } = device;
            tracing::warn!(?user, ?session, ?space, rows = count, table = %first, "a device cannot store rows that it was sent");
        }
    }

    /// The connection has ended.
    pub fn forget(&self, connection: WriterId) {
        self.lock().remove(&connection);
    }

    /// A panic elsewhere cannot leave the map half changed.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<WriterId, (Device, Vec<RowRef>)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
