//! The JSON dialect on a socket: several spaces on one connection, each a seat with a stream of its own.

mod deliver;
mod frames;
mod subscription;
mod wanted;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use bytestring::ByteString;
use lattice_engine::Outcome;
use lattice_protocol::limits::MAX_CHANGES_PER_FRAME;
use lattice_protocol::plain::{
    Format, Space, Subscribe, UploadId, Welcome, encode_access, encode_error, encode_welcome,
};
use lattice_protocol::{Code, FrameError};
use lattice_store::StoreError;
use lattice_store::spaces::Origin;
use tokio::time::sleep_until;

use super::SyncState;
use super::line::{End, Line, LineEvent};
use super::seat::Refusal;
use subscription::Subscription;
use wanted::Wanted;

pub(super) use deliver::result;
pub(super) use frames::{came, open};
pub(super) use subscription::Awaited;

/// Spaces of one connection, those that it only uploads to included.
const MAX_SUBSCRIPTIONS: usize = 100;

/// After how long a client that is over its quota may try again, in seconds: a quota is raised by people.
const OVER_QUOTA_RETRY_AFTER_S: u64 = 60;

/// What a client said of itself.
#[derive(Default)]
struct Client {
    id: Option<ByteString>,
    schema_version: Option<u64>,
    format: Format,
    /// It was told that the connection is ready.
    welcomed: bool,
}

enum Event {
    Line(LineEvent),
    /// The answer to the oldest upload of the subscription at this place.
    Answer(usize, Result<Vec<Outcome>, StoreError>),
    Signal,
    Closing,
    Timer,
}

/// What a connection starts with when a native one has turned out to speak JSON.
pub(super) struct Switched {
    /// The frame that told.
    pub(super) first: Bytes,
    /// The space that the address names.
    pub(super) space: Space,
    /// The checkpoint that the address names.
    pub(super) cursor: Option<ByteString>,
}

/// A connection that speaks the JSON dialect.
pub(super) struct Json<'a> {
    state: &'a SyncState,
    line: &'a mut Line,
    origin: Arc<Origin>,
    client: Client,
    subscriptions: Vec<Subscription>,
    /// A subscription that takes the place of one which still owes answers. Nothing is read meanwhile.
    held: Option<Subscribe>,
    /// Subscriptions that begin once the client is let in.
    wanted: Wanted,
    /// An upload was refused as a whole, or may have been lost with its subscription. Later ones that are under way already may
    /// overtake it, so whatever is uploaded to spaces that are opened from now on is answered with current values.
    overtakes: bool,
    /// Whose turn it is to be sent something.
    turn: usize,
    /// Spaces to which an upload led beyond a quota. With the first the connection ends once what came before is answered;
    /// nothing is read any more.
    over_quota: Vec<Space>,
}

impl<'a> Json<'a> {
    pub(super) fn new(
        state: &'a SyncState,
        line: &'a mut Line,
        origin: Arc<Origin>,
        schema_version: Option<u64>,
    ) -> Self {
        let client = Client { schema_version, ..Client::default() };
        Self {
            state,
            line,
            origin,
            client,
            subscriptions: Vec::new(),
            held: None,
            wanted: Wanted::default(),
            overtakes: false,
            turn: 0,
            over_quota: Vec::new(),
        }
    }

    /// Serves the client until the connection ends.
    pub(super) async fn serve(mut self, switched: Option<Switched>) -> End {
        match self.run(switched).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn run(&mut self, switched: Option<Switched>) -> Result<std::convert::Infallible, End> {
        self.line.outbox.write_text();
        if let Some(switched) = switched {
            self.first_frame(switched).await?;
        }
        let stop = self.state.stop.clone();
        let mut timer = std::pin::pin!(sleep_until(self.line.next_timer()));
        loop {
            self.look_at_signals().await?;
            if self.held.as_ref().is_some_and(|held| self.is_settled(held.space))
                && let Some(held) = self.held.take()
            {
                self.subscribe(held).await?;
            }
            let closing = stop.is_cancelled();
            if self.line.outbox.is_empty() {
                let over_quota = !self.over_quota.is_empty();
                if (closing || over_quota) && self.subscriptions.iter().all(|held| held.seat.is_settled()) {
                    return Err(if over_quota {
                        End::no_access(&Refusal::OverQuota)
                    } else {
                        End::closing()
                    });
                }
                self.fill().await?;
            }
            let open = !closing && self.over_quota.is_empty();
            let reads =
                open && self.held.is_none() && self.subscriptions.iter().all(|held| held.seat.has_room());
            let Self { line, subscriptions, .. } = self;
            let drained = line.outbox.is_empty();
            let event = tokio::select! {
                event = poll_fn(|cx| line.poll(reads, cx)) => Event::Line(event),
                event = poll_fn(|cx| poll_subscriptions(subscriptions, drained, cx)) => event,
                () = stop.cancelled(), if !closing => Event::Closing,
                () = timer.as_mut() => Event::Timer,
            };
            match event {
                Event::Line(LineEvent::Frame(frame)) => {
                    if let Some(payload) = self.line.payload(frame)? {
                        self.frame(payload).await?;
                    }
                    if self.line.is_paused() {
                        timer.as_mut().reset(self.line.next_timer());
                    }
                }
                Event::Line(LineEvent::Failed(error)) => return Err(Line::failed(self.state, &error)),
                Event::Answer(at, answer) => self.answered(at, answer)?,
                Event::Line(LineEvent::Drained) | Event::Signal | Event::Closing => {}
                Event::Timer => {
                    if self.line.tick(self.state).await? {
                        self.look_at_access().await;
                        self.look_for_wanted().await?;
                    }
                    timer.as_mut().reset(self.line.next_timer());
                }
            }
        }
    }

    /// Looks at access where a signal says that it has changed.
    async fn look_at_signals(&mut self) -> Result<(), End> {
        let mut changed = false;
        for held in &mut self.subscriptions {
            let access = held.seat.signal.borrow().access;
            changed |= std::mem::replace(&mut held.access_seen, access) != access;
        }
        if changed {
            self.line.recheck(self.state).await?;
            self.look_at_access().await;
            self.look_for_wanted().await?;
        }
        Ok(())
    }

    /// Ends subscriptions to spaces that may not be used any more, and tells of other roles.
    async fn look_at_access(&mut self) {
        let mut at = 0;
        while at < self.subscriptions.len() {
            let held = &mut self.subscriptions[at];
            match held.seat.recheck(self.state).await {
                Ok(()) => {}
                Err(Refusal::Store(error)) => {
                    tracing::warn!(%error, "access could not be looked up; it is tried again");
                }
                Err(refusal) => {
                    self.end(at, &refusal, None);
                    continue;
                }
            }
            at += 1;
        }
    }

    /// A subscription has ended: its space may not be used any more.
    fn end(&mut self, at: usize, refusal: &Refusal, upload: Option<&UploadId>) {
        let name = self.subscriptions.swap_remove(at).name;
        self.overtakes = true;
        if matches!(refusal, Refusal::NotFound) {
            self.line.outbox.push(encode_access(name, None));
        }
        self.refuse_space(refusal, name, upload);
    }

    fn refuse(&mut self, code: Code, message: &str, space: Option<Space>) {
        self.line.outbox.push(encode_error(code, message, None, space, None));
        self.line.log.refusals().frame_refused(code, space);
    }

    /// A space cannot be used, at least for now.
    fn refuse_space(&mut self, refusal: &Refusal, space: Space, upload: Option<&UploadId>) {
        let retry_after_s = match refusal {
            Refusal::Overloaded(overloaded) => Some(u64::from(overloaded.retry_after_s)),
            Refusal::OverQuota => Some(OVER_QUOTA_RETRY_AFTER_S),
            _ => None,
        };
        let (code, message) = (refusal.code(), refusal.to_string());
        self.line.outbox.push(encode_error(code, &message, retry_after_s, Some(space), upload));
        self.line.log.refusals().frame_refused(code, Some(space));
    }

    fn refuse_frame(&mut self, error: &FrameError) {
        let FrameError { code, detail, upload } = error;
        self.line.outbox.push(encode_error(*code, detail, None, None, upload.as_ref()));
        self.line.log.refusals().frame_refused(*code, None);
    }

    fn welcome(&mut self) {
        self.client.welcomed = true;
        self.line.outbox.push(encode_welcome(&Welcome {
            user: self.line.identity.user.0,
            client_id: self.client.id.as_deref(),
            max_frame_bytes: self.state.limits.max_frame_bytes as u64,
            max_changes: MAX_CHANGES_PER_FRAME as u64,
        }));
    }

    fn find(&self, name: Space) -> Option<usize> {
        self.subscriptions.iter().position(|held| held.name == name)
    }

    /// Whether a subscription begins a new stream while an earlier one of its space still owes answers.
    fn must_wait(&self, subscribe: &Subscribe) -> bool {
        let goes_on = subscribe.cursor.is_some()
            && self.find(subscribe.space).is_some_and(|at| !self.subscriptions[at].muted);
        !goes_on && !self.is_settled(subscribe.space)
    }

    fn is_settled(&self, name: Space) -> bool {
        self.find(name).is_none_or(|at| self.subscriptions[at].is_settled())
    }
}

/// What happens first in any of the subscriptions.
fn poll_subscriptions(
    subscriptions: &mut [Subscription],
    drained: bool,
    cx: &mut Context<'_>,
) -> Poll<Event> {
    for (at, held) in subscriptions.iter_mut().enumerate() {
        if let Poll::Ready(answer) = held.seat.uploads.poll(cx) {
            return Poll::Ready(Event::Answer(at, answer));
        }
        if drained && held.poll_signal(cx).is_ready() {
            return Poll::Ready(Event::Signal);
        }
    }
    Poll::Pending
}
