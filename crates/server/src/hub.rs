//! The hub: which spaces have connections here, where their heads are, and what was committed recently.
//!
//! It is told of commits after they are durable, and tells connections that there is something to pull, and the bus what
//! other instances should know. It holds nothing that the store does not hold: losing it costs time, never data.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lattice_engine::{Ring, Seq, SpaceId, WriterId};
use lattice_store::accounts::UserId;
use lattice_store::spaces::{CommitSink, Committed};
use tokio::sync::watch;

use crate::bus::Outbox;
use crate::spaces::AccessHints;

pub use commit_frame::{CommitFrame, NativeFrame, PlainKey};
pub use presence::{MAX_PRESENT_CLIENTS, Present, Shown, Watched};

mod commit_frame;
mod elsewhere;
mod presence;

/// Bytes of recent commits kept for each space that has connections.
const MAX_RING_BYTES: usize = 1 << 20;
/// Recent commits kept for each space that has connections.
const MAX_RING_COMMITS: usize = 1_024;
/// Recent commits kept for a space with a single connection.
const MAX_LONE_COMMITS: usize = 8;
/// What a commit costs in a ring on top of its values.
const COMMIT_OVERHEAD_BYTES: usize = 64;

/// What connections of a space are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// The last seq that is known of: committed here, told by another instance, or found by looking. 0 until there is one.
    pub head: Seq,
    /// Counts changes of what anybody may do in the space.
    pub access: u64,
    /// Counts changes of what the space's clients show one another.
    pub presence: u64,
    /// The server is closing.
    pub closing: bool,
}

/// Spaces with connections on this instance.
#[derive(Default)]
pub struct Hub {
    spaces: Mutex<State>,
    /// Spaces with commits of the group that is being told, and their heads.
    told: Mutex<Vec<(Arc<LiveSpace>, Seq)>>,
    shared: Arc<Shared>,
}

/// What a hub and its spaces share.
#[derive(Default)]
struct Shared {
    /// What other instances are told; `None` when there are none.
    outbox: Option<Arc<Outbox>>,
    /// The next place of a client that shows something.
    next_place: AtomicU64,
}

#[derive(Default)]
struct State {
    live: HashMap<SpaceId, Weak<LiveSpace>>,
    closing: bool,
}

/// A space with connections on this instance.
pub struct LiveSpace {
    id: SpaceId,
    hub: Weak<Hub>,
    shared: Arc<Shared>,
    signal: watch::Sender<Signal>,
    ring: Mutex<Ring<Option<Arc<CommitFrame>>>>,
    /// Ways of writing in the JSON dialect that connections want, and how many want each.
    plain: Mutex<PlainListeners>,
    presence: Mutex<presence::Registry>,
}

#[derive(Default)]
struct PlainListeners {
    counts: Vec<(PlainKey, usize)>,
    keys: Arc<[PlainKey]>,
}

impl PlainListeners {
    fn count(&mut self, key: PlainKey, more: bool) {
        match (self.counts.iter_mut().find(|(held, _)| *held == key), more) {
            (Some((_, count)), true) => *count += 1,
            (Some((_, count)), false) => *count -= 1,
            (None, true) => self.counts.push((key, 1)),
            (None, false) => {}
        }
        self.counts.retain(|(_, count)| *count > 0);
        self.keys = self.counts.iter().map(|(key, _)| *key).collect();
    }
}

/// Keeps commits being written in the JSON dialect for as long as it lives.
pub struct PlainListener {
    space: Arc<LiveSpace>,
    key: PlainKey,
}

impl Drop for PlainListener {
    fn drop(&mut self) {
        lock(&self.space.plain).count(self.key, false);
    }
}

impl Hub {
    /// A hub that knows no spaces yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// A hub that tells other instances what they should know.
    #[must_use]
    pub fn with_outbox(outbox: Arc<Outbox>) -> Arc<Self> {
        let shared = Shared { outbox: Some(outbox), ..Shared::default() };
        Arc::new(Self { shared: Arc::new(shared), ..Self::default() })
    }

    /// The live side of a space, for one more connection.
    #[must_use]
    pub fn join(self: &Arc<Self>, id: SpaceId) -> Arc<LiveSpace> {
        let mut state = lock(&self.spaces);
        let closing = state.closing;
        let make = || {
            Arc::new(LiveSpace {
                id,
                hub: Arc::downgrade(self),
                shared: Arc::clone(&self.shared),
                signal: watch::Sender::new(Signal { head: 0, access: 0, presence: 0, closing }),
                ring: Mutex::new(Ring::new(MAX_RING_BYTES, MAX_RING_COMMITS)),
                plain: Mutex::default(),
                presence: Mutex::default(),
            })
        };
        match state.live.entry(id) {
            Entry::Occupied(mut held) => held.get().upgrade().unwrap_or_else(|| {
                let space = make();
                held.insert(Arc::downgrade(&space));
                space
            }),
            Entry::Vacant(place) => {
                let space = make();
                place.insert(Arc::downgrade(&space));
                space
            }
        }
    }

    /// Tells every connection to finish.
    pub fn close(&self) {
        let mut state = lock(&self.spaces);
        state.closing = true;
        for space in state.live.values().filter_map(Weak::upgrade) {
            space.signal.send_modify(|signal| signal.closing = true);
        }
    }

    fn find(&self, id: SpaceId) -> Option<Arc<LiveSpace>> {
        lock(&self.spaces).live.get(&id)?.upgrade()
    }
}

impl AccessHints for Hub {
    fn access_changed(&self, space: SpaceId) {
        self.access_moved(space);
        if let Some(outbox) = &self.shared.outbox {
            outbox.access(space);
        }
    }

    fn user_changed(&self, user: UserId) {
        // Which connections are the user's is not kept. Each looks by itself, within seconds, when the directory's version
        // has changed; waking all of them for one would cost more than that.
        if let Some(outbox) = &self.shared.outbox {
            outbox.user(user);
        }
    }
}

impl CommitSink for Hub {
    fn committed(&self, commit: Committed) {
        if let Some(outbox) = &self.shared.outbox {
            outbox.head(commit.space, commit.head);
        }
        let Some(space) = self.find(commit.space) else { return };
        // A single connection is nearly always the writer itself, which only needs to know that the commit is its own. For
        // anyone else an entry that was not kept is read from the store.
        let alone = space.signal.receiver_count() <= 1;
        let body = if alone { Vec::new() } else { commit.visible };
        let values = body
            .iter()
            .flat_map(|(_, entry)| &entry.fields)
            .map(|field| field.value.len() + field.name.len());
        let cost = COMMIT_OVERHEAD_BYTES * (1 + body.len()) + values.sum::<usize>();
        let frame = (!alone).then(|| Arc::new(CommitFrame::new(body, space.plain_keys())));
        {
            let mut ring = lock(&space.ring);
            ring.push(commit.before, commit.head, commit.writer, frame, cost);
            if alone {
                ring.keep_last(MAX_LONE_COMMITS);
            }
        }
        let mut told = lock(&self.told);
        match told.iter_mut().find(|(held, _)| Arc::ptr_eq(held, &space)) {
            Some((_, head)) => *head = commit.head,
            None => told.push((space, commit.head)),
        }
    }

    /// One wake-up for all commits of a group: connections then find several at once, and send them in one write.
    fn group_done(&self) {
        let told = std::mem::take(&mut *lock(&self.told));
        for (space, head) in told {
            space.reached(head);
        }
    }
}

impl LiveSpace {
    /// Follows the space's signal.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Signal> {
        self.signal.subscribe()
    }

    /// From now on commits are also written in this way.
    #[must_use]
    pub fn listen_plain(self: &Arc<Self>, key: PlainKey) -> PlainListener {
        lock(&self.plain).count(key, true);
        PlainListener { space: Arc::clone(self), key }
    }

    fn plain_keys(&self) -> Arc<[PlainKey]> {
        Arc::clone(&lock(&self.plain).keys)
    }

    /// What follows `position` in the ring, without what `writer` wrote itself: at most `max` commits, and the position
    /// after them. `None` when the ring does not have all of it. It has what was committed here, without a gap: what another
    /// instance has written is not in it, nor what came before that, and a position that is not moved on by it is to be
    /// moved on by the store.
    #[must_use]
    pub fn recent(
        &self,
        position: Seq,
        writer: WriterId,
        max: usize,
    ) -> Option<(Seq, Vec<Arc<CommitFrame>>)> {
        let ring = lock(&self.ring);
        let (mut reached, mut frames) = (position, Vec::new());
        for commit in ring.after(position)?.take(max) {
            if commit.writer != writer {
                frames.push(Arc::clone(commit.payload.as_ref()?));
            }
            reached = commit.head;
        }
        Some((reached, frames))
    }
}

impl Drop for LiveSpace {
    fn drop(&mut self) {
        let Some(hub) = self.hub.upgrade() else { return };
        let mut state = lock(&hub.spaces);
        // Another connection may have joined meanwhile and put a new one in its place.
        if state.live.get(&self.id).is_some_and(|held| held.strong_count() == 0) {
            state.live.remove(&self.id);
        }
    }
}

/// A panic elsewhere cannot leave these maps half changed, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
