//! Who may see what: asked when a connection begins, and again when that has changed.
//!
//! Two rules of it are part of what makes clients converge. A view is remembered before the first page of it leaves. And a
//! page leaves only in a view that was made of what its user may do in the very snapshot that was read: what is shown in a
//! view after access has changed would not be taken back by anybody who asks what was shown up to then.

use std::sync::Arc;

use lattice_engine::mutation::Mutation;
use lattice_engine::{Checkpoint, Resume, Seq, Shown, Stream, View, WriterId};
use lattice_protocol::plain::{Filter, encode_access};
use lattice_protocol::{EntryId, Spelling};
use lattice_store::StoreError;
use lattice_store::accounts::UserId;
use lattice_store::directory::{AccessRecord, RememberedView};
use lattice_store::spaces::Origin;
use lattice_store::sqlite::directory::{self, statements};
use lattice_store::sqlite::spaces;

use super::{ConnectionNo, Seat, SeatNo, Server, deliver, json};
use crate::people::{self, Act, User};
use crate::rng::Rng;
use crate::world::World;

/// What somebody wants to be sent.
pub(super) struct Asks {
    pub(super) space: usize,
    pub(super) user: User,
    pub(super) filter: Option<Arc<Filter>>,
    /// The version of its app's schema that it declares.
    pub(super) schema: Option<u64>,
}

impl Server {
    /// What a client says that it has.
    pub(super) fn checkpoint(
        &self,
        world: &World,
        space: usize,
        id: Option<(EntryId, Spelling)>,
    ) -> Result<Checkpoint, StoreError> {
        let Some((id, _)) = id else { return Ok(Checkpoint::Lost) };
        let receipt =
            spaces::receipt(world.connection(), &self.group.view(), self.spaces[space].space.no, id)?;
        Ok(Checkpoint::Id { id, seq: receipt.map(|receipt| receipt.seq) })
    }

    fn access(&self, world: &World, space: usize, user: User) -> Result<Option<AccessRecord>, StoreError> {
        directory::access_in(world.connection(), self.spaces[space].space.no, user)
    }

    /// Begins a stream. `None` when the user does not see the space. Also answers whether the checkpoint was unknown.
    pub(super) fn seat(
        &mut self,
        world: &World,
        asks: &Asks,
        writer: WriterId,
        checkpoint: Checkpoint,
        nonce: u64,
    ) -> Result<Option<(Seat, bool)>, StoreError> {
        let (space, user) = (asks.space, asks.user);
        let Some(access) = self.access(world, space, user)? else { return Ok(None) };
        let head = spaces::head(world.connection(), &self.group.view(), self.spaces[space].space.no)?.seq;
        let live = &mut self.spaces[space];
        live.head = live.head.max(head);
        let version = live.version;
        let view = view_of(&access, user, asks.filter.clone(), asks.schema);
        let remembered = self.remembered(world, space, user, head)?;
        if !Mutation::LateViews.is_active() {
            self.remember(world, space, user, &view)?;
        }
        let minter = &self.spaces[space].space.minter;
        let resume = Resume { minter, head, view, user, remembered: &remembered, nonce };
        let (start, lost) = resume.start(checkpoint);
        let origin = Origin {
            writer,
            user,
            session: [0; 16],
            address: String::new(),
            user_agent: String::new(),
            opened_us: 0,
        };
        let seat = Seat {
            space,
            stream: Stream::start(writer, start),
            origin: Arc::new(origin),
            role: access.role,
            filter: asks.filter.clone(),
            schema: asks.schema,
            is_remembered: !Mutation::LateViews.is_active(),
            has_sent: false,
            version,
            reading: None,
            owed: Vec::new(),
            json: json::SeatState::default(),
        };
        Ok(Some((seat, lost)))
    }

    /// The views that a user was shown, the newest first.
    fn remembered(
        &self,
        world: &World,
        space: usize,
        user: User,
        head: Seq,
    ) -> Result<Vec<Shown>, StoreError> {
        let no = self.spaces[space].space.no;
        let stored = statements::views(world.connection(), no, UserId(user))?;
        let shown = |RememberedView { id, definition, until }: RememberedView| {
            let until = until.unwrap_or(head);
            let view = View::parse(&definition).filter(|view| view.id() == id);
            let unread = || StoreError::Database(format!("the view {definition} is not itself any more"));
            Ok(Shown { view: Arc::new(view.ok_or_else(unread)?), until })
        };
        stored.into_iter().map(shown).collect()
    }

    /// Remembers a view, as the newest one and as one that is shown.
    pub(super) fn remember(
        &self,
        world: &World,
        space: usize,
        user: User,
        view: &View,
    ) -> Result<(), StoreError> {
        let no = self.spaces[space].space.no;
        let db = world.connection();
        let newest = statements::newest_view(db, no, UserId(user))?;
        if newest != Some(view.id()) {
            statements::remember_view(db, no, UserId(user), view.id(), &view.definition())?;
        }
        Ok(())
    }

    /// Changes what people may do in a space, in the transaction that is under way. `None` when nothing changed.
    pub(super) fn change_access(
        &mut self,
        world: &World,
        space: usize,
        act: &Act,
    ) -> Result<Option<usize>, StoreError> {
        let (db, live) = (world.connection(), &self.spaces[space]);
        if let Some(witness) = &mut self.witness {
            witness.closes((db, &self.group.staged_view(), live.space.no))?;
        }
        let changed = people::perform(db, &live.space, act)?;
        // It ends the views that were shown so far, at the head of this very moment.
        self.group.access_written(db)?;
        Ok(changed.then_some(space))
    }

    /// What somebody may do may have changed: shows them what they may see now, or ends it. Before another view is shown, what the
    /// connection has handed over is stored: false as long as it waits for that.
    pub(super) fn recheck(
        &mut self,
        world: &World,
        no: ConnectionNo,
        seat_no: SeatNo,
        rng: &mut Rng,
    ) -> Result<bool, StoreError> {
        let Some(peer) = self.peers.get(&no) else { return Ok(true) };
        let (user, Some(seat)) = (peer.user, peer.seats.get(&seat_no)) else { return Ok(true) };
        let waits = peer.waits(seat_no);
        let (space, filter, schema) = (seat.space, seat.filter.clone(), seat.schema);
        let seat_view = seat.stream.view().id();
        let Some(access) = self.access(world, space, user)? else {
            self.end(no, seat_no);
            return Ok(true);
        };
        let view = view_of(&access, user, filter, schema);
        if Mutation::StalePages.is_active()
            && let Some((request, data)) = self.take_reading(no, seat_no)
        {
            self.deliver(world, no, seat_no, &request, data, rng)?;
        }
        let same = view.id() == seat_view;
        if !same && waits && !Mutation::HastyView.is_active() {
            return Ok(false);
        }
        if !(same && Mutation::EndedViews.is_active()) {
            self.remember(world, space, user, &view)?;
        }
        let version = self.spaces[space].version;
        let nonce = rng.bits();
        let minter = &self.spaces[space].space.minter;
        let Some(peer) = self.peers.get_mut(&no) else { return Ok(true) };
        let Some(seat) = peer.seats.get_mut(&seat_no) else { return Ok(true) };
        seat.version = version;
        if peer.json.is_some() && seat.role != access.role {
            peer.down.push_back(encode_access(seat.json.name, Some(json::role(access.role))));
        }
        seat.role = access.role;
        if same {
            return Ok(true);
        }
        // It was read to be shown in another view.
        seat.reading = None;
        if !seat.stream.change_view(user, view, nonce) {
            self.end(no, seat_no); // it begins anew, with the next connection
            return Ok(true);
        }
        match peer.json {
            Some(_) => json::begin(seat, minter, &mut peer.down),
            None => deliver::announce(seat, minter, &mut peer.down),
        }
        Ok(true)
    }

    /// Ends what a connection is sent of a space. A native connection ends with it.
    pub(super) fn end(&mut self, no: ConnectionNo, seat_no: SeatNo) {
        let Some(peer) = self.peers.get_mut(&no) else { return };
        if peer.json.is_none() {
            self.peers.remove(&no);
            return;
        }
        let Some(seat) = peer.seats.remove(&seat_no) else { return };
        peer.overtakes |= !seat.json.is_request;
        peer.waiting.retain(|waiting| waiting.seat != seat_no);
        peer.down.push_back(match seat.json.is_request {
            true => json::no_space(seat.json.name),
            false => encode_access(seat.json.name, None),
        });
    }
}

fn view_of(access: &AccessRecord, user: User, filter: Option<Arc<Filter>>, schema: Option<u64>) -> Arc<View> {
    Arc::new(View::new(&access.policy, access.role, user, access.private, filter).with_schema(schema))
}
