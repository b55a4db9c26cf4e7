//! The native dialect on a WebSocket: one space.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use lattice_engine::{Delivered, Deliveries, Outcome, RowRef, Seq, WriterId};
use lattice_protocol::native::{AuditLogFrame, ClientFrame, encode_floor_reset};
use lattice_protocol::{Code, EntryId, FrameError, Incoming};

use crate::answer::{ack_frame, native_frames, refusal_frame, refusals_of};
use crate::limits::DeliveryLimits;
use crate::open::LostCheckpoint;
use crate::refusal::{Close, Refusal, UploadFailure};
use crate::request::{Answer, Hint, Request, UploadTerms};
use crate::space::{Advance, SpaceSession};

/// What the driver of a native session is to do next.
#[derive(Debug)]
pub enum NativeEffect {
    /// Sends a frame.
    Send(Bytes),
    /// Asks the store, and hands the answer to [`NativeSession::answer`].
    Store(Request),
    /// Looks for commits that are kept as they are sent to everybody, those of this session's writer left out, and hands them to
    /// [`NativeSession::recent`].
    Recent {
        /// After this seq.
        after: Seq,
    },
    /// Hands changes to the store, after [`NativeSession::uploading`], and what becomes of them to
    /// [`NativeSession::uploaded`], in order.
    Upload {
        /// The changes.
        incoming: Vec<Incoming>,
        /// Size of the frame.
        bytes: usize,
    },
    /// These are the rows that the client cannot store now, whatever is sent again.
    Unstorable(Vec<RowRef>),
    /// A frame was refused, and the client has been told: for whoever keeps a log.
    Refused(Code),
    /// Goes on with a [`crate::JsonSession`]: the client's first frame is of the JSON dialect.
    SwitchToJson,
    /// Closes the connection.
    Close(Close),
}

/// A frame of entries, and what is in it.
pub type NativeFrame = (Bytes, Arc<[Delivered]>);

/// A connection that speaks the native dialect.
#[derive(Debug)]
pub struct NativeSession {
    space: Box<SpaceSession>,
    limits: DeliveryLimits,
    /// What its token permits; that never changes on a connection of this dialect.
    can_write: bool,
    /// What the client was sent and has not acknowledged yet.
    deliveries: Deliveries,
    /// Microseconds since 1970, as it was told last.
    now_us: i64,
    out: VecDeque<NativeEffect>,
    /// No data frame has come yet.
    first: bool,
    /// Recent commits do not reach from where the stream is: the store is asked next.
    reads_store: bool,
    /// Access could not be looked at. Nothing is read until it is time to try again.
    stalled: bool,
    closing: bool,
    /// How the connection ends once what came before is answered: an upload was refused as a whole. Nothing is read any more.
    ending: Option<Close>,
}

impl NativeSession {
    /// A session of a space that has been opened. `lost_checkpoint` is one that could not be resolved.
    #[must_use]
    pub fn new(space: Box<SpaceSession>, lost_checkpoint: Option<&LostCheckpoint>, can_write: bool) -> Self {
        let mut session = Self {
            space,
            limits: DeliveryLimits::default(),
            can_write,
            deliveries: Deliveries::default(),
            now_us: 0,
            out: VecDeque::new(),
            first: true,
            reads_store: false,
            stalled: false,
            closing: false,
            ending: None,
        };
        if let Some(lost) = lost_checkpoint {
            session.send(encode_floor_reset(
                lost.newest_accepted.as_deref(),
                "the checkpoint is unknown here; full state follows",
            ));
        }
        session
    }

    /// Changes how much is read and sent at once.
    pub fn set_limits(&mut self, limits: DeliveryLimits) {
        self.limits = limits;
    }

    /// Its space.
    #[must_use]
    pub fn space(&self) -> &SpaceSession {
        &self.space
    }

    /// The session's own id as a writer.
    #[must_use]
    pub fn writer(&self) -> WriterId {
        self.space.stream.writer()
    }

    /// Tells the time, in microseconds since 1970: what is due is sent with the next effects. A driver tells it now and then.
    pub fn set_time(&mut self, now_us: i64) {
        self.now_us = now_us;
    }

    /// Takes what the driver knows of the space.
    pub fn hint(&mut self, hint: Hint) {
        self.space.hint(hint);
    }

    /// What anybody may do in the space has changed, or it is time to look whether it has.
    pub fn look_at_access(&mut self) {
        self.stalled = false;
        if self.space.is_behind() {
            self.space.look();
        }
    }

    /// The server is closing: what came is answered, nothing more is read.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// Whether frames are taken from the client.
    #[must_use]
    pub fn takes_frames(&self) -> bool {
        !self.closing && self.ending.is_none() && self.space.has_room()
    }

    /// Whether a frame that was taken may still be handed to the store.
    #[must_use]
    pub fn takes_uploads(&self) -> bool {
        self.ending.is_none()
    }

    /// Takes a frame of `bytes` bytes.
    pub fn frame(&mut self, frame: Result<ClientFrame, FrameError>, bytes: usize) {
        let first = core::mem::replace(&mut self.first, false);
        match frame {
            Ok(ClientFrame::Changes(incoming)) if incoming.is_empty() => {}
            Ok(ClientFrame::Changes(incoming)) => {
                self.out.push_back(NativeEffect::Upload { incoming, bytes });
            }
            Ok(ClientFrame::Ack { ids }) => self.acked(&ids),
            Ok(ClientFrame::Typed) if first => self.out.push_back(NativeEffect::SwitchToJson),
            Ok(_) => self.refuse(Code::UnknownFrame, "a frame here holds auditLog or ack"),
            Err(error) => self.refuse(error.code, &error.detail),
        }
    }

    /// The changes of [`NativeEffect::Upload`] are handed to the store, on these terms: before the next frame is handed in.
    #[must_use]
    pub fn uploading(&mut self, bytes: usize) -> UploadTerms {
        let applied = Some(self.deliveries.applied(self.space.stream.cursor()));
        UploadTerms { read_only: !self.can_write, applied, ..self.space.uploading(bytes) }
    }

    /// What became of the oldest upload that was handed over.
    pub fn uploaded(&mut self, result: Result<Vec<Outcome>, UploadFailure>) {
        // A later upload must not overtake one that was not stored: the client would send it again as the newer change, and
        // believe the other one. So nothing that follows is acknowledged, and the client sends all of it again.
        match result {
            Ok(_) if self.ending.is_some() => self.space.answered(),
            Ok(outcomes) => {
                refusals_of(&outcomes).for_each(|frame| self.send(frame));
                let acks = self.space.stored(outcomes);
                ack_frame(acks).into_iter().for_each(|frame| self.send(frame));
            }
            Err(failure) => {
                self.space.answered();
                let close = Close::Refused(failure.into());
                match failure {
                    // What was stored before it is acknowledged first: else a client that always sends more than fits would
                    // never know.
                    UploadFailure::OverQuota => drop(self.ending.get_or_insert(close)),
                    UploadFailure::NoAccess | UploadFailure::Store => self.close_now(close),
                }
            }
        }
    }

    /// Takes the answer to [`NativeEffect::Store`].
    pub fn answer(&mut self, answer: Answer) {
        let (reads, before) = (self.space.reads(), self.space.stream.cursor());
        match self.space.answer(answer) {
            Ok(Advance::Waits | Advance::Looked) => {}
            Ok(Advance::Delivered(delivery, _)) => {
                self.reads_store = false;
                let Self { out, deliveries, now_us, .. } = self;
                native_frames(delivery, &self.limits, |frame, inside| {
                    out.push_back(NativeEffect::Send(frame));
                    deliveries.sent(before, inside.into(), *now_us);
                });
            }
            Err(Refusal::Store) if !reads => self.stalled = true,
            Err(refusal) => self.close_now(Close::Refused(refusal)),
        }
    }

    /// Takes what was found for [`NativeEffect::Recent`]: up to which seq, and the frames, at most
    /// [`crate::MAX_COMMITS_PER_SEND`] commits; `None` when not all that follows is kept. `version` is that of access, read
    /// after the frames were looked for.
    pub fn recent(&mut self, found: Option<(Seq, Vec<NativeFrame>)>, version: u64) {
        let before = self.space.stream.cursor();
        let (reached, frames) = found.unzip();
        if self.space.take_recent(reached, version) {
            for (frame, inside) in frames.into_iter().flatten() {
                self.send(frame);
                self.deliveries.sent(before, inside, self.now_us);
            }
        } else {
            self.reads_store = !self.space.must_look();
        }
    }

    /// What is to be done next. `drained` says that everything sent so far has left: nothing is read for a client that does not
    /// take what it is sent.
    pub fn next_effect(&mut self, drained: bool) -> Option<NativeEffect> {
        if let Some(effect) = self.out.pop_front() {
            // A burst is over: an idle session owns no queue.
            if self.out.is_empty() {
                self.out = VecDeque::new();
            }
            return Some(effect);
        }
        if let Some(request) = self.space.request() {
            return Some(NativeEffect::Store(request));
        }
        if !drained || self.space.is_busy() {
            return None;
        }
        if self.space.is_settled() {
            let closing = self.closing.then_some(Close::ServerCloses);
            if let Some(close) = self.ending.take().or(closing) {
                return Some(NativeEffect::Close(close));
            }
        }
        self.fill()
    }

    /// What the client is due.
    fn fill(&mut self) -> Option<NativeEffect> {
        let again = self.deliveries.take_due(self.now_us);
        self.space.stream.send_again(again);
        if self.stalled || !self.space.stream.wants_pull(self.space.last_hint().head) {
            return None;
        }
        if self.space.must_look() {
            // What is kept of recent commits may have been written under other rights.
            self.space.look();
            return self.space.request().map(NativeEffect::Store);
        }
        if let Some(entry) = self.space.announcement() {
            let mut frame = AuditLogFrame::new();
            frame.push(&entry);
            return Some(NativeEffect::Send(frame.finish()));
        }
        if self.space.stream.takes_live() && !self.reads_store {
            return Some(NativeEffect::Recent { after: self.space.stream.cursor().position });
        }
        self.space.pull(&self.limits, self.limits.page_rows);
        self.space.request().map(NativeEffect::Store)
    }

    fn acked(&mut self, ids: &[EntryId]) {
        self.deliveries.acked(ids, self.now_us);
        self.out.extend(self.deliveries.take_unstorable().map(NativeEffect::Unstorable));
    }

    fn refuse(&mut self, code: Code, why: &str) {
        self.send(refusal_frame(code, why));
        self.out.push_back(NativeEffect::Refused(code));
    }

    fn send(&mut self, frame: Bytes) {
        self.out.push_back(NativeEffect::Send(frame));
    }

    fn close_now(&mut self, close: Close) {
        self.out.push_back(NativeEffect::Close(close));
    }
}
