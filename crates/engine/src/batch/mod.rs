//! One upload: which stored state it needs, and what it does to it.

mod ends;
mod filtered;
mod links;
mod relayed;
mod types;

use alloc::{collections::BTreeMap, vec::Vec};
use bytestring::ByteString;
use lattice_protocol::native::AckId;
use lattice_protocol::{
    Change, Code, EntryId, Field, Incoming, Operation, Outgoing, Refused, RowId, RowKey, Spelling,
};

use crate::access::{Access, Policy};
use crate::merge::{self, Correction, Merged, Moment, Verdict, Wanted};
use crate::mutation::Mutation;
use crate::rows::{Row, RowRef};
use filtered::Resent;

use crate::types::{Clock, MAX_SEQ, PairKey, Seq, SpaceHead};

pub use ends::MAX_WAITING_LINKS;
pub use types::{Context, Effects, LogRecord, Needs, Outcome, PairWrite, Receipt, RowWrite};

struct RowSlot {
    row: Option<Row>,
    stored_at: Option<Seq>,
    dirty: bool,
}

#[derive(Default)]
struct PairSlot {
    known: bool,
    keeper: Option<RowRef>,
    dirty: bool,
}

/// Most rounds of loading: entries, rows and pairs; what links need; and where very many links wait for one row, their places.
pub const MAX_ROUNDS: usize = 10;

/// An upload on its way through the engine: ask [`Batch::needs`] and supply until nothing is needed ([`MAX_ROUNDS`] at
/// most), then [`Batch::finish`].
pub struct Batch<'a> {
    context: Context<'a>,
    incoming: Vec<Incoming>,
    entries: BTreeMap<EntryId, Option<Receipt>>,
    rows: BTreeMap<RowRef, RowSlot>,
    pairs: BTreeMap<PairKey, PairSlot>,
    wanted_rows: Vec<RowRef>,
    wanted_pairs: Vec<PairKey>,
    asked_entries: bool,
    /// Links that the upload inserts, each with the rows that it may name.
    links: Vec<(RowRef, [Vec<RowRef>; 2])>,
    /// Rows that links may wait for, and how many places for them have been asked for.
    waiting: BTreeMap<RowRef, usize>,
    /// These places, of rows that links begin to wait for.
    places: BTreeMap<RowRef, ends::Places>,
    /// Rows that the upload created.
    born: Vec<RowRef>,
    /// Rows whose DELETE in this upload lost or was refused: the links deleted with them come back too.
    undeleted: Vec<RowKey>,
    /// The upload holds more DELETEs than the policy permits.
    too_many_deletes: bool,
    effects: Effects,
}

impl<'a> Batch<'a> {
    /// Begins with the changes of one upload, in its order.
    #[must_use]
    pub fn new(context: Context<'a>, incoming: Vec<Incoming>) -> Self {
        let mut batch = Self {
            context,
            incoming,
            entries: BTreeMap::new(),
            rows: BTreeMap::new(),
            pairs: BTreeMap::new(),
            wanted_rows: Vec::new(),
            wanted_pairs: Vec::new(),
            asked_entries: false,
            links: Vec::new(),
            waiting: BTreeMap::new(),
            places: BTreeMap::new(),
            born: Vec::new(),
            undeleted: Vec::new(),
            too_many_deletes: false,
            effects: Effects::default(),
        };
        for at in 0..batch.incoming.len() {
            let (id, row, pair) = match &batch.incoming[at] {
                Incoming::Change(change) => (
                    change.id,
                    Some(RowRef { table: change.table.clone(), key: change.row.key.clone() }),
                    batch.pair_of(change),
                ),
                Incoming::Refused(refused) => (
                    batch.id_of(refused),
                    refused
                        .target
                        .as_ref()
                        .map(|(table, row)| RowRef { table: table.clone(), key: row.key.clone() }),
                    None,
                ),
            };
            // Minted ids are never kept.
            if !id.is_minted() || Mutation::RelayedWords.is_active() {
                batch.entries.insert(id, None);
            }
            if let Some(pair) = pair {
                batch.want_pair(pair);
            }
            let Some(row) = row else { continue };
            if let Incoming::Change(Change { operation: Operation::Insert, fields, .. }) = &batch.incoming[at]
                && !batch.context.private
            {
                match pair {
                    Some(_) => batch.want_ends(row.clone(), &fields.clone()),
                    None => batch.want_waiting(row.clone()),
                }
            }
            batch.want_row(row);
        }
        batch
    }

    /// What must be loaded next. Nothing is asked for twice.
    pub fn needs(&mut self) -> Needs {
        let first = !core::mem::replace(&mut self.asked_entries, true);
        if !first {
            self.want_places();
        }
        Needs {
            entries: if first { self.entries.keys().copied().collect() } else { Vec::new() },
            rows: core::mem::take(&mut self.wanted_rows),
            pairs: core::mem::take(&mut self.wanted_pairs),
        }
    }

    /// The entry was received before. Entries that are not supplied are new.
    pub fn supply_entry(&mut self, id: EntryId, receipt: Receipt) {
        self.entries.insert(id, Some(receipt));
    }

    /// The stored state of a row. Rows that are not supplied do not exist.
    pub fn supply_row(&mut self, row: Row) {
        if let Some(pair) = row.pair {
            self.want_pair(pair);
        }
        let slot = RowSlot { stored_at: Some(row.last_seq), dirty: false, row: None };
        self.rows.insert(row.reference(), RowSlot { row: Some(row), ..slot });
    }

    /// A stored pair and the row that links it now. Pairs that are not supplied were never linked.
    pub fn supply_pair(&mut self, pair: PairKey, keeper: Option<RowRef>) {
        if let Some(keeper) = &keeper {
            self.want_row(keeper.clone());
        }
        self.pairs.insert(pair, PairSlot { known: true, keeper, dirty: false });
    }

    /// Merges the changes one by one. `head` is the space's, `access` what the sender may do, `now_us` the wall clock in
    /// microseconds since 1970: all of it as of the transaction that stores the result.
    ///
    /// # Errors
    /// [`Code::SpaceFull`] when the space has no seqs left; nothing is to be stored then.
    pub fn finish(mut self, head: SpaceHead, access: &Access<'_>, now_us: i64) -> Result<Effects, Code> {
        debug_assert!(self.asked_entries && self.wanted_rows.is_empty() && self.wanted_pairs.is_empty());
        self.effects.before = head.seq;
        self.effects.head = head;
        if head.seq.saturating_add(self.incoming.len() as u64) > MAX_SEQ {
            return Err(Code::SpaceFull);
        }
        self.too_many_deletes = self.exceeds_deletes(access.policy);
        for incoming in core::mem::take(&mut self.incoming) {
            // One arrival time per change, so that times of arrival are in the order of arrival.
            let mut arrival = now_us.max(self.effects.head.arrival_us.saturating_add(1));
            if Mutation::FrameArrival.is_active() {
                arrival = now_us.max(head.arrival_us.saturating_add(1));
            }
            self.effects.head.arrival_us = arrival;
            match incoming {
                Incoming::Change(change) => self.change(change, access, arrival),
                Incoming::Refused(refused) => self.refused(refused, arrival),
            }
        }
        if !self.context.private {
            self.settle_ends()?;
        }
        self.effects.head.bytes += self.effects.log.iter().map(|record| record.raw.len() as u64).sum::<u64>();
        let rows = self.rows.into_values().filter(|slot| slot.dirty);
        self.effects.rows =
            rows.filter_map(|slot| Some(RowWrite { stored_at: slot.stored_at, row: slot.row? })).collect();
        let pairs = self.pairs.into_iter().filter(|(_, slot)| slot.dirty);
        self.effects.pairs = pairs.map(|(pair, slot)| PairWrite { pair, keeper: slot.keeper }).collect();
        Ok(self.effects)
    }

    /// Whether the upload holds more new DELETEs than the policy permits. All of them are refused then: of a client that
    /// deletes what it should not, no part is better kept.
    fn exceeds_deletes(&self, policy: &Policy) -> bool {
        let Some(most) = policy.max_deletes_per_frame else { return false };
        let counts = |incoming: &&Incoming| {
            matches!(incoming, Incoming::Change(change) if change.operation == Operation::Delete
                && !change.filter_removal
                && !is_relayed(change)
                && !change.by_filter
                && self.entries.get(&change.id).is_none_or(Option::is_none))
        };
        self.incoming.iter().filter(counts).count() > most as usize
    }

    /// Why policy refuses a change, if so. A snapshot of a row that is known changes nothing and needs no permission.
    fn forbidden(&self, reference: &RowRef, change: &Change, access: &Access<'_>) -> Option<Code> {
        let row = self.row(reference);
        let harmless =
            change.synthesized && change.operation == Operation::Insert && row.is_some_and(|row| row.exists);
        if harmless || Mutation::NoPolicy.is_active() {
            return None;
        }
        if self.context.read_only {
            return Some(Code::PermissionDenied);
        }
        if change.operation == Operation::Delete && self.too_many_deletes {
            return Some(Code::TooManyDeletes);
        }
        access.refusal(&change.table, change.operation, row)
    }

    fn change(&mut self, mut change: Change, access: &Access<'_>, arrival: i64) {
        let ack = Some(AckId::Uuid(change.id, change.id_spelling));
        let reference = RowRef { table: change.table.clone(), key: change.row.key.clone() };
        let receipt =
            self.entries.get(&change.id).copied().flatten().filter(|_| !Mutation::NoDedup.is_active());
        if is_relayed(&change) {
            return self.relayed(change, access);
        }
        if change.filter_removal || self.left_filter(&reference, &change) {
            if receipt.is_none() {
                self.log(&change, Verdict::Ignored, change.timestamp_us.unwrap_or(arrival), arrival, false);
            }
            self.effects.outcomes.push(Outcome { ack, verdict: Verdict::Ignored, correction: None });
            return;
        }
        if receipt.is_some() {
            let (verdict, wanted) = match receipt {
                Some(Receipt { refused: true, .. }) => {
                    let wanted = (!Mutation::RefuseAndForget.is_active()).then_some(Wanted::Refused);
                    (Verdict::Rejected(Code::RefusedBefore), wanted)
                }
                _ => (Verdict::Duplicate, self.repeat(&reference, &change)),
            };
            let pair = self.pair_of(&change);
            self.answer(ack, verdict, change.table, change.row, wanted, pair);
            return;
        }
        let latest = arrival.saturating_add(self.context.max_skew_us);
        let clamped = change.timestamp_us.is_some_and(|time| time > latest);
        let time_us = change.timestamp_us.filter(|_| !clamped).unwrap_or(arrival);
        let seq = self.effects.head.seq + 1;
        // Equal times are decided by the order of arrival, which for a person's own edits is the order they were made in.
        let random = Mutation::TiesById.is_active() && change.id.0[15] & 1 == 0;
        let now = Moment {
            clock: Clock { time_us, seq: if random { 0 } else { seq } },
            seq,
            writer: self.context.writer,
            rule: self.context.rules.of(&change.table),
        };
        if self.context.plain {
            self.refit(&reference, &mut change);
        }
        let merged = self.merge(&reference, &change, access, now);
        self.log(&change, merged.verdict, time_us, arrival, clamped);
        if let (Some(visible), Some(row)) = (merged.visible, self.row(&reference)) {
            let (id, id_spelling) = self.context.minter.delivered(change.id, change.id_spelling, seq);
            let entry = Outgoing {
                id,
                id_spelling,
                table: row.table.clone(),
                operation: visible.operation,
                row: row.id.clone(),
                fields: visible.fields,
                time_us,
                taken_back: false,
            };
            self.effects.visible.push((seq, entry));
        }
        let pair = self.pair_of(&change);
        let wanted = match merged.wanted {
            None if self.context.echoes && !Mutation::NoViewEcho.is_active() => {
                Some(merge::wanted_of(&change))
            }
            wanted => wanted,
        };
        self.answer(ack, merged.verdict, change.table, change.row, wanted, pair);
    }

    /// A duplicate changes nothing, but its sender gets the current values: it may have lost the answer to the first.
    fn repeat(&self, reference: &RowRef, change: &Change) -> Option<Wanted> {
        self.row(reference).filter(|row| row.exists)?;
        Some(merge::wanted_of(change))
    }

    /// Gives plain values the kinds that their columns have.
    fn refit(&self, reference: &RowRef, change: &mut Change) {
        let Some(row) = self.row(reference) else { return };
        for field in &mut change.fields {
            if let Some(held) = row.field(&field.name) {
                field.value = lattice_protocol::plain::rekind(&held.value, &field.value);
            }
        }
    }

    fn merge(&mut self, reference: &RowRef, change: &Change, access: &Access<'_>, now: Moment) -> Merged {
        match self.resent(reference, change) {
            None => self.merge_act(reference, change, access, now),
            Some(Resent::Nothing) => {
                // Its sender may hold other values: it is answered with all of them.
                let wanted = Some(Wanted::WholeRow(merge::names_of(change)));
                Merged { verdict: Verdict::Ignored, wanted, visible: None }
            }
            Some(Resent::Buried) => merge::buried(change),
            Some(Resent::Edit(edit)) => {
                let merged = self.merge_act(reference, &edit, access, now);
                let wanted = match merged.wanted {
                    Some(Wanted::Refused) => Wanted::Refused,
                    _ => Wanted::WholeRow(merge::names_of(change)),
                };
                Merged { wanted: Some(wanted), ..merged }
            }
        }
    }

    fn merge_act(&mut self, reference: &RowRef, change: &Change, access: &Access<'_>, now: Moment) -> Merged {
        let pair = self.pair_of(change);
        let problem =
            self.forbidden(reference, change, access).or_else(|| self.link_problem(reference, change, pair));
        if let Some(code) = problem {
            if !Mutation::RefuseAndForget.is_active() {
                self.leave_stub(reference, change.row.clone(), pair, now.seq);
            }
            if change.operation == Operation::Delete {
                self.undeleted.push(reference.key.clone());
            }
            return Merged { verdict: Verdict::Rejected(code), wanted: Some(Wanted::Refused), visible: None };
        }
        let known_pair = pair.and_then(|pair| self.pairs.get(&pair)).is_some_and(|slot| slot.known);
        if change.operation == Operation::Delete && self.deletes_link_of_undeleted(reference, change) {
            let exists = self.row(reference).is_some_and(|row| row.exists);
            return Merged {
                verdict: Verdict::Superseded,
                wanted: exists.then_some(Wanted::WholeRow(Vec::new())),
                visible: None,
            };
        }
        let keeper = pair.and_then(|pair| self.pairs.get(&pair)).and_then(|slot| slot.keeper.clone());
        let slot = self.rows.entry(reference.clone()).or_insert(RowSlot {
            row: None,
            stored_at: None,
            dirty: false,
        });
        let row = slot.row.get_or_insert_with(|| Row::stub(change.table.clone(), change.row.clone()));
        slot.dirty = true;
        if row.pair.is_none() {
            row.pair = pair;
        }
        let merged = match change.operation {
            Operation::Delete => merge::delete(row, now),
            operation if merge::is_buried(row, operation, now.clock) && !change.synthesized => {
                merge::buried(change)
            }
            Operation::Insert if change.synthesized && row.exists && !Mutation::SnapshotsWin.is_active() => {
                snapshot(row, change, access.private)
            }
            Operation::Insert
                if pair.is_some()
                    && !Mutation::TwoLinks.is_active()
                    && keeper.as_ref().is_some_and(|keeper| keeper != reference) =>
            {
                merge::supersede_link(row, now)
            }
            Operation::Insert | Operation::Update => {
                // A pair that was linked before may be part of a correction that is still under way to this sender.
                row.shared |=
                    change.operation == Operation::Insert && known_pair && !Mutation::PairForgets.is_active();
                merge::upsert(row, change, now)
            }
        };
        if row.last_seq == 0 {
            row.last_seq = now.seq;
        }
        let created = change.operation == Operation::Insert
            && matches!(merged.verdict, Verdict::Applied | Verdict::Merged);
        if created && row.creator.is_none() && !access.private {
            row.creator = Some(access.user);
            row.born_seq = now.seq;
            self.born.push(reference.clone());
        }
        if change.operation == Operation::Delete && merged.verdict != Verdict::Applied {
            self.undeleted.push(reference.key.clone());
        }
        if let Some(pair) = self.row(reference).and_then(|row| row.pair) {
            self.keep_pair(pair, reference);
        }
        merged
    }

    fn refused(&mut self, refused: Refused, arrival: i64) {
        // The server's own word, also where it names what a client may not.
        if let Some((id, spelling)) = refused.id.filter(|(id, _)| id.is_minted()) {
            let ack = Some(AckId::Uuid(id, spelling));
            self.effects.outcomes.push(Outcome { ack, verdict: Verdict::Duplicate, correction: None });
            return;
        }
        let id = self.id_of(&refused);
        let spelling = refused.id.map_or(Spelling::default(), |(_, spelling)| spelling);
        let receipt = self.entries.get(&id).copied().flatten();
        let verdict = Verdict::Rejected(refused.code);
        if receipt.is_none() {
            let seq = self.effects.head.seq + 1;
            if let Some((table, row)) =
                refused.target.as_ref().filter(|_| !Mutation::RefuseAndForget.is_active())
            {
                let reference = RowRef { table: table.clone(), key: row.key.clone() };
                self.leave_stub(&reference, row.clone(), None, seq);
            }
            self.effects.head.seq = seq;
            self.entries.insert(id, Some(Receipt { seq, refused: true }));
            self.effects.log.push(LogRecord {
                seq,
                id,
                id_spelling: spelling,
                verdict,
                time_us: arrival,
                arrived_us: arrival,
                clamped: false,
                raw: refused.raw,
            });
        }
        let ack = refused.ack.map(|text| match refused.id {
            Some((id, spelling)) => AckId::Uuid(id, spelling),
            None => AckId::Text(text),
        });
        match refused.target {
            Some((table, row)) if receipt.is_none() || !Mutation::RefuseAndForget.is_active() => {
                self.answer(ack, verdict, table, row, Some(Wanted::Refused), None);
            }
            _ => self.effects.outcomes.push(Outcome { ack, verdict, correction: None }),
        }
    }

    /// A refused change leaves a hidden stub: the sender's replica differs from ours from now on.
    fn leave_stub(&mut self, reference: &RowRef, id: RowId, pair: Option<PairKey>, seq: Seq) {
        let slot = self.rows.entry(reference.clone()).or_insert(RowSlot {
            row: None,
            stored_at: None,
            dirty: false,
        });
        let row = slot.row.get_or_insert_with(|| Row::stub(reference.table.clone(), id));
        slot.dirty = true;
        row.shared = true;
        if row.last_seq == 0 {
            row.last_seq = seq;
        }
        if row.pair.is_none() {
            row.pair = pair;
        }
        if let Some(pair) = row.pair {
            self.keep_pair(pair, reference);
        }
    }

    /// Notes what the sender is told. What a correction sends back becomes shared already now, in the transaction that
    /// decides it, so that sending it later needs no write.
    fn answer(
        &mut self,
        ack: Option<AckId>,
        verdict: Verdict,
        table: ByteString,
        row: RowId,
        wanted: Option<Wanted>,
        named_pair: Option<PairKey>,
    ) {
        let correction = wanted.map(|wanted| {
            let reference = RowRef { table: table.clone(), key: row.key.clone() };
            self.share(&reference, &wanted);
            let held = self.row(&reference);
            let named_pair = named_pair.filter(|_| !Mutation::NamedPairs.is_active());
            let pair = named_pair.filter(|pair| held.and_then(|row| row.pair) != Some(*pair));
            let lost = held.filter(|row| !row.is_live()).and_then(|row| row.pair);
            if let Some(pair) = pair {
                // Whoever links it next may be part of this correction.
                let slot = self.pairs.entry(pair).or_default();
                slot.dirty |= !core::mem::replace(&mut slot.known, true);
            }
            for pair in [lost, pair].into_iter().flatten() {
                if let Some(keeper) = self.pairs.get(&pair).and_then(|slot| slot.keeper.clone()) {
                    self.share(&keeper, &Wanted::WholeRow(Vec::new()));
                }
            }
            Correction { table, row, wanted, pair, relayed: None }
        });
        self.effects.outcomes.push(Outcome { ack, verdict, correction });
    }

    fn share(&mut self, reference: &RowRef, wanted: &Wanted) {
        if Mutation::EchoForgets.is_active() {
            return;
        }
        let Some(slot) = self.rows.get_mut(reference) else {
            return;
        };
        let Some(row) = &mut slot.row else { return };
        slot.dirty |= row.share(|name| match wanted {
            Wanted::Fields(names) => names.iter().any(|wanted| wanted == name),
            Wanted::WholeRow(_) | Wanted::Refused | Wanted::Again => true,
        });
    }

    fn log(&mut self, change: &Change, verdict: Verdict, time_us: i64, arrived_us: i64, clamped: bool) {
        let seq = self.effects.head.seq + 1;
        self.effects.head.seq = seq;
        let refused = matches!(verdict, Verdict::Rejected(_));
        self.entries.insert(change.id, Some(Receipt { seq, refused }));
        self.effects.log.push(LogRecord {
            seq,
            id: change.id,
            id_spelling: change.id_spelling,
            verdict,
            time_us,
            arrived_us,
            clamped,
            raw: change.raw.clone(),
        });
    }

    fn row(&self, reference: &RowRef) -> Option<&Row> {
        self.rows.get(reference)?.row.as_ref()
    }

    fn id_of(&self, refused: &Refused) -> EntryId {
        refused.id.map_or_else(|| self.context.minter.stand_in(&refused.raw), |(id, _)| id)
    }

    fn want_row(&mut self, row: RowRef) {
        if !self.rows.contains_key(&row) {
            self.wanted_rows.push(row.clone());
            self.rows.insert(row, RowSlot { row: None, stored_at: None, dirty: false });
        }
    }

    fn want_pair(&mut self, pair: PairKey) {
        if !self.pairs.contains_key(&pair) {
            self.wanted_pairs.push(pair);
            self.pairs.insert(pair, PairSlot::default());
        }
    }
}

/// Whether it is the server's own word, relayed by a device that was sent it.
fn is_relayed(change: &Change) -> bool {
    change.id.is_minted() && !Mutation::RelayedWords.is_active()
}

/// A snapshot that a client regenerated from its local state changes nothing over a row that is known. Where it differs
/// from the row, its sender does too. In a space of several people it is always answered: its sender may have made it of a
/// row that it is to see no longer, and may be told so before it sends the snapshot.
fn snapshot(row: &Row, change: &Change, private: bool) -> Merged {
    let same = |field: &Field| row.field(&field.name).is_some_and(|held| held.value == field.value);
    let equal = !row.deleted && change.fields.len() == row.fields.len() && change.fields.iter().all(same);
    let wanted = (!equal || !private).then(|| Wanted::WholeRow(merge::names_of(change)));
    Merged { verdict: Verdict::Ignored, wanted, visible: None }
}
