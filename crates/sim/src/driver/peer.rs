//! Connections: what a session says is to be done, done; what it asks for, answered now or later.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use lattice_engine::{Outcome, Seq, WriterId};
use lattice_protocol::native::{AckId, decode};
use lattice_protocol::plain::{self, DerivationKey, IdSource};
use lattice_protocol::{EntryId, Incoming, limits};
use lattice_session::{
    Client, Hint, JsonEffect, JsonSession, NativeEffect, NativeSession, Opening, Progress, Request,
    ResumeFrom, Slot, SpaceSession, SubscribeRequest, UploadFailure,
};
use lattice_store::StoreError;
use lattice_store::spaces::Origin;

use super::http::HttpRequest;
use super::seen::{self, SeenEntry};
use super::{ConnectionNo, Live, Server, Waiting};
use crate::people::User;
use crate::rng::Rng;
use crate::world::World;

/// The one space session of a native connection.
pub(super) const NATIVE: Slot = Slot(0);
/// Under which ids are derived.
pub(super) const DERIVATION_KEY: DerivationKey = DerivationKey([9; 16]);
/// How many requests of 100 are answered later: others go on meanwhile.
const LATE_PERCENT: usize = 25;
/// How many times of 100 a session is told what is known before it is asked what to do.
const HINTED_PERCENT: usize = 70;

/// One side of a connection, and what is under way to and from it.
pub struct Peer {
    pub(super) user: User,
    pub(super) session: Session,
    pub(super) slots: BTreeMap<Slot, SlotState>,
    /// Numbers requests over HTTP.
    pub(super) next_request: u32,
    /// The writer id of the next space session, if it is not drawn.
    pub(super) next_writer: Option<WriterId>,
    /// Requests that are not answered yet.
    late: Vec<(Slot, plain::Space, Request)>,
    /// Frames of the client that the network has.
    pub up: VecDeque<Bytes>,
    /// Uploads that the server has.
    pub(super) waiting: VecDeque<Waiting>,
    /// Frames for the client that the network has.
    pub down: VecDeque<Bytes>,
}

/// What is spoken.
pub(super) enum Session {
    Native(Box<NativeSession>),
    Json(Box<JsonSession>),
    /// Requests over HTTP that are not answered yet.
    Http(BTreeMap<Slot, HttpRequest>),
    /// It is over: what is under way is thrown away with the connection.
    Closed,
}

/// What a driver keeps for a space session.
pub(super) struct SlotState {
    pub(super) space: usize,
    origin: Arc<Origin>,
    /// Verdicts that waited when what is being read was asked for.
    asked_pending: usize,
    /// Changes that were answered, by their ids; those without one are counted.
    uploaded: BTreeSet<EntryId>,
    unnamed: usize,
}

impl SlotState {
    pub(super) fn new(space: usize, origin: Arc<Origin>) -> Self {
        Self { space, origin, asked_pending: 0, uploaded: BTreeSet::new(), unnamed: 0 }
    }
}

impl Peer {
    pub(super) fn new(user: User, session: Session) -> Self {
        Self {
            user,
            session,
            slots: BTreeMap::new(),
            next_request: 0,
            next_writer: None,
            late: Vec::new(),
            up: VecDeque::new(),
            waiting: VecDeque::new(),
            down: VecDeque::new(),
        }
    }

    /// Frames that the network has not handed over when the client goes: a random part of them still arrives.
    pub fn cut(&mut self, rng: &mut Rng) {
        self.down.clear();
        self.up.truncate(rng.between(0, self.up.len()));
    }

    fn space_of(&self, slot: Slot) -> Option<&SpaceSession> {
        match &self.session {
            Session::Native(session) => Some(session.space()),
            Session::Json(session) => session.space(slot),
            Session::Http(_) | Session::Closed => None,
        }
    }

    /// Tells the session what is known of its spaces. Whether access has moved under any of them.
    fn hint(&mut self, spaces: &[Live]) -> bool {
        let mut behind = false;
        for (slot, state) in &self.slots {
            let live = &spaces[state.space];
            let hint = Hint { head: live.head, version: live.version, presence: false };
            match &mut self.session {
                Session::Native(session) => {
                    session.hint(hint);
                    behind |= session.space().is_behind();
                }
                Session::Json(session) => {
                    session.hint(*slot, hint);
                    behind |= session.space(*slot).is_some_and(SpaceSession::is_behind);
                }
                Session::Http(requests) => {
                    requests.get_mut(slot).into_iter().for_each(|request| request.hint(hint));
                }
                Session::Closed => {}
            }
        }
        behind
    }

    /// A look at access is due.
    fn look(&mut self, version: u64) {
        match &mut self.session {
            Session::Native(session) => session.look_at_access(),
            Session::Json(session) => session.look_at_access(version),
            Session::Http(_) | Session::Closed => {}
        }
    }
}

/// What any session may say is to be done.
pub(super) enum Effect {
    Send(Bytes),
    /// Answers a request over HTTP, which is over.
    Respond(Slot, Bytes),
    Store(Slot, plain::Space, Request),
    Recent(Slot, Seq, WriterId),
    Native(Vec<Incoming>, usize),
    Json(Slot, plain::Upload, usize),
    Http(Slot),
    Leave(Slot),
    /// The client of a JSON session left a space, or something that only concerns what it shows.
    Nothing,
    Close,
}

impl From<NativeEffect> for Effect {
    fn from(effect: NativeEffect) -> Self {
        match effect {
            NativeEffect::Send(frame) => Self::Send(frame),
            NativeEffect::Store(request) => Self::Store(NATIVE, plain::Space::Me, request),
            NativeEffect::Recent { after } => Self::Recent(NATIVE, after, WriterId([0; 16])),
            NativeEffect::Upload { incoming, bytes } => Self::Native(incoming, bytes),
            NativeEffect::Refused(_) | NativeEffect::Unstorable(_) => Self::Nothing,
            NativeEffect::SwitchToJson | NativeEffect::Close(_) => Self::Close,
        }
    }
}

impl From<JsonEffect> for Effect {
    fn from(effect: JsonEffect) -> Self {
        match effect {
            JsonEffect::Send(frame) => Self::Send(frame),
            JsonEffect::Store { slot, space, request } => Self::Store(slot, space, request),
            JsonEffect::Recent { slot, after, writer } => Self::Recent(slot, after, writer),
            JsonEffect::Upload { slot, upload, bytes } => Self::Json(slot, upload, bytes),
            JsonEffect::Leave { slot } => Self::Leave(slot),
            JsonEffect::Close(_) => Self::Close,
            _ => Self::Nothing,
        }
    }
}

impl Server {
    /// Takes a native connection of a user. Its writer id must be new. `None`, and the connection is refused, when the user
    /// does not see the space.
    ///
    /// # Errors
    /// What the database says.
    pub fn connect(
        &mut self,
        world: &World,
        no: ConnectionNo,
        (space, user): (usize, User),
        writer: WriterId,
        last_event_id: Option<&str>,
        rng: &mut Rng,
    ) -> Result<Option<EntryId>, StoreError> {
        let resume = last_event_id.map_or(ResumeFrom::Unknown, |id| ResumeFrom::Checkpoint(id.to_owned()));
        let mut peer = Peer::new(user, Session::Closed);
        peer.next_writer = Some(writer);
        let origin = Arc::new(origin(writer, user));
        peer.slots.insert(NATIVE, SlotState::new(space, origin));
        self.peers.insert(no, peer);
        let mut opening = Opening::keeping(user, SubscribeRequest::default(), resume);
        loop {
            let Some(request) = opening.request() else { return Ok(None) };
            let at = (NATIVE, plain::Space::Me);
            let Some(answer) = self.answer_request(world, no, at, &request, rng)? else { return Ok(None) };
            match opening.answer(answer) {
                Ok(Progress::Continues(next)) => opening = next,
                Ok(Progress::Opened(space, lost)) => {
                    let cursor = space.cursor();
                    let session = NativeSession::new(space, lost.as_ref(), true);
                    if let Some(peer) = self.peers.get_mut(&no) {
                        peer.session = Session::Native(Box::new(session));
                    }
                    self.run(world, no, false, rng)?;
                    return Ok(Some(cursor));
                }
                Err(_) => {
                    self.peers.remove(&no);
                    return Ok(None);
                }
            }
        }
    }

    /// Takes a connection of the JSON dialect.
    pub fn connect_json(&mut self, no: ConnectionNo, user: User) {
        let client = Client {
            user,
            can_write: true,
            max_frame_bytes: limits::DEFAULT_MAX_FRAME_BYTES as u64,
            ..Client::default()
        };
        let session = Session::Json(Box::new(JsonSession::new(client, None)));
        self.peers.insert(no, Peer::new(user, session));
    }

    /// Takes requests over HTTP.
    pub fn connect_http(&mut self, no: ConnectionNo, user: User) {
        self.peers.insert(no, Peer::new(user, Session::Http(BTreeMap::new())));
    }

    /// The network hands over the oldest frame of a client. False when there is none, or when the server does not read
    /// now.
    ///
    /// # Errors
    /// What the database says.
    pub fn accept(&mut self, world: &World, no: ConnectionNo, rng: &mut Rng) -> Result<bool, StoreError> {
        let Some(peer) = self.peers.get_mut(&no) else { return Ok(false) };
        peer.hint(&self.spaces);
        let takes = match &peer.session {
            Session::Native(session) => session.takes_frames(),
            Session::Json(session) => session.takes_frames(),
            Session::Http(_) => true,
            Session::Closed => false,
        };
        if !takes {
            return Ok(false);
        }
        let Some(frame) = peer.up.pop_front() else { return Ok(false) };
        let most = limits::MAX_CHANGES_PER_FRAME;
        match &mut peer.session {
            Session::Native(session) => session.frame(decode(&frame, most), frame.len()),
            Session::Json(session) => {
                let decoded = plain::decode(&frame, most);
                if let Err(error) = &decoded {
                    self.violations.push(format!("connection {no}: {}: {}", error.code, error.detail));
                }
                session.set_time(self.now_us);
                session.frame(decoded, frame.len());
            }
            Session::Http(_) => self.begin_request(no, &frame, rng),
            Session::Closed => {}
        }
        self.run(world, no, false, rng)?;
        Ok(true)
    }

    /// Lets a connection read what is new, or answers what it has asked for. False when there is nothing to do.
    ///
    /// # Errors
    /// What the database says.
    pub fn pull(&mut self, world: &World, no: ConnectionNo, rng: &mut Rng) -> Result<bool, StoreError> {
        let Some(peer) = self.peers.get_mut(&no) else { return Ok(false) };
        let behind = peer.hint(&self.spaces);
        if !peer.late.is_empty() {
            let (slot, name, request) = peer.late.swap_remove(rng.below(peer.late.len()));
            self.answer(world, no, (slot, name), &request, rng)?;
            self.run(world, no, false, rng)?;
            return Ok(true);
        }
        if self.looks(behind, rng) {
            let version = self.spaces.iter().map(|live| live.version).sum();
            self.peers.get_mut(&no).into_iter().for_each(|peer| peer.look(version));
        }
        let woken = self.wake_requests(no, rng);
        Ok(self.run(world, no, true, rng)? || woken)
    }

    /// What became of the oldest upload of a connection.
    pub(super) fn uploaded(
        &mut self,
        world: &World,
        no: ConnectionNo,
        slot: Slot,
        result: Result<Vec<Outcome>, UploadFailure>,
        rng: &mut Rng,
    ) -> Result<(), StoreError> {
        let Some(peer) = self.peers.get_mut(&no) else { return Ok(()) };
        peer.hint(&self.spaces);
        if let (Some(verdicts), Ok(outcomes)) = (&mut self.verdicts, &result) {
            verdicts.extend(outcomes.iter().map(|outcome| format!("connection {no}: {outcome:?}")));
        }
        let state = peer.slots.get_mut(&slot);
        if let (Some(state), Ok(outcomes)) = (state, &result) {
            for outcome in outcomes {
                match &outcome.ack {
                    Some(AckId::Uuid(id, _)) => drop(state.uploaded.insert(*id)),
                    _ => state.unnamed += 1,
                }
            }
        }
        match &mut peer.session {
            Session::Native(session) => session.uploaded(result),
            Session::Json(session) => session.uploaded(slot, result),
            Session::Http(requests) => {
                requests.get_mut(&slot).into_iter().for_each(|request| request.uploaded(result.clone()));
            }
            Session::Closed => {}
        }
        let pending = peer.space_of(slot).map_or(0, |session| session.pending() - session.resends());
        let most = peer.slots.get(&slot).map_or(0, |state| state.uploaded.len() + state.unnamed);
        if pending > most {
            self.violations.push(format!("connection {no} has more than one pending verdict of an entry"));
        }
        self.run(world, no, false, rng)?;
        Ok(())
    }

    /// Does what the session of a connection says. Whether that was anything.
    pub(super) fn run(
        &mut self,
        world: &World,
        no: ConnectionNo,
        mut drained: bool,
        rng: &mut Rng,
    ) -> Result<bool, StoreError> {
        let mut did = false;
        loop {
            let Some(peer) = self.peers.get_mut(&no) else { return Ok(did) };
            if rng.chance(HINTED_PERCENT) {
                peer.hint(&self.spaces);
            }
            let limits = self.limits.draw(rng);
            let effect = match &mut peer.session {
                Session::Native(session) => {
                    session.set_time(self.now_us);
                    session.set_limits(limits);
                    session.next_effect(drained).map(Effect::from)
                }
                Session::Json(session) => {
                    session.set_limits(limits);
                    session.next_effect(drained).map(Effect::from)
                }
                Session::Http(_) => self.next_of_requests(no),
                Session::Closed => None,
            };
            let Some(effect) = effect else { return Ok(did) };
            did = true;
            match effect {
                Effect::Send(frame) => {
                    drained = false;
                    self.send(world, no, None, frame)?;
                }
                Effect::Respond(slot, body) => {
                    self.send(world, no, Some(slot), body)?;
                    self.leave(no, slot);
                }
                Effect::Store(slot, name, request) => {
                    let pending = self.pending(no, slot);
                    let Some(peer) = self.peers.get_mut(&no) else { return Ok(did) };
                    if let (Some(state), Request::Pull(_)) = (peer.slots.get_mut(&slot), &request) {
                        state.asked_pending = pending;
                    }
                    if rng.chance(LATE_PERCENT) {
                        peer.late.push((slot, name, request)); // others go on while the answer is under way
                    } else {
                        self.answer(world, no, (slot, name), &request, rng)?;
                    }
                }
                Effect::Recent(slot, after, writer) => self.take_recent(no, slot, (after, writer), rng),
                Effect::Native(incoming, bytes) => self.take_native(no, incoming, bytes),
                Effect::Json(slot, upload, bytes) => self.take_json(no, slot, upload, bytes, rng),
                Effect::Http(slot) => self.take_http(no, slot, rng),
                Effect::Leave(slot) => self.leave(no, slot),
                Effect::Nothing => {}
                Effect::Close => drop(self.peers.remove(&no)),
            }
        }
    }

    fn leave(&mut self, no: ConnectionNo, slot: Slot) {
        if let Some(peer) = self.peers.get_mut(&no) {
            peer.slots.remove(&slot);
            peer.late.retain(|(held, ..)| *held != slot);
        }
    }

    fn pending(&self, no: ConnectionNo, slot: Slot) -> usize {
        self.peers.get(&no).and_then(|peer| peer.space_of(slot)).map_or(0, SpaceSession::pending)
    }

    fn answer(
        &mut self,
        world: &World,
        no: ConnectionNo,
        (slot, name): (Slot, plain::Space),
        request: &Request,
        rng: &mut Rng,
    ) -> Result<(), StoreError> {
        let Some(answer) = self.answer_request(world, no, (slot, name), request, rng)? else { return Ok(()) };
        let before = self.pending(no, slot);
        let Some(peer) = self.peers.get_mut(&no) else { return Ok(()) };
        peer.hint(&self.spaces);
        match &mut peer.session {
            Session::Native(session) => session.answer(answer),
            Session::Json(session) => session.answer(slot, answer),
            Session::Http(requests) => {
                if let Some(request) = requests.get_mut(&slot) {
                    request.answer(answer);
                }
                return Ok(());
            }
            Session::Closed => return Ok(()),
        }
        // Each page answers at least the oldest verdict that waited when it was asked for, or an ack might wait for ever.
        let delivered =
            matches!(request, Request::Pull(_)) && peer.space_of(slot).is_some_and(|space| !space.is_busy());
        let asked = peer.slots.get(&slot).map_or(0, |state| state.asked_pending);
        if delivered && asked > 0 && self.pending(no, slot) >= before {
            self.violations.push(format!("a page on connection {no} answered none of {before} verdicts"));
        }
        Ok(())
    }

    /// Hands a frame to the network, and holds it against what its receiver may see. `of` is whose it is, where it does not
    /// name its space.
    fn send(
        &mut self,
        world: &World,
        no: ConnectionNo,
        of: Option<Slot>,
        frame: Bytes,
    ) -> Result<(), StoreError> {
        let Some(peer) = self.peers.get(&no) else { return Ok(()) };
        if self.witness.is_some() {
            let (name, entries) = match &peer.session {
                Session::Native(_) | Session::Closed => (None, seen::native(&frame)),
                Session::Json(_) | Session::Http(_) => match seen::plain(&frame) {
                    Ok(seen) => seen,
                    Err(problem) => {
                        self.violations.push(format!("connection {no}: {problem}"));
                        return Ok(());
                    }
                },
            };
            let named = |slot: &Slot| match &peer.session {
                Session::Json(session) => {
                    let mut slots = session.slots();
                    slots.any(|(held, space)| held == *slot && Some(space.to_string()) == name)
                }
                _ => of.is_none_or(|of| of == *slot),
            };
            let space = peer.slots.iter().find(|(slot, _)| named(slot)).map(|(_, state)| state.space);
            match (space, entries.is_empty()) {
                (_, true) => {}
                (Some(space), false) => self.see(world, (no, peer.user), space, &entries)?,
                (None, false) => self.violations.push(format!("connection {no}: {name:?} is no space of it")),
            }
        }
        self.peers.get_mut(&no).into_iter().for_each(|peer| peer.down.push_back(frame.clone()));
        Ok(())
    }

    fn see(
        &mut self,
        world: &World,
        (no, user): (ConnectionNo, User),
        space: usize,
        entries: &[SeenEntry],
    ) -> Result<(), StoreError> {
        let Some(witness) = &self.witness else { return Ok(()) };
        let at = (world.connection(), &self.group.snapshot(), self.spaces[space].space.no);
        let problem = witness.sent(at, user, entries)?;
        self.violations.extend(problem.map(|problem| format!("connection {no}: {problem}")));
        Ok(())
    }

    fn take_native(&mut self, no: ConnectionNo, incoming: Vec<Incoming>, bytes: usize) {
        let Some(peer) = self.peers.get_mut(&no) else { return };
        let (Session::Native(session), Some(state)) = (&mut peer.session, peer.slots.get(&NATIVE)) else {
            return;
        };
        if session.takes_uploads() {
            let (space, origin, terms) = (state.space, Arc::clone(&state.origin), session.uploading(bytes));
            peer.waiting.push_back(Waiting {
                slot: NATIVE,
                space,
                origin,
                incoming,
                bytes,
                plain: false,
                terms,
            });
        }
    }

    fn take_json(
        &mut self,
        no: ConnectionNo,
        slot: Slot,
        upload: plain::Upload,
        bytes: usize,
        rng: &mut Rng,
    ) {
        let Some(peer) = self.peers.get_mut(&no) else { return };
        let (Session::Json(session), Some(state)) = (&mut peer.session, peer.slots.get(&slot)) else {
            return;
        };
        let space = state.space;
        let incoming = {
            let mut random = || rng.uuid();
            let mut source = IdSource {
                key: DERIVATION_KEY,
                user: peer.user,
                client_id: session.client().id.as_deref(),
                space: self.spaces[space].space.id.0,
                random: &mut random,
            };
            upload.changes.read(upload.id.as_ref(), &mut source)
        };
        if let Some(terms) = session.uploading(slot, &upload, &incoming, bytes) {
            let origin = Arc::clone(&state.origin);
            peer.waiting.push_back(Waiting { slot, space, origin, incoming, bytes, plain: true, terms });
        }
    }
}

impl SlotState {
    /// Who stands behind the uploads of the space session.
    pub(super) fn origin(&self) -> Arc<Origin> {
        Arc::clone(&self.origin)
    }
}

pub(super) fn origin(writer: WriterId, user: User) -> Origin {
    Origin { writer, user, session: [0; 16], address: String::new(), user_agent: String::new(), opened_us: 0 }
}
