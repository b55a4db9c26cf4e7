//! One space of a JSON connection.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use lattice_engine::{Outcome, Role};
use lattice_protocol::plain::{Filter, Space, UploadId};

use super::Slot;
use crate::answer::{AwaitedAck, note_outcome};
use crate::space::SpaceSession;

/// A space of a connection.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) slot: Slot,
    /// What the client calls the space.
    pub(super) name: Space,
    pub(super) space: Box<SpaceSession>,
    /// Which rows the client asked for last.
    pub(super) filter: Filter,
    /// The client uploads to the space and has not asked for what is in it.
    pub(super) muted: bool,
    /// The client was told that it has the state.
    pub(super) complete: bool,
    /// What the client was told that it is in the space.
    pub(super) told_role: Role,
    /// Uploads that are not acknowledged, oldest first.
    pub(super) awaited: VecDeque<AwaitedAck>,
    /// The client shows something to the others.
    pub(super) present: bool,
    /// Recent commits do not reach from where the stream is: the store is asked next.
    pub(super) reads_store: bool,
    /// Access could not be looked at. Nothing is read until it is time to try again.
    pub(super) stalled: bool,
}

impl Subscription {
    pub(super) fn new(slot: Slot, name: Space, space: Box<SpaceSession>, muted: bool) -> Self {
        Self {
            slot,
            name,
            told_role: space.role(),
            space,
            filter: Filter::default(),
            muted,
            complete: false,
            awaited: VecDeque::new(),
            present: false,
            reads_store: false,
            stalled: false,
        }
    }

    /// Whether commits are taken as they are sent to everybody: what is shown is everything.
    pub(super) fn listens(&self) -> bool {
        !self.muted && *self.space.view() == lattice_engine::View::everything()
    }

    /// Takes what became of the oldest upload without an outcome.
    pub(super) fn stored(&mut self, outcomes: Vec<Outcome>) {
        let verdicts = outcomes.iter().map(|outcome| outcome.verdict).collect();
        // Acks are sent for whole uploads, once the stream has answered everything that was queued for them.
        let _ = self.space.stored(outcomes);
        note_outcome(&mut self.awaited, verdicts, self.space.stream.queued());
    }

    /// What the client calls the oldest upload that has no outcome.
    pub(super) fn oldest_unanswered(&self) -> Option<UploadId> {
        self.awaited.iter().find(|awaited| awaited.outcome.is_none())?.id.clone()
    }

    /// Whether nothing that the client sent is unanswered.
    pub(super) fn is_settled(&self) -> bool {
        self.awaited.is_empty() && self.space.is_settled()
    }

    /// Whether there may be something to send.
    pub(super) fn is_due(&self) -> bool {
        !self.stalled
            && (self.has_acks()
                || self.space.role() != self.told_role
                || self.wants_state()
                || self.wants_presence())
    }

    /// Whether the oldest upload may be acknowledged.
    pub(super) fn has_acks(&self) -> bool {
        let answered = self.space.stream.answered();
        let oldest = self.awaited.front().and_then(|awaited| awaited.outcome.as_ref());
        oldest.is_some_and(|(_, queued)| *queued <= answered)
    }

    /// Whether there may be changes or current values to send.
    pub(super) fn wants_state(&self) -> bool {
        match self.muted {
            true => self.space.pending() > 0,
            false => self.space.stream.wants_pull(self.space.last_hint().head) || !self.complete,
        }
    }

    /// Whether there may be something to tell of what others show: after the state of the space, which it belongs to.
    pub(super) fn wants_presence(&self) -> bool {
        !self.muted && self.complete && self.space.last_hint().presence
    }

    /// Whether the client has a use for it, though it has not asked for what is in the space.
    pub(super) fn is_in_use(&self) -> bool {
        !self.muted || self.present || !self.is_settled()
    }
}
