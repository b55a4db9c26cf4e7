//! What the transaction of a group has read and changed so far: uploads of one space see those before them.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use lattice_engine::{Batch, Effects, Needs, PairKey, Receipt, Row, RowRef, SpaceHead, SpaceId, Verdict};
use lattice_protocol::EntryId;

use super::error::PgError;
use super::values::corrupt;

/// A pair: `None` when it was never linked, `Some(None)` when it is not now.
pub(super) type Pair = Option<Option<RowRef>>;

/// One space, as the transaction has it.
#[derive(Default)]
pub(super) struct Overlay {
    pub(super) head: SpaceHead,
    entries: HashMap<EntryId, Option<Receipt>>,
    /// Stored forms; `None` where there is no such row.
    rows: BTreeMap<RowRef, Option<Bytes>>,
    pairs: HashMap<PairKey, Pair>,
}

/// The spaces of a group.
pub(super) type Overlays = HashMap<SpaceId, Overlay>;

impl Overlay {
    /// What of `needs` has not been read yet. It counts as read from now on.
    pub(super) fn unread(&mut self, needs: &Needs) -> Needs {
        Needs {
            entries: first_asked(&needs.entries, |id| {
                let new = !self.entries.contains_key(id);
                self.entries.entry(*id).or_default();
                new
            }),
            rows: first_asked(&needs.rows, |row| {
                let new = !self.rows.contains_key(row);
                self.rows.entry(row.clone()).or_default();
                new
            }),
            pairs: first_asked(&needs.pairs, |pair| {
                let new = !self.pairs.contains_key(pair);
                self.pairs.entry(*pair).or_default();
                new
            }),
        }
    }

    pub(super) fn read_entry(&mut self, id: EntryId, receipt: Receipt) {
        self.entries.insert(id, Some(receipt));
    }

    pub(super) fn read_row(&mut self, reference: RowRef, state: Bytes) {
        self.rows.insert(reference, Some(state));
    }

    pub(super) fn read_pair(&mut self, pair: PairKey, keeper: Option<RowRef>) {
        self.pairs.insert(pair, Some(keeper));
    }

    /// The state of a row, if there is one.
    pub(super) fn row(&self, reference: &RowRef) -> Result<Option<Row>, PgError> {
        self.rows.get(reference).and_then(Option::as_ref).map(decode).transpose()
    }

    /// All rows that have been read.
    pub(super) fn rows(&self) -> Result<impl Iterator<Item = Row>, PgError> {
        Ok(self.rows.values().flatten().map(decode).collect::<Result<Vec<_>, _>>()?.into_iter())
    }

    /// The live row of a pair.
    pub(super) fn keeper(&self, pair: PairKey) -> Option<RowRef> {
        self.pairs.get(&pair).cloned().flatten().flatten()
    }

    /// The live rows of all pairs that have been read.
    pub(super) fn keepers(&self) -> Vec<RowRef> {
        self.pairs.values().flatten().flatten().cloned().collect()
    }

    /// Hands over what an upload needs, all of which has been read.
    pub(super) fn supply(&self, needs: &Needs, batch: &mut Batch<'_>) -> Result<(), PgError> {
        for id in &needs.entries {
            if let Some(Some(receipt)) = self.entries.get(id) {
                batch.supply_entry(*id, *receipt);
            }
        }
        for reference in &needs.rows {
            if let Some(Some(state)) = self.rows.get(reference) {
                batch.supply_row(decode(state)?);
            }
        }
        for pair in &needs.pairs {
            if let Some(Some(keeper)) = self.pairs.get(pair) {
                batch.supply_pair(*pair, keeper.clone());
            }
        }
        Ok(())
    }

    /// What an upload has done, for those after it. `states` are the stored forms of its rows.
    pub(super) fn apply(&mut self, effects: &Effects, states: &[Bytes]) {
        self.head = effects.head;
        for record in &effects.log {
            let refused = matches!(record.verdict, Verdict::Rejected(_));
            self.entries.insert(record.id, Some(Receipt { seq: record.seq, refused }));
        }
        for (write, state) in effects.rows.iter().zip(states) {
            self.rows.insert(write.row.reference(), Some(state.clone()));
        }
        for write in &effects.pairs {
            self.pairs.insert(write.pair, Some(write.keeper.clone()));
        }
    }
}

fn first_asked<T: Clone>(asked: &[T], mut is_new: impl FnMut(&T) -> bool) -> Vec<T> {
    asked.iter().filter(|item| is_new(item)).cloned().collect()
}

/// Reads the stored form of a row.
pub(super) fn decode(state: &Bytes) -> Result<Row, PgError> {
    Row::decode(state).map_err(|error| corrupt("row_state", "state", format!("(offset {})", error.offset)))
}
