//! Corrections: current values of what a client has sent, before it is told that its changes are done with.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytestring::ByteString;
use lattice_protocol::native::AckId;
use lattice_protocol::{Field, Outgoing};

use super::difference::may_have_failed;
use super::ids::{Act, Minters};
use super::{
    Corrected, Delivery, MAX_RECENT_IDS, MAX_RELAYED_ANSWERS, MAX_RELAYED_ROWS, PullRequest, Stream, row_of,
};
use crate::merge::{Correction, Relayed, Wanted};
use crate::mutation::Mutation;
use crate::rows::{FieldState, Row, RowRef};
use crate::types::{Cursor, PairKey};

/// A correction with the state that it is made from.
struct Due<'a> {
    row: Option<&'a Row>,
    /// The live rows of the pair that the row lost, and of the one that its sender named.
    keepers: [Option<&'a Row>; 2],
    correction: Correction,
    /// The row may be taken away first.
    rebuilt: bool,
}

impl Stream {
    pub(super) fn correct(
        &mut self,
        request: &PullRequest,
        corrected: Vec<Corrected>,
        minters: &Minters,
        out: &mut Delivery,
    ) {
        let states: BTreeMap<&RowRef, Corrected> = request.corrections.iter().zip(corrected).collect();
        let mut due: Vec<Due<'_>> = Vec::new();
        let mut index: BTreeMap<(RowRef, Option<PairKey>, bool), usize> = BTreeMap::new();
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
                let place = (reference, correction.pair, correction.wanted == Wanted::Again);
                match index.get(&place) {
                    Some(at) => {
                        let held = &mut due[*at].correction;
                        unite(&mut held.wanted, &correction.wanted);
                        held.relayed = held.relayed.zip(correction.relayed).map(|(a, b)| a.and(b));
                        due[*at].rebuilt |= rebuilt;
                    }
                    None => {
                        index.insert(place, due.len());
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
            self.current(due, minters, &mut out.corrections);
        }
    }

    /// Whether the row of a refused change may be taken away for a moment. Not after its ack has left: a client that dies
    /// at that moment sends the change no more, and so would not get the row back.
    fn may_rebuild(&self, ack: &Option<AckId>) -> bool {
        !matches!(ack, Some(AckId::Uuid(id, _)) if self.rebuilt.contains(id))
            || Mutation::RebuiltTwice.is_active()
    }

    /// Whether a correction is due: always, but for words of the server that were relayed.
    fn must_answer(&mut self, correction: &Correction, row: Option<&Row>) -> bool {
        let (Some(relayed), Some(row)) = (correction.relayed, row) else { return true };
        let shown = row.is_live() && self.view.shows(row);
        let differs = match relayed {
            Relayed::Current => !shown,
            Relayed::Gone => shown,
            Relayed::Stale => true,
        };
        if !differs {
            return false;
        }
        if self.relayed.len() >= MAX_RELAYED_ROWS {
            self.relayed.clear();
        }
        let (state, answers) = self.relayed.entry(row.reference()).or_default();
        if core::mem::replace(state, row.last_seq) != row.last_seq {
            *answers = 0;
        }
        *answers = answers.saturating_add(1);
        *answers <= MAX_RELAYED_ANSWERS
    }

    /// The current values of what must be corrected.
    fn current(&mut self, due: Due<'_>, minters: &Minters, out: &mut Vec<Outgoing>) {
        let Due { row, keepers, correction, rebuilt } = due;
        if !self.must_answer(&correction, row) {
            return;
        }
        let Correction { table, row: id, wanted, .. } = correction;
        if let Some(row) = row.filter(|row| row.is_live()) {
            if !self.view.shows(row) {
                if wanted == Wanted::Refused && !self.view.may_read(row) {
                    // Not a word of the row itself, its spelling and time included: to whoever may not read it, it is one
                    // that does not exist.
                    out.push(self.repair(minters, &Row::stub(table, id), Act::Delete, Vec::new()));
                } else {
                    out.push(self.repair(minters, row, Act::TakeBack, Vec::new()));
                }
                self.send_keepers(row, keepers, minters, out);
                return;
            }
            match wanted {
                Wanted::Fields(names) if row.whole && !Mutation::PartialRows.is_active() => {
                    self.send_whole(row, &names, minters, out);
                }
                Wanted::Fields(names) => {
                    let sent = names
                        .iter()
                        .filter(|name| row.field(name).is_some() || !Mutation::AbsentFields.is_active());
                    let fields = sent.map(|name| value_or_null(row, name)).collect();
                    out.push(self.repair(minters, row, Act::Update, fields));
                }
                Wanted::WholeRow(names) => self.send_whole(row, &names, minters, out),
                Wanted::Again => self.send_again_now(row, minters, out),
                Wanted::Refused => {
                    if rebuilt && !Mutation::AbsentFields.is_active() {
                        out.push(self.take_away(minters, row));
                    }
                    self.send_whole(row, &[], minters, out);
                    self.send_keepers(row, keepers, minters, out);
                }
            }
            return;
        }
        let deleted = row.is_some_and(|row| row.deleted);
        if deleted || wanted == Wanted::Refused {
            let unknown = Row::stub(table, id);
            // Of what was refused as well nobody is told when it was, or how others spelled it.
            let row = row.filter(|row| row.deleted && self.view.may_read(row)).unwrap_or(&unknown);
            out.push(self.repair(minters, row, Act::Delete, Vec::new()));
            self.send_keepers(row, keepers, minters, out);
        }
    }

    /// The links that the corrected row stood in the way of.
    fn send_keepers(
        &mut self,
        row: &Row,
        keepers: [Option<&Row>; 2],
        minters: &Minters,
        out: &mut Vec<Outgoing>,
    ) {
        let others = keepers.into_iter().flatten().filter(|keeper| keeper.id.key != row.id.key);
        for keeper in others {
            if !self.view.shows(keeper) {
                continue;
            }
            self.send_whole(keeper, &[], minters, out);
        }
    }

    /// The row as a page sends it to whoever has nothing of it. What the connection wrote itself may have been overtaken by
    /// something that is still on its way here, which nobody would answer with current values.
    fn send_again_now(&mut self, row: &Row, minters: &Minters, out: &mut Vec<Outgoing>) {
        let writer = Some(self.writer).filter(|_| !self.echoes());
        if writer.is_none() || row.inserter != writer || may_have_failed(row) {
            return self.send_whole(row, &[], minters, out);
        }
        let others = row.fields.iter().filter(|field| Some(field.stamp.writer) != writer);
        let fields: Vec<Field> = others.map(FieldState::to_field).collect();
        if !fields.is_empty() {
            out.push(self.repair(minters, row, Act::Update, fields));
        }
    }

    /// The whole row, with null for those of `names` that it does not have.
    fn send_whole(&mut self, row: &Row, names: &[ByteString], minters: &Minters, out: &mut Vec<Outgoing>) {
        let mut fields = row.values();
        let names = if Mutation::AbsentFields.is_active() { &[] } else { names };
        let absent = names.iter().filter(|name| row.field(name).is_none());
        fields.extend(absent.map(|name| value_or_null(row, name)));
        out.push(self.repair(minters, row, Act::Insert, fields));
    }

    /// The DELETE of a row that is there and sent again right after it. Until then it claims no more than what was before
    /// the row, so that a client that breaks off is sent the row once more.
    fn take_away(&mut self, minters: &Minters, row: &Row) -> Outgoing {
        let cursor = Cursor {
            base: self.cursor.base.min(row.created_seq.saturating_sub(1)),
            position: self.cursor.position.min(row.last_seq.saturating_sub(1)),
        };
        self.repairs += 1;
        let claim = self.claim(minters, cursor);
        self.mint(claim, row, Act::Delete, Vec::new(), self.repairs)
    }

    /// A repair gets a fresh id each time: clients skip ids that they know.
    fn repair(&mut self, minters: &Minters, row: &Row, act: Act, fields: Vec<Field>) -> Outgoing {
        self.repairs += 1;
        let claim = self.claim(minters, self.cursor);
        self.mint(claim, row, act, fields, self.repairs)
    }
}

fn value_or_null(row: &Row, name: &ByteString) -> Field {
    let null = || Field { name: name.clone(), value: lattice_protocol::value::null() };
    row.field(name).map_or_else(null, FieldState::to_field)
}

fn unite(held: &mut Wanted, more: &Wanted) {
    match (&mut *held, more) {
        (Wanted::Refused | Wanted::Again, _) | (_, Wanted::Again) => {}
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
