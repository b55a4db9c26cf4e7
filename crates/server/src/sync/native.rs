//! The native dialect on a socket: moves frames between a client and its session.
//!
//! The task reads while it writes, so that neither side can wait for the other for ever. It stops reading while too many
//! uploads are under way, and the session asks for more only when what it sent before has left: a slow client costs a cursor,
//! not memory.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use lattice_engine::Outcome;
use lattice_protocol::Incoming;
use lattice_protocol::limits::MAX_CHANGES_PER_FRAME;
use lattice_protocol::native::decode;
use lattice_session::{NativeEffect, NativeSession, UploadFailure};
use tokio::time::{Sleep, sleep_until};
use yawc::Frame;

use super::SyncState;
use super::connection::{Connection, ConnectionEvent, End};
use super::space::{NewUpload, Opened, SpaceLink, off_thread, refused_codes};

/// Frames taken from the client at once, before it is looked what else there is to do.
const MAX_FRAMES_AT_ONCE: usize = 64;

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
    Connection(ConnectionEvent),
    Uploaded(Result<Vec<Outcome>, UploadFailure>),
    Signal,
    Timer,
}

/// A connection that speaks the native dialect.
struct Native<'a> {
    state: &'a SyncState,
    connection: &'a mut Connection,
    link: Box<SpaceLink>,
    session: Box<NativeSession>,
}

/// What is spoken on a connection that has just been made.
pub(super) async fn serve(state: &SyncState, connection: &mut Connection, opened: Box<Opened>) -> Finished {
    let Opened { link, session, lost } = *opened;
    let can_write = connection.identity.permissions.can_write();
    let session = Box::new(NativeSession::new(session, lost.as_ref(), can_write));
    let mut native = Native { state, connection, link: Box::new(link), session };
    match native.run().await {
        Ok(never) => match never {},
        Err(finished) => finished,
    }
}

impl Drop for Native<'_> {
    fn drop(&mut self) {
        self.state.unstorable.forget(self.session.writer());
    }
}

impl Native<'_> {
    async fn run(&mut self) -> Result<std::convert::Infallible, Finished> {
        let mut timer = std::pin::pin!(sleep_until(self.connection.next_timer()));
        loop {
            if self.hint() {
                self.connection.recheck(self.state).await?;
                self.session.look_at_access();
            }
            self.session.set_time(self.state.clock.now_us());
            self.work(true, None).await?;
            match self.next(timer.as_mut()).await {
                Event::Connection(ConnectionEvent::Frame(frame)) => {
                    self.frames(frame).await?;
                    if self.connection.is_paused() {
                        timer.as_mut().reset(self.connection.next_timer());
                    }
                }
                Event::Connection(ConnectionEvent::Failed(error)) => {
                    return Err(Connection::failed(self.state, &error).into());
                }
                Event::Uploaded(result) => self.uploaded(result),
                Event::Connection(ConnectionEvent::Drained) | Event::Signal => {}
                Event::Timer => {
                    if self.connection.tick(self.state).await? {
                        self.hint();
                        self.session.look_at_access();
                    }
                    timer.as_mut().reset(self.connection.next_timer());
                }
            }
        }
    }

    /// Tells the session what is known. Whether what anybody may do in the space has changed since the last call.
    fn hint(&mut self) -> bool {
        let (hint, moved) = self.link.hint(self.state);
        self.session.hint(hint);
        if self.link.signal.borrow().closing {
            self.session.close();
        }
        moved
    }

    /// The next thing that happens.
    async fn next(&mut self, timer: Pin<&mut Sleep>) -> Event {
        let reads = self.session.takes_frames();
        let Self { connection, link, .. } = self;
        let SpaceLink { uploads, signal, .. } = &mut **link;
        let drained = connection.outbox.is_empty();
        // In an order in which none keeps another from its turn: timers and answers are few, and the signal is looked at
        // before every turn. So a socket that has something to say need not be put on the list of those that wait for it.
        tokio::select! {
            biased;
            () = timer => Event::Timer,
            result = poll_fn(|cx| uploads.poll(cx)) => Event::Uploaded(result),
            event = poll_fn(|cx| connection.poll(reads, cx)) => Event::Connection(event),
            _ = signal.changed(), if drained => Event::Signal,
        }
    }

    /// Does what the session says. `fills` where more may be read for the client once everything has left; `frame` is the one that
    /// was taken last.
    async fn work(&mut self, fills: bool, frame: Option<&Bytes>) -> Result<(), Finished> {
        while let Some(effect) = self.session.next_effect(fills && self.connection.outbox.is_empty()) {
            match effect {
                NativeEffect::Send(frame) => self.connection.outbox.push(frame),
                NativeEffect::Store(request) => {
                    let answer = self.link.answer(self.state, request).await;
                    self.session.answer(answer);
                }
                NativeEffect::Recent { after } => {
                    let at = (after, self.session.writer());
                    let (found, version) = self.link.recent(self.state, at, |frame| Some(frame.native()));
                    self.session.recent(found, version);
                }
                NativeEffect::Upload { incoming, bytes } => self.upload(incoming, bytes).await?,
                NativeEffect::Unstorable(rows) => {
                    self.state.unstorable.set(self.link.device(), rows);
                }
                NativeEffect::Refused(code) => self.connection.log.refusals().frame_refused(code, None),
                NativeEffect::SwitchToJson => {
                    return Err(Finished::Json(frame.cloned().unwrap_or_default()));
                }
                NativeEffect::Close(close) => return Err(End::from(close).into()),
            }
        }
        Ok(())
    }

    /// Takes a frame, and those that have come with it: clients acknowledge each frame of a burst.
    async fn frames(&mut self, mut frame: Frame) -> Result<(), Finished> {
        for left in (0..MAX_FRAMES_AT_ONCE).rev() {
            if let Some(payload) = self.connection.payload(frame)? {
                let bytes = payload.len();
                let decoded =
                    off_thread(payload.clone(), |payload| decode(payload, MAX_CHANGES_PER_FRAME)).await;
                self.session.frame(decoded, bytes);
                self.work(false, Some(&payload)).await?;
            }
            if left == 0 || !self.session.takes_frames() || self.connection.is_paused() {
                break;
            }
            let read = poll_fn(|cx| Poll::Ready(self.connection.poll_read(cx))).await;
            frame = match read {
                Poll::Ready(Ok(frame)) => frame,
                Poll::Ready(Err(error)) => return Err(Connection::failed(self.state, &error).into()),
                Poll::Pending => break,
            };
        }
        Ok(())
    }

    fn uploaded(&mut self, result: Result<Vec<Outcome>, UploadFailure>) {
        if let Ok(outcomes) = &result {
            self.connection.log.refusals().changes_refused(refused_codes(outcomes), None);
        }
        self.session.uploaded(result);
    }

    async fn upload(&mut self, incoming: Vec<Incoming>, bytes: usize) -> Result<(), End> {
        let mut permit = std::pin::pin!(self.state.upload_permit(bytes));
        let permit = loop {
            // Answers are taken meanwhile: what they give back may be the very part of the budget that is missing.
            let event = tokio::select! {
                permit = permit.as_mut() => Ok(permit),
                result = poll_fn(|cx| self.link.uploads.poll(cx)) => Err(result),
            };
            match event {
                Ok(permit) => break permit.map_err(|error| End::internal(&error))?,
                Err(result) => self.uploaded(result),
            }
        };
        if !self.session.takes_uploads() {
            return Ok(());
        }
        self.connection.uploaded(self.state, incoming.len(), bytes);
        let terms = self.session.uploading(bytes);
        let upload = NewUpload { incoming, plain: false, terms, bytes };
        let sent = self.link.upload(self.state, upload, permit).await;
        sent.map_err(|error| End::internal(&error))
    }
}
