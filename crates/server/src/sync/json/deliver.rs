//! What the spaces of a connection owe their client: changes, current values, acks.

use bytes::Bytes;
use lattice_engine::{Delivery, Verdict};
use lattice_protocol::plain::{
    ChangesFrame, Format, Status, UploadResult, encode_access, encode_ack, encode_current, encode_entry,
    encode_presence,
};
use lattice_protocol::{Outgoing, Spelling};

use super::Json;
use super::frames::role;
use super::subscription::{Awaited, Subscription};
use crate::hub::PlainKey;
use crate::sync::SyncState;
use crate::sync::answer::{MAX_DELIVERY_BYTES, MAX_DELIVERY_ENTRIES};
use crate::sync::line::End;
use crate::sync::seat::{MAX_PAGE_ROWS, Refusal};

/// Commits taken from the ring at once.
const MAX_COMMITS_PER_TURN: usize = 64;

impl Json<'_> {
    /// Fills the outbox with what the client is due, one subscription after the other.
    pub(super) async fn fill(&mut self) -> Result<(), End> {
        let mut idle = 0;
        while self.line.outbox.is_empty() && idle < self.subscriptions.len() {
            self.turn = (self.turn + 1) % self.subscriptions.len();
            let (state, format) = (self.state, self.client.format);
            let Self { line, subscriptions, turn, .. } = self;
            let held = &mut subscriptions[*turn];
            if !held.is_due() {
                idle += 1;
                continue;
            }
            idle = 0;
            if held.seat.is_behind(state) {
                // What the ring has may have been written under other rights.
                self.look_at_access().await;
                if self.subscriptions.iter().any(|held| held.seat.is_behind(state)) {
                    return Ok(());
                }
                continue;
            }
            match deliver(state, held, format, |frame| line.outbox.push(frame)).await {
                Ok(()) => {}
                Err(Refusal::Store(error)) => return Err(End::internal(&error)),
                Err(refusal) => self.end(self.turn, &refusal, None),
            }
        }
        Ok(())
    }
}

/// Sends one page, or what the ring has, and the acks that are due then.
async fn deliver(
    state: &SyncState,
    held: &mut Subscription,
    format: Format,
    mut send: impl FnMut(Bytes),
) -> Result<(), Refusal> {
    if held.seat.role != held.told_role {
        held.told_role = held.seat.role;
        send(encode_access(held.name, Some(role(held.told_role))));
    }
    if held.seat.announcement().is_some() && !held.muted {
        // Whoever holds anything of a view has a cursor that speaks of it.
        held.listen(format);
        let cursor = held.seat.cursor().to_text(Spelling::default());
        send(ChangesFrame::new(held.name).finish(Some(&cursor), true));
    }
    if !held.wants_state() {
        // Acks or presence alone.
    } else if !held.muted && !deliver_live(state, held, format, &mut send) {
        let (delivery, more) = held.seat.pull(state, MAX_PAGE_ROWS).await?;
        send_delivery(held, delivery, more, format, &mut send);
    } else if held.muted && held.seat.stream.pending() > 0 {
        let delivery = held.seat.pull_corrections(state).await?;
        send_delivery(held, delivery, true, format, &mut send);
    }
    if held.wants_presence() {
        let Subscription { name, seat, present, watched, .. } = held;
        seat.live.watch(watched, present.as_ref(), |shown, state| {
            send(encode_presence(*name, &shown.user, shown.client_id.as_deref(), state));
        });
    }
    let cursor = (!held.muted).then(|| held.seat.cursor().to_text(Spelling::default()));
    let answered = held.seat.stream.answered();
    while let Some(awaited) = held.awaited.front() {
        let Some((verdicts, queued)) = &awaited.outcome else { break };
        if *queued > answered {
            break;
        }
        send(ack(awaited, verdicts, cursor.as_deref()));
        held.awaited.pop_front();
    }
    Ok(())
}

/// Sends what the ring has after the position. False when the store must be read.
fn deliver_live(
    state: &SyncState,
    held: &mut Subscription,
    format: Format,
    send: &mut impl FnMut(Bytes),
) -> bool {
    let stream = &mut held.seat.stream;
    if !stream.takes_live() || !held.complete {
        return false;
    }
    let (position, head) = (stream.cursor().position, held.seat.signal.borrow().head);
    if position >= head {
        return true;
    }
    let key = PlainKey { format, space: held.name };
    let recent = held.seat.live.recent(position, stream.writer(), MAX_COMMITS_PER_TURN);
    let Some((reached, frames)) = recent.filter(|(reached, _)| *reached > position) else { return false };
    let Some(written) = frames.iter().map(|frame| frame.plain(key)).collect::<Option<Vec<_>>>() else {
        return false;
    };
    // Asked after the look into the ring: what is in it by now may have been written after rights had changed.
    if held.seat.is_behind(state) {
        return false;
    }
    let stream = &mut held.seat.stream;
    written.into_iter().flatten().for_each(send);
    stream.sent_live(reached);
    true
}

fn send_delivery(
    held: &mut Subscription,
    delivery: Delivery,
    more: bool,
    format: Format,
    send: &mut impl FnMut(Bytes),
) {
    let Delivery { entries, corrections, .. } = delivery;
    let completes = !held.muted && !more && !held.complete;
    if !entries.is_empty() || completes {
        let cursor = held.seat.cursor().to_text(Spelling::default());
        changes_frames(held.name, &entries, format, &cursor, more, send);
    }
    held.complete |= completes;
    let mut corrections = corrections.iter().map(|entry| encode_entry(entry, format)).peekable();
    while corrections.peek().is_some() {
        let (mut bytes, mut frame) = (0, Vec::new());
        while let Some(entry) =
            corrections.next_if(|_| bytes < MAX_DELIVERY_BYTES && frame.len() < MAX_DELIVERY_ENTRIES)
        {
            bytes += entry.len();
            frame.push(entry);
        }
        send(encode_current(held.name, &frame));
    }
}

/// Frames of changes: the cursor of each but the last is its last change.
pub(super) fn changes_frames(
    space: lattice_protocol::plain::Space,
    entries: &[Outgoing],
    format: Format,
    cursor: &str,
    more: bool,
    send: &mut impl FnMut(Bytes),
) {
    let mut frame = ChangesFrame::new(space);
    for (at, entry) in entries.iter().enumerate() {
        frame.push(&encode_entry(entry, format));
        let full = frame.len() >= MAX_DELIVERY_BYTES || frame.count() >= MAX_DELIVERY_ENTRIES;
        if full && at + 1 < entries.len() {
            let frame = std::mem::replace(&mut frame, ChangesFrame::new(space));
            send(frame.finish(Some(&entry.id.to_text(Spelling::default())), true));
        }
    }
    send(frame.finish(Some(cursor), more));
}

fn ack(awaited: &Awaited, verdicts: &[Verdict], cursor: Option<&str>) -> Bytes {
    let results =
        awaited.changes.iter().zip(verdicts).map(|((id, detail), verdict)| result(id, detail, *verdict));
    encode_ack(awaited.id.as_ref(), cursor, results)
}

/// The verdict on one change, as the client is told of it.
pub(in crate::sync) fn result<'a>(
    id: &'a lattice_protocol::plain::AckId,
    detail: &'a Option<String>,
    verdict: Verdict,
) -> UploadResult<'a> {
    let (status, code) = match verdict {
        Verdict::Applied => (Status::Applied, None),
        Verdict::Merged => (Status::Merged, None),
        Verdict::Superseded => (Status::Superseded, None),
        Verdict::Duplicate => (Status::Duplicate, None),
        Verdict::Ignored => (Status::Ignored, None),
        Verdict::Rejected(code) => (Status::Rejected, Some(code)),
    };
    let detail = detail.as_deref().or(code.map(super::frames::sentence));
    UploadResult { id, status, code, detail }
}
