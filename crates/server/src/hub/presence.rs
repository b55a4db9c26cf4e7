//! Presence: what the clients of a space show one another while they are connected. It is kept in memory only, and by this
//! instance alone.
//!
//! Whoever watches is not sent every state that there was: it is woken, and told of what differs from what it was told last.
//! So the last state wins, and a client that changes its own more often than others can read costs them nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use super::{LiveSpace, lock};

/// Clients of one space that may show something at a time: each watcher remembers what it was told of every one, so memory
/// grows with the square of it.
const MAX_PRESENT_CLIENTS: usize = 256;

/// What one client shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// Its user.
    pub user: [u8; 16],
    /// What it calls itself.
    pub client_id: Option<ByteString>,
    /// Any JSON but null.
    pub state: Bytes,
}

/// What the clients of a space show, each under a number that is never used again.
#[derive(Default)]
pub(super) struct Registry {
    next: u64,
    shown: BTreeMap<u64, Arc<Shown>>,
}

/// A client's place among those that show something. Dropping it shows nothing any more.
pub struct Present {
    space: Arc<LiveSpace>,
    no: u64,
}

impl Present {
    /// Shows something else.
    pub fn show(&self, shown: Shown) {
        lock(&self.space.presence).shown.insert(self.no, Arc::new(shown));
        self.space.presence_changed();
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        lock(&self.space.presence).shown.remove(&self.no);
        self.space.presence_changed();
    }
}

/// What a watcher has been told.
#[derive(Default)]
pub struct Watched {
    told: BTreeMap<u64, Arc<Shown>>,
    /// What the signal said of presence at the last look.
    seen: u64,
}

impl LiveSpace {
    /// A place for a client that shows something; `None` when as many as may are there already.
    #[must_use]
    pub fn present(self: &Arc<Self>, shown: Shown) -> Option<Present> {
        let no = {
            let mut registry = lock(&self.presence);
            if registry.shown.len() >= MAX_PRESENT_CLIENTS {
                return None;
            }
            let no = registry.next;
            registry.next += 1;
            registry.shown.insert(no, Arc::new(shown));
            no
        };
        self.presence_changed();
        Some(Present { space: Arc::clone(self), no })
    }

    /// Tells a watcher what others show now, and not the same twice; without a state those who show nothing any more.
    /// `own` is the watcher's own place.
    pub fn watch(
        &self,
        watched: &mut Watched,
        own: Option<&Present>,
        mut tell: impl FnMut(&Shown, Option<&[u8]>),
    ) {
        // Before the look: what changes during it is looked at again.
        watched.seen = self.signal.borrow().presence;
        let registry = lock(&self.presence);
        let others = registry.shown.iter().filter(|(no, _)| own.is_none_or(|own| own.no != **no));
        for (no, shown) in others {
            if watched.told.get(no).is_some_and(|told| Arc::ptr_eq(told, shown)) {
                continue;
            }
            tell(shown, Some(&shown.state));
            watched.told.insert(*no, Arc::clone(shown));
        }
        watched.told.retain(|no, told| {
            let shows = registry.shown.contains_key(no);
            if !shows {
                tell(told, None);
            }
            shows
        });
    }

    fn presence_changed(&self) {
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
    use lattice_engine::SpaceId;

    use super::super::Hub;
    use super::*;

    fn shown(user: u8, state: &str) -> Shown {
        Shown { user: [user; 16], client_id: None, state: Bytes::copy_from_slice(state.as_bytes()) }
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
