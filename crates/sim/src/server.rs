//! The driver around the real engine and the real statements: connections, waiting uploads, group commits, rings, crashes.
//!
//! It is what the server's hub is, without tasks and sockets. Two rules of it are part of what makes clients converge:
//! uploads of one connection are merged one after the other in the order of their frames, and an upload that could not be
//! stored is never overtaken by a later one of its connection: it is tried again first, or the connection is closed.

mod access;
mod deliver;
mod json;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use lattice_engine::{Cursor, Effects, Outcome, PullData, PullRequest, Ring, Role, Seq, Stream, WriterId};
use lattice_protocol::native::{AckId, ClientFrame, decode, encode_ack, encode_floor_reset};
use lattice_protocol::plain::{Filter, UploadId};
use lattice_protocol::{EntryId, Incoming, Outgoing, limits};
use lattice_store::StoreError;
use lattice_store::spaces::{Origin, Space, Upload};
use lattice_store::sqlite::{Group, RecentLimits, View};

use crate::oracle::Witness;
use crate::people::{Act, User};
use crate::rng::Rng;
use crate::world::World;

use access::Asks;

/// How far in the future a timestamp may be, in microseconds: the server's default.
pub const MAX_SKEW_US: i64 = 5 * 60 * 1_000_000;

/// Names a connection; never used twice in a history.
pub type ConnectionNo = usize;

/// Names a seat of a connection; never used twice.
pub(crate) type SeatNo = usize;

/// The one seat of a native connection.
const NATIVE: SeatNo = 0;

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
#[derive(Default)]
pub struct Report {
    /// Uploads that were stored.
    pub stored: usize,
    /// Uploads that failed, by their connections; one that was not alone in its group cannot be tried again.
    pub failed: Vec<Failed>,
}

/// What a group does, one after the other.
#[derive(Debug)]
pub enum Job {
    /// Takes the oldest upload of a connection.
    Upload(ConnectionNo),
    /// Changes what people may do in a space.
    Access(usize, Act),
}

/// An upload that could not be stored.
pub struct Failed {
    /// Its connection.
    pub connection: ConnectionNo,
    /// It.
    waiting: Waiting,
    /// No later upload of the connection was in the group.
    pub alone: bool,
}

/// A space while the server runs.
struct Live {
    space: Arc<Space>,
    ring: Ring<Vec<(Seq, Outgoing)>>,
    /// The head that connections have been told of.
    head: Seq,
    /// Counts changes of what people may do here, from the commit on that makes them.
    version: u64,
}

/// One side of a connection, and what is under way to and from it.
pub struct Peer {
    user: User,
    /// What it has subscribed to: one space where it is native.
    seats: BTreeMap<SeatNo, Seat>,
    /// It speaks the JSON dialect.
    json: Option<json::Session>,
    /// An upload was refused as a whole: later ones that were under way may overtake it.
    overtakes: bool,
    /// Frames of the client that the network has.
    pub up: VecDeque<Bytes>,
    /// Uploads that the server has.
    waiting: VecDeque<Waiting>,
    /// Frames for the client that the network has.
    pub down: VecDeque<Bytes>,
}

impl Peer {
    /// Whether uploads of a seat wait to be merged.
    fn waits(&self, seat: SeatNo) -> bool {
        self.waiting.iter().any(|waiting| waiting.seat == seat)
    }
}

/// One space on a connection.
struct Seat {
    space: usize,
    stream: Stream,
    origin: Arc<Origin>,
    role: Role,
    filter: Option<Arc<Filter>>,
    schema: Option<u64>,
    /// Its view is remembered, and a page of it has left.
    is_remembered: bool,
    has_sent: bool,
    /// [`Live::version`] when its view was made.
    version: u64,
    /// A pull that was read and is not delivered yet.
    reading: Option<(PullRequest, PullData)>,
    owed: Vec<Owed>,
    json: json::SeatState,
}

/// An upload that is to be merged.
struct Waiting {
    seat: SeatNo,
    incoming: Vec<Incoming>,
    bytes: usize,
    /// Whether it is answered with current values: said when it was handed over, whatever is shown since.
    echoes: bool,
    /// What a JSON client calls it.
    id: Option<UploadId>,
}

/// What became of an upload in its transaction.
struct Merged {
    no: ConnectionNo,
    space: usize,
    writer: WriterId,
    waiting: Waiting,
    result: Result<Effects, StoreError>,
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
    next_seat: SeatNo,
    /// Holds what is sent and merged against what is permitted, where people share.
    pub witness: Option<Witness>,
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
        let live =
            |space| Live { space, ring: Ring::new(usize::MAX, limits.ring_commits), head: 0, version: 0 };
        Ok(Self {
            group: open_group(world, &limits)?,
            spaces: spaces.into_iter().map(live).collect(),
            limits,
            peers: BTreeMap::new(),
            next_seat: NATIVE + 1,
            witness: None,
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

    /// How often it has changed what anybody may do in a space.
    #[must_use]
    pub fn version(&self, space: usize) -> u64 {
        self.spaces[space].version
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

    /// Takes a native connection of a user, who may declare the version of the app's schema. Its writer id must be new. `None`, and the connection is refused, when the user
    /// does not see the space.
    ///
    /// # Errors
    /// What the database says.
    pub fn connect(
        &mut self,
        world: &World,
        no: ConnectionNo,
        (space, user, schema): (usize, User, Option<u64>),
        writer: WriterId,
        last_event_id: Option<&str>,
    ) -> Result<Option<Cursor>, StoreError> {
        let asks = Asks { space, user, filter: None, schema };
        let checkpoint = self.checkpoint(world, space, last_event_id.and_then(EntryId::parse))?;
        let nonce = u64::from_le_bytes(std::array::from_fn(|at| writer.0[at]));
        let Some((mut seat, lost)) = self.seat(world, &asks, writer, checkpoint, nonce)? else {
            return Ok(None);
        };
        let lost = lost || (last_event_id.is_some() && checkpoint == lattice_engine::Checkpoint::Lost);
        let mut down = VecDeque::new();
        if let (Some(id), true) = (last_event_id, lost) {
            down.push_back(encode_floor_reset(Some(id), "the checkpoint is unknown"));
        }
        deliver::announce(&mut seat, &self.spaces[space].space.minter, &mut down);
        let cursor = seat.stream.cursor();
        let peer = Peer {
            user,
            seats: BTreeMap::from([(NATIVE, seat)]),
            json: None,
            overtakes: false,
            up: VecDeque::new(),
            waiting: VecDeque::new(),
            down,
        };
        self.peers.insert(no, peer);
        Ok(Some(cursor))
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

    /// The network hands over the oldest frame of a client. False when there is none, or when the server does not read
    /// now.
    ///
    /// # Errors
    /// What the database says.
    pub fn accept(&mut self, world: &World, no: ConnectionNo, rng: &mut Rng) -> Result<bool, StoreError> {
        let Some(peer) = self.peers.get_mut(&no) else { return Ok(false) };
        if peer.json.is_some() {
            return self.accept_json(world, no, rng);
        }
        let Some(frame) = peer.up.pop_front() else { return Ok(false) };
        // A client's acks are not needed.
        if let Ok(ClientFrame::Changes(incoming)) = decode(&frame, limits::MAX_CHANGES_PER_FRAME) {
            let echoes = peer.seats.get(&NATIVE).is_some_and(|seat| seat.stream.echoes());
            let bytes = frame.len();
            peer.waiting.push_back(Waiting { seat: NATIVE, incoming, bytes, echoes, id: None });
        }
        Ok(true)
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
        let waiting = self.peers.get(&no).into_iter().flat_map(|peer| peer.waiting.iter().take(uploads));
        let id = |incoming: &Incoming| match incoming {
            Incoming::Change(change) => Some(change.id),
            Incoming::Refused(refused) => refused.id.map(|(id, _)| id),
        };
        waiting.flat_map(|waiting| &waiting.incoming).filter_map(id).collect()
    }

    /// An upload that failed is tried again before anything that its connection sent later.
    pub fn retry(&mut self, failed: Failed) {
        if let Some(peer) = self.peers.get_mut(&failed.connection) {
            peer.waiting.push_front(failed.waiting);
        }
    }

    /// Does these jobs in one transaction, and tells everybody. A connection that is named more than once has as many
    /// uploads in the group.
    ///
    /// # Errors
    /// What the database says of the transaction; a single upload that fails is reported instead.
    pub fn commit(
        &mut self,
        world: &World,
        group: &[Job],
        now_us: i64,
        fault: Fault,
        rng: &mut Rng,
    ) -> Result<Report, StoreError> {
        let db = world.connection();
        db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        self.group.begin(db)?;
        let (mut results, mut changed): (Vec<Merged>, Vec<usize>) = (Vec::new(), Vec::new());
        for job in group {
            match job {
                Job::Upload(no) => results.extend(self.merge(world, *no, now_us)?),
                Job::Access(space, act) => changed.extend(self.change_access(world, *space, act)?),
            }
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
        changed.into_iter().for_each(|space| self.spaces[space].version += 1);
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
        self.tell(world, results, rng)
    }

    /// Merges the oldest upload of a connection, if there is one.
    fn merge(&mut self, world: &World, no: ConnectionNo, now_us: i64) -> Result<Option<Merged>, StoreError> {
        let Some(peer) = self.peers.get_mut(&no) else { return Ok(None) };
        let Some(waiting) = peer.waiting.pop_front() else { return Ok(None) };
        let Some(seat) = peer.seats.get(&waiting.seat) else { return Ok(None) };
        let mut upload = Upload {
            space: Arc::clone(&self.spaces[seat.space].space),
            origin: Arc::clone(&seat.origin),
            incoming: waiting.incoming.clone(),
            plain: peer.json.is_some(),
            echoes: waiting.echoes,
            bytes: waiting.bytes,
        };
        let result = self.group.upload(world.connection(), &mut upload, now_us);
        if let (Some(witness), Ok(effects)) = (&mut self.witness, &result) {
            let (staged, user) = (self.group.staged_view(), peer.user);
            let at = (world.connection(), &staged, upload.space.no);
            self.violations.extend(witness.merged(at, user, &waiting.incoming, effects)?);
        }
        Ok(Some(Merged { no, space: seat.space, writer: seat.origin.writer, waiting, result }))
    }

    /// Only now, that the commit is durable, may anything of it leave.
    fn tell(&mut self, world: &World, results: Vec<Merged>, rng: &mut Rng) -> Result<Report, StoreError> {
        let mut report = Report::default();
        for Merged { no, space, writer, waiting, result } in results {
            let has_failed = report.failed.iter_mut().find(|failed| failed.connection == no);
            match result {
                Ok(effects) => {
                    report.stored += 1;
                    let outcomes = self.publish(space, writer, effects);
                    self.look_before_answer(world, no, waiting.seat, rng)?;
                    // Nothing that overtook a failed upload is acknowledged: the client sends all of it again.
                    match has_failed {
                        Some(failed) => failed.alone = false,
                        None => self.answer(no, waiting, outcomes),
                    }
                }
                Err(StoreError::Database(_)) => match has_failed {
                    Some(failed) => failed.alone = false,
                    None => report.failed.push(Failed { connection: no, waiting, alone: true }),
                },
                // Neither acknowledged nor corrected: who has no access is told nothing.
                Err(StoreError::NoAccess) => self.end(no, waiting.seat),
                Err(error) => return Err(error),
            }
        }
        Ok(report)
    }

    fn publish(&mut self, space: usize, writer: WriterId, effects: Effects) -> Vec<Outcome> {
        let live = &mut self.spaces[space];
        self.changes += effects.head.seq - effects.before;
        if effects.head.seq > effects.before {
            live.ring.push(effects.before, effects.head.seq, writer, effects.visible, 1);
            live.head = live.head.max(effects.head.seq);
        }
        effects.outcomes
    }

    fn answer(&mut self, no: ConnectionNo, waiting: Waiting, outcomes: Vec<Outcome>) {
        let Some(peer) = self.peers.get_mut(&no) else { return };
        let Some(seat) = peer.seats.get_mut(&waiting.seat) else { return };
        if let Some(verdicts) = &mut self.verdicts {
            verdicts.extend(outcomes.iter().map(|outcome| format!("connection {no}: {outcome:?}")));
        }
        let due: Vec<(AckId, bool)> = outcomes
            .iter()
            .filter_map(|outcome| Some((outcome.ack.clone()?, outcome.correction.is_some())))
            .collect();
        let results = json::results(&outcomes);
        let acks = seat.stream.outcomes(outcomes);
        seat.owed.retain(|owed| !acks.contains(&owed.ack));
        // Each pull answers at least the oldest verdict, so the last of n is answered by the n-th pull. One that is being
        // read now was asked for before this verdict, so the n-th pull from now may be one short.
        let most_pulls = seat.stream.pending();
        // An upload may hold a change twice: one of them acknowledged, the other one a duplicate that waits.
        let mut at_once = acks.clone();
        for (ack, corrected) in due {
            if let Some(at) = at_once.iter().position(|acked| *acked == ack) {
                at_once.swap_remove(at);
                continue;
            }
            match seat.owed.iter_mut().find(|owed| owed.ack == ack) {
                Some(owed) if owed.corrected || !corrected => {}
                Some(owed) => (owed.pulls, owed.corrected) = (most_pulls, true),
                None => seat.owed.push(Owed { ack, pulls: most_pulls, corrected }),
            }
        }
        if seat.stream.pending() > seat.owed.len() {
            self.violations.push(format!("connection {no} has more than one pending verdict of an entry"));
        }
        if peer.json.is_some() {
            let minter = &self.spaces[seat.space].space.minter;
            seat.json.uploaded(waiting.id, results, seat.stream.queued());
            json::answer_uploads(seat, minter, &mut peer.down);
            self.end_answered(no, waiting.seat);
        } else if !acks.is_empty() {
            peer.down.push_back(encode_ack(acks.into_iter()));
        }
    }
}

fn open_group(world: &World, limits: &Limits) -> Result<Group, StoreError> {
    let recent = RecentLimits { max_generation_items: limits.generation_items, ..RecentLimits::default() };
    Group::open(world.connection(), MAX_SKEW_US, recent)
}

impl Peer {
    /// Frames that the network has not handed over when the client goes: a random part of them still arrives.
    pub fn cut(&mut self, rng: &mut Rng) {
        self.down.clear();
        self.up.truncate(rng.between(0, self.up.len()));
    }
}
