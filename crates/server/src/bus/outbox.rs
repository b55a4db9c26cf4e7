//! What waits to be told to other instances, the newest of each alone.
//!
//! Everything here is a hint, so what finds no room is left out: it costs the others the time to their next look, never
//! data.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lattice_engine::{Seq, SpaceId};
use lattice_store::accounts::UserId;
use tokio::sync::Notify;

use super::message::Message;

/// Spaces whose heads wait.
const MAX_WAITING_HEADS: usize = 65_536;
/// Spaces and users whose rights have changed, each.
const MAX_WAITING_CHANGES: usize = 4_096;
/// Clients that show something else; each may take 4 KiB.
const MAX_WAITING_PRESENCE: usize = 2_048;
/// Spaces that are asked for.
const MAX_WAITING_ASKS: usize = 16_384;

/// What waits to be told.
#[derive(Default)]
pub struct Outbox {
    waiting: Mutex<Unsent>,
    filled: Notify,
}

#[derive(Default)]
struct Unsent {
    heads: HashMap<SpaceId, Seq>,
    access: HashSet<SpaceId>,
    users: HashSet<UserId>,
    /// [`Message::Presence`] or [`Message::Gone`], by space and slot.
    presence: HashMap<(SpaceId, u64), Message>,
    asks: HashSet<SpaceId>,
}

impl Outbox {
    /// A space has reached a seq, durably.
    pub fn head(&self, space: SpaceId, seq: Seq) {
        let mut waiting = self.lock();
        if let Some(held) = waiting.heads.get_mut(&space) {
            *held = seq.max(*held);
        } else if waiting.heads.len() < MAX_WAITING_HEADS {
            waiting.heads.insert(space, seq);
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// What anybody may do in a space has changed, durably.
    pub fn access(&self, space: SpaceId) {
        add(&mut self.lock().access, space, MAX_WAITING_CHANGES);
        self.filled.notify_one();
    }

    /// What a user may do has changed, durably.
    pub fn user(&self, user: UserId) {
        add(&mut self.lock().users, user, MAX_WAITING_CHANGES);
        self.filled.notify_one();
    }

    /// A client at this slot shows something else, or nothing any more.
    pub fn presence(&self, space: SpaceId, no: u64, message: Message) {
        let mut waiting = self.lock();
        if waiting.presence.len() < MAX_WAITING_PRESENCE || waiting.presence.contains_key(&(space, no)) {
            waiting.presence.insert((space, no), message);
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// Others are asked what their clients show in a space.
    pub fn ask(&self, space: SpaceId) {
        add(&mut self.lock().asks, space, MAX_WAITING_ASKS);
        self.filled.notify_one();
    }

    /// Waits until there may be something.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Everything that waits.
    pub(crate) fn take(&self) -> Vec<Message> {
        let Unsent { heads, access, users, presence, asks } = std::mem::take(&mut *self.lock());
        let heads = heads.into_iter().map(|(space, seq)| Message::Head(space, seq));
        // Rights first: whoever hears of a head may look for it at once.
        access
            .into_iter()
            .map(Message::Access)
            .chain(users.into_iter().map(Message::User))
            .chain(heads)
            .chain(presence.into_values())
            .chain(asks.into_iter().map(Message::Ask))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Unsent> {
        // Nothing panics while it holds the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add<T: Eq + std::hash::Hash>(set: &mut HashSet<T>, item: T, max: usize) {
    if set.len() < max {
        set.insert(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(no: u32) -> SpaceId {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&no.to_be_bytes());
        SpaceId(id)
    }

    #[test]
    fn the_newest_of_each_is_kept() {
        let outbox = Outbox::default();
        for seq in [3, 7, 5] {
            outbox.head(space(1), seq);
        }
        outbox.access(space(1));
        outbox.access(space(1));
        outbox.presence(space(1), 1, Message::Alive);
        outbox.presence(space(1), 1, Message::Gone(space(1), 1));
        let taken = outbox.take();
        assert_eq!(taken.len(), 3, "{taken:?}");
        assert_eq!(taken[0], Message::Access(space(1)));
        assert!(taken.contains(&Message::Head(space(1), 7)));
        assert!(taken.contains(&Message::Gone(space(1), 1)));
        assert_eq!(outbox.take(), []);
    }

    #[test]
    fn a_full_outbox_keeps_what_it_has() {
        let outbox = Outbox::default();
        for no in 0..MAX_WAITING_HEADS as u32 + 10 {
            outbox.head(space(no), 1);
            outbox.presence(space(0), u64::from(no), Message::Gone(space(0), u64::from(no)));
        }
        outbox.head(space(0), 2);
        let taken = outbox.take();
        assert_eq!(taken.len(), MAX_WAITING_HEADS + MAX_WAITING_PRESENCE);
        assert!(taken.contains(&Message::Head(space(0), 2)), "a space that waits still moves on");
    }
}
