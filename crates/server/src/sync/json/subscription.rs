//! One space of a connection.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use lattice_engine::{Outcome, Role, Verdict};
use lattice_protocol::Incoming;
use lattice_protocol::plain::{AckId, Format, Space, UploadId};
use tokio::sync::watch;
use tokio_util::sync::ReusableBoxFuture;

use crate::hub::{PlainKey, PlainListener, Present, Signal, Watched};
use crate::sync::seat::Seat;

/// A space of a connection.
pub(super) struct Subscription {
    /// What the client calls the space.
    pub(super) name: Space,
    pub(super) seat: Seat,
    /// The client uploads to the space and has not asked for what is in it.
    pub(super) muted: bool,
    /// The client was told that it has the state.
    pub(super) complete: bool,
    /// What the client was told that it is in the space.
    pub(super) told_role: Role,
    /// What the signal said of access at the last look.
    pub(super) access_seen: u64,
    /// Uploads that are not acknowledged, oldest first.
    pub(super) awaited: VecDeque<Awaited>,
    pub(super) listener: Option<PlainListener>,
    /// What the client shows the others.
    pub(super) present: Option<Present>,
    /// What it was told of what the others show.
    pub(super) watched: Watched,
    changed: ReusableBoxFuture<'static, watch::Receiver<Signal>>,
}

/// An upload that is not acknowledged.
pub(in crate::sync) struct Awaited {
    pub(in crate::sync) id: Option<UploadId>,
    /// What each change is acknowledged by, and why it was refused when it was read.
    pub(in crate::sync) changes: Vec<(AckId, Option<String>)>,
    /// What became of each, once that is durable; and the verdict of the stream that must be answered before.
    pub(super) outcome: Option<(Vec<Verdict>, u64)>,
}

impl Awaited {
    pub(in crate::sync) fn new(id: Option<UploadId>, incoming: &[Incoming]) -> Self {
        let change = |incoming: &Incoming| match incoming {
            Incoming::Change(change) => (AckId::Uuid(change.id, change.id_spelling), None),
            Incoming::Refused(refused) => {
                let id = match (&refused.id, &refused.ack) {
                    (Some((id, spelling)), _) => AckId::Uuid(*id, *spelling),
                    (None, text) => AckId::Text(text.clone().unwrap_or_default()),
                };
                (id, Some(refused.detail.clone()))
            }
        };
        Self { id, changes: incoming.iter().map(change).collect(), outcome: None }
    }
}

async fn changed(mut signal: watch::Receiver<Signal>) -> watch::Receiver<Signal> {
    // The space lives as long as the seat that this belongs to.
    let _ = signal.changed().await;
    signal
}

impl Subscription {
    pub(super) fn new(name: Space, seat: Seat, muted: bool, format: Format) -> Self {
        let signal = seat.live.subscribe();
        let access_seen = seat.signal.borrow().access;
        if !muted {
            seat.live.look_around();
        }
        let mut subscription = Self {
            name,
            access_seen,
            told_role: seat.role,
            seat,
            muted,
            complete: false,
            awaited: VecDeque::new(),
            listener: None,
            present: None,
            watched: Watched::default(),
            changed: ReusableBoxFuture::new(changed(signal)),
        };
        subscription.listen(format);
        subscription
    }

    /// Lets commits be written in the client's format if its view takes them as they were accepted, and only then.
    pub(super) fn listen(&mut self, format: Format) {
        let listens = !self.muted && **self.seat.stream.view() == lattice_engine::View::everything();
        let key = PlainKey { format, space: self.name };
        self.listener = listens.then(|| self.seat.live.listen_plain(key));
    }

    /// Ready when the space's signal has changed.
    pub(super) fn poll_signal(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let signal = std::task::ready!(self.changed.poll(cx));
        self.changed.set(changed(signal));
        Poll::Ready(())
    }

    /// Takes what became of the oldest upload without an outcome.
    pub(super) fn answered(&mut self, outcomes: Vec<Outcome>) {
        let verdicts = outcomes.iter().map(|outcome| outcome.verdict).collect();
        // Acks are sent for whole uploads, once the stream has answered everything that was queued for them.
        let _ = self.seat.stream.outcomes(outcomes);
        let queued = self.seat.stream.queued();
        if let Some(awaited) = self.awaited.iter_mut().find(|awaited| awaited.outcome.is_none()) {
            awaited.outcome = Some((verdicts, queued));
        }
    }

    /// Whether nothing that the client sent is unanswered.
    pub(super) fn is_settled(&self) -> bool {
        self.awaited.is_empty() && self.seat.is_settled()
    }

    /// Whether there may be something to send.
    pub(super) fn is_due(&mut self) -> bool {
        let answered = self.seat.stream.answered();
        let acks = self.awaited.front().and_then(|awaited| awaited.outcome.as_ref());
        acks.is_some_and(|(_, queued)| *queued <= answered)
            || self.seat.role != self.told_role
            || self.wants_state()
            || self.wants_presence()
    }

    /// Whether there may be changes or current values to send.
    pub(super) fn wants_state(&mut self) -> bool {
        let head = self.seat.signal.borrow_and_update().head;
        match self.muted {
            true => self.seat.stream.pending() > 0,
            false => self.seat.stream.wants_pull(head) || !self.complete,
        }
    }

    /// Whether there may be something to tell of what others show.
    pub(super) fn wants_presence(&self) -> bool {
        !self.muted && self.watched.is_behind(self.seat.signal.borrow().presence)
    }

    /// Whether the client has a use for it, though it has not asked for what is in the space.
    pub(super) fn is_in_use(&self) -> bool {
        !self.muted || self.present.is_some() || !self.is_settled()
    }
}
