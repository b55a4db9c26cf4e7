//! From what the engine decides to frames.

use bytes::Bytes;
use lattice_engine::{Delivery, Outcome, Verdict};
use lattice_protocol::native::{AckId, AuditLogFrame, encode_ack, encode_rejected};

/// A delivered frame is ended once it has this many bytes; a single larger entry still goes whole.
const MAX_DELIVERY_BYTES: usize = 256 << 10;
/// A delivered frame is ended once it has this many entries: clients apply and acknowledge frame by frame.
const MAX_DELIVERY_ENTRIES: usize = 1_000;

/// The frames of a delivery: entries first, then their acks.
pub(super) fn frames_of(delivery: Delivery, mut send: impl FnMut(Bytes)) {
    let mut frame = AuditLogFrame::new();
    for entry in &delivery.entries {
        frame.push(entry);
        if frame.len() >= MAX_DELIVERY_BYTES || frame.count() >= MAX_DELIVERY_ENTRIES {
            send(std::mem::take(&mut frame).finish());
        }
    }
    if !frame.is_empty() {
        send(frame.finish());
    }
    if let Some(acks) = ack_frame(delivery.acks) {
        send(acks);
    }
}

/// One ack frame, or none when there is nothing to acknowledge.
pub(super) fn ack_frame(acks: Vec<AckId>) -> Option<Bytes> {
    (!acks.is_empty()).then(|| encode_ack(acks.into_iter()))
}

/// What a client is told of a refused change that has no id to acknowledge.
pub(super) fn refusal_of(outcome: &Outcome) -> Option<Bytes> {
    match outcome {
        Outcome { ack: None, verdict: Verdict::Rejected(code), .. } => Some(encode_rejected(
            *code,
            "one entry of the frame was refused and has no id that could be acknowledged",
        )),
        _ => None,
    }
}
