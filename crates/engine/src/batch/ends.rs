//! The ends of links: who may read the rows that a link names is kept with the link, so that it is shown only together with them.
//!
//! A link may come before its end. It waits then, and is completed by the upload that creates the end. What waits for a row is kept
//! like pairs are, by keys of its own: at place 0, 1, 2, … each a link.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use lattice_protocol::{Code, Field};

use super::Batch;
use crate::ends::candidates;
use crate::mutation::Mutation;
use crate::rows::{End, Row, RowRef};
use crate::types::{MAX_SEQ, PairKey};

/// Links that wait for one row. Others count as if nothing were known of it, also once it is created. An INSERT of the row looks for
/// each of them, also if it is refused: so few that its few bytes do not hold the writer.
pub const MAX_WAITING_LINKS: usize = 256;
/// When all places that were looked at are taken, so many times as many are looked at.
const PLACES_GROW: usize = 16;

/// Where links wait for one row.
#[derive(Default)]
pub(super) struct Places {
    taken: BTreeSet<RowRef>,
    /// The first one last.
    free: Vec<PairKey>,
}

impl Batch<'_> {
    /// A link is to be stored: asks for its ends.
    pub(super) fn want_ends(&mut self, link: RowRef, fields: &[Field]) {
        let ends = candidates(&link.table, fields.iter());
        ends.iter().flatten().for_each(|end| self.want_row(end.clone()));
        self.links.push((link, ends));
    }

    /// A row may be created: asks for links that wait for it.
    pub(super) fn want_waiting(&mut self, end: RowRef) {
        if !self.waiting.contains_key(&end) {
            self.want_pair(self.context.minter.waiting(&end, 0));
            self.waiting.insert(end, 1);
        }
    }

    /// After a round of loading: asks for places where links can wait whose ends are not there, and for more of them where too few of
    /// those that are known are free.
    pub(super) fn want_places(&mut self) {
        let mut missing: BTreeMap<RowRef, usize> = BTreeMap::new();
        for candidates in self.links.iter().flat_map(|(_, ends)| ends) {
            if self.first_born(candidates).is_none() {
                candidates.iter().for_each(|end| *missing.entry(end.clone()).or_default() += 1);
            }
        }
        missing.keys().for_each(|end| self.want_waiting(end.clone()));
        let minter = self.context.minter;
        let more = |(end, places): (&RowRef, &usize)| {
            let is_taken = |place: &usize| {
                self.pairs.get(&minter.waiting(end, *place)).is_some_and(|slot| slot.keeper.is_some())
            };
            let taken = (0..*places).filter(is_taken).count();
            let wanted = taken + missing.get(end).copied().unwrap_or(0).max(1);
            let more = wanted.max(places * PLACES_GROW).min(MAX_WAITING_LINKS);
            (wanted > *places && more > *places).then(|| (end.clone(), *places..more))
        };
        let more: Vec<_> = self.waiting.iter().filter_map(more).collect();
        for (end, places) in more {
            places.clone().for_each(|place| self.want_pair(minter.waiting(&end, place)));
            self.waiting.insert(end, places.end);
        }
    }

    /// After all changes: completes the links that waited for rows which this upload created, and those that it stored.
    ///
    /// # Errors
    /// [`Code::SpaceFull`] when the space has no seqs left.
    pub(super) fn settle_ends(&mut self) -> Result<(), Code> {
        let mut links: Vec<RowRef> = Vec::new();
        for end in core::mem::take(&mut self.born) {
            for place in 0..self.waiting.get(&end).copied().unwrap_or(0) {
                let slot = self.pairs.get_mut(&self.context.minter.waiting(&end, place));
                let Some(slot) = slot.filter(|slot| slot.keeper.is_some()) else { continue };
                slot.dirty = true;
                links.extend(slot.keeper.take());
            }
        }
        if Mutation::LateEnds.is_active() {
            links.clear();
        }
        links.extend(core::mem::take(&mut self.links).into_iter().map(|(link, _)| link));
        links.iter().try_for_each(|link| self.complete(link))
    }

    /// Notes what is known of the ends of a live link, and lets it wait for the others.
    fn complete(&mut self, link: &RowRef) -> Result<(), Code> {
        let Some(row) = self.row(link).filter(|row| row.is_live()) else { return Ok(()) };
        let values = row.values();
        let mut found = row.ends().rows.clone();
        for (known, candidates) in found.iter_mut().zip(candidates(&link.table, values.iter())) {
            if known.is_none() {
                *known = self.first_born(&candidates);
            }
            if known.is_none() {
                candidates.iter().for_each(|end| self.wait(link, end));
            }
        }
        let before = self.effects.before;
        let Some(slot) = self.rows.get_mut(link) else { return Ok(()) };
        let Some(row) = slot.row.as_mut().filter(|row| row.ends().rows != found) else { return Ok(()) };
        let known = [0, 1].map(|at| row.ends().rows[at].is_none() && found[at].is_some());
        row.ends_mut().rows = found;
        slot.dirty = true;
        if slot.stored_at.is_none() {
            return Ok(());
        }
        // It may have been shown to people who may not read the end. So that they are told, it takes a new place in the order.
        if row.last_seq <= before {
            if self.effects.head.seq >= MAX_SEQ {
                return Err(Code::SpaceFull);
            }
            self.effects.head.seq += 1;
            row.last_seq = self.effects.head.seq;
        }
        let seq = row.last_seq;
        for (since, _) in row.ends_mut().since.iter_mut().zip(known).filter(|(_, known)| *known) {
            *since = seq;
        }
        Ok(())
    }

    /// The first of these rows that was created.
    fn first_born(&self, candidates: &[RowRef]) -> Option<End> {
        candidates.iter().filter_map(|end| self.row(end)).find_map(Row::as_end)
    }

    /// Lets a link wait for a row.
    fn wait(&mut self, link: &RowRef, end: &RowRef) {
        let minter = self.context.minter;
        let (waiting, pairs) = (&self.waiting, &mut self.pairs);
        let places = self.places.entry(end.clone()).or_insert_with(|| {
            let mut places = Places::default();
            for place in (0..waiting.get(end).copied().unwrap_or(0)).rev() {
                let pair = minter.waiting(end, place);
                match pairs.get(&pair).and_then(|slot| slot.keeper.clone()) {
                    Some(link) => drop(places.taken.insert(link)),
                    None => places.free.push(pair),
                }
            }
            places
        });
        if places.taken.contains(link) {
            return;
        }
        let Some(slot) = places.free.pop().and_then(|pair| pairs.get_mut(&pair)) else { return };
        places.taken.insert(link.clone());
        slot.keeper = Some(link.clone());
        slot.dirty = true;
    }
}
