//! Where the stream of a client starts that comes with a checkpoint: an id that it was sent last, in this view or another.

use alloc::sync::Arc;
use alloc::vec::Vec;

use lattice_protocol::EntryId;

use crate::mint::Minter;
use crate::mutation::Mutation;
use crate::stream::Start;
use crate::types::{Cursor, Seq};
use crate::view::{Prior, Shown, View};

/// What a client says that it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checkpoint {
    /// Nothing: it is new, or has been told to drop what it held.
    New,
    /// It names none, but may hold something from earlier.
    Lost,
    /// The entry with this id, and what came before.
    Id {
        /// The id.
        id: EntryId,
        /// Where the audit log has it, if it is the id of an accepted change.
        seq: Option<Seq>,
    },
}

/// What is known about the space and the client.
pub struct Resume<'a> {
    /// The space's own minter.
    pub minter: &'a Minter,
    /// The space's head: cursors beyond it are of a future that a restored backup does not have.
    pub head: Seq,
    /// What the client is to be shown.
    pub view: Arc<View>,
    /// The user.
    pub user: [u8; 16],
    /// Views that the user was shown before, this one included if it is among them, the newest first.
    pub remembered: &'a [Shown],
    /// Drawn at random.
    pub nonce: u64,
}

impl Resume<'_> {
    /// Where the stream starts, and whether the checkpoint could not be resolved.
    #[must_use]
    pub fn start(self, checkpoint: Checkpoint) -> (Start, bool) {
        match checkpoint {
            Checkpoint::New => (self.empty(Cursor::default(), self.head), false),
            Checkpoint::Lost => (self.unknown(), false),
            Checkpoint::Id { id, seq } => {
                let known = self.minted(id).or_else(|| self.accepted(seq?));
                known.map_or_else(|| (self.unknown(), true), |start| (start, false))
            }
        }
    }

    /// An id that was minted in the view itself, on the way to it, or in one that was shown before.
    fn minted(&self, id: EntryId) -> Option<Start> {
        if !id.is_minted() {
            return None;
        }
        let views = core::iter::once(&self.view).chain(self.remembered.iter().map(|shown| &shown.view));
        for view in views {
            let complete = self.minter.of_view(view.id()).verify(id);
            if let Some(cursor) =
                complete.filter(|cursor| cursor.base <= cursor.position && self.has(*cursor))
            {
                return Some(self.shown_in(view, cursor));
            }
            let fresh = self.minter.of_fresh(view.id()).verify(id);
            if let Some(Cursor { base: empty_at, position }) = fresh.filter(|cursor| self.has(*cursor)) {
                let start = self.shown_in(view, Cursor { base: 0, position });
                let goes_on = start.prior.is_none();
                return Some(if goes_on { self.empty(start.cursor, empty_at) } else { start });
            }
            let partial = self.minter.of_transition(view.id()).verify(id);
            if let Some(cursor) = partial.filter(|cursor| self.has(*cursor)) {
                let goes_on = view.id() == self.view.id() && self.since(view, None).next().is_none();
                let position = if goes_on { cursor.position } else { 0 };
                // For which version it was sent what it had before is not known any more.
                let outdated = self.view.is_for_later_schema(&View::everything());
                let prior = self.prior(self.remembered.to_vec(), cursor.base, outdated);
                return Some(self.fresh(Cursor { base: cursor.base, position }, Some(prior)));
            }
        }
        None
    }

    /// The id of an accepted change: only who was shown everything was sent it. Not in a restored database, which sends none
    /// ([`Minter::delivered`]): the client may have it from the lost time, and it may have been accepted again since.
    fn accepted(&self, seq: Seq) -> Option<Start> {
        if self.minter.is_restored() && !Mutation::LostCheckpoints.is_active() {
            return None;
        }
        let everything = Arc::new(View::everything());
        let seen =
            !self.view.is_restricted() || self.remembered.iter().any(|shown| !shown.view.is_restricted());
        (seen && seq <= self.head).then(|| self.shown_in(&everything, Cursor::complete(seq)))
    }

    fn shown_in(&self, view: &Arc<View>, cursor: Cursor) -> Start {
        let reached = Some(cursor.base.max(cursor.position));
        let mut views: Vec<Shown> = self.since(view, reached).cloned().collect();
        let outdated = self.view.is_for_later_schema(view);
        if view.shows_same_rows(&self.view) && views.is_empty() && !outdated {
            return self.fresh(cursor, None);
        }
        let until = self.remembered.iter().find(|shown| shown.view.id() == view.id());
        let until = until.map_or(self.head, |shown| shown.until);
        views.push(Shown { view: Arc::clone(view), from: 0, until });
        let prior = self.prior(views, cursor.base, outdated);
        self.fresh(Cursor { base: cursor.base, position: 0 }, Some(prior))
    }

    /// Views that the client may have been shown since it had a cursor of `view`: those that were remembered later, and,
    /// since another client of the user may have made `view` the newest again, those that were shown beyond what the cursor
    /// has reached. Of a cursor on the way to a view one cannot tell that, and it must lead on.
    ///
    /// Clients without a filter may hold more than their checkpoint says: they apply entries before they save it, and what
    /// corrects them over HTTP comes without one. Those with a filter keep a cursor together with its changes, and other
    /// filters of the same user were not theirs.
    ///
    /// Views of the same rows for other versions of the app do not count, or two devices that differ in it would be read
    /// everything at each connect: what one was sent for an earlier version since its cursor it is sent again, under other ids.
    fn since(&self, view: &View, reached: Option<Seq>) -> impl Iterator<Item = &Shown> {
        let reached = reached.unwrap_or(Seq::MAX);
        let newer = self.remembered.iter().position(|shown| shown.view.id() == view.id());
        let newer = newer.unwrap_or(self.remembered.len());
        let lags = !self.view.is_filtered() && !Mutation::SavedFirst.is_active();
        let other = move |(at, shown): &(usize, &Shown)| {
            lags && !shown.view.shows_same_rows(view)
                && !shown.view.is_filtered()
                && (*at < newer || shown.until > reached)
        };
        self.remembered.iter().enumerate().filter(other).map(|(_, shown)| shown)
    }

    /// It may hold whatever the user was ever shown.
    fn unknown(&self) -> Start {
        let others = self.remembered.iter().any(|shown| !shown.view.shows_same_rows(&self.view));
        let filtered = self.view.is_restricted() && !self.remembered.is_empty();
        let prior = (others || filtered).then(|| self.prior(self.remembered.to_vec(), 0, false));
        self.fresh(Cursor::default(), prior)
    }

    fn prior(&self, views: Vec<Shown>, base: Seq, outdated: bool) -> Prior {
        Prior { views, base, user: self.user, outdated }
    }

    fn fresh(&self, cursor: Cursor, prior: Option<Prior>) -> Start {
        let view = Arc::clone(&self.view);
        let restored = self.minter.is_restored() && !Mutation::NoRestoredEcho.is_active();
        Start { view, cursor, empty_at: None, prior, head: self.head, nonce: self.nonce, restored }
    }

    /// Of a replica that held nothing at `empty_at`. What was deleted until then it need not be told.
    fn empty(&self, cursor: Cursor, empty_at: Seq) -> Start {
        let empty_at = if Mutation::LateEmptiness.is_active() { self.head } else { empty_at };
        Start { empty_at: Some(empty_at), ..self.fresh(cursor, None) }
    }

    fn has(&self, cursor: Cursor) -> bool {
        cursor.base.max(cursor.position) <= self.head
    }
}
