//! What the spaces of a connection owe their client: changes, current values, acks.

use alloc::vec::Vec;

use bytes::Bytes;
use lattice_engine::{Delivery, Seq};
use lattice_protocol::plain::{ChangesFrame, encode_access, encode_ack};

use super::tasks::Task;
use super::{JsonEffect, JsonSession, Slot, role};
use crate::answer::{changes_frames, current_frames};
use crate::refusal::{Close, Refusal};
use crate::request::Answer;
use crate::space::Advance;

impl JsonSession {
    /// Finds what the client is due, one subscription after the other. False when there is nothing.
    pub(super) fn fill(&mut self) -> bool {
        let settled = || self.subscriptions.iter().all(|held| held.space.is_settled() && !held.has_acks());
        if (self.closing || !self.over_quota.is_empty()) && settled() {
            self.close_now(match self.over_quota.is_empty() {
                true => Close::ServerCloses,
                false => Close::Refused(Refusal::OverQuota),
            });
            return true;
        }
        let count = self.subscriptions.len();
        for after in 1..=count {
            let at = (self.last_served + after) % count;
            let held = &self.subscriptions[at];
            if held.is_due() && !held.space.is_busy() {
                self.last_served = at;
                if self.serve(at) {
                    return true;
                }
            }
        }
        false
    }

    /// Sends what is due in a subscription, or asks for it. False when nothing was to be done after all.
    fn serve(&mut self, at: usize) -> bool {
        if self.subscriptions[at].space.must_look() {
            // What is kept of recent commits may have been written under other rights.
            self.subscriptions[at].space.look();
            return true;
        }
        self.tell_role(at);
        self.announce(at);
        self.acknowledge(at);
        let held = &self.subscriptions[at];
        if held.wants_presence() {
            self.out.push_back(JsonEffect::TellPresence { slot: held.slot });
        }
        if !self.out.is_empty() {
            return true;
        }
        self.read_state(at)
    }

    fn tell_role(&mut self, at: usize) {
        let held = &mut self.subscriptions[at];
        let now = held.space.role();
        if core::mem::replace(&mut held.told_role, now) != now {
            let frame = encode_access(held.name, Some(role(now)));
            self.send(frame);
        }
    }

    /// Whoever holds anything of a view has a cursor that speaks of it.
    fn announce(&mut self, at: usize) {
        let held = &mut self.subscriptions[at];
        if held.space.announcement().is_some() && !held.muted {
            let (slot, listens) = (held.slot, held.listens());
            let frame = ChangesFrame::new(held.name).finish(Some(&held.space.cursor_text()), true);
            self.out.push_back(JsonEffect::Listen { slot, listens });
            self.send(frame);
        }
    }

    fn acknowledge(&mut self, at: usize) {
        let held = &mut self.subscriptions[at];
        let cursor = (!held.muted && held.has_acks()).then(|| held.space.cursor_text());
        while held.has_acks() {
            let Some(awaited) = held.awaited.pop_front() else { break };
            let Some((verdicts, _)) = &awaited.outcome else { break };
            let frame = encode_ack(awaited.id.as_ref(), cursor.as_deref(), awaited.results(verdicts));
            self.out.push_back(JsonEffect::Send(frame));
        }
    }

    /// Asks for changes, or for current values alone where nothing else is wanted.
    fn read_state(&mut self, at: usize) -> bool {
        let held = &mut self.subscriptions[at];
        if !held.wants_state() {
            return false;
        }
        let stream = &held.space.stream;
        if held.muted {
            held.space.pull_corrections(&self.limits);
        } else if stream.takes_live() && held.complete && !held.reads_store {
            let (slot, after, writer) = (held.slot, stream.cursor().position, stream.writer());
            self.out.push_back(JsonEffect::Recent { slot, after, writer });
        } else {
            held.space.pull(&self.limits, self.limits.page_rows);
        }
        true
    }

    /// Takes what was found for [`JsonEffect::Recent`]: up to which seq, and the frames, at most
    /// [`crate::MAX_COMMITS_PER_SEND`] commits; `None` when not all that follows is kept in the client's format. `version` is that
    /// of access, read after the frames were looked for.
    pub fn recent(&mut self, slot: Slot, found: Option<(Seq, Vec<Bytes>)>, version: u64) {
        let Some(at) = self.at(slot) else { return };
        let held = &mut self.subscriptions[at];
        let (reached, frames) = found.unzip();
        if held.space.take_recent(reached, version) {
            self.out.extend(frames.into_iter().flatten().map(JsonEffect::Send));
        } else {
            held.reads_store = !held.space.must_look();
        }
    }

    pub(super) fn answer_subscription(&mut self, at: usize, answer: Answer) {
        let held = &mut self.subscriptions[at];
        let only_looks = !held.space.reads() && !matches!(self.task, Some(Task::Refilter { .. }));
        match held.space.answer(answer) {
            Ok(Advance::Waits | Advance::Looked) => {}
            Ok(Advance::Delivered(delivery, more)) => self.deliver(at, &delivery, more),
            Err(Refusal::Store) if only_looks => held.stalled = true,
            Err(Refusal::Store) => self.close_now(Close::Refused(Refusal::Store)),
            Err(refusal) => self.end(at, refusal, None),
        }
        self.check_refilter();
    }

    fn deliver(&mut self, at: usize, delivery: &Delivery, more: bool) {
        let held = &mut self.subscriptions[at];
        held.reads_store = false;
        // Where only corrections were read, more may be left whatever was said.
        let completes = !held.muted && !more && !held.complete;
        let (form, out) = ((self.client.format, &self.limits), &mut self.out);
        if !held.muted && (!delivery.entries.is_empty() || completes) {
            let cursor = held.space.cursor_text();
            changes_frames(held.name, &delivery.entries, form, &cursor, more, |frame| {
                out.push_back(JsonEffect::Send(frame));
            });
        }
        held.complete |= completes;
        current_frames(held.name, &delivery.corrections, form, |frame| {
            out.push_back(JsonEffect::Send(frame));
        });
    }
}
