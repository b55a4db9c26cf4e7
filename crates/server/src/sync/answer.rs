//! From what the engine decides to frames.

use bytes::Bytes;
use lattice_engine::{Delivered, Delivery, Outcome, Verdict};
use lattice_protocol::Code;
use lattice_protocol::native::{AckId, AuditLogFrame, encode_ack, encode_nack};

/// A delivered frame is ended once it has this many bytes; a single larger entry still goes whole.
pub(super) const MAX_DELIVERY_BYTES: usize = 256 << 10;
/// A delivered frame is ended once it has this many entries: clients apply and acknowledge frame by frame.
pub(super) const MAX_DELIVERY_ENTRIES: usize = 1_000;

/// The frames of a delivery, each with what is in it: entries and corrections first, then the acks.
pub(super) fn frames_of(delivery: Delivery, mut send: impl FnMut(Bytes, Vec<Delivered>)) {
    let (mut frame, mut inside) = (AuditLogFrame::new(), Vec::new());
    let entries = delivery.entries.iter().map(|entry| (entry, false));
    for (entry, corrects) in entries.chain(delivery.corrections.iter().map(|entry| (entry, true))) {
        frame.push(entry);
        let delivered = Delivered::of(entry, inside.last());
        inside.push(Delivered { whole: delivered.whole || corrects, ..delivered });
        if frame.len() >= MAX_DELIVERY_BYTES || frame.count() >= MAX_DELIVERY_ENTRIES {
            send(std::mem::take(&mut frame).finish(), std::mem::take(&mut inside));
        }
    }
    if !frame.is_empty() {
        send(frame.finish(), inside);
    }
    if let Some(acks) = ack_frame(delivery.acks) {
        send(acks, Vec::new());
    }
}

/// One ack frame, or none when there is nothing to acknowledge.
pub(super) fn ack_frame(acks: Vec<AckId>) -> Option<Bytes> {
    (!acks.is_empty()).then(|| encode_ack(acks.into_iter()))
}

/// Why changes were refused.
pub(super) fn refused_codes(outcomes: &[Outcome]) -> impl Iterator<Item = Code> {
    outcomes.iter().filter_map(|outcome| match outcome.verdict {
        Verdict::Rejected(code) => Some(code),
        _ => None,
    })
}

/// What a client is told of a refusal that no ack answers: a `nack` of no entries.
///
/// Never `rejected`: there are clients that take it as the verdict on everything that they have in flight, and never send any
/// of that again. What the server has not received yet is in flight too, so it cannot know of a moment at which nothing is.
pub(super) fn refusal_frame(code: Code, why: &str) -> Bytes {
    encode_nack(std::iter::empty(), &format!("{code}: {why}"))
}

/// What a client is told of refused changes that have no id to acknowledge: one event for each code.
pub(super) fn refusals_of(outcomes: &[Outcome]) -> impl Iterator<Item = Bytes> {
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
