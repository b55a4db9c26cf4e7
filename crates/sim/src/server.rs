//! The driver around the real engine and the real statements: connections, waiting uploads, group commits, rings, crashes.
//!
//! It is what the server's hub is, without tasks and sockets. Two rules of it are part of what makes clients converge:
//! uploads of one connection are merged one after the other in the order of their frames, and an upload that could not be
//! stored is never overtaken by a later one of its connection: it is tried again first, or the connection is closed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use lattice_engine::mutation::Mutation;
use lattice_engine::{
    Cursor, Delivery, Effects, Outcome, PullData, PullRequest, Ring, Seq, Stream, WriterId,
};
use lattice_protocol::native::{AckId, AuditLogFrame, ClientFrame, decode, encode_ack, encode_floor_reset};
use lattice_protocol::{EntryId, Incoming, Outgoing, limits};
use lattice_store::StoreError;
use lattice_store::spaces::{Origin, Space, Upload};
use lattice_store::sqlite::{Group, RecentLimits, View, spaces};

use crate::rng::Rng;
use crate::world::World;

/// How far in the future a timestamp may be, in microseconds: the server's default.
pub const MAX_SKEW_US: i64 = 5 * 60 * 1_000_000;

/// Names a connection; never used twice in a history.
pub type ConnectionNo = usize;

/// What a pull may carry.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most rows of a page.
    pub page_rows: usize,
    /// Most bytes of a page.
    pub page_bytes: usize,
    /// Most entries of a frame.
    pub frame_entries: usize,
    /// Most commits of a ring.
    pub ring_commits: usize,
    /// Most items that are settled at once.
    pub generation_items: usize,
}

/// What goes wrong around a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing.
    None,
    /// The server dies before the group is durable.
    CrashBefore,
    /// The server dies when the group is durable, before anyone was told.
    CrashAfter,
}

/// What became of the uploads of a group.
#[derive(Debug, Default)]
pub struct Report {
    /// Uploads that were stored.
    pub stored: usize,
    /// Uploads that failed, by their connections; one that was not alone in its group cannot be tried again.
    pub failed: Vec<Failed>,
}

/// An upload that could not be stored.
#[derive(Debug)]
pub struct Failed {
    /// Its connection.
    pub connection: ConnectionNo,
    /// It.
    pub frame: Bytes,
    /// No later upload of the connection was in the group.
    pub alone: bool,
}

/// A space while the server runs.
struct Live {
    space: Arc<Space>,
    ring: Ring<Vec<(Seq, Outgoing)>>,
    /// The head that connections have been told of.
    head: Seq,
}

/// One side of a connection, and what is under way to and from it.
pub struct Peer {
    space: usize,
    stream: Stream,
    origin: Arc<Origin>,
    /// Frames of the client that the network has.
    pub up: VecDeque<Bytes>,
    /// Frames of the client that the server has.
    waiting: VecDeque<Bytes>,
    /// Frames for the client that the network has.
    pub down: VecDeque<Bytes>,
    /// A pull that was read and is not delivered yet.
    reading: Option<(PullRequest, PullData)>,
    owed: Vec<Owed>,
}

/// An ack that is due.
struct Owed {
    ack: AckId,
    /// Pulls that may still end without it.
    pulls: usize,
    /// A correction comes before it. A change that turns out to need one when it is sent again joins the end of the
    /// queue, once.
    corrected: bool,
}

/// The server of a history.
pub struct Server {
    group: Group,
    limits: Limits,
    spaces: Vec<Live>,
    peers: BTreeMap<ConnectionNo, Peer>,
    /// What became of each change, if anybody wants to read it.
    pub verdicts: Option<Vec<String>>,
    /// Things that must never happen and did.
    pub violations: Vec<String>,
    /// Pulls so far.
    pub pulls: u64,
    /// Changes that were stored so far.
    pub changes: u64,
}

impl Server {
    /// A server for these spaces.
    ///
    /// # Errors
    /// What the database says.
    pub fn new(world: &World, spaces: Vec<Arc<Space>>, limits: Limits) -> Result<Self, StoreError> {
        let live = |space| Live { space, ring: Ring::new(usize::MAX, limits.ring_commits), head: 0 };
        Ok(Self {
            group: open_group(world, &limits)?,
            spaces: spaces.into_iter().map(live).collect(),
            limits,
            peers: BTreeMap::new(),
            verdicts: None,
            violations: Vec::new(),
            pulls: 0,
            changes: 0,
        })
    }

    /// What is committed and not settled yet.
    #[must_use]
    pub fn view(&self) -> View {
        self.group.view()
    }

    /// A space by its index.
    #[must_use]
    pub fn space(&self, space: usize) -> &Arc<Space> {
        &self.spaces[space].space
    }

    /// Numbers of all connections.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionNo> {
        self.peers.keys().copied().collect()
    }

    /// From now on pages are of one row.
    pub fn shrink_pages(&mut self) {
        self.limits.page_rows = 1;
    }

    /// A connection, if the server still has it.
    pub fn peer(&mut self, no: ConnectionNo) -> Option<&mut Peer> {
        self.peers.get_mut(&no)
    }

    /// Takes a connection. Its writer id must be new.
    ///
    /// # Errors
    /// What the database says.
    pub fn connect(
        &mut self,
        world: &World,
        no: ConnectionNo,
        space: usize,
        writer: WriterId,
        last_event_id: Option<&str>,
    ) -> Result<Cursor, StoreError> {
        let live = &mut self.spaces[space];
        let cursor = match last_event_id.and_then(EntryId::parse) {
            None => None,
            Some((id, _)) => match live.space.minter.verify(id) {
                Some(cursor) => Some(cursor),
                None => spaces::receipt(world.connection(), &self.group.view(), live.space.no, id)?
                    .map(|receipt| Cursor::complete(receipt.seq)),
            },
        };
        live.head = live.head.max(spaces::head(world.connection(), &self.group.view(), live.space.no)?.seq);
        let origin = Origin {
            writer,
            user: world.owner(live.space.no)?,
            session: [0; 16],
            address: String::new(),
            user_agent: String::new(),
            opened_us: 0,
        };
        let mut down = VecDeque::new();
        if let (Some(id), None) = (last_event_id, cursor) {
            down.push_back(encode_floor_reset(Some(id), "the checkpoint is unknown"));
        }
        let cursor = cursor.unwrap_or_default();
        let peer = Peer {
            space,
            stream: Stream::new(writer, cursor),
            origin: Arc::new(origin),
            up: VecDeque::new(),
            waiting: VecDeque::new(),
            down,
            reading: None,
            owed: Vec::new(),
        };
        self.peers.insert(no, peer);
        Ok(cursor)
    }

    /// Forgets a connection and everything that is under way.
    pub fn disconnect(&mut self, no: ConnectionNo) {
        self.peers.remove(&no);
    }

    /// The process dies: what was not committed is gone, and what was in memory is read again.
    ///
    /// # Errors
    /// What the database says.
    pub fn crash(&mut self, world: &World) -> Result<(), StoreError> {
        self.peers.clear();
        self.group = open_group(world, &self.limits)?;
        for live in &mut self.spaces {
            live.ring = Ring::new(usize::MAX, self.limits.ring_commits);
            live.head = 0;
        }
        Ok(())
    }

    /// The network hands over the oldest frame of a client.
    pub fn accept(&mut self, no: ConnectionNo) -> bool {
        let Some(peer) = self.peers.get_mut(&no) else { return false };
        let Some(frame) = peer.up.pop_front() else { return false };
        // A client's acks are not needed.
        if matches!(decode(&frame, limits::MAX_CHANGES_PER_FRAME), Ok(ClientFrame::Changes(_))) {
            peer.waiting.push_back(frame);
        }
        true
    }

    /// Connections that the network has frames of.
    #[must_use]
    pub fn arriving(&self) -> Vec<ConnectionNo> {
        self.peers.iter().filter(|(_, peer)| !peer.up.is_empty()).map(|(no, _)| *no).collect()
    }

    /// Connections whose uploads wait.
    #[must_use]
    pub fn waiting(&self) -> Vec<ConnectionNo> {
        self.peers.iter().filter(|(_, peer)| !peer.waiting.is_empty()).map(|(no, _)| *no).collect()
    }

    /// How many uploads of a connection wait.
    #[must_use]
    pub fn uploads(&self, no: ConnectionNo) -> usize {
        self.peers.get(&no).map_or(0, |peer| peer.waiting.len())
    }

    /// The ids in the oldest waiting uploads of a connection.
    #[must_use]
    pub fn next_ids(&self, no: ConnectionNo, uploads: usize) -> Vec<EntryId> {
        let frames = self.peers.get(&no).into_iter().flat_map(|peer| peer.waiting.iter().take(uploads));
        frames.flat_map(ids_of).collect()
    }

    /// An upload that failed is tried again before anything that its connection sent later.
    pub fn retry(&mut self, failed: Failed) {
        if let Some(peer) = self.peers.get_mut(&failed.connection) {
            peer.waiting.push_front(failed.frame);
        }
    }

    /// Commits the oldest upload of each of these connections in one transaction, and tells everybody. A connection that
    /// is named more than once has as many uploads in the group.
    ///
    /// # Errors
    /// What the database says of the transaction; a single upload that fails is reported instead.
    pub fn commit(
        &mut self,
        world: &World,
        group: &[ConnectionNo],
        now_us: i64,
        fault: Fault,
        rng: &mut Rng,
    ) -> Result<Report, StoreError> {
        let db = world.connection();
        db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        self.group.begin();
        let mut results: Vec<(ConnectionNo, Bytes, Result<Effects, StoreError>)> = Vec::new();
        for no in group {
            let Some(peer) = self.peers.get_mut(no) else { continue };
            let Some(frame) = peer.waiting.pop_front() else { continue };
            let mut upload = Upload {
                space: Arc::clone(&self.spaces[peer.space].space),
                origin: Arc::clone(&peer.origin),
                incoming: changes_of(&frame),
                plain: false,
                echoes: peer.stream.echoes(),
                bytes: frame.len(),
            };
            let result = self.group.upload(db, &mut upload, now_us);
            results.push((*no, frame, result));
        }
        if fault == Fault::CrashBefore {
            db.prepare_cached("ROLLBACK")?.execute([])?;
            self.group.ended(false);
            self.crash(world)?;
            return Ok(Report::default());
        }
        let settled = self.group.settle(db);
        if settled.is_err() {
            db.prepare_cached("ROLLBACK")?.execute([])?;
            self.group.ended(false);
            settled?;
        }
        db.prepare_cached("COMMIT")?.execute([])?;
        self.group.ended(true);
        if fault == Fault::CrashAfter {
            self.crash(world)?;
            return Ok(Report { stored: results.len(), failed: Vec::new() });
        }
        if rng.chance(10) {
            // Somebody reads what is durable already, before the hint of it comes.
            let all = self.connections();
            if let Some(no) = rng.pick_any(&all) {
                self.pull(world, no, rng)?;
            }
        }
        // Only now, that the commit is durable, may anything of it leave.
        let mut report = Report::default();
        for (no, frame, result) in results {
            let has_failed = report.failed.iter_mut().find(|failed| failed.connection == no);
            match result {
                Ok(effects) => {
                    report.stored += 1;
                    let outcomes = self.publish(no, effects);
                    // Nothing that overtook a failed upload is acknowledged: the client sends all of it again.
                    match has_failed {
                        Some(failed) => failed.alone = false,
                        None => self.answer(no, outcomes),
                    }
                }
                Err(StoreError::Database(_)) => match has_failed {
                    Some(failed) => failed.alone = false,
                    None => report.failed.push(Failed { connection: no, frame, alone: true }),
                },
                Err(error) => return Err(error),
            }
        }
        Ok(report)
    }

    fn publish(&mut self, no: ConnectionNo, effects: Effects) -> Vec<Outcome> {
        if let Some(peer) = self.peers.get(&no) {
            let live = &mut self.spaces[peer.space];
            self.changes += effects.head.seq - effects.before;
            if effects.head.seq > effects.before {
                live.ring.push(effects.before, effects.head.seq, peer.origin.writer, effects.visible, 1);
                live.head = live.head.max(effects.head.seq);
            }
        }
        effects.outcomes
    }

    fn answer(&mut self, no: ConnectionNo, outcomes: Vec<Outcome>) {
        let Some(peer) = self.peers.get_mut(&no) else { return };
        if let Some(verdicts) = &mut self.verdicts {
            verdicts.extend(outcomes.iter().map(|outcome| format!("connection {no}: {outcome:?}")));
        }
        let due: Vec<(AckId, bool)> = outcomes
            .iter()
            .filter_map(|outcome| Some((outcome.ack.clone()?, outcome.correction.is_some())))
            .collect();
        let acks = peer.stream.outcomes(outcomes);
        // Each pull answers at least the oldest verdict, so the last of n is answered by the n-th pull. One that is being
        // read now was asked for before this verdict, so the n-th pull from now may be one short.
        let most_pulls = peer.stream.pending();
        for (ack, corrected) in due.into_iter().filter(|(ack, _)| !acks.contains(ack)) {
            match peer.owed.iter_mut().find(|owed| owed.ack == ack) {
                Some(owed) if owed.corrected || !corrected => {}
                Some(owed) => (owed.pulls, owed.corrected) = (most_pulls, true),
                None => peer.owed.push(Owed { ack, pulls: most_pulls, corrected }),
            }
        }
        peer.owed.retain(|owed| !acks.contains(&owed.ack));
        if peer.stream.pending() > peer.owed.len() {
            self.violations.push(format!("connection {no} has more than one pending verdict of an entry"));
        }
        if !acks.is_empty() {
            peer.down.push_back(encode_ack(acks.into_iter()));
        }
    }

    /// Lets a connection read what is new, or deliver what it has read. False when there is nothing to do.
    ///
    /// # Errors
    /// What the database says.
    pub fn pull(&mut self, world: &World, no: ConnectionNo, rng: &mut Rng) -> Result<bool, StoreError> {
        let Some(peer) = self.peers.get_mut(&no) else { return Ok(false) };
        if let Some((request, data)) = peer.reading.take() {
            self.deliver(no, &request, data, rng);
            return Ok(true);
        }
        let live = &self.spaces[peer.space];
        if !peer.stream.wants_pull(live.head) {
            return Ok(false);
        }
        if peer.stream.takes_live() && rng.chance(70) {
            let after = live.ring.after(peer.stream.cursor().position);
            let commits: Vec<_> =
                after.map(|commits| commits.take(rng.between(1, 3)).collect()).unwrap_or_default();
            if let Some(last) = commits.last() {
                let head = last.head;
                let others = commits.iter().filter(|commit| commit.writer != peer.origin.writer);
                let entries: Vec<Outgoing> =
                    others.flat_map(|commit| &commit.payload).map(|(_, entry)| entry.clone()).collect();
                peer.stream.sent_live(head);
                send(peer, &entries, rng.between(1, self.limits.frame_entries));
                return Ok(true);
            }
        }
        self.pulls += 1;
        let request = peer.stream.pull_request(self.limits.page_rows, self.limits.page_bytes);
        let data = spaces::pull(world.connection(), &self.group.view(), live.space.no, &request)?;
        if rng.chance(25) {
            peer.reading = Some((request, data)); // others go on while the answer is under way
        } else {
            self.deliver(no, &request, data, rng);
        }
        Ok(true)
    }

    fn deliver(&mut self, no: ConnectionNo, request: &PullRequest, data: PullData, rng: &mut Rng) {
        let Some(peer) = self.peers.get_mut(&no) else { return };
        let minter = &self.spaces[peer.space].space.minter;
        let Delivery { mut entries, corrections, acks } = peer.stream.pulled(request, data, minter);
        entries.extend(corrections);
        peer.owed.retain(|owed| !acks.contains(&owed.ack));
        for Owed { ack, pulls, .. } in &mut peer.owed {
            if *pulls == 0 {
                self.violations
                    .push(format!("the ack of {ack:?} takes more pulls than verdicts were before it"));
            }
            *pulls = pulls.saturating_sub(1);
        }
        let acks = (!acks.is_empty()).then(|| encode_ack(acks.into_iter()));
        if Mutation::AckFirst.is_active() {
            peer.down.extend(acks);
            send(peer, &entries, rng.between(1, self.limits.frame_entries));
        } else {
            send(peer, &entries, rng.between(1, self.limits.frame_entries));
            peer.down.extend(acks);
        }
    }
}

impl Peer {
    /// Frames that the network has not handed over when the client goes: a random part of them still arrives.
    pub fn cut(&mut self, rng: &mut Rng) {
        self.down.clear();
        self.up.truncate(rng.between(0, self.up.len()));
    }
}

fn open_group(world: &World, limits: &Limits) -> Result<Group, StoreError> {
    let recent = RecentLimits { max_generation_items: limits.generation_items, ..RecentLimits::default() };
    Group::open(world.connection(), MAX_SKEW_US, recent)
}

fn send(peer: &mut Peer, entries: &[Outgoing], frame_entries: usize) {
    for chunk in entries.chunks(frame_entries) {
        let mut frame = AuditLogFrame::new();
        chunk.iter().for_each(|entry| frame.push(entry));
        peer.down.push_back(frame.finish());
    }
}

fn ids_of(frame: &Bytes) -> Vec<EntryId> {
    let id = |incoming: &Incoming| match incoming {
        Incoming::Change(change) => Some(change.id),
        Incoming::Refused(refused) => refused.id.map(|(id, _)| id),
    };
    changes_of(frame).iter().filter_map(id).collect()
}

fn changes_of(frame: &Bytes) -> Vec<Incoming> {
    match decode(frame, limits::MAX_CHANGES_PER_FRAME) {
        Ok(ClientFrame::Changes(changes)) => changes,
        _ => Vec::new(),
    }
}
