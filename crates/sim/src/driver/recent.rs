//! Recent commits as they are kept for everybody, and as they are written for a connection of either dialect.

use std::sync::Arc;

use bytes::Bytes;
use lattice_engine::{Delivered, Seq, WriterId};
use lattice_protocol::native::AuditLogFrame;
use lattice_protocol::plain::{self, ChangesFrame, encode_entry};
use lattice_protocol::{Outgoing, Spelling};
use lattice_session::Slot;

use super::peer::{NATIVE, Session};
use super::{ConnectionNo, Server};
use crate::rng::Rng;

/// How many times of 100 a live stream takes recent commits from where they are kept.
const RECENT_PERCENT: usize = 70;

impl Server {
    /// Recent commits as they are kept for everybody, for a session that is live.
    pub(super) fn take_recent(
        &mut self,
        no: ConnectionNo,
        slot: Slot,
        (after, writer): (Seq, WriterId),
        rng: &mut Rng,
    ) {
        let Some(peer) = self.peers.get_mut(&no) else { return };
        let Some(state) = peer.slots.get(&slot) else { return };
        let live = &self.spaces[state.space];
        let writer = if slot == NATIVE { state.origin().writer } else { writer };
        let kept = live.ring.after(after).filter(|_| rng.chance(RECENT_PERCENT));
        let found = kept.map(|commits| {
            let (mut reached, mut entries): (_, Vec<Vec<Outgoing>>) = (after, Vec::new());
            for commit in commits.take(rng.between(1, 3)) {
                reached = commit.head;
                if commit.writer != writer {
                    entries.push(commit.payload.iter().map(|(_, entry)| entry.clone()).collect());
                }
            }
            (reached, entries)
        });
        let version = live.version;
        match &mut peer.session {
            Session::Native(session) => {
                let frames = |entries: Vec<Vec<Outgoing>>| {
                    entries
                        .iter()
                        .filter(|entries| !entries.is_empty())
                        .map(|entries| (native_frame(entries), delivered(entries)))
                        .collect()
                };
                session.recent(found.map(|(reached, entries)| (reached, frames(entries))), version);
            }
            Session::Json(session) => {
                let format = session.client().format;
                let name = session.slots().find(|(held, _)| *held == slot).map(|(_, name)| name);
                let frames = |entries: Vec<Vec<Outgoing>>| {
                    entries
                        .iter()
                        .filter(|entries| !entries.is_empty())
                        .map(|entries| changes_frame(name.unwrap_or_default(), entries, format))
                        .collect()
                };
                session.recent(slot, found.map(|(reached, entries)| (reached, frames(entries))), version);
            }
            Session::Http(_) | Session::Closed => {}
        }
    }
}

fn native_frame(entries: &[Outgoing]) -> Bytes {
    let mut frame = AuditLogFrame::new();
    entries.iter().for_each(|entry| frame.push(entry));
    frame.finish()
}

fn delivered(entries: &[Outgoing]) -> Arc<[Delivered]> {
    entries.iter().map(|entry| Delivered::of(entry, None)).collect()
}

fn changes_frame(space: plain::Space, entries: &[Outgoing], format: plain::Format) -> Bytes {
    let mut frame = ChangesFrame::new(space);
    entries.iter().for_each(|entry| frame.push(&encode_entry(entry, format)));
    let last = entries.last().map(|entry| entry.id.to_text(Spelling::default()));
    frame.finish(last.as_deref(), false)
}
