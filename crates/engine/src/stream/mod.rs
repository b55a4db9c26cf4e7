//! What one connection has been sent of one space, and what it must be sent next.
//!
//! A stream starts by catching up with state: rows in the order of their last change, each as the difference to `base`.
//! Once it has reached the head of a snapshot it is live and may take entries as they were accepted, until it falls behind
//! or a correction is due; then it reads state again. A stream never starts live: entries of an earlier connection of the
//! same client would be skipped there by their ids, while what came before them would be applied.
//!
//! Corrections leave with the page that was read in the same snapshot, under ids that claim no more than that page has
//! completed. They need not wait for the head: until the stream gets there it only reads state, and state read later is
//! never older than the correction. So no writer can starve another one's ack.
//!
//! What a stream sends is what its [`View`] shows. A stream with a restricted view never takes entries as they were
//! accepted: it reads state only, and what its client wrote itself is answered with current values, always. When the view
//! changes, or a client comes with a cursor of another one, the stream passes through a transition: it reads all rows once
//! more, sends whole those that were not visible before, and takes back those that are visible no more.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use lattice_protocol::native::AckId;
use lattice_protocol::{EntryId, Outgoing, RowId, Spelling};

mod correct;
mod difference;
mod ids;

use crate::batch::Outcome;
use crate::merge::{Correction, Wanted};
use crate::mint::Minter;
use crate::mutation::Mutation;
use crate::rows::{Row, RowRef};
use crate::types::{Cursor, MAX_SEQ, Seq, WriterId};
use crate::view::{Prior, Shown, View};

/// Ids minted at one cursor that are remembered so as not to mint one twice.
const MAX_RECENT_IDS: usize = 4_096;
/// How often relayed words about a row are answered while it does not change. Two channels of a device that must differ, as in two
/// spaces that hold the row, would hand each other's answers back for ever.
const MAX_RELAYED_ANSWERS: u8 = 8;
/// Rows for which that is counted.
const MAX_RELAYED_ROWS: usize = 4_096;
/// Views that a client may have been sent parts of before its stream has reached the head under a new one.
const MAX_PRIOR_VIEWS: usize = 128;

/// What a stream asks of the store. All of it is read in one snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PullRequest {
    /// Rows whose `last_seq` is greater.
    pub after: Seq,
    /// Of tombstones only those whose `last_seq` is greater than this too: at that seq the replica held nothing. The store leaves
    /// the others out itself; a space may consist of little else.
    pub deleted_after: Seq,
    /// Views are not the same for all: of links of which an end is not known, the store looks whether it is there now
    /// ([`Row::unknown_ends`]).
    pub ends: bool,
    /// Most rows of the page.
    pub max_rows: usize,
    /// Most bytes of stored rows, of page and corrections each; one row is always read.
    pub max_bytes: usize,
    /// Rows to be corrected, each with the row that keeps its pair; and pairs, by [`RowRef::of_pair`], which are read
    /// together with what follows them.
    pub corrections: Vec<RowRef>,
}

impl PullRequest {
    /// A page of rows after a seq, with all tombstones.
    #[must_use]
    pub fn page(after: Seq, max_rows: usize, max_bytes: usize) -> Self {
        Self { after, deleted_after: 0, ends: false, max_rows, max_bytes, corrections: Vec::new() }
    }

    /// Whether the page has a row with this `last_seq` at all.
    #[must_use]
    pub fn wants(&self, last_seq: Seq, is_deleted: bool) -> bool {
        last_seq > self.after && (last_seq > self.deleted_after || !is_deleted)
    }
}

/// A row to be corrected.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Corrected {
    /// Its state, if it is known; `None` for a pair.
    pub row: Option<Row>,
    /// For a pair, and for a link row that is not live: the live row of the pair.
    pub keeper: Option<Row>,
}

/// What the store answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PullData {
    /// The head of the snapshot.
    pub head: Seq,
    /// The page, in the order of `last_seq`, hidden rows included; see [`PullRequest::wants`].
    pub rows: Vec<Row>,
    /// Whether rows are left after the page.
    pub more: bool,
    /// As many of the requested corrections as fit, in their order.
    pub corrected: Vec<Corrected>,
}

/// What is to be sent: the entries first, then the corrections, then the acks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Delivery {
    /// What has changed, in order.
    pub entries: Vec<Outgoing>,
    /// Current values of what the client has sent, in order.
    pub corrections: Vec<Outgoing>,
    /// Ids to acknowledge.
    pub acks: Vec<AckId>,
}

struct Verdict {
    /// Counts the stream's verdicts; the queue is in this order.
    no: u64,
    ack: Option<AckId>,
    correction: Option<Correction>,
}

/// Where a stream starts.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// What it shows.
    pub view: Arc<View>,
    /// What the replica has.
    pub cursor: Cursor,
    /// The replica held nothing at this seq, and all that it holds it was sent since, as `cursor` says, whose base is 0.
    pub empty_at: Option<Seq>,
    /// The replica was sent other views: `cursor.position` says how far it has been brought to this one.
    pub prior: Option<Prior>,
    /// The space's head then. The replica may have been shown as much as that, whatever its cursor says.
    pub head: Seq,
    /// Drawn at random for each start, so that the ids of two transitions are never the same.
    pub nonce: u64,
    /// The database was put back to an older state. What the replica was sent in the lost time may lie over changes of its own that
    /// it has not uploaded yet, and nothing here tells of it.
    pub restored: bool,
}

/// The stream of one space to one connection.
pub struct Stream {
    writer: WriterId,
    view: Arc<View>,
    /// While it passes from other views to this one.
    prior: Option<Box<Prior>>,
    /// Its client is answered with current values always: it has or had a restricted view, its uploads may come in another order
    /// than it made them, or it may have been sent what a restored database has no trace of.
    echoes: bool,
    /// A way to another view has begun and is not announced.
    announces: bool,
    /// Distinguishes the ids of this transition from those of others.
    transition: u64,
    cursor: Cursor,
    /// Until it has reached the head: see [`Start::empty_at`].
    empty_at: Option<Seq>,
    /// It has reached the head of a snapshot.
    live: bool,
    /// The newest seq that anything sent may be of: corrections are ahead of the position.
    newest: Seq,
    /// Rows up to here the replica may have been sent in this view before this stream.
    began_at: Seq,
    /// The head of the first snapshot of which this stream sent anything in this view.
    opened: Option<Seq>,
    verdicts: VecDeque<Verdict>,
    next_verdict: u64,
    /// Verdicts below it were there when the last pull was asked for. What was read then may be older than the others.
    asked_verdicts: u64,
    recent: BTreeSet<EntryId>,
    /// Refused changes that were answered here.
    rebuilt: BTreeSet<EntryId>,
    /// Rows of which relayed words were answered: in which state, and how often.
    relayed: BTreeMap<RowRef, (Seq, u8)>,
    repairs: u64,
}

impl Stream {
    /// A stream of everything, for a replica that has what `cursor` says. `writer` is the connection's own id.
    #[must_use]
    pub fn new(writer: WriterId, cursor: Cursor) -> Self {
        Self::start(writer, Start { cursor, ..Start::default() })
    }

    /// A stream that starts with this view. `writer` is the connection's own id.
    #[must_use]
    pub fn start(writer: WriterId, start: Start) -> Self {
        let Start { view, cursor, empty_at, prior, head, nonce, restored } = start;
        let base = if Mutation::PositionOnly.is_active() { cursor.position } else { cursor.base };
        let cursor = Cursor { base, ..cursor };
        let live = Mutation::StartsLive.is_active() && cursor.base == cursor.position;
        // On the way from other views, `base` is of those.
        let began_at = if prior.is_some() { cursor.position } else { cursor.base.max(cursor.position) };
        Self {
            writer,
            echoes: view.is_restricted() || prior.is_some() || restored,
            announces: prior.is_some(),
            view,
            prior: prior.map(Box::new),
            transition: nonce,
            cursor,
            empty_at,
            live,
            newest: head.max(cursor.base).max(cursor.position),
            began_at,
            opened: None,
            verdicts: VecDeque::new(),
            next_verdict: 0,
            asked_verdicts: 0,
            recent: BTreeSet::new(),
            rebuilt: BTreeSet::new(),
            relayed: BTreeMap::new(),
            repairs: 0,
        }
    }

    /// From now on this view is shown to `user`. Must not be called between a pull request and what was read for it.
    /// `nonce` is drawn at random for each call. False, and nothing changed, when the client has been sent parts of too many
    /// views already: it is to start again.
    #[must_use]
    pub fn change_view(&mut self, user: [u8; 16], view: Arc<View>, nonce: u64) -> bool {
        if view.id() == self.view.id() {
            return true;
        }
        let base = self.cursor.base;
        let prior = self
            .prior
            .get_or_insert_with(|| Box::new(Prior { views: Vec::new(), base, user, outdated: false }));
        let until = self.newest;
        // Nothing was sent in it before this stream, or that is not known.
        let from = if self.began_at == 0 { self.opened.unwrap_or(MAX_SEQ) } else { 0 };
        match prior.views.iter().position(|shown| shown.view.id() == self.view.id()) {
            Some(at) => {
                let shown = &mut prior.views[at];
                (shown.from, shown.until) = (shown.from.min(from), shown.until.max(until));
            }
            None if prior.views.len() >= MAX_PRIOR_VIEWS => return false,
            None => prior.views.push(Shown { view: Arc::clone(&self.view), from, until }),
        }
        let cursor = Cursor { base: prior.base, position: 0 };
        self.echoes = true;
        self.announces = true;
        self.empty_at = None;
        self.view = view;
        (self.began_at, self.opened) = (0, None);
        self.move_to(cursor);
        self.live = false;
        self.transition = nonce;
        true
    }

    /// What is shown.
    #[must_use]
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// Whether what the client uploads must be answered with current values ([`crate::Context::echoes`]): rows are sent
    /// whole to a client with a restricted view, or with another one before, also over what it wrote itself. See
    /// [`Stream::echo_always`] too.
    #[must_use]
    pub fn echoes(&self) -> bool {
        self.echoes
    }

    /// From now on what the client uploads is answered with current values, whatever its view. Before anything is uploaded.
    ///
    /// For streams that begin after an upload of the connection was refused as a whole: the client sends that upload again,
    /// and later ones that were under way already have overtaken it. All of them have one writer, so nothing else would tell
    /// the client that its older value has won.
    pub fn echo_always(&mut self) {
        self.echoes |= !Mutation::OvertakenUploads.is_active();
    }

    /// Whether it is still passing from another view to its own.
    #[must_use]
    pub fn is_in_transition(&self) -> bool {
        self.prior.is_some()
    }

    /// What has been sent.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The connection's own id.
    #[must_use]
    pub fn writer(&self) -> WriterId {
        self.writer
    }

    /// Verdicts that wait for the next pull.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.verdicts.len()
    }

    /// Of these, rows that are sent again: of no upload.
    #[must_use]
    pub fn resends(&self) -> usize {
        let again =
            |verdict: &&Verdict| matches!(&verdict.correction, Some(it) if it.wanted == Wanted::Again);
        self.verdicts.iter().filter(again).count()
    }

    /// Counts verdicts that were ever queued: those of an upload have been answered once [`Stream::answered`] has reached
    /// what this said after they were taken.
    #[must_use]
    pub fn queued(&self) -> u64 {
        self.next_verdict
    }

    /// Up to which verdict all have been answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.verdicts.front().map_or(self.next_verdict, |verdict| verdict.no)
    }

    /// Takes the outcomes of an upload whose commit is durable. Returns the ids that may be acknowledged at once.
    pub fn outcomes(&mut self, outcomes: Vec<Outcome>) -> Vec<AckId> {
        let mut acks = Vec::new();
        for outcome in outcomes {
            if outcome.correction.is_none() && self.verdicts.is_empty() {
                acks.extend(outcome.ack);
                continue;
            }
            let verdict = Verdict { no: self.next_verdict, ack: outcome.ack, correction: outcome.correction };
            // A refusal and a filter removal are answered the same when they are sent again.
            let may_repeat = matches!(
                outcome.verdict,
                crate::Verdict::Duplicate | crate::Verdict::Rejected(_) | crate::Verdict::Ignored
            );
            if may_repeat && verdict.ack.is_some() {
                // One pending verdict per entry: a client that re-sends while it waits must not make the queue grow.
                match self.verdicts.iter().position(|held| held.ack == verdict.ack) {
                    Some(at) if self.verdicts[at].correction.is_none() && verdict.correction.is_some() => {
                        self.verdicts.remove(at);
                    }
                    Some(_) => continue,
                    None => {}
                }
            }
            self.next_verdict += 1;
            self.verdicts.push_back(verdict);
        }
        acks
    }

    /// The client did not store what it was sent of these rows: they are sent again with the next pull, under fresh ids.
    pub fn send_again(&mut self, rows: Vec<RowRef>) {
        for RowRef { table, key } in rows {
            let row = RowId { key, spelling: Spelling::default() };
            let correction =
                Some(Correction { table, row, wanted: Wanted::Again, pair: None, relayed: None });
            self.verdicts.push_back(Verdict { no: self.next_verdict, ack: None, correction });
            self.next_verdict += 1;
        }
    }

    /// Whether entries as they were accepted may follow, from `cursor().position` on. Their ids become cursors, which do not say
    /// for which version of an app they were sent.
    #[must_use]
    pub fn takes_live(&self) -> bool {
        let versioned = self.view.schema().is_some() && !Mutation::UnversionedIds.is_active();
        self.live && self.verdicts.is_empty() && !self.view.is_restricted() && !versioned
    }

    /// Entries up to `last` have been sent as they were accepted, without the connection's own.
    pub fn sent_live(&mut self, last: Seq) {
        debug_assert!(self.live && last >= self.cursor.position);
        self.newest = self.newest.max(last);
        self.move_to(Cursor::complete(last));
    }

    /// Whether a pull would send anything or move the stream, when the space's head is `head`.
    #[must_use]
    pub fn wants_pull(&self, head: Seq) -> bool {
        !self.verdicts.is_empty() || !self.live || self.cursor.position < head
    }

    /// What to read for the next pull.
    #[must_use]
    pub fn pull_request(&mut self, max_rows: usize, max_bytes: usize) -> PullRequest {
        PullRequest { max_rows, ..self.corrections_request(max_rows, max_bytes) }
    }

    /// What to read for corrections alone: a page without rows. What comes back goes to [`Stream::corrected`].
    #[must_use]
    pub fn corrections_request(&mut self, max_corrections: usize, max_bytes: usize) -> PullRequest {
        let mut corrections: Vec<RowRef> = Vec::new();
        let mut known = BTreeSet::new();
        for correction in
            self.verdicts.iter().filter_map(|verdict| verdict.correction.as_ref()).take(max_corrections)
        {
            for row in correction.pair.map(RowRef::of_pair).into_iter().chain([row_of(correction)]) {
                if known.insert(row.clone()) {
                    corrections.push(row);
                }
            }
        }
        self.asked_verdicts = self.next_verdict;
        let deleted_after = match self.empty_at {
            Some(_) if Mutation::NoTombstones.is_active() => MAX_SEQ,
            empty_at => empty_at.unwrap_or(0),
        };
        let ends = self.view.is_restricted() || self.prior.is_some();
        PullRequest { after: self.cursor.position, deleted_after, ends, max_rows: 0, max_bytes, corrections }
    }

    /// Takes what was read for `request` and says what is to be sent. `minter` is the space's own.
    pub fn pulled(&mut self, request: &PullRequest, data: PullData, minter: &Minter) -> Delivery {
        debug_assert_eq!(request.after, self.cursor.position);
        let mut delivery = Delivery::default();
        let head = data.head;
        let minters = self.minters(minter);
        self.page(&data, &minters, &mut delivery.entries);
        let position = data.rows.last().map_or(self.cursor.position, |row| row.last_seq);
        let before = Cursor { position, ..self.cursor };
        self.sees(head);
        if data.more {
            self.move_to(before);
        } else {
            self.prior = None;
            self.empty_at = None;
            self.move_to(Cursor::complete(data.head.max(before.position)));
        }
        self.live = !data.more;
        if Mutation::UnreachableHead.is_active() && !self.live {
            return delivery;
        }
        self.correct(request, data.corrected, &minters, &mut delivery);
        delivery
    }

    /// Takes what was read for [`Stream::corrections_request`]: the stream stays where it is.
    pub fn corrected(&mut self, request: &PullRequest, data: PullData, minter: &Minter) -> Delivery {
        let mut delivery = Delivery::default();
        self.sees(data.head);
        self.correct(request, data.corrected, &self.minters(minter), &mut delivery);
        delivery
    }

    /// Something of a snapshot with this head is sent.
    fn sees(&mut self, head: Seq) {
        self.newest = self.newest.max(head);
        self.opened = self.opened.or(Some(head));
    }

    fn move_to(&mut self, cursor: Cursor) {
        if cursor != self.cursor {
            self.recent.clear();
        }
        self.cursor = cursor;
    }
}

fn row_of(correction: &Correction) -> RowRef {
    RowRef { table: correction.table.clone(), key: correction.row.key.clone() }
}
