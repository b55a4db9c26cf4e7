//! What a frame asks for that takes answers of the store. One at a time: the next frame is taken when it is done.

use alloc::boxed::Box;
use alloc::sync::Arc;

use bytes::Bytes;
use lattice_engine::mutation::Mutation;
use lattice_protocol::plain::{
    Filter, Poll, ResetReason, Space, Subscribe, Upload, UploadId, encode_access, encode_ready, encode_reset,
};

use super::subscription::Subscription;
use super::{JsonEffect, JsonSession, Slot, role};
use crate::answer::changes_frames;
use crate::limits::MAX_SUBSCRIPTIONS;
use crate::open::{Opening, Progress};
use crate::refusal::{Close, Refusal};
use crate::request::{Answer, Hint, Request, ResumeFrom, SubscribeRequest};
use crate::space::{Advance, SpaceSession};
use lattice_protocol::Code;

/// What is under way.
#[derive(Debug)]
pub(super) enum Task {
    /// A space is opened.
    Open { slot: Slot, space: Space, opening: Box<Opening>, hint: Hint, then: Box<Then> },
    /// A page is read.
    Page { slot: Slot, space: Space, session: Box<SpaceSession>, reset: Option<ResetReason> },
    /// A subscription moves to another filter.
    Refilter { slot: Slot },
}

/// What is done with a space once it is open.
#[derive(Debug)]
pub(super) enum Then {
    /// It is followed.
    Follow {
        subscribe: Subscribe,
        /// The version of access that pending subscriptions had looked at when this began.
        version: u64,
        /// The client was refused before, and is not refused again.
        was_refused: bool,
    },
    /// Changes go to it.
    Upload { upload: Upload, bytes: usize },
    /// Something is shown in it.
    Show { state: Bytes },
    /// One page is sent of it.
    Page { max_rows: usize },
}

impl Then {
    /// What the client calls the upload that the space is opened for.
    fn upload(&self) -> Option<&UploadId> {
        match self {
            Self::Upload { upload, .. } => upload.id.as_ref(),
            Self::Follow { .. } | Self::Show { .. } | Self::Page { .. } => None,
        }
    }
}

impl Task {
    pub(super) fn is_for(&self, of: Slot) -> bool {
        match self {
            Self::Open { slot, .. } | Self::Page { slot, .. } => *slot == of,
            Self::Refilter { .. } => false,
        }
    }

    pub(super) fn hint(&mut self, of: Slot, new: Hint) {
        match self {
            Self::Open { slot, hint, .. } if *slot == of => *hint = new,
            Self::Page { slot, session, .. } if *slot == of => session.hint(new),
            _ => {}
        }
    }

    pub(super) fn request(&mut self) -> Option<(Slot, Space, Request)> {
        let (slot, space, request) = match self {
            Self::Open { slot, space, opening, .. } => (*slot, *space, opening.request()?),
            Self::Page { slot, space, session, .. } => (*slot, *space, session.request()?),
            Self::Refilter { .. } => return None,
        };
        Some((slot, space, request))
    }
}

impl JsonSession {
    fn new_slot(&mut self) -> Slot {
        self.next_slot += 1;
        Slot(self.next_slot)
    }

    fn subscribe_request(&self, filter: Filter) -> SubscribeRequest {
        SubscribeRequest {
            filter: (!filter.is_everything()).then(|| Arc::new(filter)),
            schema_version: self.client.schema_version,
        }
    }

    fn open(&mut self, space: Space, filter: Filter, resume: ResumeFrom, then: Then) {
        let request = self.subscribe_request(filter);
        let opening = Box::new(Opening::resetting(self.client.user, request, resume));
        let slot = self.new_slot();
        let then = Box::new(then);
        self.task = Some(Task::Open { slot, space, opening, hint: Hint::default(), then });
    }

    /// Begins what `subscribe` asks for, or holds it while an earlier stream of the space owes answers.
    pub(super) fn subscribe(&mut self, subscribe: Subscribe) {
        self.pending.remove(subscribe.space);
        let at = self.find(subscribe.space);
        let goes_on = at.filter(|at| subscribe.cursor.is_some() && !self.subscriptions[*at].muted);
        if let Some(at) = goes_on.filter(|_| !Mutation::ResumedTwice.is_active()) {
            return self.refilter(at, subscribe.filter);
        }
        if !self.is_settled(subscribe.space) && !Mutation::HastySubscribe.is_active() {
            // What the first one owes is answered under its own view and cursor.
            self.held = Some(subscribe);
            return;
        }
        self.follow(subscribe, false);
    }

    fn follow(&mut self, subscribe: Subscribe, was_refused: bool) {
        let space = subscribe.space;
        if self.find(space).is_none() && !self.has_place() {
            self.refuse(Code::TooManySubscriptions, "a connection has at most 100 spaces", Some(space));
            return;
        }
        let resume = resume_from(subscribe.cursor.as_deref());
        let (filter, version) = (subscribe.filter.clone(), self.pending.version());
        self.open(space, filter, resume, Then::Follow { subscribe, version, was_refused });
    }

    /// A subscription goes on, in the view of another filter. Its cursor is not asked for: what was sent arrives before what
    /// follows, and the stream knows of it.
    fn refilter(&mut self, at: usize, filter: Filter) {
        let request = self.subscribe_request(filter.clone());
        let held = &mut self.subscriptions[at];
        held.filter = filter;
        held.space.refilter(request.filter);
        self.task = Some(Task::Refilter { slot: held.slot });
    }

    /// Begins the subscription that had to wait, if it need not any more.
    pub(super) fn begin_held(&mut self) -> bool {
        let ready = self.held.as_ref().is_some_and(|held| self.is_settled(held.space));
        let Some(held) = self.held.take_if(|_| ready) else { return false };
        self.subscribe(held);
        true
    }

    /// Looks whether the client is let in by now where it was refused.
    pub(super) fn begin_pending(&mut self) -> bool {
        if self.held.is_some() || self.closing {
            return false;
        }
        let Some(subscribe) = self.pending.next() else { return false };
        self.follow(subscribe, true);
        true
    }

    /// Whether one more space fits; those that were only uploaded to make room.
    fn has_place(&mut self) -> bool {
        if self.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            let out = &mut self.out;
            self.subscriptions.retain(|held| {
                let keeps = held.is_in_use();
                if !keeps {
                    out.push_back(JsonEffect::Leave { slot: held.slot });
                }
                keeps
            });
        }
        self.subscriptions.len() < MAX_SUBSCRIPTIONS
    }

    /// The subscription that something goes to. If there is none, one is opened that is sent nothing but answers.
    fn place_for(&mut self, space: Space, then: Then) -> Option<(usize, Then)> {
        if let Some(at) = self.find(space) {
            return Some((at, then));
        }
        if !self.has_place() {
            self.overtakes |= matches!(then, Then::Upload { .. });
            let why = "a connection has at most 100 spaces";
            self.refuse_named(Code::TooManySubscriptions, why, Some(space), then.upload());
            return None;
        }
        self.open(space, Filter::default(), ResumeFrom::Nothing, then);
        None
    }

    pub(super) fn upload(&mut self, upload: Upload, bytes: usize) {
        let space = upload.space;
        if let Some((at, Then::Upload { upload, bytes })) =
            self.place_for(space, Then::Upload { upload, bytes })
        {
            let slot = self.subscriptions[at].slot;
            self.out.push_back(JsonEffect::Upload { slot, upload, bytes });
        }
    }

    /// What the others of a space are to see of this client. It need not have asked for what is in the space.
    pub(super) fn show(&mut self, space: Space, state: Option<Bytes>) {
        let Some(state) = state else {
            if let Some(at) = self.find(space) {
                self.show_in(at, None);
            }
            return;
        };
        // A copy: the frame that it is a part of may be much larger.
        let state = Bytes::copy_from_slice(&state);
        if let Some((at, Then::Show { state })) = self.place_for(space, Then::Show { state }) {
            self.show_in(at, Some(state));
        }
    }

    fn show_in(&mut self, at: usize, state: Option<Bytes>) {
        let held = &mut self.subscriptions[at];
        held.present = state.is_some();
        self.out.push_back(JsonEffect::Show { slot: held.slot, state });
    }

    /// There was no room for what [`JsonEffect::Show`] shows.
    pub fn not_shown(&mut self, slot: Slot) {
        let Some(at) = self.at(slot) else { return };
        self.subscriptions[at].present = false;
        let space = Some(self.subscriptions[at].name);
        self.refuse(Code::PresenceFull, "as many clients as may show something already", space);
    }

    /// One page, without a subscription.
    pub(super) fn poll(&mut self, poll: Poll) {
        let Poll { space, cursor, limit } = poll;
        let most = lattice_protocol::limits::MAX_POLL_CHANGES;
        let max_rows = limit.map_or(self.limits.page_rows, |limit| limit.clamp(1, most) as usize);
        let resume = resume_from(cursor.as_deref());
        self.open(space, Filter::default(), resume, Then::Page { max_rows });
    }

    pub(super) fn answer_task(&mut self, answer: Answer) {
        match self.task.take() {
            Some(Task::Open { slot, space, opening, hint, then }) => {
                let starts_over = opening.starts_over();
                match opening.answer(answer) {
                    Ok(Progress::Continues(opening)) => {
                        let opening = Box::new(opening);
                        self.task = Some(Task::Open { slot, space, opening, hint, then });
                    }
                    Ok(Progress::Opened(mut session, lost)) => {
                        let reset = match lost {
                            Some(lost) => Some(lost.reset_reason()),
                            None => starts_over.then_some(ResetReason::NoCursor),
                        };
                        if hint != Hint::default() {
                            session.hint(hint);
                        }
                        if self.overtakes {
                            session.stream.echo_always();
                        }
                        self.opened((slot, space), session, reset, *then);
                    }
                    Err(refusal) => self.not_opened((slot, space), refusal, *then),
                }
            }
            Some(Task::Page { slot, space, mut session, reset }) => match session.answer(answer) {
                Ok(Advance::Delivered(delivery, more)) => {
                    let cursor = session.cursor_text();
                    let (form, out) = ((self.client.format, &self.limits), &mut self.out);
                    changes_frames(space, &delivery.entries, form, &cursor, more, |frame| {
                        out.push_back(JsonEffect::Send(frame));
                    });
                    self.out.push_back(JsonEffect::Leave { slot });
                }
                Ok(Advance::Waits | Advance::Looked) => {
                    self.task = Some(Task::Page { slot, space, session, reset });
                }
                Err(refusal) => self.not_read((slot, space), refusal),
            },
            task => self.task = task,
        }
    }

    fn opened(
        &mut self,
        (slot, space): (Slot, Space),
        session: Box<SpaceSession>,
        reset: Option<ResetReason>,
        then: Then,
    ) {
        match then {
            Then::Follow { subscribe, was_refused, .. } => {
                if was_refused {
                    self.pending.remove(space);
                    self.send(encode_access(space, Some(role(session.role()))));
                }
                self.followed(Subscription {
                    filter: subscribe.filter,
                    ..Subscription::new(slot, space, session, false)
                });
                if let Some(reason) = reset {
                    self.send(encode_reset(space, reason));
                }
                self.send_ready(space);
            }
            Then::Upload { upload, bytes } => {
                self.subscriptions.push(Subscription::new(slot, space, session, true));
                self.out.push_back(JsonEffect::Upload { slot, upload, bytes });
            }
            Then::Show { state } => {
                self.subscriptions.push(Subscription::new(slot, space, session, true));
                self.show_in(self.subscriptions.len() - 1, Some(state));
            }
            Then::Page { max_rows } => {
                let mut session = session;
                if let Some(reason) = reset {
                    self.send(encode_reset(space, reason));
                }
                session.pull(&self.limits, max_rows);
                self.task = Some(Task::Page { slot, space, session, reset });
            }
        }
    }

    /// A subscription begins, in the place of an earlier one if there is one.
    fn followed(&mut self, mut subscription: Subscription) {
        let (new, listens) = (subscription.slot, subscription.listens());
        match self.find(subscription.name) {
            Some(at) => {
                let before = &mut self.subscriptions[at];
                let old = before.slot;
                // Whoever asks for something else in a space has not left it.
                subscription.present = before.present;
                *before = subscription;
                self.out.push_back(JsonEffect::Replace { old, new });
                self.out.push_back(JsonEffect::Leave { slot: old });
            }
            None => self.subscriptions.push(subscription),
        }
        self.out.push_back(JsonEffect::Listen { slot: new, listens });
    }

    fn send_ready(&mut self, space: Space) {
        let Some(at) = self.find(space) else { return };
        let session = &self.subscriptions[at].space;
        let frame = encode_ready(space, session.head(), role(session.role()));
        self.send(frame);
    }

    fn not_opened(&mut self, (slot, space): (Slot, Space), refusal: Refusal, then: Then) {
        self.out.push_back(JsonEffect::Leave { slot });
        let upload = then.upload().cloned();
        match then {
            Then::Follow { was_refused: true, .. } if refusal == Refusal::NotFound => return,
            // It is tried again, and the client knows of nothing.
            Then::Follow { was_refused: true, .. }
                if matches!(refusal, Refusal::Store | Refusal::Overloaded(_)) =>
            {
                self.pending.look_again();
                return;
            }
            _ if refusal == Refusal::Store => return self.close_now(Close::Refused(refusal)),
            Then::Follow { subscribe, version, .. } => {
                if let Some(at) = self.find(space) {
                    let slot = self.subscriptions.swap_remove(at).slot;
                    self.out.push_back(JsonEffect::Leave { slot });
                }
                if refusal == Refusal::NotFound {
                    self.pending.add(subscribe, version);
                } else {
                    self.pending.remove(space);
                }
            }
            Then::Upload { .. } => self.overtakes = true,
            Then::Show { .. } | Then::Page { .. } => {}
        }
        self.refuse_space(refusal, space, upload.as_ref());
    }

    fn not_read(&mut self, (slot, space): (Slot, Space), refusal: Refusal) {
        self.out.push_back(JsonEffect::Leave { slot });
        if refusal == Refusal::Store {
            return self.close_now(Close::Refused(refusal));
        }
        self.refuse_space(refusal, space, None);
    }

    /// The move to another filter may be done.
    pub(super) fn check_refilter(&mut self) {
        let Some(Task::Refilter { slot }) = self.task else { return };
        let Some(at) = self.at(slot) else {
            // The space was lost on the way, and the client has been told.
            self.task = None;
            return;
        };
        let held = &mut self.subscriptions[at];
        if held.space.is_refiltering() {
            return;
        }
        self.task = None;
        held.complete = false;
        held.told_role = held.space.role();
        let (listens, name) = (held.listens(), held.name);
        self.out.push_back(JsonEffect::Listen { slot, listens });
        self.send_ready(name);
    }
}

/// A client that names no cursor is new: it is told to drop what it holds. So is one whose cursor leads nowhere.
fn resume_from(cursor: Option<&str>) -> ResumeFrom {
    cursor.map_or(ResumeFrom::Nothing, |cursor| ResumeFrom::Checkpoint(cursor.into()))
}
