//! The hub: which spaces have connections here, where their heads are, and what was committed recently.
//!
//! It is told of commits after they are durable, and tells connections that there is something to pull. It holds nothing
//! that the store does not hold: losing it costs time, never data.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use lattice_engine::{Ring, Seq, SpaceId, WriterId};
use lattice_protocol::Outgoing;
use lattice_protocol::native::AuditLogFrame;
use lattice_store::spaces::{CommitSink, Committed};
use tokio::sync::watch;

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
    /// The last seq that was committed here; 0 until there is one.
    pub head: Seq,
    /// The server is closing.
    pub closing: bool,
}

/// Spaces with connections on this instance.
#[derive(Default)]
pub struct Hub {
    spaces: Mutex<State>,
    /// Spaces with commits of the group that is being told, and their heads.
    told: Mutex<Vec<(Arc<LiveSpace>, Seq)>>,
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
    signal: watch::Sender<Signal>,
    ring: Mutex<Ring<Option<Arc<CommitFrame>>>>,
}

/// The entries of one commit: encoded once, when the first connection asks for them.
pub struct CommitFrame {
    body: Mutex<Body>,
}

enum Body {
    Entries(Vec<(Seq, Outgoing)>),
    Frame(Option<Bytes>),
}

impl CommitFrame {
    /// The frame with all entries of the commit; `None` when it has none that others may see.
    #[must_use]
    pub fn frame(&self) -> Option<Bytes> {
        let mut body = lock(&self.body);
        if let Body::Entries(entries) = &*body {
            let mut frame = AuditLogFrame::new();
            entries.iter().for_each(|(_, entry)| frame.push(entry));
            // The entries' values are let go: they may be slices of a much larger upload.
            *body = Body::Frame((!frame.is_empty()).then(|| frame.finish()));
        }
        match &*body {
            Body::Frame(frame) => frame.clone(),
            Body::Entries(_) => None,
        }
    }
}

impl Hub {
    /// A hub that knows no spaces yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
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
                signal: watch::Sender::new(Signal { head: 0, closing }),
                ring: Mutex::new(Ring::new(MAX_RING_BYTES, MAX_RING_COMMITS)),
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

impl CommitSink for Hub {
    fn committed(&self, commit: Committed) {
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
        let frame = (!alone).then(|| Arc::new(CommitFrame { body: Mutex::new(Body::Entries(body)) }));
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
            space.signal.send_modify(|signal| signal.head = signal.head.max(head));
        }
    }
}

impl LiveSpace {
    /// Follows the space's signal.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Signal> {
        self.signal.subscribe()
    }

    /// What follows `position` in the ring, without what `writer` wrote itself: at most `max` commits, and the position
    /// after them. `None` when the ring does not have all of it.
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
