//! Drives the server's own sessions with the real engine and the real statements: connections, requests that wait, uploads,
//! group commits, rings, crashes.
//!
//! It is what the server's tasks and hub are, without tasks and sockets: whatever a session asks for may be answered at once
//! or at any time later. Two rules of it are part of what makes clients converge: uploads of one connection are merged one
//! after the other in the order of their frames, and an upload that could not be stored is never overtaken by a later one of
//! its connection: it is tried again first, or the connection is closed.

mod http;
mod peer;
mod recent;
mod seen;
mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

use lattice_engine::{Effects, Outcome, Ring, Seq, WriterId};
use lattice_protocol::{EntryId, Incoming, Outgoing};
use lattice_session::{DeliveryLimits, Slot, UploadFailure, UploadTerms};
use lattice_store::StoreError;
use lattice_store::spaces::{Origin, Space, Upload};
use lattice_store::sqlite::{Group, RecentLimits, Snapshot};

use crate::oracle::Witness;
use crate::people::{self, Act};
use crate::rng::Rng;
use crate::world::World;

pub use peer::Peer;
pub use seen::SeenEntry;

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
    /// Most items that are flushed to the tables at once.
    pub generation_items: usize,
}

impl Limits {
    fn draw(&self, rng: &mut Rng) -> DeliveryLimits {
        DeliveryLimits {
            page_rows: self.page_rows,
            page_bytes: self.page_bytes,
            frame_entries: rng.between(1, self.frame_entries),
            frame_bytes: usize::MAX,
        }
    }
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

/// An upload that is to be merged.
struct Waiting {
    slot: Slot,
    space: usize,
    origin: Arc<Origin>,
    incoming: Vec<Incoming>,
    bytes: usize,
    /// It came in the JSON dialect.
    plain: bool,
    /// What the session said of it when it was handed over.
    terms: UploadTerms,
}

/// What became of an upload in its transaction.
struct Merged {
    no: ConnectionNo,
    waiting: Waiting,
    result: Result<Effects, StoreError>,
}

/// The server of a history.
pub struct Server {
    group: Group,
    limits: Limits,
    spaces: Vec<Live>,
    peers: BTreeMap<ConnectionNo, Peer>,
    /// Holds what is sent and merged against what is permitted, where people share.
    pub witness: Option<Witness>,
    /// What became of each change, if anybody wants to read it.
    pub verdicts: Option<Vec<String>>,
    /// Things that must never happen and did.
    pub violations: Vec<String>,
    /// The time, as sessions are told it: that of the last group commit.
    now_us: i64,
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
            witness: None,
            verdicts: None,
            violations: Vec::new(),
            now_us: 0,
            pulls: 0,
            changes: 0,
        })
    }

    /// What is committed and not flushed to the tables yet.
    #[must_use]
    pub fn view(&self) -> Snapshot {
        self.group.snapshot()
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
        self.now_us = now_us;
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
        let flushed = self.group.flush(db);
        if flushed.is_err() {
            db.prepare_cached("ROLLBACK")?.execute([])?;
            self.group.ended(false);
            flushed?;
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
        let mut upload = Upload {
            space: Arc::clone(&self.spaces[waiting.space].space),
            origin: Arc::clone(&waiting.origin),
            incoming: waiting.incoming.clone(),
            plain: waiting.plain,
            echoes: waiting.terms.echoes,
            read_only: waiting.terms.read_only,
            applied: waiting.terms.applied,
            bytes: waiting.bytes,
        };
        if let Some(witness) = &mut self.witness {
            witness.merges((world.connection(), &self.group.staged_snapshot(), upload.space.no))?;
        }
        let result = self.group.upload(world.connection(), &mut upload, now_us);
        if let (Some(witness), Ok(effects)) = (&mut self.witness, &result) {
            let (staged, user) = (self.group.staged_snapshot(), peer.user);
            let at = (world.connection(), &staged, upload.space.no);
            self.violations.extend(witness.merged(at, user, &waiting.incoming, effects)?);
        }
        Ok(Some(Merged { no, waiting, result }))
    }

    /// Changes what people may do in a space, in the transaction that is under way. `None` when nothing changed.
    fn change_access(&mut self, world: &World, space: usize, act: &Act) -> Result<Option<usize>, StoreError> {
        let (db, live) = (world.connection(), &self.spaces[space]);
        if let Some(witness) = &mut self.witness {
            witness.closes((db, &self.group.staged_snapshot(), live.space.no))?;
        }
        let changed = people::perform(db, &live.space, act)?;
        // It ends the views that were shown so far, at the head of this very moment.
        self.group.access_written(db)?;
        Ok(changed.then_some(space))
    }

    /// Only now, that the commit is durable, may anything of it leave.
    fn tell(&mut self, world: &World, results: Vec<Merged>, rng: &mut Rng) -> Result<Report, StoreError> {
        let mut report = Report::default();
        for Merged { no, waiting, result } in results {
            let has_failed = report.failed.iter_mut().find(|failed| failed.connection == no);
            match result {
                Ok(effects) => {
                    report.stored += 1;
                    let outcomes = self.publish(waiting.space, waiting.origin.writer, effects);
                    // Nothing that overtook a failed upload is acknowledged: the client sends all of it again.
                    match has_failed {
                        Some(failed) => failed.alone = false,
                        None => self.uploaded(world, no, waiting.slot, Ok(outcomes), rng)?,
                    }
                }
                Err(StoreError::Database(_)) => match has_failed {
                    Some(failed) => failed.alone = false,
                    None => report.failed.push(Failed { connection: no, waiting, alone: true }),
                },
                Err(StoreError::NoAccess) => {
                    self.uploaded(world, no, waiting.slot, Err(UploadFailure::NoAccess), rng)?;
                }
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
}

fn open_group(world: &World, limits: &Limits) -> Result<Group, StoreError> {
    let recent = RecentLimits { max_generation_items: limits.generation_items, ..RecentLimits::default() };
    Group::open(world.connection(), MAX_SKEW_US, recent)
}
