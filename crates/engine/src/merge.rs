//! What one change does to one row: last-write-wins, tombstones, and whether the sender must be corrected.

use alloc::vec::Vec;
use bytestring::ByteString;
use lattice_protocol::{Change, Code, Field, Operation, RowId};

use crate::mutation::Mutation;
use crate::rows::{FieldState, Row, Stamp};
use crate::rules::Rule;
use crate::types::{Clock, PairKey, Seq, WriterId};
use crate::unions;

/// What became of a change. Every change gets one, and the audit log keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It won in full.
    Applied,
    /// Some of its fields won.
    Merged,
    /// Something newer was there; nothing of it was applied.
    Superseded,
    /// It was there before; nothing was applied and nothing is logged again.
    Duplicate,
    /// It means no change of the data: "left my filter", or a snapshot of a row that is known.
    Ignored,
    /// It was refused.
    Rejected(Code),
}

/// What the sender must be sent before its change is acknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// The current values of these fields, null for those that the row does not have.
    Fields(Vec<ByteString>),
    /// The whole row, or its deletion. The sender may hold these fields as well: null where the row does not have them.
    WholeRow(Vec<ByteString>),
    /// The whole row from nothing, since what its sender made of it is not known, or its deletion even where it never
    /// existed: the change was refused.
    Refused,
    /// What others wrote of the row, whole where the sender may not hold it: it did not store what it was sent of it.
    Again,
}

/// A correction that is due.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Correction {
    /// Table of the row.
    pub table: ByteString,
    /// The row.
    pub row: RowId,
    /// Which part of it.
    pub wanted: Wanted,
    /// For a link row, another pair than the row's own: the change named it, so its sender may hold no other row of it.
    pub pair: Option<PairKey>,
    /// The change was the server's own word, relayed by its receiver: whether it is answered depends on what the row is by
    /// then.
    pub relayed: Option<Relayed>,
}

/// What a word of the server leaves on a device that it reaches once more, late.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relayed {
    /// The row as it is.
    Current,
    /// No row.
    Gone,
    /// Anything else.
    Stale,
}

impl Relayed {
    /// What two of them leave, one after the other.
    pub(crate) fn and(self, other: Self) -> Self {
        if self == other { self } else { Self::Stale }
    }
}

/// What others are to be told of an accepted change.
#[derive(Debug)]
pub(crate) struct Visible {
    pub(crate) operation: Operation,
    pub(crate) fields: Vec<Field>,
}

/// The result of merging one change.
#[derive(Debug)]
pub(crate) struct Merged {
    pub(crate) verdict: Verdict,
    pub(crate) wanted: Option<Wanted>,
    pub(crate) visible: Option<Visible>,
}

impl Merged {
    fn superseded(wanted: Option<Wanted>) -> Self {
        Self { verdict: Verdict::Superseded, wanted, visible: None }
    }
}

/// When and by whom a change is merged.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) clock: Clock,
    pub(crate) seq: Seq,
    pub(crate) writer: WriterId,
    pub(crate) rule: Rule,
}

impl Moment {
    /// What the change leaves on the fields that it sets.
    pub(crate) fn stamp(self) -> Stamp {
        Stamp { time_us: self.clock.time_us, seq: self.seq, writer: self.writer }
    }
}

/// Whether anyone but this writer may hold the row in another state.
fn is_foreign(row: &Row, writer: WriterId) -> bool {
    row.shared || row.writer.is_some_and(|last| last != writer)
}

/// Merges a DELETE.
pub(crate) fn delete(row: &mut Row, now: Moment) -> Merged {
    let foreign = is_foreign(row, now.writer);
    if now.clock <= row.newest_clock() {
        return Merged::superseded((!row.deleted || foreign).then_some(Wanted::WholeRow(Vec::new())));
    }
    if row.deleted {
        // The tombstone keeps its place in the order: it must not overtake the next row of the same pair.
        row.clock = now.clock;
        row.shared = true;
        if Mutation::MovingTombstones.is_active() {
            row.last_seq = now.seq;
        }
        return Merged {
            verdict: Verdict::Applied,
            wanted: Some(Wanted::WholeRow(Vec::new())),
            visible: None,
        };
    }
    row.former.extend(row.fields.drain(..).map(|field| field.name));
    row.deleted = true;
    row.exists = true;
    row.hidden = false;
    row.clock = now.clock;
    row.shared = foreign;
    row.writer = Some(now.writer);
    row.last_seq = now.seq;
    Merged {
        verdict: Verdict::Applied,
        wanted: (foreign && !Mutation::NoEcho.is_active()).then_some(Wanted::WholeRow(Vec::new())),
        visible: Some(Visible { operation: Operation::Delete, fields: Vec::new() }),
    }
}

/// Whether an INSERT or UPDATE cannot touch this tombstone.
pub(crate) fn is_buried(row: &Row, operation: Operation, clock: Clock) -> bool {
    row.deleted && (operation == Operation::Update || clock <= row.clock)
}

/// A change that a tombstone outlives. The row may live again, without these fields, before its sender is answered.
pub(crate) fn buried(change: &Change) -> Merged {
    Merged::superseded(Some(Wanted::WholeRow(names_of(change))))
}

/// The fields that a change names.
pub(crate) fn names_of(change: &Change) -> Vec<ByteString> {
    change.fields.iter().map(|field| field.name.clone()).collect()
}

/// The current values of what a change named.
pub(crate) fn wanted_of(change: &Change) -> Wanted {
    match change.operation {
        Operation::Update => Wanted::Fields(names_of(change)),
        Operation::Insert | Operation::Delete => Wanted::WholeRow(names_of(change)),
    }
}

/// An INSERT of a link row whose pair is linked by another row already: the later row is superseded, shown to nobody
/// else, and its sender is told to delete it.
pub(crate) fn supersede_link(row: &mut Row, now: Moment) -> Merged {
    row.fields.clear();
    row.exists = true;
    row.deleted = true;
    row.clock = now.clock;
    row.writer = Some(now.writer);
    row.shared = true;
    Merged::superseded(Some(Wanted::WholeRow(Vec::new())))
}

/// Merges an INSERT or UPDATE that no tombstone outlives. An INSERT that is newer than a tombstone revives the row.
pub(crate) fn upsert(row: &mut Row, change: &Change, now: Moment) -> Merged {
    let now = Moment { rule: unions::rule(row, change, now.rule), ..now };
    let foreign = is_foreign(row, now.writer);
    if row.deleted {
        revive(row, change, now);
    }
    let foreign = foreign || row.shared;
    row.whole = now.rule == Rule::Row;
    if row.whole && foreign {
        // Whatever is changed of it, others are sent all of it, over edits of theirs that are still under way.
        row.share(|_| false);
    }
    let born = change.operation == Operation::Insert && !row.exists;
    let wins = winning_fields(row, change, now);
    let wanted_now = || wanted_of(change);
    if wins.is_empty() && !born {
        // An INSERT claims that the row is there, with or without columns; an UPDATE without any claims nothing.
        let claims = change.operation == Operation::Insert || !change.fields.is_empty();
        let wanted = row.exists.then(wanted_now).filter(|_| claims);
        let verdict = if change.fields.is_empty() { Verdict::Applied } else { Verdict::Superseded };
        return Merged { verdict, wanted, visible: None };
    }
    // An INSERT without columns is answered for the row itself.
    let echoed =
        set_fields(row, change, &wins, now, foreign) || (born && foreign && change.fields.is_empty());
    let cleared = unions::clear_other_cases(row, row.exists, now);
    if born {
        row.created_seq = now.seq;
        row.inserter = Some(now.writer);
        if row.fields.len() > wins.len() {
            // Fields kept from UPDATEs that came before this INSERT: whoever wrote them has never been told of the row.
            row.share(|_| true);
        }
    }
    // Nor does its inserter hold them: it named fewer columns, or gave the row up in between.
    let kept = born && row.fields.len() > wins.len() && !Mutation::KeptFields.is_active();
    let existed = row.exists;
    row.exists |= born;
    row.shared |= foreign;
    row.writer = Some(now.writer);
    row.last_seq = now.seq;
    let echoed = echoed && !Mutation::NoEcho.is_active();
    let lost = wins.len() < change.fields.len();
    let verdict = if lost { Verdict::Merged } else { Verdict::Applied };
    if !born && !existed {
        // An UPDATE that came before its INSERT: kept, shown to nobody.
        return Merged { verdict, wanted: None, visible: None };
    }
    row.hidden = false;
    let visible = if born {
        Visible { operation: Operation::Insert, fields: row.values() }
    } else if row.whole && !Mutation::PartialRows.is_active() {
        Visible { operation: Operation::Update, fields: row.values() }
    } else {
        let fields = wins.iter().map(|at| change.fields[*at].clone()).collect();
        Visible { operation: Operation::Update, fields }
    };
    Merged { verdict, wanted: (lost || kept || cleared || echoed).then(wanted_now), visible: Some(visible) }
}

/// Makes a row of a tombstone, for an INSERT that is newer.
fn revive(row: &mut Row, change: &Change, now: Moment) {
    row.deleted = false;
    row.exists = false;
    row.revived = true;
    row.shared = true;
    row.clock = now.clock;
    row.fields.clear();
    // Replicas may still hold the columns that it had before: what is not named becomes null, and is sent as such.
    let stamp = now.stamp();
    for name in core::mem::take(&mut row.former) {
        let named = change.fields.iter().any(|field| field.name == name);
        if !named && !Mutation::RevivedInPlace.is_active() {
            row.fields.push(FieldState { name, value: lattice_protocol::value::null(), stamp, shared: true });
        }
    }
}

/// Indices of the change's fields that win against what the row holds.
fn winning_fields(row: &Row, change: &Change, now: Moment) -> Vec<usize> {
    if !unions::fits(row, change) {
        return Vec::new();
    }
    let row_wins = now.clock > row.newest_clock();
    let wins = |field: &Field| match (row.field(&field.name), now.rule) {
        // An existing row is won or lost as a whole; one that is only known from UPDATEs is completed by its INSERT.
        (None, Rule::Row) => row_wins || !row.exists,
        (Some(_), Rule::Row) => row_wins,
        (None, Rule::Field) => true,
        (Some(old), Rule::Field) => now.clock > old.stamp.clock(),
    };
    (0..change.fields.len()).filter(|at| wins(&change.fields[*at])).collect()
}

/// Stores the winning fields. Returns whether any of them is shared, so that the sender needs an echo.
fn set_fields(row: &mut Row, change: &Change, wins: &[usize], now: Moment, foreign: bool) -> bool {
    let stamp = now.stamp();
    let mut echoed = false;
    for Field { name, value } in wins.iter().map(|at| &change.fields[*at]) {
        if let Some(old) = row.fields.iter_mut().find(|old| old.name == *name) {
            old.shared |= old.stamp.writer != now.writer;
            old.stamp = stamp;
            old.value = value.clone();
            echoed |= old.shared;
        } else {
            let foreign = foreign && !Mutation::LateFields.is_active();
            row.fields.push(FieldState { name: name.clone(), value: value.clone(), stamp, shared: foreign });
            echoed |= foreign;
        }
    }
    echoed
}
