//! One WebSocket connection, whatever is spoken on it: sending and reading at once, pings, the session's end, closing.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt};
use lattice_auth::{AuthError, Identity};
use lattice_session::{Close, Refusal};
use lattice_store::StoreError;
use secrecy::SecretString;
use tokio::time::Instant;
use yawc::close::CloseCode;
use yawc::{Frame, OpCode, WebSocket, WebSocketError};

use super::SyncState;
use super::logged::SocketLog;
use super::outbox::Outbox;
use crate::limits::uploads::MAX_PAUSE;
use crate::net::io::SocketIo;

/// How often a socket, or a poll that waits, looks whether something that decides its rights has changed that this instance
/// knows of. What another one has changed is known a second later: together that stays within the five seconds after which
/// what was revoked must be without effect.
pub(super) const ACCESS_CHECK_INTERVAL: Duration = Duration::from_secs(3);
/// Checks after which a session is looked up although nothing has changed that this instance knows of.
const MAX_CHECKS_SKIPPED: u32 = 20;
/// How long a client that is over its quota waits for its close frame: whatever pause it makes itself, it does not come again
/// and again without one.
const OVER_QUOTA_PAUSE: Duration = Duration::from_secs(1);
/// How long the close frame may take to leave.
const MAX_CLOSE_TIME: Duration = Duration::from_secs(2);

/// Why a socket ends.
pub(super) enum End {
    /// The client left.
    Gone,
    /// The client shows no sign of life any more.
    Silent,
    /// The client closes it; the codec has the answer waiting.
    ClosedByClient,
    /// We close it.
    Close(CloseCode, String),
    /// We close it, not at once: an upload led beyond a quota.
    OverQuota(String),
    /// We close it: the server failed, by this.
    Failed(String),
}

/// What a client is told when the server has failed.
const FAILED: &str = "internal: the server failed; connect again";
/// What stands in the log for a socket that ends without a close frame of ours (RFC 6455, section 7.1.5).
const ABNORMAL: u16 = 1_006;

impl End {
    /// The session is over.
    pub(super) fn refused(error: &AuthError) -> Self {
        Self::Close(CloseCode::Policy, format!("{}: {error}", error.code()))
    }

    /// The store failed.
    pub(super) fn internal(error: &StoreError) -> Self {
        Self::Failed(error.to_string())
    }

    /// A space cannot be used any more.
    fn of(refusal: &Refusal) -> Self {
        let code = match refusal {
            Refusal::Store => return Self::Failed("the store failed".into()),
            Refusal::OverQuota => return Self::OverQuota(format!("{}: {refusal}", refusal.code())),
            Refusal::Overloaded(_) => CloseCode::Again,
            Refusal::NotFound | Refusal::Schema { .. } | Refusal::AccessChanged => CloseCode::Policy,
        };
        Self::Close(code, format!("{}: {refusal}", refusal.code()))
    }

    /// The server is closing.
    pub(super) fn closing() -> Self {
        Self::Close(CloseCode::Away, "the server is closing; connect again".into())
    }

    /// Logs an end that we have decided on.
    pub(super) fn log(&self, log: &SocketLog) {
        match self {
            Self::Gone | Self::ClosedByClient => {}
            Self::Silent => log.closed(ABNORMAL, "silent", None),
            Self::Close(CloseCode::Away, _) => log.closed(CloseCode::Away.into(), "closing", None),
            Self::Close(code, reason) => log.closed((*code).into(), reason, None),
            Self::OverQuota(reason) => log.closed(CloseCode::Again.into(), reason, None),
            Self::Failed(error) => log.closed(CloseCode::Error.into(), FAILED, Some(error)),
        }
    }
}

impl From<Close> for End {
    fn from(close: Close) -> Self {
        match close {
            Close::Refused(refusal) => Self::of(&refusal),
            Close::ServerCloses => Self::closing(),
        }
    }
}

/// What comes from a socket.
pub(super) enum ConnectionEvent {
    /// A frame.
    Frame(Frame),
    /// Everything that was to be sent has left.
    Drained,
    /// It failed.
    Failed(WebSocketError),
}

/// A connection.
pub(super) struct Connection {
    websocket: WebSocket<SocketIo>,
    io: SocketIo,
    pub(super) outbox: Outbox,
    pub(super) log: SocketLog,
    pub(super) identity: Identity,
    expires_at: Option<Instant>,
    next_check: Instant,
    checks_skipped: u32,
    /// The version of the directory at the last look-up of the session.
    version: u64,
    next_ping: Instant,
    /// Ping intervals in which nothing came.
    silent_intervals: u32,
    /// Until then nothing is read: the client has sent more than its rate allows.
    paused_until: Option<Instant>,
}

impl Connection {
    pub(super) fn new(
        state: &SyncState,
        websocket: WebSocket<SocketIo>,
        io: SocketIo,
        identity: Identity,
        version: u64,
        log: SocketLog,
    ) -> Self {
        let now = Instant::now();
        Self {
            websocket,
            io,
            outbox: Outbox::default(),
            log,
            identity,
            expires_at: expiry(state, &identity),
            next_check: now + ACCESS_CHECK_INTERVAL,
            checks_skipped: 0,
            version,
            next_ping: now + state.limits.ping_interval,
            silent_intervals: 0,
            paused_until: None,
        }
    }

    /// Closes the connection as `end` says.
    pub(super) async fn close(mut self, end: End) {
        if matches!(end, End::OverQuota(_)) {
            tokio::time::sleep(OVER_QUOTA_PAUSE).await;
        }
        let farewell = async {
            match end {
                End::Gone | End::Silent => return Err(WebSocketError::ConnectionClosed),
                // What the codec has waiting leaves before it is ready for more.
                End::ClosedByClient => poll_fn(|cx| self.websocket.poll_ready_unpin(cx)).await?,
                End::OverQuota(reason) => {
                    Pin::new(&mut self.websocket).start_send(Frame::close(CloseCode::Again, reason))?
                }
                End::Failed(_) => {
                    Pin::new(&mut self.websocket).start_send(Frame::close(CloseCode::Error, FAILED))?
                }
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

    /// Sends and, where `reads` says so, reads at once. `reads` is false while the client has too much under way.
    pub(super) fn poll(&mut self, reads: bool, cx: &mut Context<'_>) -> Poll<ConnectionEvent> {
        if !self.outbox.is_empty() {
            match self.outbox.poll_send(&mut self.websocket, cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(ConnectionEvent::Drained),
                Poll::Ready(Err(error)) => return Poll::Ready(ConnectionEvent::Failed(error)),
                Poll::Pending => {}
            }
        }
        if !reads {
            return Poll::Pending;
        }
        self.poll_read(cx).map(|result| result.map_or_else(ConnectionEvent::Failed, ConnectionEvent::Frame))
    }

    /// Reads a frame, while what it asks for can be answered.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, WebSocketError>> {
        if !self.outbox.has_room() || self.is_paused() {
            return Poll::Pending;
        }
        self.websocket.poll_next_frame(cx)
    }

    /// Notes an upload that was taken, and stops reading for as long as it came too fast. Answers are sent meanwhile.
    pub(super) fn uploaded(&mut self, state: &SyncState, changes: usize, bytes: usize) {
        let Identity { user, session, .. } = self.identity;
        let pause = state.rates.uploaded(user, session, changes, bytes);
        if !pause.is_zero() {
            self.paused_until = Some(Instant::now() + pause);
        }
    }

    /// Whether nothing is read for now. If so, the timer is to be set anew.
    pub(super) fn is_paused(&self) -> bool {
        self.paused_until.is_some()
    }

    /// The payload of a data frame; `None` for what the connection itself answers.
    pub(super) fn payload(&mut self, frame: Frame) -> Result<Option<Bytes>, End> {
        match frame.opcode() {
            OpCode::Text | OpCode::Binary => {
                let payload = frame.into_payload();
                self.log.came(payload.len());
                Ok(Some(payload))
            }
            OpCode::Close => Err(End::ClosedByClient),
            OpCode::Ping => {
                self.outbox.expect_pong();
                Ok(None)
            }
            OpCode::Pong | OpCode::Continuation => Ok(None),
        }
    }

    /// When [`Connection::tick`] is to be called next.
    pub(super) fn next_timer(&self) -> Instant {
        let next = self.next_ping.min(self.next_check);
        let next = self.paused_until.map_or(next, |until| until.min(next));
        self.expires_at.map_or(next, |expires| expires.min(next))
    }

    /// Ends what has to end, pings who is silent. True when it is time to look at access.
    pub(super) async fn tick(&mut self, state: &SyncState) -> Result<bool, End> {
        let now = Instant::now();
        if self.expires_at.is_some_and(|expires| expires <= now) {
            return Err(End::refused(&AuthError::TokenExpired));
        }
        // Who is not read from cannot show a sign of life.
        let was_paused = self.is_paused();
        if self.paused_until.is_some_and(|until| until <= now) {
            let Identity { user, session, .. } = self.identity;
            let owed = state.rates.may_upload(user, session).err();
            self.paused_until = owed.map(|limited| now + limited.after.min(MAX_PAUSE));
        }
        let due = self.next_check <= now;
        if due {
            self.next_check = now + ACCESS_CHECK_INTERVAL;
            self.recheck(state).await?;
        }
        if self.next_ping > now {
            return Ok(due);
        }
        self.next_ping = now + state.limits.ping_interval;
        if self.io.take_activity() {
            self.silent_intervals = 0;
            return Ok(due);
        }
        // It is pinged all the same, or whatever is in between takes the connection for dead.
        self.silent_intervals = if was_paused { 0 } else { self.silent_intervals + 1 };
        if self.silent_intervals > 2 {
            return Err(End::Silent);
        }
        if self.outbox.is_empty() {
            self.outbox.push_ping();
        }
        Ok(due)
    }

    /// Whether the session still lives.
    pub(super) async fn recheck(&mut self, state: &SyncState) -> Result<(), End> {
        if !state.auth.vouches_for(&self.identity) {
            return Err(End::refused(&AuthError::TokenInvalid));
        }
        let version = state.directory.version();
        self.checks_skipped += 1;
        if version == self.version && self.checks_skipped <= MAX_CHECKS_SKIPPED {
            return Ok(());
        }
        match state.auth.recheck(&self.identity).await {
            Err(error @ (AuthError::SessionRevoked | AuthError::TokenExpired)) => Err(End::refused(&error)),
            Err(error) => {
                tracing::warn!(%error, "a session could not be looked up; it is tried again");
                Ok(())
            }
            Ok(()) => {
                (self.version, self.checks_skipped) = (version, 0);
                Ok(())
            }
        }
    }

    /// Goes on with a new token of the same user: for how many seconds, if it expires.
    pub(super) async fn renew(
        &mut self,
        state: &SyncState,
        token: SecretString,
    ) -> Result<Option<u64>, AuthError> {
        let identity = state.auth.authenticate(&token).await?;
        if identity.user != self.identity.user {
            return Err(AuthError::TokenInvalid);
        }
        self.identity = identity;
        self.expires_at = expiry(state, &identity);
        Ok(self.expires_at.map(|at| at.saturating_duration_since(Instant::now()).as_secs()))
    }

    /// What a failure of the socket means.
    pub(super) fn failed(state: &SyncState, error: &WebSocketError) -> End {
        match error {
            WebSocketError::FrameTooLarge => {
                let limit = state.limits.max_frame_bytes;
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

fn expiry(state: &SyncState, identity: &Identity) -> Option<Instant> {
    identity.expires_us.map(|expires_us| {
        let left_us = expires_us.saturating_sub(state.clock.now_us()).max(0);
        Instant::now() + Duration::from_micros(left_us.unsigned_abs())
    })
}
