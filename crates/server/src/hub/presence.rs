//! Presence: what the clients of a space show one another while they are connected. It is kept in memory only; what clients
//! of other instances show is kept beside it ([`super::elsewhere`]).
//!
//! Whoever watches is not sent every state that there was: it is woken, and told of what differs from what it was told last.
//! So the last state wins, and a client that changes its own more often than others can read costs them nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use bytestring::ByteString;
use lattice_engine::SpaceId;
use tokio::time::Instant;

use super::{LiveSpace, lock};
use crate::bus::message::{InstanceId, Message};

/// Clients of one space that may show something at a time, on all instances: each watcher remembers what it was told of every
/// one, so memory grows with the square of it.
pub const MAX_PRESENT_CLIENTS: usize = 256;

/// What one client shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PresenceState {
    /// Its user.
    pub user: [u8; 16],
    /// What it calls itself.
    pub client_id: Option<ByteString>,
    /// Any JSON but null.
    pub state: Bytes,
}

impl PresenceState {
    /// The same for other instances.
    pub(super) fn message(&self, space: SpaceId, no: u64, version: u64) -> Message {
        let Self { user, client_id, state } = self.clone();
        Message::Presence { space, no, version, user, client_id, state }
    }
}

/// A client's slot: the instance that it is connected to, `None` for this one, and a number that is never used again there.
pub(super) type Slot = (Option<InstanceId>, u64);

/// What stands at a slot.
pub(super) struct Standing {
    pub(super) shown: Arc<PresenceState>,
    /// Counts what was shown at this slot.
    pub(super) version: u64,
}

/// What the clients of a space show.
#[derive(Default)]
pub(super) struct Registry {
    pub(super) standing: BTreeMap<Slot, Standing>,
    /// Instances that show something, and when they were last heard to do so.
    pub(super) heard: BTreeMap<InstanceId, Instant>,
    /// Others were asked what their clients show.
    pub(super) asked: bool,
}

/// A client's slot among those that show something. Dropping it shows nothing any more.
pub struct Present {
    space: Arc<LiveSpace>,
    no: u64,
    version: AtomicU64,
}

impl Present {
    /// Shows something else.
    pub fn show(&self, shown: PresenceState) {
        let version = self.version.fetch_add(1, Ordering::Relaxed) + 1;
        self.space.stands(self.no, version, shown);
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        lock(&self.space.presence).standing.remove(&(None, self.no));
        self.space.presence_changed();
        if let Some(outbox) = &self.space.shared.outbox {
            outbox.presence(self.space.id, self.no, Message::Gone(self.space.id, self.no));
        }
    }
}

/// What a watcher has been told.
#[derive(Default)]
pub struct Watched {
    told: BTreeMap<Slot, Arc<PresenceState>>,
    /// What the signal said of presence at the last look.
    seen: u64,
}

impl LiveSpace {
    /// A slot for a client that shows something; `None` when as many as may are there already.
    #[must_use]
    pub fn present(self: &Arc<Self>, shown: PresenceState) -> Option<Present> {
        let no = self.shared.next_slot.fetch_add(1, Ordering::Relaxed);
        self.stands(no, 0, shown).then(|| Present { space: Arc::clone(self), no, version: AtomicU64::new(0) })
    }

    /// A client of this instance shows something. False when there is no slot for it.
    fn stands(&self, no: u64, version: u64, shown: PresenceState) -> bool {
        let (shown, slot) = (Arc::new(shown), (None, no));
        {
            let mut registry = lock(&self.presence);
            if registry.standing.len() >= MAX_PRESENT_CLIENTS && !registry.standing.contains_key(&slot) {
                return false;
            }
            registry.standing.insert(slot, Standing { shown: Arc::clone(&shown), version });
        }
        self.presence_changed();
        if let Some(outbox) = &self.shared.outbox {
            outbox.presence(self.id, no, shown.message(self.id, no, version));
        }
        true
    }

    /// Tells a watcher what others show now, and not the same twice; without a state those who show nothing any more.
    /// `own` is the watcher's own slot.
    pub fn watch(
        &self,
        watched: &mut Watched,
        own: Option<&Present>,
        mut tell: impl FnMut(&PresenceState, Option<&[u8]>),
    ) {
        // Before the look: what changes during it is looked at again.
        watched.seen = self.signal.borrow().presence;
        let registry = lock(&self.presence);
        let others =
            registry.standing.iter().filter(|(slot, _)| own.is_none_or(|own| (None, own.no) != **slot));
        for (slot, Standing { shown, .. }) in others {
            if watched.told.get(slot).is_some_and(|told| Arc::ptr_eq(told, shown)) {
                continue;
            }
            tell(shown, Some(&shown.state));
            watched.told.insert(*slot, Arc::clone(shown));
        }
        watched.told.retain(|slot, told| {
            let shows = registry.standing.contains_key(slot);
            if !shows {
                tell(told, None);
            }
            shows
        });
    }

    pub(super) fn presence_changed(&self) {
        self.signal.send_modify(|signal| signal.presence += 1);
    }
}

impl Watched {
    /// Whether there may be something to tell, where the signal says this of presence.
    #[must_use]
    pub fn is_behind(&self, presence: u64) -> bool {
        self.seen != presence
    }
}

#[cfg(test)]
mod tests {
    use super::super::Hub;
    use super::*;

    fn shown(user: u8, state: &str) -> PresenceState {
        PresenceState { user: [user; 16], client_id: None, state: Bytes::copy_from_slice(state.as_bytes()) }
    }

    fn told(space: &LiveSpace, watched: &mut Watched, own: Option<&Present>) -> Vec<(u8, Option<String>)> {
        let mut told = Vec::new();
        space.watch(watched, own, |shown, state| {
            told.push((shown.user[0], state.map(|state| String::from_utf8_lossy(state).into_owned())));
        });
        told
    }

    #[test]
    fn watchers_are_told_what_differs() {
        let hub = Hub::new();
        let space = hub.join(SpaceId([1; 16]));
        let mut watched = Watched::default();
        assert!(!watched.is_behind(space.subscribe().borrow().presence));
        let ann = space.present(shown(1, "1")).expect("room");
        let bob = space.present(shown(2, "2")).expect("room");
        assert!(watched.is_behind(space.subscribe().borrow().presence));
        let says = |user, state: &str| (user, Some(state.to_owned()));
        assert_eq!(told(&space, &mut watched, Some(&ann)), [says(2, "2")], "not of itself");
        assert!(!watched.is_behind(space.subscribe().borrow().presence));
        bob.show(shown(2, "3"));
        bob.show(shown(2, "4"));
        assert_eq!(told(&space, &mut watched, Some(&ann)), [says(2, "4")], "the last state wins");
        assert_eq!(told(&space, &mut watched, Some(&ann)), []);
        drop(bob);
        assert_eq!(told(&space, &mut watched, Some(&ann)), [(2, None)]);
        assert_eq!(told(&space, &mut Watched::default(), None), [says(1, "1")]);
    }

    #[test]
    fn places_are_counted() {
        let hub = Hub::new();
        let space = hub.join(SpaceId([1; 16]));
        let mut places: Vec<_> =
            (0..MAX_PRESENT_CLIENTS).map(|_| space.present(shown(1, "1")).expect("room")).collect();
        assert!(space.present(shown(2, "1")).is_none());
        places.pop();
        assert!(space.present(shown(2, "1")).is_some());
    }
}
