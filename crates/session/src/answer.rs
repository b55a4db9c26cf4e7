//! From what the engine decides to frames.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use lattice_engine::mutation::Mutation;
use lattice_engine::{Delivered, Delivery, Outcome, Verdict};
use lattice_protocol::native::{AckId, AuditLogFrame, encode_ack, encode_nack};
use lattice_protocol::plain::{
    ChangesFrame, Format, Space, Status, UploadId, UploadResult, encode_current, encode_entry,
};
use lattice_protocol::{Code, Incoming, Outgoing, Spelling};

use crate::limits::DeliveryLimits;

/// The native frames of a delivery, each with what is in it: entries and corrections first, then the acks.
pub(crate) fn native_frames(
    delivery: Delivery,
    limits: &DeliveryLimits,
    mut send: impl FnMut(Bytes, Vec<Delivered>),
) {
    let mut acks = ack_frame(delivery.acks);
    if Mutation::AckFirst.is_active() {
        acks.take().into_iter().for_each(|frame| send(frame, Vec::new()));
    }
    let (mut frame, mut inside) = (AuditLogFrame::new(), Vec::new());
    let entries = delivery.entries.iter().map(|entry| (entry, false));
    for (entry, corrects) in entries.chain(delivery.corrections.iter().map(|entry| (entry, true))) {
        let delivered = Delivered::of(entry, inside.last());
        inside.push(Delivered { whole: delivered.whole || corrects, ..delivered });
        frame.push(entry);
        if frame.len() >= limits.frame_bytes || frame.count() >= limits.frame_entries {
            send(core::mem::take(&mut frame).finish(), core::mem::take(&mut inside));
        }
    }
    if !frame.is_empty() {
        send(frame.finish(), inside);
    }
    acks.into_iter().for_each(|frame| send(frame, Vec::new()));
}

/// One ack frame, or none when there is nothing to acknowledge.
pub(crate) fn ack_frame(acks: Vec<AckId>) -> Option<Bytes> {
    (!acks.is_empty()).then(|| encode_ack(acks.into_iter()))
}

/// What a native client is told of a refusal that no ack answers: a `nack` of no entries.
///
/// Never `rejected`: there are clients that take it as the verdict on everything that they have in flight, and never send any
/// of that again. What the server has not received yet is in flight too, so it cannot know of a moment at which nothing is.
pub(crate) fn refusal_frame(code: Code, why: &str) -> Bytes {
    encode_nack(core::iter::empty(), &format!("{code}: {why}"))
}

/// What a native client is told of refused changes that have no id to acknowledge: one event for each code.
pub(crate) fn refusals_of(outcomes: &[Outcome]) -> impl Iterator<Item = Bytes> + use<> {
    let mut counts: Vec<(Code, usize)> = Vec::new();
    for outcome in outcomes {
        if let Outcome { ack: None, verdict: Verdict::Rejected(code), .. } = outcome {
            match counts.iter_mut().find(|(held, _)| held == code) {
                Some((_, count)) => *count += 1,
                None => counts.push((*code, 1)),
            }
        }
    }
    counts.into_iter().map(|(code, count)| {
        let what = "of the frame refused; without an id there is nothing to acknowledge";
        refusal_frame(code, &format!("{count} {} {what}", if count == 1 { "entry" } else { "entries" }))
    })
}

/// Frames of changes: the cursor of each but the last is its last change.
pub(crate) fn changes_frames(
    space: Space,
    entries: &[Outgoing],
    (format, limits): (Format, &DeliveryLimits),
    cursor: &str,
    more: bool,
    mut send: impl FnMut(Bytes),
) {
    let mut frame = ChangesFrame::new(space);
    for (at, entry) in entries.iter().enumerate() {
        frame.push(&encode_entry(entry, format));
        let full = frame.len() >= limits.frame_bytes || frame.count() >= limits.frame_entries;
        if full && at + 1 < entries.len() {
            let frame = core::mem::replace(&mut frame, ChangesFrame::new(space));
            send(frame.finish(Some(&entry.id.to_text(Spelling::default())), true));
        }
    }
    send(frame.finish(Some(cursor), more));
}

/// Frames of current values.
pub(crate) fn current_frames(
    space: Space,
    corrections: &[Outgoing],
    (format, limits): (Format, &DeliveryLimits),
    mut send: impl FnMut(Bytes),
) {
    let mut corrections = corrections.iter().map(|entry| encode_entry(entry, format)).peekable();
    while corrections.peek().is_some() {
        let (mut bytes, mut frame) = (0, Vec::new());
        while let Some(entry) =
            corrections.next_if(|_| bytes < limits.frame_bytes && frame.len() < limits.frame_entries)
        {
            bytes += entry.len();
            frame.push(entry);
        }
        send(encode_current(space, &frame));
    }
}

/// An upload of a JSON client that is not acknowledged.
#[derive(Debug)]
pub struct AwaitedAck {
    /// What the client calls it.
    pub(crate) id: Option<UploadId>,
    /// What each change is acknowledged by, and why it was refused when it was read.
    changes: Vec<(AckId, Option<String>)>,
    /// What became of each, once that is durable; and the verdict of the stream that must be answered before.
    pub(crate) outcome: Option<(Vec<Verdict>, u64)>,
}

impl AwaitedAck {
    /// What is remembered of an upload until it is acknowledged.
    #[must_use]
    pub fn new(id: Option<UploadId>, incoming: &[Incoming]) -> Self {
        let change = |incoming: &Incoming| match incoming {
            Incoming::Change(change) => (AckId::Uuid(change.id, change.id_spelling), None),
            Incoming::Refused(refused) => {
                let id = match (&refused.id, &refused.ack) {
                    (Some((id, spelling)), _) => AckId::Uuid(*id, *spelling),
                    (None, text) => AckId::Text(text.clone().unwrap_or_default()),
                };
                (id, Some(refused.detail.clone()))
            }
        };
        Self { id, changes: incoming.iter().map(change).collect(), outcome: None }
    }

    /// The verdict on each change, as the client is told of it.
    pub(crate) fn results<'a>(&'a self, verdicts: &'a [Verdict]) -> impl Iterator<Item = UploadResult<'a>> {
        self.changes.iter().zip(verdicts).map(|((id, detail), verdict)| result(id, detail, *verdict))
    }
}

/// Takes what became of the oldest upload without an outcome.
pub(crate) fn note_outcome(awaited: &mut VecDeque<AwaitedAck>, verdicts: Vec<Verdict>, queued: u64) {
    if let Some(oldest) = awaited.iter_mut().find(|awaited| awaited.outcome.is_none()) {
        oldest.outcome = Some((verdicts, queued));
    }
}

fn result<'a>(id: &'a AckId, detail: &'a Option<String>, verdict: Verdict) -> UploadResult<'a> {
    let (status, code) = match verdict {
        Verdict::Applied => (Status::Applied, None),
        Verdict::Merged => (Status::Merged, None),
        Verdict::Superseded => (Status::Superseded, None),
        Verdict::Duplicate => (Status::Duplicate, None),
        Verdict::Ignored => (Status::Ignored, None),
        Verdict::Rejected(code) => (Status::Rejected, Some(code)),
    };
    let detail = detail.as_deref().or(code.map(sentence));
    UploadResult { id, status, code, detail }
}

/// What people are told of a change that was refused after it had been read.
fn sentence(code: Code) -> &'static str {
    match code {
        Code::Forbidden => "the policy does not let your role do this",
        Code::NotCreator => "the policy permits this only on rows that you created",
        Code::TableNotAllowed => "the policy does not name the table, and permits no others",
        Code::TooManyDeletes => "the upload deletes more rows than the policy permits",
        Code::SpaceArchived => "the space is archived and takes no changes",
        Code::RefusedBefore => "the change was refused when it was received first",
        Code::LinkIncomplete => "a link row names both ends",
        Code::LinkImmutable => "the ends of a link row do not change",
        Code::SpaceFull => "the space takes no more changes",
        _ => "the change was refused",
    }
}
