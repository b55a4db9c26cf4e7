//! Uploads that wait for a worker: those of one space in order, and never with two workers at once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lattice_engine::{Outcome, SpaceId};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::StoreError;
use crate::spaces::Upload;

/// Uploads that wait; more wait at their senders.
const MAX_WAITING_UPLOADS: usize = 4_096;
/// Most uploads of one transaction. More wait for the next one, which keeps the latency of each bounded.
const MAX_GROUP_UPLOADS: usize = 512;
/// A transaction takes no further upload once its frames have this many bytes.
const MAX_GROUP_BYTES: usize = 8 << 20;

/// An upload that waits.
pub(super) struct Job {
    pub(super) upload: Upload,
    pub(super) answer: oneshot::Sender<Result<Vec<Outcome>, StoreError>>,
    _room: OwnedSemaphorePermit,
}

/// What waits.
pub(super) struct Queue {
    state: Mutex<State>,
    /// Somebody has put something in, or closed it.
    changed: Notify,
    room: Arc<Semaphore>,
    max_group_spaces: usize,
}

#[derive(Default)]
struct State {
    spaces: HashMap<SpaceId, SpaceQueue>,
    /// Spaces with something waiting that no worker is at, those that wait longest first.
    ready: VecDeque<SpaceId>,
    closed: bool,
}

#[derive(Default)]
struct SpaceQueue {
    jobs: VecDeque<Job>,
    /// A worker is at it.
    taken: bool,
}

impl Queue {
    pub(super) fn new(max_group_spaces: usize) -> Self {
        Self {
            state: Mutex::default(),
            changed: Notify::new(),
            room: Arc::new(Semaphore::new(MAX_WAITING_UPLOADS)),
            max_group_spaces: max_group_spaces.max(1),
        }
    }

    /// Puts an upload in; waits while the queue is full.
    pub(super) async fn put(
        &self,
        upload: Upload,
        answer: oneshot::Sender<Result<Vec<Outcome>, StoreError>>,
    ) -> Result<(), StoreError> {
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let mut state = self.lock();
        if state.closed {
            return Err(StoreError::Closed);
        }
        let id = upload.space.id;
        let waiting = state.spaces.entry(id).or_default();
        waiting.jobs.push_back(Job { upload, answer, _room: room });
        if !waiting.taken && waiting.jobs.len() == 1 {
            state.ready.push_back(id);
            self.changed.notify_one();
        }
        Ok(())
    }

    /// The uploads of the next transaction, by space. What is taken is to be given back by [`Queue::done`]. `None` when the
    /// queue is closed and empty.
    pub(super) async fn take(&self) -> Option<Vec<Job>> {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.lock();
                let group = self.next_group(&mut state);
                if !group.is_empty() {
                    if !state.ready.is_empty() {
                        self.changed.notify_one();
                    }
                    return Some(group);
                }
                if state.closed {
                    // The next worker is to see it as well.
                    self.changed.notify_one();
                    return None;
                }
            }
            changed.await;
        }
    }

    fn next_group(&self, state: &mut State) -> Vec<Job> {
        let (mut group, mut bytes) = (Vec::new(), 0);
        let full =
            |group: &Vec<Job>, bytes: usize| group.len() >= MAX_GROUP_UPLOADS || bytes >= MAX_GROUP_BYTES;
        for _ in 0..self.max_group_spaces {
            if full(&group, bytes) {
                break;
            }
            let Some(id) = state.ready.pop_front() else { break };
            let Some(waiting) = state.spaces.get_mut(&id) else { continue };
            waiting.taken = true;
            while !full(&group, bytes) {
                let Some(job) = waiting.jobs.pop_front() else { break };
                bytes += job.upload.bytes;
                group.push(job);
            }
        }
        group
    }

    /// A worker has done with these spaces.
    pub(super) fn done(&self, spaces: impl Iterator<Item = SpaceId>) {
        let mut state = self.lock();
        for id in spaces {
            let Some(waiting) = state.spaces.get_mut(&id) else { continue };
            waiting.taken = false;
            if waiting.jobs.is_empty() {
                state.spaces.remove(&id);
            } else {
                state.ready.push_back(id);
                self.changed.notify_one();
            }
        }
    }

    /// Takes nothing more in. What waits is still taken out.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.room.close();
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
