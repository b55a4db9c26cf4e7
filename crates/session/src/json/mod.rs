//! The JSON dialect on a WebSocket: several spaces on one connection, each a space session with a stream of its own.
//!
//! What happens when a client subscribes to a space again, on the same connection:
//!
//! - With a cursor, the stream goes on, in the view of the new filter. Whatever has been sent on the connection arrives before
//!   what follows, so the stream knows better than the cursor what the client has.
//! - Without one, the client wants to begin anew. It is not read any further until the old stream owes it no verdict: a
//!   correction in the old view would come after the `reset`, and nothing would take back what it shows.
//!
//! Each stream is a writer of its own, so that one that begins anew sends what the client wrote on an earlier one. And before
//! anything is sent in a view the client gets a cursor of it, with no changes: a client that keeps cursors together with their
//! changes then never holds anything of a view that its cursor does not speak of.

mod deliver;
mod frames;
mod pending;
mod subscription;
mod tasks;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;
use bytestring::ByteString;
use lattice_engine::{Outcome, Seq, WriterId};
use lattice_protocol::limits::MAX_CHANGES_PER_FRAME;
use lattice_protocol::plain::{
    ClientFrame, Format, Space, Subscribe, Upload, UploadId, Welcome, encode_access, encode_error,
    encode_welcome,
};
use lattice_protocol::{Code, FrameError, Incoming};

use crate::answer::AwaitedAck;
use crate::limits::DeliveryLimits;
use crate::refusal::{Close, Refusal, UploadFailure};
use crate::request::{Answer, Hint, Request, UploadTerms};
use crate::space::SpaceSession;
use pending::PendingSubscriptions;
use subscription::Subscription;
use tasks::Task;

/// After how long a client that is over its quota may try again, in seconds: a quota is raised by people.
const OVER_QUOTA_RETRY_AFTER_S: u64 = 60;

/// Names a space session of a connection. Never used again for another space on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(pub u32);

/// What the driver of a JSON session is to do next.
#[derive(Debug)]
pub enum JsonEffect {
    /// Sends a frame.
    Send(Bytes),
    /// Asks the store, and hands the answer to [`JsonSession::answer`].
    Store {
        /// Whose request it is.
        slot: Slot,
        /// What the client calls the space.
        space: Space,
        /// The request.
        request: Request,
    },
    /// Looks for commits that are kept as they are sent to everybody in this format, and hands them to [`JsonSession::recent`].
    Recent {
        /// For which space session.
        slot: Slot,
        /// After this seq.
        after: Seq,
        /// Without what this writer wrote.
        writer: WriterId,
    },
    /// From now on commits are kept in the client's format (`true`), or need not be.
    Listen {
        /// For which space session.
        slot: Slot,
        /// Whether the client takes them.
        listens: bool,
    },
    /// Hands changes to the store, after [`JsonSession::uploading`], and what becomes of them to [`JsonSession::uploaded`], in
    /// order for each slot.
    Upload {
        /// To which space session.
        slot: Slot,
        /// The changes, not read yet.
        upload: Upload,
        /// Size of the frame.
        bytes: usize,
    },
    /// Tells what others show that the client was not told yet, and that nothing is left to tell ([`Hint::presence`]).
    TellPresence {
        /// In which space session.
        slot: Slot,
    },
    /// Shows something to the others of a space, or nothing any more. If there is no room for it, [`JsonSession::not_shown`].
    Show {
        /// In which space session.
        slot: Slot,
        /// What is shown.
        state: Option<Bytes>,
    },
    /// The client left the space, but may still be owed answers: it shows nothing, and is told of nobody.
    Mute {
        /// Which space session.
        slot: Slot,
    },
    /// A space session takes the place of another one of the same space: what the client shows, and what it was told of the
    /// others, goes on.
    Replace {
        /// The other one. [`JsonEffect::Leave`] follows.
        old: Slot,
        /// The new one.
        new: Slot,
    },
    /// A space session is over, and everything that the driver kept for it.
    Leave {
        /// Which one.
        slot: Slot,
    },
    /// Goes on with a new token of the same user; the answer goes to [`JsonSession::authenticated`].
    Authenticate {
        /// The token.
        token: ByteString,
    },
    /// A frame, or a space, was refused, and the client has been told: for whoever keeps a log.
    Refused {
        /// Why.
        code: Code,
        /// What the client calls the space.
        space: Option<Space>,
    },
    /// Closes the connection.
    Close(Close),
}

/// Who speaks on a connection, and what holds for it.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// The user.
    pub user: [u8; 16],
    /// What the client calls itself.
    pub id: Option<ByteString>,
    /// The version of the app's schema that it declares.
    pub schema_version: Option<u64>,
    /// How changes are written for it.
    pub format: Format,
    /// Its token lets it write.
    pub can_write: bool,
    /// Largest frame that is accepted, in bytes.
    pub max_frame_bytes: u64,
}

/// What a connection starts with when a native one has turned out to speak JSON.
#[derive(Clone, Debug)]
pub struct Switched {
    /// The space that the address names.
    pub space: Space,
    /// The checkpoint that the address names.
    pub cursor: Option<ByteString>,
}

/// A connection that speaks the JSON dialect.
#[derive(Debug)]
pub struct JsonSession {
    client: Client,
    limits: DeliveryLimits,
    /// Microseconds since 1970, as it was told last.
    now_us: i64,
    /// The client was told that the connection is ready.
    welcomed: bool,
    out: VecDeque<JsonEffect>,
    subscriptions: Vec<Subscription>,
    next_slot: u32,
    /// What the last frame asked for and is not done yet. No frame is taken meanwhile.
    task: Option<Task>,
    /// A subscription that takes the place of one which still owes answers. No frame is taken meanwhile.
    held: Option<Subscribe>,
    /// Subscriptions that begin once the client is let in.
    pending: PendingSubscriptions,
    /// An upload was refused as a whole, or may have been lost with its subscription. Later ones that are under way already may
    /// overtake it, so whatever is uploaded to spaces that are opened from now on is answered with current values.
    overtakes: bool,
    /// Whose subscription was sent something last.
    last_served: usize,
    closing: bool,
    /// Spaces to which an upload led beyond a quota. With the first the connection ends once what came before is answered;
    /// nothing is read any more.
    over_quota: Vec<Space>,
    /// The first frame of a native connection that has turned out to speak JSON is yet to come.
    switched: Option<Switched>,
    /// That frame, while the subscription of the address begins.
    after_subscribe: Option<(Result<ClientFrame, FrameError>, usize)>,
}

impl JsonSession {
    /// A session of a connection that has just been made, or on which a native session has ended with
    /// [`crate::NativeEffect::SwitchToJson`]: its first frame is handed in once more.
    #[must_use]
    pub fn new(client: Client, switched: Option<Switched>) -> Self {
        Self {
            client,
            limits: DeliveryLimits::default(),
            now_us: 0,
            welcomed: false,
            out: VecDeque::new(),
            subscriptions: Vec::new(),
            next_slot: 0,
            task: None,
            held: None,
            pending: PendingSubscriptions::default(),
            overtakes: false,
            last_served: 0,
            closing: false,
            over_quota: Vec::new(),
            switched,
            after_subscribe: None,
        }
    }

    /// Tells the time, in microseconds since 1970, that the client is told when it asks: before each frame.
    pub fn set_time(&mut self, now_us: i64) {
        self.now_us = now_us;
    }

    /// Changes how much is read and sent at once.
    pub fn set_limits(&mut self, limits: DeliveryLimits) {
        self.limits = limits;
    }

    /// Who speaks.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Its space sessions, each with what the client calls the space.
    pub fn slots(&self) -> impl Iterator<Item = (Slot, Space)> {
        self.subscriptions.iter().map(|held| (held.slot, held.name))
    }

    /// The space session of a slot, once it is open.
    #[must_use]
    pub fn space(&self, slot: Slot) -> Option<&SpaceSession> {
        self.at(slot).map(|at| &*self.subscriptions[at].space)
    }

    /// Takes what the driver knows of a space.
    pub fn hint(&mut self, slot: Slot, hint: Hint) {
        if let Some(at) = self.at(slot) {
            self.subscriptions[at].space.hint(hint);
        }
        self.task.iter_mut().for_each(|task| task.hint(slot, hint));
    }

    /// What anybody may do somewhere may have changed, or it is time to look whether it has. `version` is that of access.
    pub fn look_at_access(&mut self, version: u64) {
        for held in &mut self.subscriptions {
            held.stalled = false;
            if held.space.is_behind() {
                held.space.look();
            }
        }
        self.pending.look(version);
    }

    /// The server is closing: what came is answered, nothing more is read.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// Whether frames are taken from the client.
    #[must_use]
    pub fn takes_frames(&self) -> bool {
        !self.closing
            && self.over_quota.is_empty()
            && self.held.is_none()
            && self.task.is_none()
            && self.after_subscribe.is_none()
            && self.subscriptions.iter().all(|held| held.space.has_room())
    }

    /// The changes of [`JsonEffect::Upload`] are read and about to be handed to the store. `None` when they must not be any more:
    /// what they would overtake was not stored, or their space is gone. Else their terms.
    #[must_use]
    pub fn uploading(
        &mut self,
        slot: Slot,
        upload: &Upload,
        incoming: &[Incoming],
        bytes: usize,
    ) -> Option<UploadTerms> {
        let at = self.at(slot).filter(|_| self.over_quota.is_empty())?;
        let held = &mut self.subscriptions[at];
        held.awaited.push_back(AwaitedAck::new(upload.id.clone(), incoming));
        Some(held.space.uploading(bytes))
    }

    /// What became of the oldest upload that was handed over for a slot.
    pub fn uploaded(&mut self, slot: Slot, result: Result<Vec<Outcome>, UploadFailure>) {
        let Some(at) = self.at(slot) else { return };
        let name = self.subscriptions[at].name;
        match result {
            // A later upload must not overtake one that was not stored.
            Ok(_) | Err(UploadFailure::OverQuota) if self.over_quota.contains(&name) => {
                self.subscriptions[at].space.answered();
            }
            Ok(outcomes) => self.subscriptions[at].stored(outcomes),
            Err(UploadFailure::OverQuota) => {
                self.subscriptions[at].space.answered();
                let upload = self.subscriptions[at].oldest_unanswered();
                self.refuse_space(Refusal::OverQuota, name, upload.as_ref());
                self.over_quota.push(name);
            }
            Err(UploadFailure::NoAccess) => {
                let upload = self.subscriptions[at].oldest_unanswered();
                self.end(at, Refusal::NotFound, upload.as_ref());
            }
            // A later upload must not overtake one that was not stored.
            Err(UploadFailure::Store) => self.close_now(Close::Refused(Refusal::Store)),
        }
    }

    /// What is to be done next. `drained` says that everything sent so far has left: nothing is read for a client that does not
    /// take what it is sent.
    pub fn next_effect(&mut self, drained: bool) -> Option<JsonEffect> {
        loop {
            if let Some(effect) = self.out.pop_front() {
                // A burst is over: an idle session owns no queue.
                if self.out.is_empty() {
                    self.out = VecDeque::new();
                }
                return Some(effect);
            }
            if let Some(effect) = self.request() {
                return Some(effect);
            }
            if self.task.is_some() {
                return None;
            }
            if self.begin_held() || self.begin_waiting_frame() || self.begin_pending() {
                continue;
            }
            if !drained || !self.fill() {
                return None;
            }
        }
    }

    /// What the store is to be asked.
    fn request(&mut self) -> Option<JsonEffect> {
        let task = self.task.as_mut().and_then(Task::request);
        if let Some((slot, space, request)) = task {
            return Some(JsonEffect::Store { slot, space, request });
        }
        self.subscriptions.iter_mut().find_map(|held| {
            let request = held.space.request()?;
            Some(JsonEffect::Store { slot: held.slot, space: held.name, request })
        })
    }

    /// Takes the answer to [`JsonEffect::Store`].
    pub fn answer(&mut self, slot: Slot, answer: Answer) {
        if self.task.as_ref().is_some_and(|task| task.is_for(slot)) {
            return self.answer_task(answer);
        }
        if let Some(at) = self.at(slot) {
            self.answer_subscription(at, answer);
        }
    }

    /// A subscription has ended: its space may not be used any more.
    fn end(&mut self, at: usize, refusal: Refusal, upload: Option<&UploadId>) {
        let Subscription { slot, name, muted, filter, .. } = self.subscriptions.swap_remove(at);
        self.out.push_back(JsonEffect::Leave { slot });
        self.overtakes = true;
        if refusal == Refusal::NotFound {
            self.send(encode_access(name, None));
            if !muted {
                // The client is let in again as one is that was refused.
                let version = self.pending.version();
                self.pending.add(Subscribe { space: name, cursor: None, filter }, version);
            }
        }
        self.refuse_space(refusal, name, upload);
    }

    fn send(&mut self, frame: Bytes) {
        self.out.push_back(JsonEffect::Send(frame));
    }

    fn close_now(&mut self, close: Close) {
        self.out.push_back(JsonEffect::Close(close));
    }

    fn refuse(&mut self, code: Code, message: &str, space: Option<Space>) {
        self.refuse_named(code, message, space, None);
    }

    /// `upload` is what the client calls the upload that is refused.
    fn refuse_named(&mut self, code: Code, message: &str, space: Option<Space>, upload: Option<&UploadId>) {
        self.send(encode_error(code, message, None, space, upload));
        self.out.push_back(JsonEffect::Refused { code, space });
    }

    /// A space cannot be used, at least for now.
    fn refuse_space(&mut self, refusal: Refusal, space: Space, upload: Option<&UploadId>) {
        let retry_after_s = match refusal {
            Refusal::Overloaded(overloaded) => Some(u64::from(overloaded.retry_after_s)),
            Refusal::OverQuota => Some(OVER_QUOTA_RETRY_AFTER_S),
            _ => None,
        };
        let message = alloc::format!("{refusal}");
        self.send(encode_error(refusal.code(), &message, retry_after_s, Some(space), upload));
        self.out.push_back(JsonEffect::Refused { code: refusal.code(), space: Some(space) });
    }

    fn refuse_frame(&mut self, error: &FrameError) {
        self.refuse_named(error.code, &error.detail, None, error.upload.as_ref());
    }

    fn welcome(&mut self) {
        self.welcomed = true;
        let frame = encode_welcome(&Welcome {
            user: self.client.user,
            client_id: self.client.id.as_deref(),
            max_frame_bytes: self.client.max_frame_bytes,
            max_changes: MAX_CHANGES_PER_FRAME as u64,
            now_us: self.now_us,
        });
        self.send(frame);
    }

    fn at(&self, slot: Slot) -> Option<usize> {
        self.subscriptions.iter().position(|held| held.slot == slot)
    }

    fn find(&self, name: Space) -> Option<usize> {
        self.subscriptions.iter().position(|held| held.name == name)
    }

    fn is_settled(&self, name: Space) -> bool {
        self.find(name).is_none_or(|at| self.subscriptions[at].is_settled())
    }
}

/// A role as the dialect names it.
pub(crate) fn role(role: lattice_engine::Role) -> lattice_protocol::plain::Role {
    match role {
        lattice_engine::Role::Owner => lattice_protocol::plain::Role::Owner,
        lattice_engine::Role::Editor => lattice_protocol::plain::Role::Editor,
        lattice_engine::Role::Viewer => lattice_protocol::plain::Role::Viewer,
    }
}
