//! One user in one space: the view that they have, what is read for their stream, and what they uploaded.
//!
//! Rights move while a session lasts. Two rules keep what is shown and what is remembered together: a view is remembered
//! before anything of it leaves, and a page leaves only in a view that was made of what its user may do in the very snapshot
//! that was read. So a page that was read while the version of access moved is read again, after a look at access.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use lattice_engine::mutation::Mutation;
use lattice_engine::{Delivery, Minter, Outcome, PullData, PullRequest, Role, Seq, SpaceId, Stream, View};
use lattice_protocol::native::AckId;
use lattice_protocol::plain::Filter;
use lattice_protocol::{EntryId, Outgoing, Spelling};

use crate::access::SpaceAccess;
use crate::limits::{
    DeliveryLimits, MAX_PENDING_VERDICTS, MAX_READS, MAX_SMALL_UPLOADS_IN_FLIGHT, MAX_SMALL_UPLOADS_KIB,
    MAX_UPLOADS_IN_FLIGHT,
};
use crate::refusal::Refusal;
use crate::request::{Answer, Entered, Hint, Request, SubscribeRequest, UploadTerms};

/// A space on a connection, or for one request.
pub struct SpaceSession {
    user: [u8; 16],
    space: SpaceId,
    minter: Minter,
    role: Role,
    private: bool,
    filter: Option<Arc<Filter>>,
    /// The filter is another one than that of the view.
    refilters: bool,
    schema_version: Option<u64>,
    /// What it is sent.
    pub(crate) stream: Stream,
    /// The version of access under which the view was made.
    version: u64,
    hint: Hint,
    /// The last seq that was read.
    head_read: Seq,
    /// Sizes of uploads that wait for their commit, in KiB, oldest first.
    uploads: VecDeque<u64>,
    step: Step,
    /// The request of the step was given out.
    asked: bool,
    /// What is read once access has been looked at.
    want: Option<Want>,
    /// How often what is wanted was read or looked for.
    reads: u32,
    /// Views of the user are remembered.
    has_views: bool,
    /// Mutation `late-views` alone: the view is remembered after its first page.
    late: bool,
}

enum Step {
    Idle,
    /// What the user may do is asked.
    Looking,
    /// Another view is to be shown, once what was uploaded in this one is stored.
    Flushing(Box<Found>),
    /// A view is being remembered.
    Remembering(Box<Found>),
    /// Mutation `late-views` alone.
    RememberingLate,
    Reading(Box<PullRequest>),
}

/// What a look at access has found.
struct Found {
    access: SpaceAccess,
    view: Arc<View>,
    version: u64,
    nonce: u64,
}

/// What is to be read.
#[derive(Clone, Copy)]
enum Want {
    Page { max_rows: usize, max_bytes: usize },
    Corrections { max_rows: usize, max_bytes: usize },
}

/// What an answer has led to.
#[derive(Debug)]
pub enum Advance {
    /// Something else is to be asked, or waited for.
    Waits,
    /// Access was looked at.
    Looked,
    /// What was wanted was read; `true` when more is left.
    Delivered(Delivery, bool),
}

impl core::fmt::Debug for SpaceSession {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { space, role, version, .. } = self;
        f.debug_struct("SpaceSession")
            .field("space", space)
            .field("role", role)
            .field("version", version)
            .field("cursor", &self.stream.cursor())
            .finish_non_exhaustive()
    }
}

impl SpaceSession {
    pub(crate) fn new(
        user: [u8; 16],
        subscribe: SubscribeRequest,
        entered: Entered,
        stream: Stream,
        (has_views, late): (bool, bool),
    ) -> Self {
        let Entered { access, version, space, minter, head, .. } = entered;
        Self {
            user,
            space,
            minter,
            role: access.role,
            private: access.private,
            filter: subscribe.filter,
            refilters: false,
            schema_version: subscribe.schema_version,
            stream,
            version,
            hint: Hint { head, version, presence: false },
            head_read: head,
            uploads: VecDeque::new(),
            step: Step::Idle,
            asked: false,
            want: None,
            reads: 0,
            has_views,
            late,
        }
    }

    /// The space's public id.
    #[must_use]
    pub fn space(&self) -> SpaceId {
        self.space
    }

    /// What the user is in the space.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// What is shown.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        Arc::clone(self.stream.view())
    }

    /// Whether the space is the user's private one.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.private
    }

    /// The space's last seq that is known of.
    #[must_use]
    pub fn head(&self) -> Seq {
        self.hint.head.max(self.head_read)
    }

    /// Verdicts that wait for the next read.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.stream.pending()
    }

    /// Of these, rows that are sent again since the client did not store them.
    #[must_use]
    pub fn resends(&self) -> usize {
        self.stream.resends()
    }

    /// The id that claims what has been sent: a cursor.
    #[must_use]
    pub fn cursor(&self) -> EntryId {
        self.stream.cursor_id(&self.minter)
    }

    pub(crate) fn cursor_text(&self) -> alloc::string::String {
        self.cursor().to_text(Spelling::default())
    }

    /// Takes what the driver knows.
    pub fn hint(&mut self, hint: Hint) {
        self.hint = hint;
    }

    pub(crate) fn last_hint(&self) -> Hint {
        self.hint
    }

    /// Whether access may have changed since it was looked at last.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        // A hint may be older than the last look.
        self.hint.version > self.version
    }

    /// Whether access is to be looked at before anything is sent.
    pub(crate) fn must_look(&self) -> bool {
        self.refilters || (self.is_behind() && !Mutation::StaleViews.is_active())
    }

    /// Whether another filter was set that is not the view's yet.
    pub(crate) fn is_refiltering(&self) -> bool {
        self.refilters || matches!(self.step, Step::Looking | Step::Flushing(_) | Step::Remembering(_))
    }

    /// Whether an answer, or an outcome, is waited for before anything else is read.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !matches!(self.step, Step::Idle) || self.want.is_some()
    }

    /// Whether something is being read for the client; a look at access alone is not that.
    pub(crate) fn reads(&self) -> bool {
        self.want.is_some()
    }

    /// Whether more may be taken from the client.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let small = self.uploads.len() < MAX_UPLOADS_IN_FLIGHT
            || (self.uploads.len() < MAX_SMALL_UPLOADS_IN_FLIGHT
                && self.uploads.iter().sum::<u64>() < MAX_SMALL_UPLOADS_KIB);
        small && self.stream.pending() < MAX_PENDING_VERDICTS && !matches!(self.step, Step::Flushing(_))
    }

    /// Whether nothing that the client sent is unanswered.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.uploads.is_empty() && self.stream.pending() == 0
    }

    /// An upload of `bytes` is handed to the store, on these terms.
    #[must_use]
    pub fn uploading(&mut self, bytes: usize) -> UploadTerms {
        self.uploads.push_back(bytes as u64 / 1_024 + 1);
        UploadTerms { echoes: self.stream.echoes(), ..UploadTerms::default() }
    }

    /// The oldest upload is stored. Returns the ids that may be acknowledged at once.
    pub fn stored(&mut self, outcomes: Vec<Outcome>) -> Vec<AckId> {
        self.answered();
        self.stream.outcomes(outcomes)
    }

    /// The oldest upload is not under way any more.
    pub(crate) fn answered(&mut self) {
        self.uploads.pop_front();
        // A burst is over: an idle session owns no queue.
        if self.uploads.is_empty() && self.uploads.capacity() > MAX_UPLOADS_IN_FLIGHT {
            self.uploads = VecDeque::new();
        }
        if self.uploads.is_empty() && matches!(self.step, Step::Flushing(_)) {
            let Step::Flushing(found) = core::mem::replace(&mut self.step, Step::Idle) else { return };
            self.enter(Step::Remembering(found));
        }
    }

    /// What it was opened with.
    pub(crate) fn subscribe_request(&self) -> SubscribeRequest {
        SubscribeRequest { filter: self.filter.clone(), schema_version: self.schema_version }
    }

    /// Has access looked at, if nothing else is under way. What is under way looks by itself.
    pub fn look(&mut self) {
        if matches!(self.step, Step::Idle) {
            self.reads = 0;
            self.enter(Step::Looking);
        }
    }

    /// Shows other rows from now on. What is being read is read again.
    pub fn refilter(&mut self, filter: Option<Arc<Filter>>) {
        self.filter = filter;
        self.refilters = true;
        self.look();
    }

    /// Reads what is next, and what is to be corrected.
    pub fn pull(&mut self, limits: &DeliveryLimits, max_rows: usize) {
        self.want(Want::Page { max_rows, max_bytes: limits.page_bytes });
    }

    /// Reads what is to be corrected and nothing else.
    pub fn pull_corrections(&mut self, limits: &DeliveryLimits) {
        self.want(Want::Corrections { max_rows: limits.page_rows, max_bytes: limits.page_bytes });
    }

    fn want(&mut self, want: Want) {
        self.want = Some(want);
        self.reads = 0;
        if matches!(self.step, Step::Idle) {
            self.read();
        }
    }

    /// Goes on with what is wanted: by a look at access if that has moved.
    fn read(&mut self) {
        let Some(want) = self.want else { return };
        if self.must_look() {
            self.enter(Step::Looking);
            return;
        }
        let request = match want {
            Want::Page { max_rows, max_bytes } => self.stream.pull_request(max_rows, max_bytes),
            Want::Corrections { max_rows, max_bytes } => self.stream.corrections_request(max_rows, max_bytes),
        };
        self.enter(Step::Reading(Box::new(request)));
    }

    /// A step is done: what came up meanwhile is next.
    fn go_on(&mut self) {
        if self.want.is_some() {
            self.read();
        } else if self.refilters {
            self.enter(Step::Looking);
        }
    }

    fn enter(&mut self, step: Step) {
        self.step = step;
        self.asked = false;
    }

    /// What the store is to be asked; once each.
    pub fn request(&mut self) -> Option<Request> {
        let request = match &self.step {
            Step::Idle | Step::Flushing(_) => return None,
            Step::Looking => Request::Access,
            Step::Remembering(found) => Request::Remember { view: Arc::clone(&found.view) },
            Step::RememberingLate => Request::Remember { view: self.view() },
            Step::Reading(request) => Request::Pull((**request).clone()),
        };
        (!core::mem::replace(&mut self.asked, true)).then_some(request)
    }

    /// Takes the answer to the last request. After an error, [`Refusal::Store`] and [`Refusal::Overloaded`] apart, the space may
    /// not be used any more.
    ///
    /// # Errors
    /// Why the space cannot be used.
    pub fn answer(&mut self, answer: Answer) -> Result<Advance, Refusal> {
        match (core::mem::replace(&mut self.step, Step::Idle), answer) {
            (Step::Looking, Answer::Access { access: None, .. }) => Err(Refusal::NotFound),
            (Step::Looking, Answer::Access { access: Some(access), version, nonce }) => {
                access.admit(self.schema_version)?;
                let view = access.view(self.user, self.filter.clone(), self.schema_version);
                self.refilters = false;
                self.found(Found { access, view, version, nonce })
            }
            (Step::Remembering(found), Answer::Remembered) => self.looked(*found),
            // Rights have moved since they were looked at.
            (Step::Remembering(_), Answer::Outdated) => {
                self.reads += 1;
                if self.reads > MAX_READS {
                    return Err(Refusal::AccessChanged);
                }
                self.enter(Step::Looking);
                Ok(Advance::Waits)
            }
            (Step::RememberingLate, Answer::Remembered | Answer::Outdated) => {
                self.go_on();
                Ok(Advance::Waits)
            }
            (Step::Reading(request), Answer::Pulled { data, version }) => {
                self.hint.version = self.hint.version.max(version);
                self.pulled(&request, data)
            }
            (_, Answer::Refused(refusal)) => {
                self.want = None;
                Err(refusal)
            }
            (_, answer) => {
                debug_assert!(false, "{answer:?} was not asked for");
                Err(Refusal::Store)
            }
        }
    }

    fn found(&mut self, found: Found) -> Result<Advance, Refusal> {
        let same = found.view.id() == self.stream.view().id();
        // Whoever sees everything is not answered with current values. What was uploaded so must be stored before another view
        // is read, or it would be neither answered nor taken back where that does not show it.
        if !same && !self.uploads.is_empty() && !Mutation::HastyView.is_active() {
            self.step = Step::Flushing(Box::new(found));
            return Ok(Advance::Waits);
        }
        // Also a view that is still the same is remembered: whatever has changed has ended it.
        let remembers = found.access.remembers(&found.view, self.has_views)
            && !(same && Mutation::EndedViews.is_active());
        if remembers {
            self.has_views = true;
            self.enter(Step::Remembering(Box::new(found)));
            return Ok(Advance::Waits);
        }
        self.looked(found)
    }

    fn looked(&mut self, found: Found) -> Result<Advance, Refusal> {
        let Found { access, view, version, nonce } = found;
        if !self.stream.change_view(self.user, view, nonce) {
            return Err(Refusal::AccessChanged);
        }
        (self.version, self.role, self.private) = (version, access.role, access.private);
        if self.want.is_none() {
            self.go_on();
            return Ok(Advance::Looked);
        }
        self.reads += 1;
        if self.reads > MAX_READS {
            return Err(Refusal::AccessChanged);
        }
        self.read();
        Ok(Advance::Waits)
    }

    fn pulled(&mut self, request: &PullRequest, data: PullData) -> Result<Advance, Refusal> {
        // Rows that were created after rights had changed must not be shown in a view of before.
        if self.must_look() && !Mutation::StalePages.is_active() {
            self.read();
            return Ok(Advance::Waits);
        }
        let Some(want) = self.want.take() else { return Ok(Advance::Waits) };
        // What was said of the head before the snapshot began may be of a database that was set back since.
        self.head_read = data.head;
        let more = data.more;
        let delivery = match want {
            Want::Page { .. } => self.stream.pulled(request, data, &self.minter),
            Want::Corrections { .. } => self.stream.corrected(request, data, &self.minter),
        };
        if core::mem::take(&mut self.late) {
            self.enter(Step::RememberingLate);
        }
        Ok(Advance::Delivered(delivery, more))
    }

    /// An entry that moves the client's checkpoint to the beginning of the way to another view.
    pub(crate) fn announcement(&mut self) -> Option<Outgoing> {
        self.stream.announcement(&self.minter)
    }

    /// Takes what others committed recently, as it is sent to everybody: up to which seq, and the version of access, read after
    /// it. False when it must be read from the store instead, or again.
    pub(crate) fn take_recent(&mut self, reached: Option<Seq>, version: u64) -> bool {
        // What is in it by now may have been written after rights had changed.
        self.hint.version = self.hint.version.max(version);
        let position = self.stream.cursor().position;
        let Some(reached) = reached.filter(|reached| *reached > position && !self.is_behind()) else {
            return false;
        };
        self.stream.sent_live(reached);
        true
    }
}
