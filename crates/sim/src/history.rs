//! One history: random steps of many clients, a network and a server, until they settle and are compared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lattice_engine::WriterId;
use lattice_engine::mutation::Mutation;
use lattice_protocol::{EntryId, RowId};
use lattice_store::StoreError;
use lattice_store::spaces::Space;
use lattice_store::sqlite::spaces;

use crate::client::NativeClient;
use crate::config::{Config, Kind, Weights};
use crate::mixed::App;
use crate::oracle::Witness;
use crate::people::User;
use crate::rng::Rng;
use crate::server::{ConnectionNo, Fault, Job, Server};
use crate::shared::{self, Shared};
use crate::world::World;

/// Most clients of a history, copies included.
const MAX_CLIENTS: usize = 6;

/// Items after which what was committed is settled. Few, so that it happens often, also in the middle of histories.
const GENERATION_ITEMS: [usize; 6] = [1, 2, 7, 20, 60, 200];

/// Why a history is wrong.
pub type Problem = String;

/// What a history came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Random steps.
    pub steps: u64,
    /// Changes that the server logged.
    pub changes: u64,
    /// Pages that it read.
    pub pulls: u64,
}

/// A client and what its surroundings know of it.
pub(crate) struct Client {
    pub(crate) db: NativeClient,
    pub(crate) user: User,
    pub(crate) space: usize,
    pub(crate) connection: Option<ConnectionNo>,
    /// What a broken server would take for its writer id again.
    writer: WriterId,
    /// How wrong its clock is.
    pub(crate) skew_us: i64,
    pub(crate) untimed: bool,
    pub(crate) window: usize,
    /// Where clients have more than one.
    pub(crate) app: Option<App>,
    pub(crate) has_connected: bool,
    /// It was handed what its space does not have, or what it was not sent of its space counts as received.
    pub(crate) is_foreign: bool,
}

/// A history in progress.
pub struct History<'w> {
    pub(crate) world: &'w World,
    pub(crate) rng: Rng,
    pub(crate) config: Config,
    pub(crate) server: Server,
    pub(crate) clients: Vec<Client>,
    pub(crate) now_us: i64,
    pub(crate) wall_offset_us: i64,
    pub(crate) edits: u64,
    /// Link rows that were ever made: table, id, ends.
    pub(crate) links: Vec<(usize, RowId, usize, usize)>,
    /// By space, the changes that clients were told are stored.
    pub(crate) acked: BTreeSet<(usize, EntryId)>,
    pub(crate) trace: Option<Vec<String>>,
    /// The people, where they share.
    pub(crate) shared: Option<Shared>,
    connections: ConnectionNo,
}

/// Notes a step, if anybody wants to read it.
macro_rules! note {
    ($history:expr, $($text:tt)*) => {
        if let Some(trace) = &mut $history.trace { trace.push(format!($($text)*)); }
    };
}
pub(crate) use note;

/// Runs the history of a seed. Returns its trace, which is empty unless asked for, and how it ended.
pub fn run(world: &mut World, seed: u64, kind: Kind, trace: bool) -> (Vec<String>, Result<Summary, Problem>) {
    let mut rng = Rng::new(seed);
    let mut config = Config::draw(&mut rng, kind);
    // Drawn apart: it decides when the server writes what, and must not change what else happens.
    config.limits.generation_items = *Rng::new(!seed).pick(&GENERATION_ITEMS);
    let (shared, made) = match make(world, &mut rng, &config) {
        Ok(made) => made,
        Err(error) => return (Vec::new(), Err(error.to_string())),
    };
    let server = match Server::new(world, made, config.limits.clone()) {
        Ok(server) => server,
        Err(error) => return (Vec::new(), Err(error.to_string())),
    };
    let mut history = History {
        world,
        rng,
        server,
        clients: Vec::new(),
        now_us: 1_700_000_000_000_000,
        wall_offset_us: 0,
        edits: 0,
        links: Vec::new(),
        acked: BTreeSet::new(),
        trace: trace.then(Vec::new),
        shared,
        connections: 0,
        config,
    };
    history.server.verdicts = trace.then(Vec::new);
    history.server.witness = history.shared.as_ref().map(|shared| Witness::new(shared.people.clone()));
    note!(history, "{:#?}", history.config);
    let result = history.play();
    let summary = Summary {
        steps: history.config.steps as u64,
        changes: history.server.changes,
        pulls: history.server.pulls,
    };
    (history.trace.unwrap_or_default(), result.map(|()| summary))
}

/// Makes the spaces, and the people where they share them.
fn make(
    world: &mut World,
    rng: &mut Rng,
    config: &Config,
) -> Result<(Option<Shared>, Vec<Arc<Space>>), StoreError> {
    if let Some(sharing) = &config.sharing {
        let (shared, made) = shared::make(world, rng, sharing, config.spaces, &config.rules)?;
        return Ok((Some(shared), made));
    }
    let made = (0..config.spaces).map(|_| world.make_space(rng, config.rules.clone()));
    Ok((None, made.collect::<Result<_, _>>()?))
}

pub(crate) fn broken(error: StoreError) -> Problem {
    format!("the store failed: {error}")
}

impl History<'_> {
    fn play(&mut self) -> Result<(), Problem> {
        for client in 0..self.config.clients {
            let space = client % self.config.spaces;
            let user = self.native_user(space)?;
            self.add_client(space, user);
        }
        if self.shared.is_some() {
            self.add_hosts();
        }
        for step in 0..self.config.steps {
            note!(self, "-- step {step}");
            self.step()?;
            self.no_violation()?;
        }
        if self.config.starves {
            self.starve()?;
        }
        if self.shared.is_some() {
            self.flicker()?;
        }
        for space in 0..self.config.spaces {
            for user in self.people_of(space)? {
                let fresh = self.add_client(space, user);
                note!(self, "client {fresh} is a fresh replica");
            }
        }
        self.add_fresh_hosts();
        self.settle()?;
        self.compare()?;
        self.compare_hosts()
    }

    fn native_user(&mut self, space: usize) -> Result<User, Problem> {
        match self.shared {
            Some(_) => self.somebody(space),
            None => self.world.owner(self.server.space(space).no).map_err(broken),
        }
    }

    /// Everybody who may ever see a space.
    fn people_of(&self, space: usize) -> Result<Vec<User>, Problem> {
        let owner = self.world.owner(self.server.space(space).no).map_err(broken)?;
        Ok(match &self.shared {
            Some(shared) if !shared.is_private(space) => shared.people.clone(),
            _ => vec![owner],
        })
    }

    fn add_client(&mut self, space: usize, user: User) -> usize {
        let narrow = self.rng.chance(self.config.narrow_percent);
        let schema = Arc::clone(if narrow { &self.config.narrow_schema } else { &self.config.schema });
        let window = *self.rng.pick(&[1, 2, 3, 5, 1_000]);
        let app = self.draw_app();
        let db = match app {
            Some(app) => self.draw_database(app, window),
            None => NativeClient::new(schema, window),
        };
        let minute_us = 60_000_000;
        let skew_us =
            *self.rng.pick(&[0, 0, 0, 2 * minute_us, -2 * minute_us, 60 * minute_us, -60 * minute_us]);
        self.clients.push(Client {
            db,
            user,
            space,
            connection: None,
            writer: WriterId(self.rng.bytes()),
            skew_us,
            untimed: self.rng.chance(self.config.untimed_percent),
            window,
            app,
            has_connected: false,
            is_foreign: false,
        });
        self.clients.len() - 1
    }

    fn step(&mut self) -> Result<(), Problem> {
        self.pass_time();
        if let Some(percent) = self.config.sharing.as_ref().map(|sharing| sharing.percent)
            && self.rng.chance(percent)
        {
            return self.shared_step();
        }
        if self.mixed_step()? {
            return Ok(());
        }
        let client = self.rng.below(self.clients.len());
        let Weights { edit, toggle, upload, accept, commit, pull, receive, .. } = self.config.weights;
        let Weights { resend, crash, die, copy, relay, compact, step_clock, .. } = self.config.weights;
        let weights = [
            edit, toggle, upload, accept, commit, pull, receive, resend, crash, die, copy, relay, compact,
            step_clock,
        ];
        let mut dice = self.rng.below(weights.iter().sum());
        let mut chosen = 0;
        while dice >= weights[chosen] {
            dice -= weights[chosen];
            chosen += 1;
        }
        match chosen {
            0 => self.edit(client),
            1 if self.clients[client].connection.is_some() => self.disconnect(client),
            1 => self.connect(client)?,
            2 => {
                self.upload(client);
            }
            3 => {
                let arriving = self.server.arriving();
                if let Some(no) = self.rng.pick_any(&arriving) {
                    note!(self, "connection {no}: the server takes a frame");
                    self.server.accept(self.world, no, &mut self.rng).map_err(broken)?;
                }
            }
            4 => {
                self.commit(true)?;
            }
            5 => {
                let all = self.server.connections();
                if let Some(no) = self.rng.pick_any(&all) {
                    self.pull(no)?;
                }
            }
            6 => {
                let mut owed = Vec::new();
                for client in 0..self.clients.len() {
                    let peer = self.clients[client].connection.and_then(|no| self.server.peer(no));
                    owed.extend(peer.filter(|peer| !peer.down.is_empty()).map(|_| client));
                }
                if let Some(client) = self.rng.pick_any(&owed) {
                    self.receive(client)?;
                }
            }
            7 => {
                note!(self, "client {client}: sends everything again");
                self.clients[client].db.resend();
            }
            8 => {
                note!(self, "the server dies");
                self.server.crash(self.world).map_err(broken)?;
                self.lose_connections();
            }
            9 => self.die(client)?,
            10 => self.copy(client),
            11 => self.relay(client),
            12 => self.compact(client),
            _ => {
                let minute_us = 60_000_000;
                self.wall_offset_us = minute_us * (self.rng.below(41) as i64 - 20);
                note!(self, "the server's clock is {} us off", self.wall_offset_us);
            }
        }
        Ok(())
    }

    fn pass_time(&mut self) {
        if !self.rng.chance(30) {
            self.now_us += self.rng.below(2_000_000) as i64;
        }
    }

    pub(crate) fn no_violation(&mut self) -> Result<(), Problem> {
        self.server.violations.pop().map_or(Ok(()), Err)
    }

    /// The server died: nobody is connected.
    fn lose_connections(&mut self) {
        self.clients.iter_mut().for_each(|client| client.connection = None);
        self.lose_hosts();
    }

    pub(crate) fn next_connection(&mut self) -> ConnectionNo {
        self.connections += 1;
        self.connections
    }

    pub(crate) fn connect(&mut self, client: usize) -> Result<(), Problem> {
        self.forget_browser(client);
        let no = self.next_connection();
        let fresh = WriterId(self.rng.bytes());
        let it = &mut self.clients[client];
        let writer = if Mutation::ReusedWriters.is_active() { it.writer } else { fresh };
        let last = it.db.connect();
        let declares = self.config.mix.as_ref().is_some_and(|mix| mix.declares);
        let at = (it.space, it.user, it.app.filter(|_| declares).map(|app| app.version));
        let cursor = self.server.connect(self.world, no, at, writer, last.as_deref()).map_err(broken)?;
        it.connection = cursor.is_some().then_some(no);
        it.has_connected |= cursor.is_some();
        note!(self, "client {client}: connects as {no} (writer {writer:?}) with {last:?} = {cursor:?}");
        Ok(())
    }

    pub(crate) fn disconnect(&mut self, client: usize) {
        let Some(no) = self.clients[client].connection.take() else { return };
        // The server may not notice for a while, and still store what it has.
        if self.rng.chance(self.config.zombie_percent) {
            note!(self, "client {client}: leaves, connection {no} stays");
            if let Some(peer) = self.server.peer(no) {
                peer.cut(&mut self.rng);
            }
        } else {
            note!(self, "client {client}: disconnects from {no}");
            self.server.disconnect(no);
        }
    }

    /// Puts the client's next upload on the wire.
    pub(crate) fn upload(&mut self, client: usize) -> bool {
        let it = &mut self.clients[client];
        let Some(peer) = it.connection.and_then(|no| self.server.peer(no)) else { return false };
        let Some(frame) = it.db.next_upload() else { return false };
        note!(self, "client {client}: uploads {}", crate::wire::brief(&frame));
        peer.up.push_back(frame);
        true
    }

    /// Commits some of what waits, in any order.
    pub(crate) fn commit(&mut self, faults: bool) -> Result<bool, Problem> {
        let mut group = self.server.waiting();
        if group.is_empty() {
            return Ok(false);
        }
        self.rng.shuffle(&mut group);
        group.truncate(self.rng.between(1, group.len()));
        let fault = match self.rng.below(100) {
            dice if !faults || dice >= self.config.crash_commit_percent => Fault::None,
            dice if dice % 2 == 0 => Fault::CrashBefore,
            _ => Fault::CrashAfter,
        };
        // Each has as many uploads in the group as it is named, in their order.
        for no in group.clone() {
            let more = self.rng.below(self.server.uploads(no).min(3));
            group.extend(std::iter::repeat_n(no, more));
        }
        let ids: BTreeMap<ConnectionNo, Vec<EntryId>> =
            group.iter().map(|no| (*no, self.server.next_ids(*no, 3))).collect();
        let mut poisoned = None;
        if faults && self.rng.chance(self.config.fail_percent) {
            let victim = *self.rng.pick(&group);
            poisoned = self.rng.pick_any(&ids[&victim]);
            if let Some(id) = poisoned
                && self.is_received(id)?
            {
                // It stands in the clocks of rows: other uploads would fail with it.
                poisoned = None;
            }
        }
        if let Some(id) = poisoned {
            self.world.poison(id).map_err(broken)?;
        }
        let wall_us = self.now_us + self.wall_offset_us;
        note!(self, "the server commits {group:?}, {fault:?}, {poisoned:?} fails");
        let mut jobs: Vec<Job> = group.into_iter().map(Job::Upload).collect();
        self.mix_in_acts(&mut jobs);
        let report = self.server.commit(self.world, &jobs, wall_us, fault, &mut self.rng).map_err(broken)?;
        if let (Some(trace), Some(verdicts)) = (&mut self.trace, &mut self.server.verdicts) {
            trace.append(verdicts);
        }
        if poisoned.is_some() {
            self.world.cure().map_err(broken)?;
        }
        if fault != Fault::None {
            self.lose_connections();
        }
        for failed in report.failed {
            let no = failed.connection;
            // Rows carry the ids of their last changes: an upload may fail for one that another sends again.
            if poisoned.is_none() {
                return Err(format!("an upload of connection {no} could not be stored"));
            }
            if failed.alone && self.rng.chance(40) {
                note!(self, "connection {no}: its upload failed and is tried again");
                self.server.retry(failed);
                continue;
            }
            note!(self, "connection {no}: its upload failed");
            match self.clients.iter().position(|client| client.connection == Some(no)) {
                Some(client) => self.disconnect(client),
                None => self.server.disconnect(no),
            }
        }
        Ok(true)
    }

    /// Whether any space has received this entry.
    fn is_received(&self, id: EntryId) -> Result<bool, Problem> {
        for space in 0..self.config.spaces {
            let no = self.server.space(space).no;
            let receipt = spaces::receipt(self.world.connection(), &self.server.view(), no, id);
            if receipt.map_err(broken)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) fn pull(&mut self, no: ConnectionNo) -> Result<bool, Problem> {
        let pulled = self.server.pull(self.world, no, &mut self.rng).map_err(broken)?;
        if pulled {
            note!(self, "connection {no}: pulls");
        }
        Ok(pulled)
    }

    /// The network hands the client its next frame.
    pub(crate) fn receive(&mut self, client: usize) -> Result<bool, Problem> {
        let it = &mut self.clients[client];
        let Some(peer) = it.connection.and_then(|no| self.server.peer(no)) else { return Ok(false) };
        let Some(frame) = peer.down.pop_front() else { return Ok(false) };
        note!(self, "client {client}: receives {}", crate::wire::brief(&frame));
        let received =
            it.db.receive(&frame).map_err(|error| format!("a client cannot read a frame: {error}"))?;
        peer.up.extend(received.replies);
        if let Some(id) = received.given_up.first() {
            return Err(format!("client {client} was made to give up {id}"));
        }
        let space = it.space;
        for id in received.acked {
            let live = self.server.space(space);
            let receipt =
                spaces::receipt(self.world.connection(), &self.server.view(), live.no, id).map_err(broken)?;
            if receipt.is_none() && !id.is_minted() {
                return Err(format!("{id} was acknowledged and is not stored"));
            }
            self.acked.insert((space, id));
        }
        Ok(true)
    }

    /// The client dies, in the middle of a frame or between storing a frame and saving the checkpoint.
    pub(crate) fn die(&mut self, client: usize) -> Result<(), Problem> {
        let it = &mut self.clients[client];
        let next = it.connection.and_then(|no| self.server.peer(no)).and_then(|peer| peer.down.pop_front());
        if let (Some(frame), true) = (next, self.rng.chance(60)) {
            let entries = self.rng.below(3);
            note!(self, "client {client}: dies after {entries} entries of {}", crate::wire::brief(&frame));
            it.db
                .receive_and_die(&frame, entries)
                .map_err(|error| format!("a client cannot read a frame: {error}"))?;
        } else {
            note!(self, "client {client}: dies before it has saved the checkpoint");
            it.db.lose_checkpoint();
        }
        self.disconnect(client);
        Ok(())
    }

    /// The client's database is copied with everything in it, and both go on.
    fn copy(&mut self, client: usize) {
        if self.clients.len() >= MAX_CLIENTS {
            return;
        }
        note!(self, "client {}: made as a copy of {client}", self.clients.len());
        let writer = WriterId(self.rng.bytes());
        let it = &self.clients[client];
        let copy = Client { db: it.db.clone(), connection: None, writer, ..*it };
        self.clients.push(copy);
    }

    /// A client hands an entry, received or its own, to another one.
    fn relay(&mut self, from: usize) {
        let to = self.rng.below(self.clients.len());
        let is_far = self.clients[to].space != self.clients[from].space;
        if to == from || is_far || self.clients[to].db.takes_checkpoints_of_others() {
            return;
        }
        if self.rng.chance(60) && self.clients[to].user == self.clients[from].user {
            let recent: Vec<_> = self.clients[from].db.recent().iter().cloned().collect();
            if let Some(entry) = self.rng.pick_any(&recent) {
                let taken = self.clients[to].db.take_delivered(&entry);
                note!(self, "client {from}: hands {entry:?} to client {to}: {taken}");
            }
        } else {
            let own: Vec<_> = self.clients[from].db.pending().cloned().collect();
            if let Some(entry) = self.rng.pick_any(&own) {
                let taken = self.clients[to].db.take_over(Arc::clone(&entry));
                note!(self, "client {from}: hands its own {entry:?} to client {to}: {taken}");
            }
        }
    }

    /// The client compacts its log. A log that still holds changes, or holes, is forgotten with its checkpoint: what it
    /// deleted and did not upload could never come back otherwise.
    fn compact(&mut self, client: usize) {
        let forget = self.clients[client].db.pending().len() > 0 || self.rng.chance(50);
        note!(self, "client {client}: compacts its log, forgets its checkpoint: {forget}");
        if forget {
            self.disconnect(client);
        }
        let mut labels: Vec<_> =
            (0..self.clients[client].db.rows().len()).map(|_| self.label(client)).collect();
        self.clients[client]
            .db
            .compact(forget, || labels.pop().unwrap_or_else(|| unreachable!("one for each row")));
    }
}
