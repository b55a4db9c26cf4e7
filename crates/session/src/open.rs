//! The start of a space session: what the user may do, where the client is, which view it is shown.

use alloc::boxed::Box;
use alloc::string::String;

use lattice_engine::mutation::Mutation;
use lattice_engine::{Checkpoint, Resume, Start, Stream};
use lattice_protocol::EntryId;
use lattice_protocol::plain::ResetReason;

use crate::access::shown_before;
use crate::limits::MAX_READS;
use crate::refusal::Refusal;
use crate::request::{Answer, Entered, Request, ResumeFrom, SubscribeRequest};
use crate::space::SpaceSession;

/// A space session that begins.
#[derive(Debug)]
pub struct Opening {
    user: [u8; 16],
    subscribe: SubscribeRequest,
    resume: ResumeFrom,
    /// A client whose checkpoint is unknown is told to drop what it holds, and begins anew.
    drops_unknown: bool,
    /// How often it has begun once more.
    tries: u32,
    step: Step,
    /// The request was given out.
    asked: bool,
}

#[derive(Debug)]
enum Step {
    Entering,
    Remembering(Box<SpaceSession>, Option<LostCheckpoint>),
}

/// How far it has come.
#[derive(Debug)]
pub enum Progress {
    /// Something else is to be asked.
    Continues(Opening),
    /// It has begun; with a checkpoint that could not be resolved.
    Opened(Box<SpaceSession>, Option<LostCheckpoint>),
}

/// A checkpoint that could not be resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LostCheckpoint {
    /// The id of the newest change that the space accepted, as its author wrote it: native clients are to send again what they
    /// hold above it. The driver fills it in; `None` where there is none, or the client may not see everything.
    pub newest_accepted: Option<String>,
    /// Since when changes may be lost, if the database was put back to an older state: microseconds since 1970.
    pub restored_since_us: Option<i64>,
}

impl LostCheckpoint {
    /// What its client is told.
    pub(crate) fn reset_reason(&self) -> ResetReason {
        match self.restored_since_us {
            Some(since_us) => ResetReason::Restored { since_us },
            None => ResetReason::UnknownCursor,
        }
    }
}

impl Opening {
    /// Begins a session that sends entries without telling its client to drop anything: the client of an unknown checkpoint may
    /// hold rows, and is sent all of them on top.
    #[must_use]
    pub fn keeping(user: [u8; 16], subscribe: SubscribeRequest, resume: ResumeFrom) -> Self {
        Self { user, subscribe, resume, drops_unknown: false, tries: 0, step: Step::Entering, asked: false }
    }

    /// Begins a session whose client is told when its stream starts over, and drops what it held then.
    #[must_use]
    pub fn resetting(user: [u8; 16], subscribe: SubscribeRequest, resume: ResumeFrom) -> Self {
        Self { drops_unknown: true, ..Self::keeping(user, subscribe, resume) }
    }

    /// Whether the client is told to drop what it holds, even if its checkpoint is good.
    #[must_use]
    pub fn starts_over(&self) -> bool {
        !matches!(self.resume, ResumeFrom::Checkpoint(_))
    }

    /// The version of the app's schema that its client declares.
    #[must_use]
    pub fn schema_version(&self) -> Option<u64> {
        self.subscribe.schema_version
    }

    /// What the store is to be asked; once each.
    pub fn request(&mut self) -> Option<Request> {
        if core::mem::replace(&mut self.asked, true) {
            return None;
        }
        Some(match &self.step {
            Step::Entering => Request::Enter { receipt_of: self.accepted_id() },
            Step::Remembering(session, _) => Request::Remember { view: session.view() },
        })
    }

    /// The id of a checkpoint that the log may have: minted ids are resolved without it.
    fn accepted_id(&self) -> Option<EntryId> {
        match &self.resume {
            ResumeFrom::Checkpoint(text) => {
                EntryId::parse(text).map(|(id, _)| id).filter(|id| !id.is_minted())
            }
            ResumeFrom::Nothing | ResumeFrom::Unknown => None,
        }
    }

    /// Takes the answer to the last request.
    ///
    /// # Errors
    /// Why the space cannot be used.
    pub fn answer(self, answer: Answer) -> Result<Progress, Refusal> {
        match (self.step, answer) {
            (Step::Entering, Answer::Entered(None)) => Err(Refusal::NotFound),
            (Step::Entering, Answer::Entered(Some(entered))) => {
                Self { step: Step::Entering, ..self }.entered(*entered)
            }
            (Step::Remembering(session, lost), Answer::Remembered) => Ok(Progress::Opened(session, lost)),
            // Rights have moved since they were read: it begins once more.
            (Step::Remembering(session, _), Answer::Outdated) if self.tries < MAX_READS => {
                let Self { user, resume, drops_unknown, tries, .. } = self;
                let (subscribe, step) = (session.subscribe_request(), Step::Entering);
                let tries = tries + 1;
                Ok(Progress::Continues(Self {
                    user,
                    subscribe,
                    resume,
                    drops_unknown,
                    tries,
                    step,
                    asked: false,
                }))
            }
            (_, Answer::Outdated) => Err(Refusal::AccessChanged),
            (_, Answer::Refused(refusal)) => Err(refusal),
            (_, answer) => {
                debug_assert!(false, "{answer:?} was not asked for");
                Err(Refusal::Store)
            }
        }
    }

    fn entered(self, mut entered: Entered) -> Result<Progress, Refusal> {
        entered.access.admit(self.subscribe.schema_version)?;
        let other_views = !entered.views.is_empty();
        let (start, lost) = self.start(&mut entered);
        let remembers = entered.access.remembers(&start.view, other_views);
        let stream = Stream::start(entered.writer, start);
        let late = Mutation::LateViews.is_active();
        let session = SpaceSession::new(
            self.user,
            self.subscribe,
            entered,
            stream,
            (other_views || remembers, late && remembers),
        );
        let session = Box::new(session);
        if !remembers || late {
            return Ok(Progress::Opened(session, lost));
        }
        let step = Step::Remembering(session, lost);
        let Self { user, resume, drops_unknown, tries, .. } = self;
        let subscribe = SubscribeRequest::default();
        Ok(Progress::Continues(Self { user, subscribe, resume, drops_unknown, tries, step, asked: false }))
    }

    /// Where the stream starts, and the checkpoint if it could not be resolved.
    fn start(&self, entered: &mut Entered) -> (Start, Option<LostCheckpoint>) {
        let remembered =
            shown_before(core::mem::take(&mut entered.views), entered.access.private, entered.head);
        let view = {
            let SubscribeRequest { filter, schema_version } = self.subscribe.clone();
            entered.access.view(self.user, filter, schema_version)
        };
        let resume = || Resume {
            minter: &entered.minter,
            head: entered.head,
            view: view.clone(),
            user: self.user,
            remembered: &remembered,
            nonce: entered.nonce,
        };
        let checkpoint = match &self.resume {
            ResumeFrom::Nothing => Checkpoint::New,
            ResumeFrom::Unknown => Checkpoint::Lost,
            ResumeFrom::Checkpoint(text) => match EntryId::parse(text) {
                Some((id, _)) => Checkpoint::Id { id, seq: entered.receipt.filter(|_| !id.is_minted()) },
                // What was never an id is as unknown as an id that is not known.
                None => Checkpoint::Id { id: EntryId([0; 16]), seq: None },
            },
        };
        let (start, lost) = resume().start(checkpoint);
        if !lost || !matches!(self.resume, ResumeFrom::Checkpoint(_)) {
            return (start, None);
        }
        let start = if self.drops_unknown { resume().start(Checkpoint::New).0 } else { start };
        let lost = LostCheckpoint { newest_accepted: None, restored_since_us: entered.restored_since_us };
        (start, Some(lost))
    }
}
