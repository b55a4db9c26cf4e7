//! What a client has stored of what it was sent, told by its acks.
//!
//! A client applies the frames of a connection one after the other, and answers each with one ack that names the entries which
//! it applied or had already; those that failed are left out, and where none is left no ack is sent. So an ack settles its own
//! frame and every one before it, and what they leave out is to be sent again: whole, under a fresh id, after a pause that grows.
//! A row that fails again and again is one that the device cannot store, and is listed as such until it can.
//!
//! Nothing is kept of a frame that was answered in full.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytestring::ByteString;
use lattice_protocol::{EntryId, Operation, Outgoing, RowKey};

use crate::mutation::Mutation;
use crate::rows::RowRef;
use crate::types::Cursor;

/// Entries of frames that wait for their ack. A client that never answers is not waited for: beyond it the oldest frames are
/// given up, unchecked.
pub const MAX_WAITING_ENTRIES: usize = 4_096;
/// Frames that wait for their ack.
pub const MAX_WAITING_FRAMES: usize = 1_024;
/// Rows that a client failed to store and that are remembered; of more nothing is known.
pub const MAX_FAILING_ROWS: usize = 256;
/// Rows that are sent again at once.
const MAX_SENT_AGAIN: usize = 100;
/// How long a row waits before it is sent again, in microseconds. After the last time it is given up.
pub const PAUSES_US: [i64; 4] = [2_000_000, 10_000_000, 60_000_000, 300_000_000];

/// How long the client may be silent about what it was sent, in microseconds: of a frame of which it stored nothing it sends
/// no ack, and no other frame may follow.
pub const MAX_SILENCE_US: i64 = 120_000_000;

/// One entry of a frame that was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivered {
    /// Its id.
    pub id: EntryId,
    /// The row that it is about.
    pub row: RowRef,
    /// Whoever applies it holds the row as it is, or holds it no more; an UPDATE of a row that is missing does nothing. What
    /// is sent again, and corrections, count as whole.
    pub whole: bool,
}

impl Delivered {
    /// What is to be remembered of an entry. `last` is that of the entry before: the names of tables are shared.
    #[must_use]
    pub fn of(entry: &Outgoing, last: Option<&Self>) -> Self {
        // Copies: names and ids may be slices of a whole upload.
        let copy = |text: &str| ByteString::from(text);
        let table = match last {
            Some(last) if last.row.table == entry.table => last.row.table.clone(),
            _ => copy(&entry.table),
        };
        let key = match &entry.row.key {
            RowKey::Uuid(bytes) => RowKey::Uuid(*bytes),
            RowKey::Text(text) => RowKey::Text(text.clone()),
        };
        let whole = entry.operation != Operation::Update;
        Self { id: entry.id, row: RowRef { table, key }, whole }
    }
}

/// A frame that waits for its ack.
struct Frame {
    /// What the stream had sent before it.
    before: Cursor,
    sent_us: i64,
    entries: Arc<[Delivered]>,
}

/// A row that the client did not store.
struct Failing {
    /// The last entry with all of it that was not acknowledged.
    id: Option<EntryId>,
    /// How often it was sent again.
    attempts: usize,
    state: State,
    /// It was given up once, and has not been stored since.
    listed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is sent again then.
    Due(i64),
    /// It is on its way again.
    Underway,
    /// It was sent as often as it may be; it is sent once more when it changes.
    GivenUp,
}

/// The bookkeeping of one connection.
#[derive(Default)]
pub struct Deliveries {
    /// Frames without an answer, the oldest first.
    waiting: VecDeque<Frame>,
    /// Entries in them.
    entries: usize,
    /// What had been sent before the first frame that was given up unanswered; until a later one is answered.
    unsure_since: Option<Cursor>,
    /// When the client has answered last.
    answered_us: i64,
    failing: BTreeMap<RowRef, Failing>,
    /// The list of rows that the client cannot store has changed.
    changed: bool,
}

impl core::fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (entries, failing) = self.held();
        f.debug_struct("Deliveries")
            .field("entries", &entries)
            .field("failing", &failing)
            .finish_non_exhaustive()
    }
}

impl Deliveries {
    /// A frame with these entries leaves. `before` is what the stream had sent before it.
    pub fn sent(&mut self, before: Cursor, entries: Arc<[Delivered]>, now_us: i64) {
        if entries.is_empty() {
            return;
        }
        self.entries += entries.len();
        self.waiting.push_back(Frame { before, sent_us: now_us, entries });
        while self.waiting.len() > 1
            && (self.entries > MAX_WAITING_ENTRIES || self.waiting.len() > MAX_WAITING_FRAMES)
        {
            let Some(oldest) = self.waiting.pop_front() else { break };
            self.entries -= oldest.entries.len();
            self.unsure_since.get_or_insert(oldest.before);
        }
    }

    /// The client acknowledges these.
    pub fn acked(&mut self, ids: &[EntryId], now_us: i64) {
        if self.failing.is_empty() && self.settle_oldest(ids) {
            self.answered_us = now_us;
            return;
        }
        let all: BTreeSet<&EntryId> = ids.iter().collect();
        while let Some(answered) = self.answered(ids) {
            self.unsure_since = None;
            self.answered_us = now_us;
            self.settle(answered + 1, &all, now_us);
        }
        // A client may answer one frame by several acks.
        let changed = &mut self.changed;
        self.failing.retain(|_, failing| {
            let late = failing.id.is_some_and(|id| all.contains(&id));
            *changed |= late && failing.listed;
            !late
        });
    }

    /// Nearly every ack names all entries of the oldest frame, in their order. Whether it does: then the frame is done with.
    fn settle_oldest(&mut self, ids: &[EntryId]) -> bool {
        let is_full = |frame: &mut Frame| frame.entries.iter().map(|entry| &entry.id).eq(ids);
        let Some(frame) = self.waiting.pop_front_if(is_full) else { return false };
        self.entries -= frame.entries.len();
        self.unsure_since = None;
        self.release_idle();
        true
    }

    /// A burst is over: an idle connection owns no queue.
    fn release_idle(&mut self) {
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
    }

    /// So many of the waiting frames have been applied, and of what is in them all that is in `acked`.
    fn settle(&mut self, frames: usize, acked: &BTreeSet<&EntryId>, now_us: i64) {
        for frame in self.waiting.drain(..frames).collect::<Vec<_>>() {
            self.entries -= frame.entries.len();
            for entry in &*frame.entries {
                match acked.contains(&entry.id) || Mutation::UnreadAcks.is_active() {
                    true => self.stored(entry, now_us),
                    false => self.failed(entry, now_us),
                }
            }
        }
        self.release_idle();
    }

    /// The first waiting frame that one of these ids is of. Clients answer each frame by an ack of its own, so one of the
    /// first few tells.
    fn answered(&self, ids: &[EntryId]) -> Option<usize> {
        const MOST_PROBES: usize = 3;
        let of = |id: &EntryId| {
            self.waiting.iter().position(|frame| frame.entries.iter().any(|entry| entry.id == *id))
        };
        ids.iter().take(MOST_PROBES).chain(ids.last()).find_map(of)
    }

    fn stored(&mut self, entry: &Delivered, now_us: i64) {
        let Some(failing) = self.failing.get_mut(&entry.row) else { return };
        if entry.whole {
            self.changed |= failing.listed;
            self.failing.remove(&entry.row);
        } else if failing.state == State::GivenUp {
            // It has changed: what could not be stored may be what can be now.
            failing.attempts = PAUSES_US.len() - 1;
            failing.state = State::Due(now_us.saturating_add(PAUSES_US[0]));
        }
    }

    fn failed(&mut self, entry: &Delivered, now_us: i64) {
        if self.failing.len() >= MAX_FAILING_ROWS && !self.failing.contains_key(&entry.row) {
            return;
        }
        let fresh = || Failing { id: None, attempts: 0, state: State::Underway, listed: false };
        let failing = self.failing.entry(entry.row.clone()).or_insert_with(fresh);
        // An UPDATE that is acknowledged late may have met no row.
        failing.id = Some(entry.id).filter(|_| entry.whole).or(failing.id);
        if failing.state != State::Underway {
            return;
        }
        failing.state = match PAUSES_US.get(failing.attempts) {
            Some(pause) => State::Due(now_us.saturating_add(*pause)),
            None => {
                self.changed |= !failing.listed;
                failing.listed = true;
                State::GivenUp
            }
        };
    }

    /// Rows to be sent again now, whole and under fresh ids.
    pub fn take_due(&mut self, now_us: i64) -> Vec<RowRef> {
        let since = self.waiting.front().map(|frame| frame.sent_us.max(self.answered_us));
        if since.is_some_and(|since| now_us.saturating_sub(since) >= MAX_SILENCE_US) {
            self.settle(self.waiting.len(), &BTreeSet::new(), now_us);
        }
        let is_due = |failing: &Failing| matches!(failing.state, State::Due(at) if at <= now_us);
        let due = self.failing.iter_mut().filter(|(_, failing)| is_due(failing));
        due.take(MAX_SENT_AGAIN)
            .map(|(row, failing)| {
                failing.state = State::Underway;
                failing.attempts += 1;
                row.clone()
            })
            .collect()
    }

    /// What the client had applied when it sent what has come from it last. `sent` is the stream's cursor.
    #[must_use]
    pub fn applied(&self, sent: Cursor) -> Cursor {
        self.unsure_since.or(self.waiting.front().map(|frame| frame.before)).unwrap_or(sent)
    }

    /// The rows that the client cannot store, if they have changed since they were asked for last.
    pub fn take_unstorable(&mut self) -> Option<Vec<RowRef>> {
        let listed = self.failing.iter().filter(|(_, failing)| failing.listed);
        core::mem::take(&mut self.changed).then(|| listed.map(|(row, _)| row.clone()).collect())
    }

    /// Entries that wait for an ack, and rows that failed: what the connection costs.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        (self.entries, self.failing.len())
    }
}
