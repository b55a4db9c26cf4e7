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

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use bytestring::ByteString;
use lattice_protocol::native::AckId;
use lattice_protocol::{EntryId, Field, Operation, Outgoing, RowKey, Spelling};

use crate::batch::Outcome;
use crate::merge::{Correction, Wanted};
use crate::mint::Minter;
use crate::mutation::Mutation;
use crate::rows::{FieldState, Row, RowRef};
use crate::types::{Cursor, PairKey, Seq, WriterId};

/// Ids minted at one cursor that are remembered so as not to mint one twice.
const MAX_RECENT_IDS: usize = 4_096;

/// What a stream asks of the store. All of it is read in one snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PullRequest {
    /// Rows whose `last_seq` is greater.
    pub after: Seq,
    /// Most rows of the page.
    pub max_rows: usize,
    /// Most bytes of stored rows, of page and corrections each; one row is always read.
    pub max_bytes: usize,
    /// Rows to be corrected, each with the row that keeps its pair; and pairs, by [`RowRef::of_pair`], which are read
    /// together with what follows them.
    pub corrections: Vec<RowRef>,
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
    /// The page, in the order of `last_seq`, hidden rows included.
    pub rows: Vec<Row>,
    /// Whether rows are left after the page.
    pub more: bool,
    /// As many of the requested corrections as fit, in their order.
    pub corrected: Vec<Corrected>,
}

/// What is to be sent: the entries first, then the acks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Delivery {
    /// Entries, in order.
    pub entries: Vec<Outgoing>,
    /// Ids to acknowledge.
    pub acks: Vec<AckId>,
}

struct Verdict {
    /// Counts the stream's verdicts; the queue is in this order.
    no: u64,
    ack: Option<AckId>,
    correction: Option<Correction>,
}

/// A correction with the state that it is made from.
struct Due<'a> {
    row: Option<&'a Row>,
    /// The live rows of the pair that the row lost, and of the one that its sender named.
    keepers: [Option<&'a Row>; 2],
    correction: Correction,
    /// The row may be taken away first.
    rebuilt: bool,
}

/// The stream of one space to one connection.
pub struct Stream {
    writer: WriterId,
    cursor: Cursor,
    live: bool,
    verdicts: VecDeque<Verdict>,
    next_verdict: u64,
    /// Verdicts below it were there when the last pull was asked for. What was read then may be older than the others.
    asked_verdicts: u64,
    recent: BTreeSet<EntryId>,
    /// Refused changes that were answered here.
    rebuilt: BTreeSet<EntryId>,
    repairs: u64,
}

impl Stream {
    /// A stream for a replica that has what `cursor` says. `writer` is the connection's own id.
    #[must_use]
    pub fn new(writer: WriterId, cursor: Cursor) -> Self {
        let base = if Mutation::PositionOnly.is_active() { cursor.position } else { cursor.base };
        let cursor = Cursor { base, ..cursor };
        let live = Mutation::StartsLive.is_active() && cursor.base == cursor.position;
        Self {
            writer,
            cursor,
            live,
            verdicts: VecDeque::new(),
            next_verdict: 0,
            asked_verdicts: 0,
            recent: BTreeSet::new(),
            rebuilt: BTreeSet::new(),
            repairs: 0,
        }
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

    /// Whether entries as they were accepted may follow, from `cursor().position` on.
    #[must_use]
    pub fn takes_live(&self) -> bool {
        self.live && self.verdicts.is_empty()
    }

    /// Entries up to `last` have been sent as they were accepted, without the connection's own.
    pub fn sent_live(&mut self, last: Seq) {
        debug_assert!(self.live && last >= self.cursor.position);
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
        let mut corrections: Vec<RowRef> = Vec::new();
        let mut known = BTreeSet::new();
        for correction in
            self.verdicts.iter().filter_map(|verdict| verdict.correction.as_ref()).take(max_rows)
        {
            for row in correction.pair.map(RowRef::of_pair).into_iter().chain([row_of(correction)]) {
                if known.insert(row.clone()) {
                    corrections.push(row);
                }
            }
        }
        self.asked_verdicts = self.next_verdict;
        PullRequest { after: self.cursor.position, max_rows, max_bytes, corrections }
    }

    /// Takes what was read for `request` and says what is to be sent.
    pub fn pulled(&mut self, request: &PullRequest, data: PullData, minter: &Minter) -> Delivery {
        debug_assert_eq!(request.after, self.cursor.position);
        let mut delivery = Delivery::default();
        let mut before = self.cursor;
        let last = data.rows.len().checked_sub(1);
        for (at, row) in data.rows.iter().enumerate() {
            let mut after = Cursor { position: row.last_seq, ..before };
            if (!data.more && Some(at) == last) || Mutation::ClaimsMore.is_active() {
                after = Cursor::complete(data.head);
            }
            self.difference(row, before, after, minter, &mut delivery.entries);
            before = Cursor { position: row.last_seq, ..before };
        }
        self.move_to(if data.more { before } else { Cursor::complete(data.head.max(before.position)) });
        self.live = !data.more;
        if Mutation::UnreachableHead.is_active() && !self.live {
            return delivery;
        }
        self.correct(request, data.corrected, minter, &mut delivery);
        delivery
    }

    /// One row as the difference to `base`, without what this connection wrote itself.
    ///
    /// `after` is claimed once the row is there, `before` until then.
    fn difference(
        &mut self,
        row: &Row,
        before: Cursor,
        after: Cursor,
        minter: &Minter,
        out: &mut Vec<Outgoing>,
    ) {
        if row.hidden || !row.exists {
            return;
        }
        let base = before.base;
        let writer = if Mutation::OwnFields.is_active() { None } else { Some(self.writer) };
        if row.deleted {
            if writer.is_none() || row.writer != writer {
                out.push(self.mint(minter, after, row, Operation::Delete, Vec::new(), 0));
            }
        } else if row.created_seq > base
            && (writer.is_none() || row.inserter != writer || may_have_failed(row))
        {
            // A whole row is needed, even where some or all of it is the connection's own. Its own fields are shared
            // already: it wrote them on a row that another one created.
            let vanishes = row.fields.iter().all(|field| Some(field.stamp.writer) == writer);
            if vanishes && Mutation::VanishingRows.is_active() {
                return;
            }
            out.push(self.mint(minter, after, row, Operation::Insert, row.values(), 0));
        } else {
            let new = row.created_seq > base;
            let sent =
                |field: &&FieldState| (new || field.stamp.seq > base) && Some(field.stamp.writer) != writer;
            let fields: Vec<Field> = row.fields.iter().filter(sent).map(FieldState::to_field).collect();
            if !fields.is_empty() {
                out.push(self.mint(minter, after, row, Operation::Update, fields, 0));
            }
        }
    }

    fn correct(
        &mut self,
        request: &PullRequest,
        corrected: Vec<Corrected>,
        minter: &Minter,
        out: &mut Delivery,
    ) {
        let states: BTreeMap<&RowRef, Corrected> = request.corrections.iter().zip(corrected).collect();
        let mut due: Vec<Due<'_>> = Vec::new();
        let mut index: BTreeMap<(RowRef, Option<PairKey>), usize> = BTreeMap::new();
        let asked = if Mutation::StaleVerdicts.is_active() { u64::MAX } else { self.asked_verdicts };
        while let Some(verdict) = self.verdicts.front().filter(|verdict| verdict.no < asked) {
            if let Some(correction) = &verdict.correction {
                let reference = row_of(correction);
                let Some(state) = states.get(&reference) else { break }; // did not fit into this pull
                let named = match correction.pair.map(|pair| states.get(&RowRef::of_pair(pair))) {
                    None => None,
                    Some(Some(state)) => state.keeper.as_ref(),
                    Some(None) => break,
                };
                let keepers = [state.keeper.as_ref(), named];
                let rebuilt = correction.wanted == Wanted::Refused && self.may_rebuild(&verdict.ack);
                match index.get(&(reference.clone(), correction.pair)) {
                    Some(at) => {
                        unite(&mut due[*at].correction.wanted, &correction.wanted);
                        due[*at].rebuilt |= rebuilt;
                    }
                    None => {
                        index.insert((reference, correction.pair), due.len());
                        let (row, correction) = (state.row.as_ref(), correction.clone());
                        due.push(Due { row, keepers, correction, rebuilt });
                    }
                }
            }
            let Some(verdict) = self.verdicts.pop_front() else { break };
            let refused = verdict.correction.is_some_and(|correction| correction.wanted == Wanted::Refused);
            if let (true, Some(AckId::Uuid(id, _))) = (refused, &verdict.ack) {
                if self.rebuilt.len() >= MAX_RECENT_IDS {
                    self.rebuilt.clear();
                }
                self.rebuilt.insert(*id);
            }
            out.acks.extend(verdict.ack);
        }
        for due in due {
            self.current(due, minter, &mut out.entries);
        }
    }

    /// Whether the row of a refused change may be taken away for a moment. Not after its ack has left: a client that dies
    /// at that moment sends the change no more, and so would not get the row back.
    fn may_rebuild(&self, ack: &Option<AckId>) -> bool {
        !matches!(ack, Some(AckId::Uuid(id, _)) if self.rebuilt.contains(id))
            || Mutation::RebuiltTwice.is_active()
    }

    /// The current values of what must be corrected.
    fn current(&mut self, due: Due<'_>, minter: &Minter, out: &mut Vec<Outgoing>) {
        let Due { row, keepers, correction: Correction { table, row: id, wanted, .. }, rebuilt } = due;
        if let Some(row) = row.filter(|row| row.is_live()) {
            match wanted {
                Wanted::Fields(names) => {
                    let sent = names
                        .iter()
                        .filter(|name| row.field(name).is_some() || !Mutation::AbsentFields.is_active());
                    let fields = sent.map(|name| value_or_null(row, name)).collect();
                    out.push(self.repair(minter, row, Operation::Update, fields));
                }
                Wanted::WholeRow(names) => self.send_whole(row, &names, minter, out),
                Wanted::Refused => {
                    if rebuilt && !Mutation::AbsentFields.is_active() {
                        out.push(self.take_away(minter, row));
                    }
                    self.send_whole(row, &[], minter, out);
                    self.send_keepers(row, keepers, minter, out);
                }
            }
            return;
        }
        let deleted = row.is_some_and(|row| row.deleted);
        if deleted || wanted == Wanted::Refused {
            let unknown = Row::stub(table, id);
            let row = row.unwrap_or(&unknown);
            out.push(self.repair(minter, row, Operation::Delete, Vec::new()));
            self.send_keepers(row, keepers, minter, out);
        }
    }

    /// The links that the corrected row stood in the way of.
    fn send_keepers(
        &mut self,
        row: &Row,
        keepers: [Option<&Row>; 2],
        minter: &Minter,
        out: &mut Vec<Outgoing>,
    ) {
        for keeper in keepers.into_iter().flatten().filter(|keeper| keeper.id.key != row.id.key) {
            self.send_whole(keeper, &[], minter, out);
        }
    }

    /// The whole row, with null for those of `names` that it does not have.
    fn send_whole(&mut self, row: &Row, names: &[ByteString], minter: &Minter, out: &mut Vec<Outgoing>) {
        let mut fields = row.values();
        let names = if Mutation::AbsentFields.is_active() { &[] } else { names };
        let absent = names.iter().filter(|name| row.field(name).is_none());
        fields.extend(absent.map(|name| value_or_null(row, name)));
        out.push(self.repair(minter, row, Operation::Insert, fields));
    }

    /// The DELETE of a row that is there and sent again right after it. Until then it claims no more than what was before
    /// the row, so that a client that breaks off is sent the row once more.
    fn take_away(&mut self, minter: &Minter, row: &Row) -> Outgoing {
        let cursor = Cursor {
            base: self.cursor.base.min(row.created_seq.saturating_sub(1)),
            position: self.cursor.position.min(row.last_seq.saturating_sub(1)),
        };
        self.repairs += 1;
        self.mint(minter, cursor, row, Operation::Delete, Vec::new(), self.repairs)
    }

    /// A repair gets a fresh id each time: clients skip ids that they know.
    fn repair(&mut self, minter: &Minter, row: &Row, operation: Operation, fields: Vec<Field>) -> Outgoing {
        self.repairs += 1;
        let cursor = self.cursor;
        self.mint(minter, cursor, row, operation, fields, self.repairs)
    }

    fn mint(
        &mut self,
        minter: &Minter,
        cursor: Cursor,
        row: &Row,
        operation: Operation,
        fields: Vec<Field>,
        nonce: u64,
    ) -> Outgoing {
        let id = self.fresh_id(minter, cursor, row, operation, &fields, nonce);
        let sets = |held: &&FieldState| fields.iter().any(|field| field.name == held.name);
        let newest = row.fields.iter().filter(sets).map(|field| field.stamp.clock.time_us).max();
        let time_us = newest.unwrap_or(row.clock.time_us).max(0);
        Outgoing {
            id,
            id_spelling: Spelling::default(),
            table: row.table.clone(),
            operation,
            row: row.id.clone(),
            fields,
            time_us,
            taken_back: false,
        }
    }

    /// The state of a row is named by its place in the order, so values need not be hashed.
    fn fresh_id(
        &mut self,
        minter: &Minter,
        cursor: Cursor,
        row: &Row,
        operation: Operation,
        fields: &[Field],
        nonce: u64,
    ) -> EntryId {
        let key: &[u8] = match &row.id.key {
            RowKey::Uuid(bytes) => bytes,
            RowKey::Text(text) => text.as_bytes(),
        };
        let kind = [operation as u8, u8::from(nonce > 0)];
        let state = row.last_seq.to_le_bytes();
        let writer: &[u8] = if nonce > 0 { &self.writer.0 } else { &[] };
        if self.recent.len() >= MAX_RECENT_IDS {
            self.recent.clear();
        }
        for attempt in 0_u64.. {
            let salt = attempt.to_le_bytes();
            let parts = [str::as_bytes(&row.table), key, &kind, &state, writer, &salt];
            let names = fields.iter().map(|field| str::as_bytes(&field.name));
            let id = minter.mint(cursor, parts.into_iter().chain(names), nonce);
            if self.recent.insert(id) {
                return id;
            }
        }
        unreachable!("the salt takes 2^64 values and at most MAX_RECENT_IDS ids are taken")
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

/// Whether the connection may not hold a link row that it inserted itself. Its row was taken away by a correction, and what
/// gave it back could not be applied: the pair was still taken, by a row whose DELETE comes later in the order.
fn may_have_failed(row: &Row) -> bool {
    row.pair.is_some() && row.shared && !Mutation::FailedLinks.is_active()
}

fn value_or_null(row: &Row, name: &ByteString) -> Field {
    let null = || Field { name: name.clone(), value: lattice_protocol::value::null() };
    row.field(name).map_or_else(null, FieldState::to_field)
}

fn unite(held: &mut Wanted, more: &Wanted) {
    match (&mut *held, more) {
        (Wanted::Refused, _) => {}
        (_, Wanted::Refused) => *held = Wanted::Refused,
        (
            Wanted::Fields(names) | Wanted::WholeRow(names),
            Wanted::Fields(others) | Wanted::WholeRow(others),
        ) => {
            let new: Vec<ByteString> = others.iter().filter(|name| !names.contains(name)).cloned().collect();
            names.extend(new);
            if let (Wanted::Fields(names), Wanted::WholeRow(_)) = (&mut *held, more) {
                *held = Wanted::WholeRow(core::mem::take(names));
            }
        }
    }
}
