//! One sync socket: a task that moves frames between a client and its stream.
//!
//! The task reads while it writes, so that neither side can wait for the other for ever. It stops reading while too many
//! uploads are under way, and pulls only when what it pulled before has left: a slow client costs a cursor, not memory.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt};
use lattice_auth::{AuthError, Identity};
use lattice_engine::{Cursor, Stream};
use lattice_protocol::limits::MAX_CHANGES_PER_FRAME;
use lattice_protocol::native::{ClientFrame, FrameError, decode, encode_floor_reset, encode_rejected};
use lattice_protocol::{Code, Incoming};
use lattice_store::StoreError;
use lattice_store::spaces::{Origin, Space, Upload, UploadAnswer};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, Sleep, sleep_until};
use yawc::close::CloseCode;
use yawc::{Frame, OpCode, WebSocket, WebSocketError};

use super::SyncState;
use super::answer::{ack_frame, frames_of, refusals_of};
use super::outbox::Outbox;
use crate::hub::{LiveSpace, Signal};
use crate::net::io::SocketIo;

/// Frames of one client that wait for their commit. Clients have two windows in flight.
const MAX_UPLOADS_IN_FLIGHT: usize = 8;
/// Verdicts of one client that wait for its stream. The socket is not read above it.
const MAX_PENDING_VERDICTS: usize = 4_000;
/// Rows of one page.
const MAX_PAGE_ROWS: usize = 1_000;
/// Bytes of stored rows in one page.
const MAX_PAGE_BYTES: usize = 512 << 10;
/// Commits taken from the ring at once.
const MAX_COMMITS_PER_TURN: usize = 64;
/// Frames above this size are decoded on a thread that may block.
const MAX_INLINE_DECODE_BYTES: usize = 1 << 20;
/// How often a socket asks whether its session still lives: one that was revoked is closed within this time.
const SESSION_CHECK_INTERVAL: Duration = Duration::from_secs(4);
/// How long the close frame may take to leave.
const MAX_CLOSE_TIME: Duration = Duration::from_secs(2);

/// How a connection begins.
pub(super) struct Start {
    pub(super) space: Arc<Space>,
    pub(super) origin: Arc<Origin>,
    pub(super) cursor: Cursor,
    /// The checkpoint that could not be resolved.
    pub(super) lost_checkpoint: Option<String>,
    /// Who it is, and until when.
    pub(super) identity: Identity,
}

/// A socket.
pub(super) struct Socket {
    state: SyncState,
    websocket: WebSocket<SocketIo>,
    io: SocketIo,
    space: Arc<Space>,
    origin: Arc<Origin>,
    live: Arc<LiveSpace>,
    signal: watch::Receiver<Signal>,
    stream: Stream,
    outbox: Outbox,
    uploads: VecDeque<InFlight>,
    identity: Identity,
    expires_at: Option<Instant>,
    next_check: Instant,
    next_ping: Instant,
    /// Ping intervals in which nothing came.
    silent_intervals: u32,
}

struct InFlight {
    answer: UploadAnswer,
    _bytes: OwnedSemaphorePermit,
}

/// Why a socket ends.
enum End {
    /// The client left, or cannot be reached.
    Gone,
    /// The client closes it; the codec has the answer waiting.
    ClosedByClient,
    /// We close it.
    Close(CloseCode, String),
}

enum Event {
    Frame(Frame),
    /// Everything that was to be sent has left.
    Drained,
    Answer(Result<Vec<lattice_engine::Outcome>, StoreError>),
    Signal,
    Timer,
    Failed(WebSocketError),
}

impl Socket {
    pub(super) fn new(state: SyncState, websocket: WebSocket<SocketIo>, io: SocketIo, start: Start) -> Self {
        // Joined before anything is read: what is committed from now on is signalled.
        let live = state.hub.join(start.space.id);
        let signal = live.subscribe();
        let mut outbox = Outbox::default();
        if let Some(id) = start.lost_checkpoint {
            outbox.push(encode_floor_reset(Some(&id), "the checkpoint is unknown here; full state follows"));
        }
        let expires_at = start.identity.expires_us.map(|expires_us| {
            let left_us = expires_us.saturating_sub(state.clock.now_us()).max(0);
            Instant::now() + Duration::from_micros(left_us.unsigned_abs())
        });
        let now = Instant::now();
        Self {
            next_check: now + SESSION_CHECK_INTERVAL,
            next_ping: now + state.limits.ping_interval,
            stream: Stream::new(start.origin.writer, start.cursor),
            space: start.space,
            origin: start.origin,
            state,
            websocket,
            io,
            live,
            signal,
            outbox,
            uploads: VecDeque::new(),
            identity: start.identity,
            expires_at,
            silent_intervals: 0,
        }
    }

    pub(super) async fn run(mut self) {
        let end = match self.serve().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        let farewell = async {
            match end {
                End::Gone => return Err(WebSocketError::ConnectionClosed),
                // What the codec has waiting leaves before it is ready for more.
                End::ClosedByClient => poll_fn(|cx| self.websocket.poll_ready_unpin(cx)).await?,
                // Straight into the buffer: after an error the codec has a close frame of its own waiting, which knows
                // neither our limit nor our codes, and only the first one counts.
                End::Close(code, reason) => {
                    Pin::new(&mut self.websocket).start_send(Frame::close(code, reason))?
                }
            }
            self.websocket.flush().await
        };
        if let Ok(Ok(())) = tokio::time::timeout(MAX_CLOSE_TIME, farewell).await {
            let io = self.io;
            drop(self.websocket);
            io.linger().await;
        }
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        let mut timer = std::pin::pin!(sleep_until(self.next_timer()));
        loop {
            let closing = self.signal.borrow().closing;
            if self.outbox.is_empty() {
                if closing && self.uploads.is_empty() && self.stream.pending() == 0 {
                    return Err(End::Close(CloseCode::Away, "the server is closing; connect again".into()));
                }
                self.fill().await?;
            }
            match self.next(timer.as_mut(), closing).await {
                Event::Frame(frame) => self.frame(frame).await?,
                Event::Answer(answer) => self.answered(answer)?,
                Event::Drained | Event::Signal => {}
                Event::Timer => {
                    self.tick().await?;
                    timer.as_mut().reset(self.next_timer());
                }
                Event::Failed(error) => return Err(self.failed(&error)),
            }
        }
    }

    /// The next thing that happens.
    async fn next(&mut self, timer: Pin<&mut Sleep>, closing: bool) -> Event {
        let reads = !closing
            && self.outbox.has_room()
            && self.uploads.len() < MAX_UPLOADS_IN_FLIGHT
            && self.stream.pending() < MAX_PENDING_VERDICTS;
        let Self { websocket, outbox, uploads, signal, .. } = self;
        let drained = outbox.is_empty();
        tokio::select! {
            event = poll_fn(|cx| poll_socket(websocket, outbox, reads, cx)) => event,
            answer = poll_fn(|cx| poll_answer(uploads, cx)) => Event::Answer(answer),
            _ = signal.changed(), if drained => Event::Signal,
            () = timer => Event::Timer,
        }
    }

    /// Fills the outbox with what the client is due.
    async fn fill(&mut self) -> Result<(), End> {
        while self.outbox.is_empty() {
            let head = self.signal.borrow_and_update().head;
            let position = self.stream.cursor().position;
            if self.stream.takes_live() && position >= head {
                return Ok(());
            }
            if self.stream.takes_live()
                && let Some((reached, frames)) =
                    self.live.recent(position, self.stream.writer(), MAX_COMMITS_PER_TURN)
                && reached > position
            {
                frames.iter().filter_map(|frame| frame.frame()).for_each(|frame| self.outbox.push(frame));
                self.stream.sent_live(reached);
                continue;
            }
            let request = self.stream.pull_request(MAX_PAGE_ROWS, MAX_PAGE_BYTES);
            let data =
                self.state.store.pull(&self.space, &request).await.map_err(|error| internal(&error))?;
            let delivery = self.stream.pulled(&request, data, &self.space.minter);
            frames_of(delivery, |frame| self.outbox.push(frame));
        }
        Ok(())
    }

    async fn frame(&mut self, frame: Frame) -> Result<(), End> {
        match frame.opcode() {
            OpCode::Text | OpCode::Binary => {}
            OpCode::Close => return Err(End::ClosedByClient),
            OpCode::Ping => {
                self.outbox.expect_pong();
                return Ok(());
            }
            OpCode::Pong | OpCode::Continuation => return Ok(()),
        }
        let payload = frame.into_payload();
        let bytes = payload.len();
        match decode_off_thread(payload).await {
            Ok(ClientFrame::Changes(incoming)) if incoming.is_empty() => {}
            Ok(ClientFrame::Changes(incoming)) => self.upload(incoming, bytes).await?,
            // What a client has applied is its own affair: its checkpoint tells at the next connection.
            Ok(ClientFrame::Ack { .. }) => {}
            Ok(_) => {
                let why = "a frame here holds auditLog or ack";
                self.outbox.push(encode_rejected(Code::UnknownFrame, why));
            }
            Err(error) => self.outbox.push(encode_rejected(error.code, &error.detail)),
        }
        Ok(())
    }

    async fn upload(&mut self, incoming: Vec<Incoming>, bytes: usize) -> Result<(), End> {
        let permits =
            u32::try_from(bytes / 1_024 + 1).unwrap_or(u32::MAX).min(self.state.limits.max_upload_kib);
        let mut permit = std::pin::pin!(Arc::clone(&self.state.upload_kib).acquire_many_owned(permits));
        let permit = loop {
            // Answers are taken meanwhile: what they give back may be the very part of the budget that is missing.
            tokio::select! {
                permit = permit.as_mut() => break permit.map_err(|_| internal(&StoreError::Closed))?,
                answer = poll_fn(|cx| poll_answer(&mut self.uploads, cx)) => self.answered(answer)?,
            }
        };
        let upload = Upload {
            space: Arc::clone(&self.space),
            origin: Arc::clone(&self.origin),
            incoming,
            echoes: self.stream.echoes(),
            bytes,
        };
        let answer = self.state.store.upload(upload).await.map_err(|error| internal(&error))?;
        self.uploads.push_back(InFlight { answer, _bytes: permit });
        Ok(())
    }

    fn answered(&mut self, answer: Result<Vec<lattice_engine::Outcome>, StoreError>) -> Result<(), End> {
        // Its part of the budget is given back here.
        if self.uploads.pop_front().is_none() {
            return Ok(());
        }
        // A later upload must not overtake one that was not stored: the client would send it again as the newer change,
        // and believe the other one. So nothing that follows is acknowledged, and the client sends all of it again.
        let outcomes = answer.map_err(|error| internal(&error))?;
        refusals_of(&outcomes).for_each(|frame| self.outbox.push(frame));
        if let Some(acks) = ack_frame(self.stream.outcomes(outcomes)) {
            self.outbox.push(acks);
        }
        Ok(())
    }

    fn next_timer(&self) -> Instant {
        let next = self.next_ping.min(self.next_check);
        self.expires_at.map_or(next, |expires| expires.min(next))
    }

    async fn tick(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if self.expires_at.is_some_and(|expires| expires <= now) {
            return Err(refused(&AuthError::TokenExpired));
        }
        if self.next_check <= now {
            self.next_check = now + SESSION_CHECK_INTERVAL;
            match self.state.auth.recheck(&self.identity).await {
                Err(error @ (AuthError::SessionRevoked | AuthError::TokenExpired)) => {
                    return Err(refused(&error));
                }
                Err(error) => tracing::warn!(%error, "a session could not be looked up; it is tried again"),
                Ok(()) => {}
            }
        }
        if self.next_ping > now {
            return Ok(());
        }
        self.next_ping = now + self.state.limits.ping_interval;
        if self.io.take_activity() {
            self.silent_intervals = 0;
            return Ok(());
        }
        self.silent_intervals += 1;
        if self.silent_intervals > 2 {
            return Err(End::Gone);
        }
        if self.outbox.is_empty() {
            self.outbox.push_ping();
        }
        Ok(())
    }

    fn failed(&self, error: &WebSocketError) -> End {
        match error {
            WebSocketError::FrameTooLarge => {
                let limit = self.state.limits.max_frame_bytes;
                End::Close(
                    CloseCode::Size,
                    format!("frame_too_large: frames of at most {limit} bytes are accepted"),
                )
            }
            WebSocketError::InvalidUTF8 => {
                End::Close(CloseCode::Invalid, "bad_frame: a text frame is not UTF-8".into())
            }
            WebSocketError::ConnectionClosed | WebSocketError::IoError(_) => End::Gone,
            error => {
                tracing::debug!(%error, "protocol error");
                End::Close(CloseCode::Protocol, "bad_frame: not the WebSocket protocol".into())
            }
        }
    }
}

fn refused(error: &AuthError) -> End {
    End::Close(CloseCode::Policy, format!("{}: {error}", error.code()))
}

fn internal(error: &StoreError) -> End {
    tracing::error!(%error, "a socket ends because the store failed");
    End::Close(CloseCode::Error, "internal: the server failed; connect again".into())
}

/// Decodes a frame; a large one where it does not hold up other sockets.
async fn decode_off_thread(payload: Bytes) -> Result<ClientFrame, FrameError> {
    if payload.len() <= MAX_INLINE_DECODE_BYTES {
        return decode(&payload, MAX_CHANGES_PER_FRAME);
    }
    let decoding = tokio::task::spawn_blocking(move || decode(&payload, MAX_CHANGES_PER_FRAME));
    decoding.await.unwrap_or_else(|_| {
        Err(FrameError { code: Code::Internal, detail: "the frame could not be decoded".into() })
    })
}

/// Sends and reads at once. `reads` is false while the client has too much under way.
fn poll_socket(
    websocket: &mut WebSocket<SocketIo>,
    outbox: &mut Outbox,
    reads: bool,
    cx: &mut Context<'_>,
) -> Poll<Event> {
    if !outbox.is_empty() {
        match outbox.poll_send(websocket, cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(Event::Drained),
            Poll::Ready(Err(error)) => return Poll::Ready(Event::Failed(error)),
            Poll::Pending => {}
        }
    }
    if !reads {
        return Poll::Pending;
    }
    websocket.poll_next_frame(cx).map(|result| result.map_or_else(Event::Failed, Event::Frame))
}

/// The answer to the oldest upload; pending for ever when there is none.
fn poll_answer(
    uploads: &mut VecDeque<InFlight>,
    cx: &mut Context<'_>,
) -> Poll<Result<Vec<lattice_engine::Outcome>, StoreError>> {
    match uploads.front_mut() {
        Some(upload) => {
            Pin::new(&mut upload.answer).poll(cx).map(|answer| answer.unwrap_or(Err(StoreError::Closed)))
        }
        None => Poll::Pending,
    }
}
