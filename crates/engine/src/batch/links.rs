//! Links: of all link rows of a pair at most one is live, and the ends of a link never change.

use alloc::vec::Vec;

use lattice_protocol::change::{LINK_COLUMNS, is_link_table};
use lattice_protocol::{Change, Code, Field, Operation, RowId};

use super::Batch;
use crate::rows::{Row, RowRef};
use crate::types::PairKey;

impl Batch<'_> {
    /// Brings the pair's keeper in line with the row: a live link row keeps its pair, a deleted one gives it up.
    pub(super) fn keep_pair(&mut self, pair: PairKey, reference: &RowRef) {
        let live = self.row(reference).is_some_and(Row::is_live);
        let slot = self.pairs.entry(pair).or_default();
        slot.dirty |= !core::mem::replace(&mut slot.known, true);
        if live && slot.keeper.is_none() {
            slot.keeper = Some(reference.clone());
            slot.dirty = true;
        } else if !live && slot.keeper.as_ref() == Some(reference) {
            slot.keeper = None;
            slot.dirty = true;
        }
    }

    /// Why a change of a link row cannot be taken, if so: its ends are given once, both of them, and never change. Clients
    /// have other tables whose names start with `_` (lists of bounds, unions); their rows name no ends.
    pub(super) fn link_problem(
        &self,
        reference: &RowRef,
        change: &Change,
        pair: Option<PairKey>,
    ) -> Option<Code> {
        if !is_link_table(&change.table) {
            return None;
        }
        let names_an_end = change.fields.iter().any(|field| LINK_COLUMNS.contains(&&*field.name));
        match change.operation {
            Operation::Insert if pair.is_none() => names_an_end.then_some(Code::LinkIncomplete),
            Operation::Insert => {
                let kept = self.row(reference).and_then(|row| row.pair);
                kept.is_some_and(|kept| Some(kept) != pair).then_some(Code::LinkImmutable)
            }
            Operation::Update => names_an_end.then_some(Code::LinkImmutable),
            Operation::Delete => None,
        }
    }

    /// Whether a link row goes only because a row that it links was deleted by a DELETE of this upload that lost.
    pub(super) fn deletes_link_of_undeleted(&self, reference: &RowRef, change: &Change) -> bool {
        if self.undeleted.is_empty() || !is_link_table(&change.table) {
            return false;
        }
        let stored: Vec<Field> = self.row(reference).map(Row::values).unwrap_or_default();
        let ends =
            change.fields.iter().chain(&stored).filter(|field| LINK_COLUMNS[..2].contains(&&*field.name));
        ends.filter_map(|field| RowId::parse(&lattice_protocol::value::string_value(&field.value)?))
            .any(|end| self.undeleted.contains(&end.key))
    }

    /// The pair that a change of a link row names, where it names both ends.
    pub(super) fn pair_of(&self, change: &Change) -> Option<PairKey> {
        if !is_link_table(&change.table) {
            return None;
        }
        let mut ends = LINK_COLUMNS.iter().map(|column| {
            let field = change.fields.iter().find(|field| field.name == *column)?;
            lattice_protocol::value::string_value(&field.value)
        });
        let (lhs, rhs, rhs_type) = (ends.next()??, ends.next()??, ends.next()?);
        Some(
            self.context
                .minter
                .pair(&change.table, [lhs.as_str(), rhs.as_str()].into_iter().chain(rhs_type.as_deref())),
        )
    }
}
