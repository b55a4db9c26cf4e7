//! Subscriptions to spaces that the client may not see: should it be let in while it is connected, they begin then.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use lattice_protocol::plain::{Space, Subscribe};

use crate::limits::MAX_SUBSCRIPTIONS;

/// Subscriptions that were refused since there is no such space for the client.
#[derive(Debug, Default)]
pub(super) struct PendingSubscriptions {
    refused: Vec<Subscribe>,
    /// The version of access at the last look.
    version: u64,
    /// Spaces to be looked for, since access has changed.
    due: VecDeque<Space>,
}

impl PendingSubscriptions {
    /// The version of access at the last look.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Remembers a subscription that was refused by what was read when the last look was at `version`, in the place of an
    /// earlier one to the same space. The oldest goes when there are too many.
    pub(super) fn add(&mut self, subscribe: Subscribe, version: u64) {
        self.remove(subscribe.space);
        if version != self.version {
            self.due.push_back(subscribe.space);
        }
        if self.refused.len() >= MAX_SUBSCRIPTIONS {
            self.refused.remove(0);
        }
        self.refused.push(subscribe);
    }

    /// The space is not wanted any more.
    pub(super) fn remove(&mut self, space: Space) {
        self.refused.retain(|held| held.space != space);
        self.due.retain(|held| *held != space);
    }

    /// Has all of them looked for if access has moved since the last look.
    pub(super) fn look(&mut self, version: u64) {
        if version != self.version {
            self.version = version;
            self.due = self.refused.iter().map(|held| held.space).collect();
        }
    }

    /// They are looked for again at the next occasion, whether access moves or not: this look has failed.
    pub(super) fn look_again(&mut self) {
        self.version = self.version.wrapping_sub(1);
    }

    /// The next one to be looked for.
    pub(super) fn next(&mut self) -> Option<Subscribe> {
        let space = self.due.pop_front()?;
        self.refused.iter().find(|held| held.space == space).cloned()
    }
}
