//! What the hub learns of other instances: heads, changes of rights, and what their clients show.
//!
//! Of presence, whatever is lost is put right by rosters: each instance tells now and then which of its clients show
//! something. What is not in one is gone, what is missing is asked for, and an instance that tells none any more is gone
//! with all its clients.

use std::sync::Arc;
use std::time::Duration;

use lattice_engine::{Seq, SpaceId};
use tokio::time::Instant;

use super::presence::{MAX_PRESENT_CLIENTS, PresenceState, Registry, Standing};
use super::{Hub, LiveSpace, lock};
use crate::bus::message::{InstanceId, Message};

/// How long what clients of an instance show is kept after it was last heard of: three rosters.
pub(crate) const PRESENCE_EXPIRY: Duration = Duration::from_secs(17);

impl Hub {
    /// A space has reached a seq on another instance. Connections that are behind pull it from the store.
    pub(crate) fn head_moved(&self, space: SpaceId, head: Seq) {
        if let Some(space) = self.find(space) {
            space.reached(head);
        }
    }

    /// What anybody may do in a space has changed, and the directory's version says so by now.
    pub(crate) fn access_moved(&self, space: SpaceId) {
        if let Some(space) = self.find(space) {
            space.signal.send_modify(|signal| signal.access += 1);
        }
    }

    /// Spaces that have connections here.
    pub(crate) fn live(&self) -> Vec<Arc<LiveSpace>> {
        lock(&self.spaces).live.values().filter_map(std::sync::Weak::upgrade).collect()
    }

    /// Another instance tells of its clients, or asks for ours.
    pub(crate) fn presence_heard(&self, from: InstanceId, message: Message, now: Instant) {
        let space = match &message {
            Message::Presence { space, .. }
            | Message::Gone(space, _)
            | Message::Roster(space, _)
            | Message::Ask(space) => *space,
            _ => return,
        };
        let Some(space) = self.find(space) else { return };
        match message {
            Message::Presence { no, version, user, client_id, state, .. } => {
                space.shown_elsewhere((from, no), version, PresenceState { user, client_id, state }, now);
            }
            Message::Gone(_, no) => space.gone_elsewhere((from, no)),
            Message::Roster(_, states) => space.roster_heard(from, &states, now),
            Message::Ask(_) => space.tell_again(),
            _ => {}
        }
    }

    /// Forgets what clients of instances show that are not heard of any more.
    pub(crate) fn forget_silent_instances(&self, now: Instant) {
        for space in self.live() {
            space.forget_silent(now);
        }
    }

    /// Asks once more for what others show, where it is of interest.
    pub(crate) fn ask_again(&self) {
        let Some(outbox) = &self.shared.outbox else { return };
        for space in self.live().iter().filter(|space| lock(&space.presence).asked) {
            outbox.ask(space.id);
        }
    }

    /// What the clients of this instance show.
    pub(crate) fn rosters(&self) -> Vec<Message> {
        self.live().iter().filter_map(|space| space.roster()).collect()
    }
}

impl LiveSpace {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> SpaceId {
        self.id
    }

    /// The space has reached this seq at least.
    pub(crate) fn reached(&self, head: Seq) {
        self.signal.send_if_modified(|signal| {
            let moves = head > signal.head;
            signal.head = signal.head.max(head);
            moves
        });
    }

    /// A snapshot that began after the signal said `known` ends at `head`. If that is less, what was said is not true, as after
    /// a database was set back, and whoever believes it would look for the rest again and again.
    pub(crate) fn found(&self, known: Seq, head: Seq) {
        if head < known {
            self.signal.send_if_modified(|signal| {
                if signal.head == known {
                    signal.head = head;
                }
                false
            });
        }
    }

    /// A client wants to know what others show: so do those that are connected elsewhere.
    pub(crate) fn look_around(&self) {
        let Some(outbox) = &self.shared.outbox else { return };
        if !std::mem::replace(&mut lock(&self.presence).asked, true) {
            outbox.ask(self.id);
        }
    }

    fn shown_elsewhere(
        &self,
        (from, no): (InstanceId, u64),
        version: u64,
        shown: PresenceState,
        now: Instant,
    ) {
        let mut registry = lock(&self.presence);
        let slot = (Some(from), no);
        let room = registry.standing.len() < MAX_PRESENT_CLIENTS;
        match registry.standing.get_mut(&slot) {
            // An answer to somebody else's question.
            Some(held) if held.version >= version => return,
            Some(held) => *held = Standing { shown: Arc::new(shown), version },
            None if room => {
                registry.heard.entry(from).or_insert(now);
                registry.standing.insert(slot, Standing { shown: Arc::new(shown), version });
            }
            None => return,
        }
        drop(registry);
        self.presence_changed();
    }

    fn gone_elsewhere(&self, (from, no): (InstanceId, u64)) {
        if lock(&self.presence).standing.remove(&(Some(from), no)).is_some() {
            self.presence_changed();
        }
    }

    /// What another instance's clients show, by slot and version.
    fn roster_heard(&self, from: InstanceId, states: &[(u64, u64)], now: Instant) {
        let (gone, missing) = {
            let mut registry = lock(&self.presence);
            registry.heard.insert(from, now);
            let before = registry.standing.len();
            registry.standing.retain(|(instance, no), _| {
                *instance != Some(from) || states.iter().any(|(standing, _)| standing == no)
            });
            let knows = |(no, version): &(u64, u64)| {
                registry.standing.get(&(Some(from), *no)).is_some_and(|held| held.version >= *version)
            };
            let room = registry.standing.len() < MAX_PRESENT_CLIENTS;
            (registry.standing.len() < before, room && registry.asked && !states.iter().all(knows))
        };
        if gone {
            self.presence_changed();
        }
        if let Some(outbox) = self.shared.outbox.as_ref().filter(|_| missing) {
            outbox.ask(self.id);
        }
    }

    fn forget_silent(&self, now: Instant) {
        let gone = {
            let mut registry = lock(&self.presence);
            let Registry { standing, heard, .. } = &mut *registry;
            heard.retain(|_, at| now.duration_since(*at) <= PRESENCE_EXPIRY);
            let before = standing.len();
            standing.retain(|(instance, _), _| instance.is_none_or(|instance| heard.contains_key(&instance)));
            standing.len() < before
        };
        if gone {
            self.presence_changed();
        }
    }

    fn tell_again(&self) {
        let Some(outbox) = &self.shared.outbox else { return };
        let registry = lock(&self.presence);
        for ((instance, no), standing) in &registry.standing {
            if instance.is_none() {
                outbox.presence(self.id, *no, standing.shown.message(self.id, *no, standing.version));
            }
        }
    }

    fn roster(&self) -> Option<Message> {
        let registry = lock(&self.presence);
        let own = registry.standing.iter().filter(|((instance, _), _)| instance.is_none());
        let states: Vec<_> = own.map(|((_, no), standing)| (*no, standing.version)).collect();
        (!states.is_empty()).then_some(Message::Roster(self.id, states))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::{Present, Watched};
    use super::*;
    use crate::bus::Outbox;

    const SPACE: SpaceId = SpaceId([1; 16]);

    fn shown(user: u8, state: &str) -> PresenceState {
        PresenceState { user: [user; 16], client_id: None, state: Bytes::copy_from_slice(state.as_bytes()) }
    }

    /// An instance: its hub, what it tells, and its id.
    struct Instance {
        hub: Arc<Hub>,
        outbox: Arc<Outbox>,
        id: InstanceId,
        space: Arc<LiveSpace>,
        watched: Watched,
    }

    impl Instance {
        fn new(id: u8) -> Self {
            let outbox = Arc::new(Outbox::default());
            let hub = Hub::with_outbox(Arc::clone(&outbox));
            let space = hub.join(SPACE);
            space.look_around();
            Self { hub, outbox, id: InstanceId([id; 16]), space, watched: Watched::default() }
        }

        fn tell(&self, other: &Self, messages: Vec<Message>) {
            messages
                .into_iter()
                .for_each(|message| other.hub.presence_heard(self.id, message, Instant::now()));
        }

        /// Everything that waits is told.
        fn talk(&self, other: &Self) {
            self.tell(other, self.outbox.take());
        }

        fn present(&self, user: u8, state: &str) -> Present {
            self.space.present(shown(user, state)).expect("room")
        }

        fn sees(&mut self) -> Vec<(u8, Option<String>)> {
            let mut told = Vec::new();
            self.space.watch(&mut self.watched, None, |shown, state| {
                told.push((shown.user[0], state.map(|state| String::from_utf8_lossy(state).into_owned())));
            });
            told
        }
    }

    fn says(user: u8, state: &str) -> (u8, Option<String>) {
        (user, Some(state.to_owned()))
    }

    #[test]
    fn clients_of_other_instances_are_seen() {
        let (one, mut other) = (Instance::new(1), Instance::new(2));
        let ann = one.present(1, "1");
        one.talk(&other);
        assert_eq!(other.sees(), [says(1, "1")]);
        ann.show(shown(1, "2"));
        ann.show(shown(1, "3"));
        one.talk(&other);
        one.tell(&other, one.hub.rosters());
        assert_eq!(other.sees(), [says(1, "3")]);
        other.outbox.take();
        one.tell(&other, one.hub.rosters());
        assert_eq!(other.outbox.take(), [], "nothing is missing");
        drop(ann);
        one.talk(&other);
        assert_eq!(other.sees(), [(1, None)]);
    }

    #[test]
    fn who_comes_later_asks() {
        let one = Instance::new(1);
        let _ann = one.present(1, "1");
        one.outbox.take();
        let mut later = Instance::new(2);
        later.talk(&one);
        one.talk(&later);
        assert_eq!(later.sees(), [says(1, "1")]);
    }

    #[test]
    fn rosters_put_right_what_was_lost() {
        let (one, mut other) = (Instance::new(1), Instance::new(2));
        let (ann, bob) = (one.present(1, "1"), one.present(2, "1"));
        one.talk(&other);
        other.sees();
        ann.show(shown(1, "2"));
        drop(bob);
        one.outbox.take();
        one.tell(&other, one.hub.rosters());
        assert_eq!(other.sees(), [(2, None)], "what is gone is not in it");
        other.talk(&one);
        one.talk(&other);
        assert_eq!(other.sees(), [says(1, "2")], "what is old is asked for");
    }

    #[test]
    fn a_dead_instance_is_forgotten() {
        let (one, mut other) = (Instance::new(1), Instance::new(2));
        let _ann = one.present(1, "1");
        one.talk(&other);
        let later = Instant::now() + PRESENCE_EXPIRY;
        for message in one.hub.rosters() {
            other.hub.presence_heard(one.id, message, later);
        }
        other.hub.forget_silent_instances(later + PRESENCE_EXPIRY);
        assert_eq!(other.sees(), [says(1, "1")], "it still lives");
        other.hub.forget_silent_instances(later + PRESENCE_EXPIRY + Duration::from_millis(1));
        assert_eq!(other.sees(), [(1, None)]);
    }

    #[test]
    fn places_are_counted_together() {
        let (one, other) = (Instance::new(1), Instance::new(2));
        let places: Vec<_> = (0..MAX_PRESENT_CLIENTS).map(|_| one.present(1, "1")).collect();
        one.talk(&other);
        assert!(other.space.present(shown(2, "1")).is_none());
        drop(places);
        one.talk(&other);
        assert!(other.space.present(shown(2, "1")).is_some());
    }

    #[test]
    fn a_head_that_is_not_there_is_forgotten() {
        let hub = Hub::new();
        let space = hub.join(SPACE);
        let signal = space.subscribe();
        hub.head_moved(SPACE, 9);
        hub.head_moved(SPACE, 7);
        assert_eq!(signal.borrow().head, 9);
        space.found(9, 9);
        assert_eq!(signal.borrow().head, 9);
        space.found(8, 5);
        assert_eq!(signal.borrow().head, 9, "told since");
        space.found(9, 5);
        assert_eq!(signal.borrow().head, 5);
    }
}
