//! What connections are sent: pages, entries as they were accepted, corrections, acks.

use std::collections::VecDeque;

use bytes::Bytes;
use lattice_engine::mutation::Mutation;
use lattice_engine::{Delivery, Minter, PullData, PullRequest};
use lattice_protocol::Outgoing;
use lattice_protocol::native::{AuditLogFrame, encode_ack};
use lattice_store::StoreError;
use lattice_store::sqlite::spaces;

use super::{ConnectionNo, NATIVE, Owed, Seat, SeatNo, Server, json};
use crate::rng::Rng;
use crate::world::World;

impl Server {
    /// Lets a connection read what is new, or deliver what it has read. False when there is nothing to do.
    ///
    /// # Errors
    /// What the database says.
    pub fn pull(&mut self, world: &World, no: ConnectionNo, rng: &mut Rng) -> Result<bool, StoreError> {
        let Some(peer) = self.peers.get(&no) else { return Ok(false) };
        if peer.json.is_none() {
            return self.pull_seat(world, no, NATIVE, rng);
        }
        let seats = peer.seats.iter().filter(|(_, seat)| {
            let live = &self.spaces[seat.space];
            seat.version != live.version || seat.reading.is_some() || seat.wants_pull(live.head)
        });
        let seats: Vec<SeatNo> = seats.map(|(seat, _)| *seat).collect();
        match rng.pick_any(&seats) {
            Some(seat) => self.pull_seat(world, no, seat, rng),
            None => Ok(false),
        }
    }

    fn pull_seat(
        &mut self,
        world: &World,
        no: ConnectionNo,
        seat_no: SeatNo,
        rng: &mut Rng,
    ) -> Result<bool, StoreError> {
        let Some(peer) = self.peers.get_mut(&no) else { return Ok(false) };
        let Some(seat) = peer.seats.get_mut(&seat_no) else { return Ok(false) };
        let live = &self.spaces[seat.space];
        if seat.version != live.version && (!Mutation::StaleViews.is_active() || rng.chance(30)) {
            return self.recheck(world, no, seat_no, rng);
        }
        if seat.has_sent && !seat.is_remembered {
            let (space, user, view) = (seat.space, peer.user, std::sync::Arc::clone(seat.stream.view()));
            seat.is_remembered = true;
            self.remember(world, space, user, &view)?;
            return Ok(true);
        }
        if let Some((request, data)) = seat.reading.take() {
            self.deliver(world, no, seat_no, &request, data, rng)?;
            return Ok(true);
        }
        if !seat.wants_pull(live.head) {
            return Ok(false);
        }
        if seat.stream.takes_live() && rng.chance(70) {
            let after = live.ring.after(seat.stream.cursor().position);
            let commits: Vec<_> =
                after.map(|commits| commits.take(rng.between(1, 3)).collect()).unwrap_or_default();
            if let Some(last) = commits.last() {
                let head = last.head;
                let others = commits.iter().filter(|commit| commit.writer != seat.origin.writer);
                let entries: Vec<Outgoing> =
                    others.flat_map(|commit| &commit.payload).map(|(_, entry)| entry.clone()).collect();
                seat.stream.sent_live(head);
                self.send(world, no, seat_no, &entries, rng.between(1, self.limits.frame_entries))?;
                return Ok(true);
            }
        }
        self.pulls += 1;
        let request = seat.stream.pull_request(self.limits.page_rows, self.limits.page_bytes);
        let data = spaces::pull(world.connection(), &self.group.snapshot(), live.space.no, &request)?;
        if rng.chance(25) {
            seat.reading = Some((request, data)); // others go on while the answer is under way
        } else {
            self.deliver(world, no, seat_no, &request, data, rng)?;
        }
        Ok(true)
    }

    pub(super) fn take_reading(
        &mut self,
        no: ConnectionNo,
        seat_no: SeatNo,
    ) -> Option<(PullRequest, PullData)> {
        self.peers.get_mut(&no)?.seats.get_mut(&seat_no)?.reading.take()
    }

    pub(super) fn deliver(
        &mut self,
        world: &World,
        no: ConnectionNo,
        seat_no: SeatNo,
        request: &PullRequest,
        data: PullData,
        rng: &mut Rng,
    ) -> Result<(), StoreError> {
        let Some(peer) = self.peers.get_mut(&no) else { return Ok(()) };
        let Some(seat) = peer.seats.get_mut(&seat_no) else { return Ok(()) };
        seat.has_sent = true;
        let space = &self.spaces[seat.space].space;
        let Delivery { mut entries, corrections, acks } = seat.stream.pulled(request, data, &space.minter);
        seat.owed.retain(|owed| !acks.contains(&owed.ack));
        for Owed { ack, pulls, .. } in &mut seat.owed {
            if *pulls == 0 {
                self.violations
                    .push(format!("the ack of {ack:?} takes more pulls than verdicts were before it"));
            }
            *pulls = pulls.saturating_sub(1);
        }
        let acks = (!acks.is_empty()).then(|| encode_ack(acks.into_iter()));
        if peer.json.is_some() {
            self.send(world, no, seat_no, &entries, rng.between(1, self.limits.frame_entries))?;
            return self.correct_json(world, no, seat_no, &corrections);
        }
        entries.extend(corrections);
        if Mutation::AckFirst.is_active() {
            peer.down.extend(acks);
            self.send(world, no, seat_no, &entries, rng.between(1, self.limits.frame_entries))?;
        } else {
            self.send(world, no, seat_no, &entries, rng.between(1, self.limits.frame_entries))?;
            if let Some(peer) = self.peers.get_mut(&no) {
                peer.down.extend(acks);
            }
        }
        Ok(())
    }

    /// Sends what others have changed, in frames of so many entries.
    fn send(
        &mut self,
        world: &World,
        no: ConnectionNo,
        seat_no: SeatNo,
        entries: &[Outgoing],
        frame_entries: usize,
    ) -> Result<(), StoreError> {
        self.see(world, no, seat_no, entries)?;
        let Some(peer) = self.peers.get_mut(&no) else { return Ok(()) };
        let Some(seat) = peer.seats.get_mut(&seat_no) else { return Ok(()) };
        match &peer.json {
            None => send(&mut peer.down, entries, frame_entries),
            Some(session) => {
                let space = &self.spaces[seat.space].space;
                let name = json::name_of(world, space)?;
                json::send(session, seat, (name, &space.minter), entries, frame_entries, &mut peer.down);
            }
        }
        Ok(())
    }

    /// Holds what is about to be sent against what is permitted.
    pub(super) fn see(
        &mut self,
        world: &World,
        no: ConnectionNo,
        seat_no: SeatNo,
        entries: &[Outgoing],
    ) -> Result<(), StoreError> {
        let Some(peer) = self.peers.get(&no) else { return Ok(()) };
        let Some(seat) = peer.seats.get(&seat_no) else { return Ok(()) };
        if let Some(witness) = &self.witness {
            let space = self.spaces[seat.space].space.no;
            let seen =
                witness.sent((world.connection(), &self.group.snapshot(), space), peer.user, entries)?;
            self.violations.extend(seen.map(|problem| format!("connection {no}: {problem}")));
        }
        Ok(())
    }
}

/// The first frame in a view, for native clients.
pub(super) fn announce(seat: &mut Seat, minter: &Minter, down: &mut VecDeque<Bytes>) {
    send(down, seat.stream.announcement(minter).as_slice(), 1);
}

fn send(down: &mut VecDeque<Bytes>, entries: &[Outgoing], frame_entries: usize) {
    for chunk in entries.chunks(frame_entries) {
        let mut frame = AuditLogFrame::new();
        chunk.iter().for_each(|entry| frame.push(entry));
        down.push_back(frame.finish());
    }
}
