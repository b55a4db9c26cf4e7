//! The native dialect on a socket: a task that moves frames between a client and its stream.
//!
//! The task reads while it writes, so that neither side can wait for the other for ever. It stops reading while too many
//! uploads are under way, and pulls only when what it pulled before has left: a slow client costs a cursor, not memory.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use lattice_engine::Outcome;
use lattice_protocol::limits::MAX_CHANGES_PER_FRAME;
use lattice_protocol::native::{AuditLogFrame, ClientFrame, decode, encode_floor_reset, encode_rejected};
use lattice_protocol::{Code, FrameError, Incoming};
use lattice_store::StoreError;
use tokio::time::{Sleep, sleep_until};
use yawc::Frame;

use super::SyncState;
use super::answer::{ack_frame, frames_of, refusals_of, refused_codes};
use super::line::{End, Line, LineEvent};
use super::seat::{MAX_PAGE_ROWS, Refusal, Seat};

/// Commits taken from the ring at once.
const MAX_COMMITS_PER_TURN: usize = 64;
/// Frames taken from the client at once, before it is looked what else there is to do.
const MAX_FRAMES_PER_TURN: usize = 64;
/// Frames above this size are decoded on a thread that may block.
const MAX_INLINE_DECODE_BYTES: usize = 1 << 20;

/// How a native connection ends.
pub(super) enum Finished {
    /// For good.
    End(End),
    /// The client speaks the JSON dialect: this was its first frame.
    Json(Bytes),
}

impl From<End> for Finished {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

enum Event {
    Line(LineEvent),
    Answer(Result<Vec<Outcome>, StoreError>),
    Signal,
    Timer,
}

/// A connection that speaks the native dialect.
pub(super) struct Native<'a> {
    state: &'a SyncState,
    line: &'a mut Line,
    seat: Box<Seat>,
    /// What the signal said of access at the last look.
    access_seen: u64,
    /// No data frame has come yet.
    first: bool,
    /// How the connection ends once what came before is answered: an upload was refused as a whole. Nothing is read any more.
    ending: Option<End>,
}

impl<'a> Native<'a> {
    pub(super) fn new(
        state: &'a SyncState,
        line: &'a mut Line,
        seat: Box<Seat>,
        lost_checkpoint: Option<&str>,
    ) -> Self {
        if let Some(id) = lost_checkpoint {
            let why = "the checkpoint is unknown here; full state follows";
            line.outbox.push(encode_floor_reset(Some(id), why));
        }
        let access_seen = seat.signal.borrow().access;
        Self { state, line, seat, access_seen, first: true, ending: None }
    }

    /// Serves the client until the connection ends.
    pub(super) async fn serve(mut self) -> Finished {
        match self.run().await {
            Ok(never) => match never {},
            Err(finished) => finished,
        }
    }

    async fn run(&mut self) -> Result<std::convert::Infallible, Finished> {
        let mut timer = std::pin::pin!(sleep_until(self.line.next_timer()));
        loop {
            let signal = *self.seat.signal.borrow();
            if signal.access != self.access_seen {
                self.access_seen = signal.access;
                self.line.recheck(self.state).await?;
                self.look_at_access().await?;
            }
            if self.line.outbox.is_empty() {
                if self.seat.is_settled() {
                    if let Some(end) = self.ending.take() {
                        return Err(end.into());
                    }
                    if signal.closing {
                        return Err(End::closing().into());
                    }
                }
                self.fill().await?;
            }
            match self.next(timer.as_mut(), signal.closing).await {
                Event::Line(LineEvent::Frame(frame)) => {
                    self.frames(frame, signal.closing).await?;
                    if self.line.is_paused() {
                        timer.as_mut().reset(self.line.next_timer());
                    }
                }
                Event::Line(LineEvent::Failed(error)) => return Err(Line::failed(self.state, &error).into()),
                Event::Answer(answer) => self.answered(answer)?,
                Event::Line(LineEvent::Drained) | Event::Signal => {}
                Event::Timer => {
                    if self.line.tick(self.state).await? {
                        self.look_at_access().await?;
                    }
                    timer.as_mut().reset(self.line.next_timer());
                }
            }
        }
    }

    /// The next thing that happens.
    async fn next(&mut self, timer: Pin<&mut Sleep>, closing: bool) -> Event {
        let reads = !closing && self.ending.is_none() && self.seat.has_room();
        let Self { line, seat, .. } = self;
        let Seat { uploads, signal, .. } = &mut **seat;
        let drained = line.outbox.is_empty();
        // In an order in which none keeps another from its turn: timers and answers are few, and the signal is looked at
        // before every turn. So a socket that has something to say need not be put on the list of those that wait for it.
        tokio::select! {
            biased;
            () = timer => Event::Timer,
            answer = poll_fn(|cx| uploads.poll(cx)) => Event::Answer(answer),
            event = poll_fn(|cx| line.poll(reads, cx)) => Event::Line(event),
            _ = signal.changed(), if drained => Event::Signal,
        }
    }

    async fn look_at_access(&mut self) -> Result<(), End> {
        match self.seat.recheck(self.state).await {
            Ok(()) => Ok(()),
            Err(Refusal::Store(error)) => {
                tracing::warn!(%error, "access could not be looked up; it is tried again");
                Ok(())
            }
            Err(refusal) => Err(End::no_access(&refusal)),
        }
    }

    /// Fills the outbox with what the client is due.
    async fn fill(&mut self) -> Result<(), End> {
        while self.line.outbox.is_empty() {
            let head = self.seat.signal.borrow_and_update().head;
            if !self.seat.stream.wants_pull(head) {
                return Ok(());
            }
            if self.seat.is_behind(self.state) {
                // What the ring has may have been written under other rights.
                self.look_at_access().await?;
                if self.seat.is_behind(self.state) {
                    return Ok(());
                }
            }
            if let Some(entry) = self.seat.announcement() {
                let mut frame = AuditLogFrame::new();
                frame.push(&entry);
                self.line.outbox.push(frame.finish());
                continue;
            }
            let position = self.seat.stream.cursor().position;
            if self.seat.stream.takes_live()
                && let Some((reached, frames)) =
                    self.seat.live.recent(position, self.seat.stream.writer(), MAX_COMMITS_PER_TURN)
                && reached > position
            {
                // Asked after the look into the ring: what is in it by now may have been written after rights had changed.
                if self.seat.is_behind(self.state) {
                    continue;
                }
                let frames = frames.iter().filter_map(|frame| frame.native());
                frames.for_each(|frame| self.line.outbox.push(frame));
                self.seat.stream.sent_live(reached);
                continue;
            }
            let pulled = self.seat.pull(self.state, MAX_PAGE_ROWS).await;
            let (delivery, _) = pulled.map_err(|refusal| End::no_access(&refusal))?;
            frames_of(delivery, |frame| self.line.outbox.push(frame));
        }
        Ok(())
    }

    /// Takes a frame, and those that have come with it: clients acknowledge each frame of a burst.
    async fn frames(&mut self, mut frame: Frame, closing: bool) -> Result<(), Finished> {
        for left in (0..MAX_FRAMES_PER_TURN).rev() {
            if let Some(payload) = self.line.payload(frame)? {
                self.frame(payload).await?;
            }
            let waits = !self.seat.has_room() || self.line.is_paused() || self.ending.is_some();
            if left == 0 || closing || waits {
                break;
            }
            let read = poll_fn(|cx| Poll::Ready(self.line.poll_read(cx))).await;
            frame = match read {
                Poll::Ready(Ok(frame)) => frame,
                Poll::Ready(Err(error)) => return Err(Line::failed(self.state, &error).into()),
                Poll::Pending => break,
            };
        }
        Ok(())
    }

    async fn frame(&mut self, payload: Bytes) -> Result<(), Finished> {
        let bytes = payload.len();
        let first = std::mem::replace(&mut self.first, false);
        let decoded = off_thread(payload.clone(), |payload| decode(payload, MAX_CHANGES_PER_FRAME)).await;
        match decoded {
            Ok(ClientFrame::Changes(incoming)) if incoming.is_empty() => {}
            Ok(ClientFrame::Changes(_)) if !self.line.identity.permissions.can_write() => {
                self.refuse(Code::PermissionDenied, "the token of this connection may only read");
            }
            Ok(ClientFrame::Changes(incoming)) => self.upload(incoming, bytes).await?,
            // What a client has applied is its own affair: its checkpoint tells at the next connection.
            Ok(ClientFrame::Ack { .. }) => {}
            Ok(ClientFrame::Typed) if first => return Err(Finished::Json(payload)),
            Ok(_) => self.refuse(Code::UnknownFrame, "a frame here holds auditLog or ack"),
            Err(error) => self.refuse(error.code, &error.detail),
        }
        Ok(())
    }

    fn refuse(&mut self, code: Code, why: &str) {
        self.line.outbox.push(encode_rejected(code, why));
        self.line.log.refusals().frame_refused(code, None);
    }

    async fn upload(&mut self, incoming: Vec<Incoming>, bytes: usize) -> Result<(), End> {
        let mut permit = std::pin::pin!(self.state.upload_permit(bytes));
        let permit = loop {
            // Answers are taken meanwhile: what they give back may be the very part of the budget that is missing.
            let event = tokio::select! {
                permit = permit.as_mut() => Ok(permit),
                answer = poll_fn(|cx| self.seat.uploads.poll(cx)) => Err(answer),
            };
            match event {
                Ok(permit) => break permit.map_err(|error| End::internal(&error))?,
                Err(answer) => self.answered(answer)?,
            }
        };
        if self.ending.is_some() {
            return Ok(());
        }
        self.line.uploaded(self.state, incoming.len(), bytes);
        let sent = self.seat.upload(self.state, incoming, bytes, permit).await;
        sent.map_err(|error| End::internal(&error))
    }

    fn answered(&mut self, answer: Result<Vec<Outcome>, StoreError>) -> Result<(), End> {
        // A later upload must not overtake one that was not stored: the client would send it again as the newer change,
        // and believe the other one. So nothing that follows is acknowledged, and the client sends all of it again.
        let outcomes = match answer {
            Ok(_) if self.ending.is_some() => return Ok(()),
            Ok(outcomes) => outcomes,
            Err(StoreError::QuotaExceeded) => {
                // What was stored before it is acknowledged first: else a client that always sends more than fits would never
                // know.
                self.ending.get_or_insert(End::no_access(&Refusal::OverQuota));
                return Ok(());
            }
            Err(error) => return Err(End::no_access(&error.into())),
        };
        self.line.log.refusals().changes_refused(refused_codes(&outcomes), None);
        refusals_of(&outcomes).for_each(|frame| self.line.outbox.push(frame));
        if let Some(acks) = ack_frame(self.seat.stream.outcomes(outcomes)) {
            self.line.outbox.push(acks);
        }
        Ok(())
    }
}

/// Decodes a frame; a large one where it does not hold up other sockets.
pub(super) async fn off_thread<T: Send + 'static>(
    payload: Bytes,
    decode: impl FnOnce(&Bytes) -> Result<T, FrameError> + Send + 'static,
) -> Result<T, FrameError> {
    if payload.len() <= MAX_INLINE_DECODE_BYTES {
        return decode(&payload);
    }
    let decoding = tokio::task::spawn_blocking(move || decode(&payload));
    decoding.await.unwrap_or_else(|_| Err(FrameError::new(Code::Internal, "the frame could not be decoded")))
}

/// What is spoken on a connection that has just been made.
pub(super) async fn serve(
    state: &SyncState,
    line: &mut Line,
    seat: Box<Seat>,
    lost_checkpoint: Option<String>,
) -> Finished {
    Native::new(state, line, seat, lost_checkpoint.as_deref()).serve().await
}
