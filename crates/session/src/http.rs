//! The JSON dialect over HTTP: an upload, or a page.
//!
//! A request is a connection of its own: what it wrote itself comes back to its client with the next page, which changes
//! nothing there.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;
use bytestring::ByteString;
use lattice_engine::{Correction, Outcome, Verdict, Wanted};
use lattice_protocol::plain::{
    Format, Page, ResetReason, Space, UploadId, encode_entry, encode_page, encode_upload_answer,
};
use lattice_protocol::{Incoming, RowKey};

use crate::answer::AwaitedAck;
use crate::limits::DeliveryLimits;
use crate::open::{Opening, Progress};
use crate::refusal::{Refusal, UploadFailure};
use crate::request::{Answer, Hint, Request, ResumeFrom, SubscribeRequest, UploadTerms};
use crate::space::{Advance, SpaceSession};

/// What the driver of a request is to do next.
#[derive(Debug)]
pub enum HttpEffect {
    /// Asks the store, and hands the answer to `answer`.
    Store(Request),
    /// Hands the changes to the store, after [`HttpUpload::uploading`], and what becomes of them to [`HttpUpload::uploaded`].
    Upload,
    /// There is nothing new: waits until there may be, and says so by [`HttpPoll::look_again`], or by [`HttpPoll::give_up`].
    Wait,
    /// The answer: a JSON object.
    Answer(Bytes),
    /// The request is refused.
    Refused(Refusal),
}

/// A space session, or its beginning.
#[derive(Debug)]
enum Phase {
    Opening(Opening),
    Open(Box<SpaceSession>),
    Ended,
}

impl Phase {
    fn request(&mut self) -> Option<Request> {
        match self {
            Self::Opening(opening) => opening.request(),
            Self::Open(session) => session.request(),
            Self::Ended => None,
        }
    }

    fn schema_version(&self) -> Option<u64> {
        match self {
            Self::Opening(opening) => opening.schema_version(),
            Self::Open(_) | Self::Ended => None,
        }
    }

    fn session(&mut self) -> Option<&mut SpaceSession> {
        match self {
            Self::Open(session) => Some(session),
            Self::Opening(_) | Self::Ended => None,
        }
    }
}

/// `POST /sync/changes`: changes for one space, and what became of each.
#[derive(Debug)]
pub struct HttpUpload {
    phase: Phase,
    limits: DeliveryLimits,
    id: Option<UploadId>,
    step: UploadStep,
    current: Vec<Bytes>,
    /// The view when the changes were stored.
    view_before: u64,
    /// What corrects every row of the upload, should another view be shown by the time of the answer.
    corrections: Vec<Correction>,
    refused: Option<Refusal>,
}

#[derive(Debug)]
enum UploadStep {
    Opening,
    /// The changes may be handed over.
    Ready,
    /// They were, or are about to be.
    UnderWay(Option<AwaitedAck>),
    /// Access is looked at once more: the upload may have been taken by rights that the session has not looked at yet, and
    /// nothing looks later. What its sender holds from now on must be known to have been shown.
    Looking(AwaitedAck, Vec<Verdict>),
    Correcting(AwaitedAck, Vec<Verdict>),
    Done,
}

impl HttpUpload {
    /// An upload of a user.
    #[must_use]
    pub fn new(user: [u8; 16], subscribe: SubscribeRequest, id: Option<UploadId>) -> Self {
        Self {
            phase: Phase::Opening(Opening::resetting(user, subscribe, ResumeFrom::Nothing)),
            limits: DeliveryLimits::default(),
            id,
            step: UploadStep::Opening,
            current: Vec::new(),
            view_before: 0,
            corrections: Vec::new(),
            refused: None,
        }
    }

    /// Changes how much is read at once.
    pub fn set_limits(&mut self, limits: DeliveryLimits) {
        self.limits = limits;
    }

    /// The version of the app's schema that its client declares, until the space is open.
    #[must_use]
    pub fn schema_version(&self) -> Option<u64> {
        self.phase.schema_version()
    }

    /// Takes what the driver knows of the space.
    pub fn hint(&mut self, hint: Hint) {
        self.phase.session().into_iter().for_each(|session| session.hint(hint));
    }

    /// The changes are about to be handed to the store, on these terms.
    #[must_use]
    pub fn uploading(&mut self, incoming: &[Incoming], bytes: usize) -> UploadTerms {
        self.step = UploadStep::UnderWay(Some(AwaitedAck::new(self.id.take(), incoming)));
        self.corrections = corrections_of(incoming);
        self.phase.session().map(|session| session.uploading(bytes)).unwrap_or_default()
    }

    /// What became of the changes.
    pub fn uploaded(&mut self, result: Result<Vec<Outcome>, UploadFailure>) {
        let Some(session) = self.phase.session() else { return };
        match (core::mem::replace(&mut self.step, UploadStep::Done), result) {
            (UploadStep::UnderWay(Some(awaited)), Ok(outcomes)) => {
                let verdicts = outcomes.iter().map(|outcome| outcome.verdict).collect();
                let _ = session.stored(outcomes);
                self.view_before = session.stream.view().id();
                if session.is_behind() {
                    session.look();
                    self.step = UploadStep::Looking(awaited, verdicts);
                } else {
                    self.step = UploadStep::Correcting(awaited, verdicts);
                }
            }
            (_, Err(failure)) => self.refused = Some(failure.into()),
            (step, Ok(_)) => self.step = step,
        }
    }

    /// Takes the answer to [`HttpEffect::Store`].
    pub fn answer(&mut self, answer: Answer) {
        match core::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Opening(opening) => match opening.answer(answer) {
                Ok(Progress::Continues(opening)) => self.phase = Phase::Opening(opening),
                Ok(Progress::Opened(session, _)) => {
                    (self.phase, self.step) = (Phase::Open(session), UploadStep::Ready);
                }
                Err(refusal) => self.refused = Some(refusal),
            },
            Phase::Open(mut session) => {
                match session.answer(answer) {
                    Ok(Advance::Waits) => {}
                    Ok(Advance::Looked) => {
                        if session.stream.view().id() != self.view_before {
                            // No stream takes back later what the client holds of the view before: it has written rows that
                            // this one may not show, under rights that nobody may have looked at.
                            let corrections = core::mem::take(&mut self.corrections).into_iter();
                            session.stream.outcomes(corrections.map(corrected).collect());
                        }
                        let step = core::mem::replace(&mut self.step, UploadStep::Done);
                        self.step = match step {
                            UploadStep::Looking(awaited, verdicts) => {
                                UploadStep::Correcting(awaited, verdicts)
                            }
                            step => step,
                        };
                    }
                    Ok(Advance::Delivered(delivery, _)) => {
                        let current =
                            delivery.corrections.iter().map(|entry| encode_entry(entry, Format::default()));
                        self.current.extend(current);
                    }
                    Err(refusal) => self.refused = Some(refusal),
                }
                self.phase = Phase::Open(session);
            }
            Phase::Ended => {}
        }
    }

    /// What is to be done next.
    pub fn next_effect(&mut self) -> Option<HttpEffect> {
        if let Some(refusal) = self.refused.take() {
            (self.phase, self.step) = (Phase::Ended, UploadStep::Done);
            return Some(HttpEffect::Refused(refusal));
        }
        if let Some(request) = self.phase.request() {
            return Some(HttpEffect::Store(request));
        }
        match &self.step {
            UploadStep::Ready => {
                self.step = UploadStep::UnderWay(None);
                Some(HttpEffect::Upload)
            }
            UploadStep::Correcting(awaited, verdicts) => {
                let session = match &mut self.phase {
                    Phase::Open(session) if !session.is_busy() => session,
                    _ => return None,
                };
                if session.pending() > 0 {
                    session.pull_corrections(&self.limits);
                    return session.request().map(HttpEffect::Store);
                }
                let answer = encode_upload_answer(
                    awaited.id.as_ref(),
                    None,
                    awaited.results(verdicts),
                    &core::mem::take(&mut self.current),
                );
                (self.phase, self.step) = (Phase::Ended, UploadStep::Done);
                Some(HttpEffect::Answer(answer))
            }
            UploadStep::Opening | UploadStep::UnderWay(_) | UploadStep::Looking(..) | UploadStep::Done => {
                None
            }
        }
    }
}

/// One correction for each row that is named.
fn corrections_of(incoming: &[Incoming]) -> Vec<Correction> {
    let mut rows: BTreeMap<(ByteString, RowKey), Correction> = BTreeMap::new();
    for incoming in incoming {
        let Incoming::Change(change) = incoming else { continue };
        let fresh = || Correction {
            table: change.table.clone(),
            row: change.row.clone(),
            wanted: Wanted::Refused,
            pair: None,
            relayed: None,
        };
        rows.entry((change.table.clone(), change.row.key.clone())).or_insert_with(fresh);
    }
    rows.into_values().collect()
}

fn corrected(correction: Correction) -> Outcome {
    Outcome { ack: None, verdict: Verdict::Applied, correction: Some(correction) }
}

/// `GET /sync/changes`: a page, or the wait for one.
#[derive(Debug)]
pub struct HttpPoll {
    phase: Phase,
    limits: DeliveryLimits,
    space: Space,
    max_rows: usize,
    reset: Option<ResetReason>,
    starts_over: bool,
    /// An empty page is worth an answer.
    gives_up: bool,
    /// A page is to be read.
    wants: bool,
    out: VecDeque<HttpEffect>,
}

impl HttpPoll {
    /// A poll of a user: where the client is, and most rows of the page. It waits for a page that is not empty until
    /// [`HttpPoll::give_up`].
    #[must_use]
    pub fn new(
        user: [u8; 16],
        space: Space,
        subscribe: SubscribeRequest,
        cursor: Option<&str>,
        max_rows: usize,
    ) -> Self {
        let resume = cursor.map_or(ResumeFrom::Nothing, |cursor| ResumeFrom::Checkpoint(cursor.into()));
        let opening = Opening::resetting(user, subscribe, resume);
        Self {
            starts_over: opening.starts_over(),
            phase: Phase::Opening(opening),
            limits: DeliveryLimits::default(),
            space,
            max_rows,
            reset: None,
            gives_up: false,
            wants: true,
            out: VecDeque::new(),
        }
    }

    /// Changes how much is read at once.
    pub fn set_limits(&mut self, limits: DeliveryLimits) {
        self.limits = limits;
    }

    /// Takes what the driver knows of the space.
    pub fn hint(&mut self, hint: Hint) {
        self.phase.session().into_iter().for_each(|session| session.hint(hint));
    }

    /// The version of the app's schema that its client declares, until the space is open.
    #[must_use]
    pub fn schema_version(&self) -> Option<u64> {
        self.phase.schema_version()
    }

    /// There may be something new.
    pub fn look_again(&mut self) {
        self.wants = true;
    }

    /// From now on an empty page is an answer.
    pub fn give_up(&mut self) {
        (self.gives_up, self.wants) = (true, true);
    }

    /// Takes the answer to [`HttpEffect::Store`].
    pub fn answer(&mut self, answer: Answer) {
        match core::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Opening(opening) => match opening.answer(answer) {
                Ok(Progress::Continues(opening)) => self.phase = Phase::Opening(opening),
                Ok(Progress::Opened(session, lost)) => {
                    self.reset = match lost {
                        Some(lost) => Some(lost.reset_reason()),
                        None => self.starts_over.then_some(ResetReason::NoCursor),
                    };
                    self.phase = Phase::Open(session);
                }
                Err(refusal) => self.out.push_back(HttpEffect::Refused(refusal)),
            },
            Phase::Open(mut session) => match session.answer(answer) {
                Ok(Advance::Waits | Advance::Looked) => self.phase = Phase::Open(session),
                Ok(Advance::Delivered(delivery, more)) => {
                    let waits = delivery.entries.is_empty() && !more && self.reset.is_none();
                    if waits && !self.gives_up {
                        self.out.push_back(HttpEffect::Wait);
                        self.phase = Phase::Open(session);
                        return;
                    }
                    let changes: Vec<_> =
                        delivery.entries.iter().map(|entry| encode_entry(entry, Format::default())).collect();
                    self.out.push_back(HttpEffect::Answer(encode_page(&Page {
                        space: self.space,
                        changes: &changes,
                        cursor: Some(&session.cursor_text()),
                        more,
                        reset: self.reset,
                    })));
                }
                Err(refusal) => self.out.push_back(HttpEffect::Refused(refusal)),
            },
            Phase::Ended => {}
        }
    }

    /// What is to be done next.
    pub fn next_effect(&mut self) -> Option<HttpEffect> {
        if let Some(effect) = self.out.pop_front() {
            return Some(effect);
        }
        if self.wants
            && let Some(session) = self.phase.session().filter(|session| !session.is_busy())
        {
            self.wants = false;
            session.pull(&self.limits, self.max_rows);
        }
        self.phase.request().map(HttpEffect::Store)
    }
}
