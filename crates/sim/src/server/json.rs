//! The JSON dialect on the server's side: several spaces on one connection, and requests over HTTP.
//!
//! What happens when a client subscribes to a space again, on the same connection:
//!
//! - With a cursor, the stream goes on, in the view of the new filter. Whatever has been sent on the connection arrives
//!   before what follows, so the stream knows better than the cursor what the client has.
//! - Without one, the client wants to begin anew. It is not read any further until the old stream owes it no verdict: a
//!   correction in the old view would come after the `reset`, and nothing would take back what it shows.
//!
//! Each stream is a writer of its own, so that one that begins anew sends what the client wrote on an earlier one. And
//! before anything is sent in a view the client gets a cursor of it, with no changes: a client that keeps cursors together with
//! their changes then never holds anything of a view that its cursor does not speak of.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use lattice_engine::mutation::Mutation;
use lattice_engine::{Checkpoint, Cursor, Minter, Outcome, Role, Start, Stream, Verdict, WriterId};
use lattice_protocol::native::AckId;
use lattice_protocol::plain::{
    self, ChangesFrame, ClientFrame, DerivationKey, Filter, Format, IdSource, Page, ResetReason, Status,
    UploadId, UploadResult,
};
use lattice_protocol::{Code, EntryId, Outgoing, Spelling, limits};
use lattice_store::StoreError;
use lattice_store::spaces::Space;
use lattice_store::sqlite::spaces;

use super::access::Asks;
use super::{ConnectionNo, Peer, Seat, SeatNo, Server, Waiting};
use crate::people::{self, User};
use crate::rng::Rng;
use crate::world::World;

/// Under which ids are derived.
const DERIVATION_KEY: DerivationKey = DerivationKey([9; 16]);

/// Who speaks on a connection, and how.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    client_id: Option<String>,
    format: Format,
}

/// What a JSON client is told of one change.
type Told = (AckId, Status, Option<Code>);

/// What a stream to a JSON client knows more than others.
#[derive(Default)]
pub(super) struct SeatState {
    pub(super) name: plain::Space,
    /// Uploads that are not answered, oldest first.
    uploads: VecDeque<Uploaded>,
    /// It answers one upload over HTTP, and sends nothing else.
    pub(super) is_request: bool,
    /// It was replaced, and sends verdicts only.
    is_muted: bool,
    /// Corrections of a request.
    current: Vec<Bytes>,
}

struct Uploaded {
    id: Option<UploadId>,
    results: Vec<Told>,
    /// It is answered once the stream has answered so many verdicts.
    until: u64,
}

impl SeatState {
    pub(super) fn uploaded(&mut self, id: Option<UploadId>, results: Vec<Told>, until: u64) {
        self.uploads.push_back(Uploaded { id, results, until });
    }
}

impl Seat {
    /// Whether a pull would do anything, when the space's head is `head`.
    pub(super) fn wants_pull(&self, head: u64) -> bool {
        match self.json.is_request || self.json.is_muted {
            true => self.stream.pending() > 0,
            false => self.stream.wants_pull(head),
        }
    }
}

/// What a client is told of the changes of an upload.
pub(super) fn results(outcomes: &[Outcome]) -> Vec<Told> {
    let told = |outcome: &Outcome| {
        let (status, code) = match outcome.verdict {
            Verdict::Applied => (Status::Applied, None),
            Verdict::Merged => (Status::Merged, None),
            Verdict::Superseded => (Status::Superseded, None),
            Verdict::Duplicate => (Status::Duplicate, None),
            Verdict::Ignored => (Status::Ignored, None),
            Verdict::Rejected(code) => (Status::Rejected, Some(code)),
        };
        Some((outcome.ack.clone()?, status, code))
    };
    outcomes.iter().filter_map(told).collect()
}

/// How frames name a space.
pub(super) fn name_of(world: &World, space: &Space) -> Result<plain::Space, StoreError> {
    let sql = "SELECT kind = 'private' FROM space WHERE no = ?1";
    let private = world.connection().prepare_cached(sql)?.query_row([space.no], |row| row.get(0))?;
    Ok(if private { plain::Space::Me } else { plain::Space::Id(space.id.0) })
}

/// There is no such space, or one may not see it.
pub(super) fn no_space(name: plain::Space) -> Bytes {
    plain::encode_error(Code::SpaceNotFound, "there is no such space", None, Some(name))
}

fn cursor_text(seat: &Seat, minter: &Minter) -> String {
    seat.stream.cursor_id(minter).to_text(Spelling::default())
}

/// The first frame in a view: where the client is with nothing of it.
pub(super) fn begin(seat: &mut Seat, minter: &Minter, down: &mut VecDeque<Bytes>) {
    if !seat.json.is_request && !seat.json.is_muted {
        let cursor = cursor_text(seat, minter);
        down.push_back(ChangesFrame::new(seat.json.name).finish(Some(&cursor), true));
    }
}

/// Sends changes, the last frame with the cursor of all of them. A frame before it has that of its last entry, if it was
/// minted, or none: both are good.
pub(super) fn send(
    session: &Session,
    seat: &Seat,
    (name, minter): (plain::Space, &Minter),
    entries: &[Outgoing],
    frame_entries: usize,
    down: &mut VecDeque<Bytes>,
) {
    if seat.json.is_request || seat.json.is_muted {
        return;
    }
    let cursor = cursor_text(seat, minter);
    if entries.is_empty() && seat.stream.cursor().position.is_multiple_of(2) {
        down.push_back(ChangesFrame::new(name).finish(Some(&cursor), false));
    }
    let chunks = entries.chunks(frame_entries).count();
    for (at, chunk) in entries.chunks(frame_entries).enumerate() {
        let mut frame = ChangesFrame::new(name);
        chunk.iter().for_each(|entry| frame.push(&plain::encode_entry(entry, session.format)));
        let minted = chunk.last().map(|entry| entry.id).filter(|id| id.is_minted() && id.0[15] % 2 == 0);
        let is_last = at + 1 == chunks;
        let at =
            if is_last { Some(cursor.clone()) } else { minted.map(|id| id.to_text(Spelling::default())) };
        down.push_back(frame.finish(at.as_deref(), !is_last));
    }
}

/// Answers the uploads whose verdicts have all been answered.
pub(super) fn answer_uploads(seat: &mut Seat, minter: &Minter, down: &mut VecDeque<Bytes>) {
    while let Some(uploaded) =
        seat.json.uploads.pop_front_if(|uploaded| seat.stream.answered() >= uploaded.until)
    {
        let results = uploaded.results.iter().map(|(id, status, code)| UploadResult {
            id,
            status: *status,
            code: *code,
            detail: None,
        });
        down.push_back(if seat.json.is_request {
            let current = std::mem::take(&mut seat.json.current);
            plain::encode_upload_answer(uploaded.id.as_ref(), None, results, &current)
        } else {
            let cursor = Some(cursor_text(seat, minter)).filter(|_| !seat.json.is_muted);
            plain::encode_ack(uploaded.id.as_ref(), cursor.as_deref(), results)
        });
    }
}

impl Server {
    /// Takes a connection of the JSON dialect, or over HTTP.
    pub fn connect_json(&mut self, no: ConnectionNo, user: User) {
        let peer = Peer {
            user,
            seats: std::collections::BTreeMap::new(),
            json: Some(Session::default()),
            overtakes: false,
            up: VecDeque::new(),
            waiting: VecDeque::new(),
            down: VecDeque::new(),
        };
        self.peers.insert(no, peer);
    }

    /// Reads the oldest frame of a JSON client.
    pub(super) fn accept_json(
        &mut self,
        world: &World,
        no: ConnectionNo,
        rng: &mut Rng,
    ) -> Result<bool, StoreError> {
        let Some(peer) = self.peers.get_mut(&no) else { return Ok(false) };
        let (user, Some(bytes)) = (peer.user, peer.up.front().cloned()) else { return Ok(false) };
        let frame = plain::decode(&bytes, limits::MAX_CHANGES_PER_FRAME).or_else(|_| {
            plain::decode_upload(&bytes, limits::MAX_CHANGES_PER_FRAME).map(ClientFrame::Upload)
        });
        match frame {
            Ok(ClientFrame::Subscribe(subscribe)) => {
                if !self.subscribe(world, no, subscribe, rng)? {
                    return Ok(false);
                }
            }
            Ok(ClientFrame::Hello(hello)) => {
                let welcome = plain::Welcome {
                    user,
                    client_id: hello.client_id.as_deref(),
                    max_frame_bytes: limits::DEFAULT_MAX_FRAME_BYTES as u64,
                    max_changes: limits::MAX_CHANGES_PER_FRAME as u64,
                };
                peer.down.push_back(plain::encode_welcome(&welcome));
                let client_id = hello.client_id.map(|id| id.to_string());
                peer.json = Some(Session { client_id, format: hello.format });
            }
            Ok(ClientFrame::Upload(upload)) => self.take_upload(world, no, upload, bytes.len(), rng)?,
            Ok(ClientFrame::Poll(poll)) => self.poll(world, no, &poll, rng)?,
            Ok(ClientFrame::Ping) => peer.down.push_back(plain::encode_pong()),
            Ok(_) => {}
            Err(error) => {
                self.violations.push(format!("connection {no}: {}: {}", error.code, error.detail));
            }
        }
        self.peers.get_mut(&no).and_then(|peer| peer.up.pop_front());
        Ok(true)
    }

    /// The space that a user means.
    fn named(&self, world: &World, user: User, name: plain::Space) -> Result<Option<usize>, StoreError> {
        for (at, live) in self.spaces.iter().enumerate() {
            let found = name_of(world, &live.space)?;
            let own = || people::owner(world.connection(), live.space.no);
            if found == name && (found != plain::Space::Me || own()? == user) {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// False when the connection is not to be read any further yet.
    fn subscribe(
        &mut self,
        world: &World,
        no: ConnectionNo,
        subscribe: plain::Subscribe,
        rng: &mut Rng,
    ) -> Result<bool, StoreError> {
        let Some(peer) = self.peers.get(&no) else { return Ok(true) };
        let (user, name) = (peer.user, subscribe.space);
        let Some(space) = self.named(world, user, name)? else {
            self.push(no, no_space(name));
            return Ok(true);
        };
        let filter = Some(subscribe.filter).filter(|filter| !filter.is_everything()).map(Arc::new);
        if let Some(old) = self.seat_of(no, space) {
            if subscribe.cursor.is_some() && !Mutation::ResumedTwice.is_active() {
                // What was handed over is stored first, see [`Server::recheck`].
                let waits = self.peers.get(&no).is_some_and(|peer| peer.waits(old));
                if waits && !Mutation::HastyView.is_active() {
                    return Ok(false);
                }
                self.filter_anew(world, no, old, filter, rng)?;
                return Ok(true);
            }
            let Some(peer) = self.peers.get_mut(&no) else { return Ok(true) };
            let Some(seat) = peer.seats.get_mut(&old) else { return Ok(true) };
            let owes = seat.stream.pending() > 0 || peer.waiting.iter().any(|waiting| waiting.seat == old);
            match owes {
                true if Mutation::HastySubscribe.is_active() => seat.json.is_muted = true,
                true => return Ok(false),
                false => drop(peer.seats.remove(&old)),
            }
        }
        let cursor = subscribe.cursor.as_deref();
        let Some((mut seat, reset)) = self.begin(world, no, (space, name), (filter, cursor), rng)? else {
            self.push(no, no_space(name));
            return Ok(true);
        };
        let live = &self.spaces[space];
        let Some(peer) = self.peers.get_mut(&no) else { return Ok(true) };
        if peer.overtakes {
            seat.stream.echo_always();
        }
        peer.down.push_back(plain::encode_ready(name, live.head, role(seat.role)));
        peer.down.extend(reset.map(|reason| plain::encode_reset(name, reason)));
        begin(&mut seat, &live.space.minter, &mut peer.down);
        self.take_seat(no, seat);
        Ok(true)
    }

    /// The stream of a space on a connection.
    fn seat_of(&self, no: ConnectionNo, space: usize) -> Option<SeatNo> {
        let mut seats = self.peers.get(&no)?.seats.iter();
        seats
            .find(|(_, seat)| seat.space == space && !seat.json.is_request && !seat.json.is_muted)
            .map(|(at, _)| *at)
    }

    fn take_seat(&mut self, no: ConnectionNo, seat: Seat) -> SeatNo {
        self.next_seat += 1;
        if let Some(peer) = self.peers.get_mut(&no) {
            peer.seats.insert(self.next_seat, seat);
        }
        self.next_seat
    }

    fn push(&mut self, no: ConnectionNo, frame: Bytes) {
        if let Some(peer) = self.peers.get_mut(&no) {
            peer.down.push_back(frame);
        }
    }

    /// The stream goes on, in the view of another filter.
    fn filter_anew(
        &mut self,
        world: &World,
        no: ConnectionNo,
        seat_no: SeatNo,
        filter: Option<Arc<Filter>>,
        rng: &mut Rng,
    ) -> Result<(), StoreError> {
        let Some(peer) = self.peers.get_mut(&no) else { return Ok(()) };
        let Some(seat) = peer.seats.get_mut(&seat_no) else { return Ok(()) };
        seat.filter = filter;
        let head = self.spaces[seat.space].head;
        peer.down.push_back(plain::encode_ready(seat.json.name, head, role(seat.role)));
        self.recheck(world, no, seat_no, rng).map(drop)
    }

    /// Begins a stream where a cursor says, or anew.
    fn begin(
        &mut self,
        world: &World,
        no: ConnectionNo,
        (space, name): (usize, plain::Space),
        (filter, cursor): (Option<Arc<Filter>>, Option<&str>),
        rng: &mut Rng,
    ) -> Result<Option<(Seat, Option<ResetReason>)>, StoreError> {
        let Some(peer) = self.peers.get(&no) else { return Ok(None) };
        let asks = Asks { space, user: peer.user, filter, schema: None };
        let (writer, nonce) = (WriterId(rng.bytes()), rng.bits());
        let (checkpoint, mut reset) = match cursor.map(EntryId::parse) {
            None => (Checkpoint::New, Some(ResetReason::NoCursor)),
            Some(id) => (self.checkpoint(world, space, id)?, None),
        };
        let Some((mut seat, lost)) = self.seat(world, &asks, writer, checkpoint, nonce)? else {
            return Ok(None);
        };
        if lost || checkpoint == Checkpoint::Lost {
            reset = Some(ResetReason::UnknownCursor);
            match self.seat(world, &asks, writer, Checkpoint::New, nonce)? {
                Some((anew, _)) => seat = anew,
                None => return Ok(None),
            }
        }
        seat.json.name = name;
        Ok(Some((seat, reset)))
    }

    fn take_upload(
        &mut self,
        world: &World,
        no: ConnectionNo,
        upload: plain::Upload,
        bytes: usize,
        rng: &mut Rng,
    ) -> Result<(), StoreError> {
        let Some(peer) = self.peers.get(&no) else { return Ok(()) };
        let (user, name) = (peer.user, upload.space);
        let over_http = upload.client_id.is_some();
        let client_id = upload
            .client_id
            .as_deref()
            .map(str::to_owned)
            .or_else(|| peer.json.as_ref().and_then(|session| session.client_id.clone()));
        let Some(space) = self.named(world, user, name)? else {
            self.push(no, no_space(name));
            return Ok(());
        };
        let seat_no = match self.seat_of(no, space).filter(|_| !over_http) {
            Some(seat) => seat,
            None if over_http => {
                let Some((mut seat, _)) = self.begin(world, no, (space, name), (None, None), rng)? else {
                    self.push(no, no_space(name));
                    return Ok(());
                };
                // It sends no state, so nothing of it may be missing.
                let cursor = Cursor::complete(self.spaces[space].head);
                let view = Arc::clone(seat.stream.view());
                let head = cursor.base;
                let start = Start { view, cursor, head, nonce: rng.bits(), ..Start::default() };
                seat.stream = Stream::start(seat.origin.writer, start);
                seat.json.is_request = true;
                self.take_seat(no, seat)
            }
            None => {
                if let Some(peer) = self.peers.get_mut(&no) {
                    peer.overtakes = true;
                }
                self.push(no, no_space(name));
                return Ok(());
            }
        };
        let space = self.spaces[space].space.id.0;
        let mut random = || rng.uuid();
        let mut source = IdSource {
            key: DERIVATION_KEY,
            user,
            client_id: client_id.as_deref(),
            space,
            random: &mut random,
        };
        let incoming = upload.changes.read(upload.id.as_ref(), &mut source);
        if let Some(peer) = self.peers.get_mut(&no) {
            let echoes = peer.seats.get(&seat_no).is_some_and(|seat| seat.stream.echoes());
            peer.waiting.push_back(Waiting { seat: seat_no, incoming, bytes, echoes, id: upload.id });
        }
        Ok(())
    }

    /// Answers a poll: a stream that sends one page.
    fn poll(
        &mut self,
        world: &World,
        no: ConnectionNo,
        poll: &plain::Poll,
        rng: &mut Rng,
    ) -> Result<(), StoreError> {
        let Some(peer) = self.peers.get(&no) else { return Ok(()) };
        let (user, name) = (peer.user, poll.space);
        let format = peer.json.as_ref().map(|session| session.format).unwrap_or_default();
        let begun = match self.named(world, user, name)? {
            Some(space) => self.begin(world, no, (space, name), (None, poll.cursor.as_deref()), rng)?,
            None => None,
        };
        let Some((mut seat, reset)) = begun else {
            self.push(no, no_space(name));
            return Ok(());
        };
        let space = Arc::clone(&self.spaces[seat.space].space);
        let limit = poll.limit.map_or(self.limits.page_rows, |limit| limit as usize);
        let request = seat.stream.pull_request(limit, self.limits.page_bytes);
        let data = spaces::pull(world.connection(), &self.group.view(), space.no, &request)?;
        let more = data.more;
        let entries = seat.stream.pulled(&request, data, &space.minter).entries;
        if let Some(witness) = &self.witness {
            let seen = witness.sent((world.connection(), &self.group.view(), space.no), user, &entries)?;
            self.violations.extend(seen.map(|problem| format!("a poll on connection {no}: {problem}")));
        }
        let changes: Vec<Bytes> = entries.iter().map(|entry| plain::encode_entry(entry, format)).collect();
        let cursor = cursor_text(&seat, &space.minter);
        let page = Page { space: name, changes: &changes, cursor: Some(&cursor), more, reset };
        self.push(no, plain::encode_page(&page));
        if !seat.is_remembered {
            self.remember(world, seat.space, user, seat.stream.view())?;
        }
        Ok(())
    }

    /// Sends current values of what a JSON client has uploaded, then the answers that waited for them.
    pub(super) fn correct_json(
        &mut self,
        world: &World,
        no: ConnectionNo,
        seat_no: SeatNo,
        corrections: &[Outgoing],
    ) -> Result<(), StoreError> {
        self.see(world, no, seat_no, corrections)?;
        let Some(peer) = self.peers.get_mut(&no) else { return Ok(()) };
        let Some(seat) = peer.seats.get_mut(&seat_no) else { return Ok(()) };
        let format = peer.json.as_ref().map(|session| session.format).unwrap_or_default();
        let current: Vec<Bytes> =
            corrections.iter().map(|entry| plain::encode_entry(entry, format)).collect();
        if seat.json.is_request {
            seat.json.current.extend(current);
        } else if !current.is_empty() {
            peer.down.push_back(plain::encode_current(seat.json.name, &current));
        }
        answer_uploads(seat, &self.spaces[seat.space].space.minter, &mut peer.down);
        self.end_answered(no, seat_no);
        Ok(())
    }

    /// An upload over HTTP may have been taken by rights that its seat has not looked at yet, and its sender has no stream that
    /// looks later: what it holds from now on must be known to have been shown.
    pub(super) fn look_before_answer(
        &mut self,
        world: &World,
        no: ConnectionNo,
        seat_no: SeatNo,
        rng: &mut Rng,
    ) -> Result<(), StoreError> {
        let seat = self.peers.get(&no).and_then(|peer| peer.seats.get(&seat_no));
        let behind =
            seat.is_some_and(|seat| seat.json.is_request && seat.version != self.spaces[seat.space].version);
        if behind { self.recheck(world, no, seat_no, rng).map(drop) } else { Ok(()) }
    }

    /// A request ends with its answer.
    pub(super) fn end_answered(&mut self, no: ConnectionNo, seat_no: SeatNo) {
        let Some(peer) = self.peers.get_mut(&no) else { return };
        let Some(seat) = peer.seats.get(&seat_no) else { return };
        let waits = peer.waiting.iter().any(|waiting| waiting.seat == seat_no);
        if (seat.json.is_request || seat.json.is_muted) && seat.json.uploads.is_empty() && !waits {
            peer.seats.remove(&seat_no);
        }
    }
}

/// A role as frames say it.
pub(super) fn role(role: Role) -> plain::Role {
    match role {
        Role::Owner => plain::Role::Owner,
        Role::Editor => plain::Role::Editor,
        Role::Viewer => plain::Role::Viewer,
    }
}
