//! What sessions ask of the store, answered by the real statements.

use std::sync::Arc;

use lattice_engine::mutation::Mutation;
use lattice_engine::{View, WriterId};
use lattice_protocol::{EntryId, plain};
use lattice_session::{Answer, Entered, RememberedView, Request, Slot, SpaceAccess};
use lattice_store::StoreError;
use lattice_store::accounts::UserId;
use lattice_store::directory::{AccessRecord, ViewMemory};
use lattice_store::spaces::Origin;
use lattice_store::sqlite::directory::{self, statements};
use lattice_store::sqlite::spaces;

use super::peer::SlotState;
use super::{ConnectionNo, Server};
use crate::people::{self, User};
use crate::rng::Rng;
use crate::world::World;

impl Server {
    /// Answers a request of a session, as of now.
    pub(super) fn answer_request(
        &mut self,
        world: &World,
        no: ConnectionNo,
        (slot, name): (Slot, plain::Space),
        request: &Request,
        rng: &mut Rng,
    ) -> Result<Option<Answer>, StoreError> {
        let Some(peer) = self.peers.get(&no) else { return Ok(None) };
        let user = peer.user;
        if let Request::Enter { receipt_of } = request {
            let space = match peer.slots.get(&slot) {
                Some(state) => Some(state.space),
                None => self.named(world, user, name)?,
            };
            return self.enter(world, (no, slot), space, *receipt_of, rng).map(Some);
        }
        let Some(state) = peer.slots.get(&slot) else { return Ok(None) };
        let space = state.space;
        let (live, db) = (&self.spaces[space], world.connection());
        Ok(Some(match request {
            Request::Enter { .. } => return Ok(None),
            Request::Access => Answer::Access {
                access: directory::access_in(db, live.space.no, user)?.map(access_of),
                version: live.version,
                nonce: rng.bits(),
            },
            Request::Remember { view } => match self.remember(world, space, user, view)? {
                ViewMemory::Outdated => Answer::Outdated,
                ViewMemory::Remembered | ViewMemory::TooLarge => Answer::Remembered,
            },
            Request::Pull(request) => {
                self.pulls += 1;
                let data = spaces::pull(db, &self.group.snapshot(), live.space.no, request)?;
                Answer::Pulled { data, version: live.version }
            }
        }))
    }

    fn enter(
        &mut self,
        world: &World,
        (no, slot): (ConnectionNo, Slot),
        space: Option<usize>,
        receipt_of: Option<EntryId>,
        rng: &mut Rng,
    ) -> Result<Answer, StoreError> {
        let Some(peer) = self.peers.get_mut(&no) else { return Ok(Answer::Entered(None)) };
        let (user, Some(space)) = (peer.user, space) else { return Ok(Answer::Entered(None)) };
        let writer = match peer.next_writer.take() {
            Some(writer) => writer,
            None => WriterId(rng.bytes()),
        };
        let (live, db, view) = (&mut self.spaces[space], world.connection(), self.group.snapshot());
        let Some(access) = directory::access_in(db, live.space.no, user)? else {
            return Ok(Answer::Entered(None));
        };
        let head = spaces::head(db, &view, live.space.no)?.seq;
        live.head = live.head.max(head);
        let receipt = match receipt_of {
            Some(id) => spaces::receipt(db, &view, live.space.no, id)?,
            None => None,
        };
        let views = statements::views(db, live.space.no, UserId(user))?;
        let origin = Origin {
            writer,
            user,
            session: [0; 16],
            address: String::new(),
            user_agent: String::new(),
            opened_us: 0,
        };
        peer.slots.insert(slot, SlotState::new(space, Arc::new(origin)));
        let remembered = |view: lattice_store::directory::RememberedView| RememberedView {
            id: view.id,
            definition: view.definition,
            until: view.until,
        };
        Ok(Answer::Entered(Some(Box::new(Entered {
            access: access_of(access),
            version: live.version,
            space: live.space.id,
            minter: live.space.minter.clone(),
            receipt: receipt.map(|receipt| receipt.seq),
            head,
            restored_since_us: None,
            views: views.into_iter().map(remembered).collect(),
            writer,
            nonce: rng.bits(),
        }))))
    }

    /// The space that a user means.
    fn named(&self, world: &World, user: User, name: plain::Space) -> Result<Option<usize>, StoreError> {
        for (at, live) in self.spaces.iter().enumerate() {
            let found = name_of(world, live.space.no, live.space.id.0)?;
            let own = || people::owner(world.connection(), live.space.no);
            if found == name && (found != plain::Space::Me || own()? == user) {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Remembers a view, as the newest one and as one that is shown.
    fn remember(
        &self,
        world: &World,
        space: usize,
        user: User,
        view: &View,
    ) -> Result<ViewMemory, StoreError> {
        let (db, no) = (world.connection(), self.spaces[space].space.no);
        let newest = statements::newest_view(db, no, UserId(user))?;
        match newest == Some(view.id()) {
            true => Ok(ViewMemory::Remembered),
            false => statements::remember_view(db, no, UserId(user), view.id(), &view.definition()),
        }
    }

    /// Whether a look at access is due on a connection.
    pub(super) fn looks(&self, behind: bool, rng: &mut Rng) -> bool {
        behind && (!Mutation::StaleViews.is_active() || rng.chance(30))
    }
}

fn access_of(record: AccessRecord) -> SpaceAccess {
    SpaceAccess { role: record.role, policy: record.policy, private: record.private, schema: None }
}

/// How frames name a space.
fn name_of(world: &World, no: u32, id: [u8; 16]) -> Result<plain::Space, StoreError> {
    let sql = "SELECT kind = 'private' FROM space WHERE no = ?1";
    let private = world.connection().prepare_cached(sql)?.query_row([no], |row| row.get(0))?;
    Ok(if private { plain::Space::Me } else { plain::Space::Id(id) })
}
