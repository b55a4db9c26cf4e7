//! A store in memory.
#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod deliveries;
pub(crate) mod draw;
pub(crate) mod filtered;
pub(crate) mod history;

use std::collections::BTreeMap;

use bytes::Bytes;
use lattice_engine::{
    Access, Batch, Context, Corrected, Cursor, Effects, MAX_ROUNDS, MintKey, Minter, PairKey, Policy,
    PullData, PullRequest, Receipt, Role, Row, RowRef, Rule, Rules, SpaceHead, SpaceId, Verdict, WriterId,
};
use lattice_protocol::{Change, EntryId, Incoming};

/// A store in memory: the smallest driver of the engine.
pub(crate) struct Memory {
    pub(crate) head: SpaceHead,
    pub(crate) rows: BTreeMap<RowRef, Bytes>,
    pub(crate) pairs: BTreeMap<PairKey, Option<RowRef>>,
    pub(crate) entries: BTreeMap<EntryId, Receipt>,
    pub(crate) minter: Minter,
    pub(crate) rules: Rules,
    /// Who uploads has a token that may only read.
    pub(crate) read_only: bool,
    /// What who uploads is known to have applied.
    pub(crate) applied: Option<Cursor>,
}

impl Memory {
    pub(crate) fn new(rule: Rule) -> Self {
        Self {
            head: SpaceHead::default(),
            rows: BTreeMap::new(),
            pairs: BTreeMap::new(),
            entries: BTreeMap::new(),
            minter: Minter::new(MintKey([1; 16]), SpaceId([2; 16]), 1, 0),
            rules: Rules { default: rule, ..Rules::default() },
            read_only: false,
            applied: None,
        }
    }

    /// The row that a change is about.
    pub(crate) fn reference(change: &Change) -> RowRef {
        RowRef { table: change.table.clone(), key: change.row.key.clone() }
    }

    /// An upload by the owner of a private space.
    pub(crate) fn upload(&mut self, writer: u8, changes: Vec<Change>) -> Effects {
        self.upload_as_owner(WriterId([writer; 16]), changes)
    }

    /// The same by this connection.
    pub(crate) fn upload_as_owner(&mut self, writer: WriterId, changes: Vec<Change>) -> Effects {
        let policy = Policy::default();
        let access =
            Access { user: [0; 16], role: Role::Owner, policy: &policy, archived: false, private: true };
        self.upload_as(writer, access, false, changes)
    }

    /// An upload by somebody with this access.
    pub(crate) fn upload_as(
        &mut self,
        writer: WriterId,
        access: Access<'_>,
        echoes: bool,
        changes: Vec<Change>,
    ) -> Effects {
        let context = Context {
            writer,
            max_skew_us: 1_000,
            rules: &self.rules,
            minter: &self.minter,
            plain: false,
            echoes,
            read_only: self.read_only,
            applied: self.applied,
            private: access.private,
        };
        let mut batch = Batch::new(context, changes.into_iter().map(Incoming::Change).collect());
        for round in 0.. {
            let needs = batch.needs();
            if needs.is_empty() {
                break;
            }
            assert!(round < MAX_ROUNDS, "a batch needs a bounded number of rounds");
            for id in needs.entries {
                if let Some(receipt) = self.entries.get(&id) {
                    batch.supply_entry(id, *receipt);
                }
            }
            for row in needs.rows {
                if let Some(stored) = self.rows.get(&row) {
                    batch.supply_row(Row::decode(stored).expect("what was encoded"));
                }
            }
            for pair in needs.pairs {
                if let Some(keeper) = self.pairs.get(&pair) {
                    batch.supply_pair(pair, keeper.clone());
                }
            }
        }
        let effects = batch.finish(self.head, &access, 1_000_000).expect("the space is not full");
        self.head = effects.head;
        for record in &effects.log {
            let refused = matches!(record.verdict, Verdict::Rejected(_));
            assert!(
                self.entries.insert(record.id, Receipt { seq: record.seq, refused }).is_none(),
                "logged once"
            );
        }
        for write in &effects.rows {
            let mut stored = Vec::new();
            write.row.encode(&mut stored);
            self.rows.insert(write.row.reference(), stored.into());
        }
        self.pairs.extend(effects.pairs.iter().map(|write| (write.pair, write.keeper.clone())));
        effects
    }

    /// What replicas are to hold.
    pub(crate) fn live(&self) -> BTreeMap<RowRef, BTreeMap<String, Bytes>> {
        let rows = self.rows.values().map(|stored| Row::decode(stored).expect("what was encoded"));
        let values = |row: &Row| row.fields.iter().map(|f| (f.name.to_string(), f.value.clone())).collect();
        rows.filter(Row::is_live).map(|row| (row.reference(), values(&row))).collect()
    }

    /// The state of all rows, in the order of their last change.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let decode = |stored| Row::decode(stored).expect("what was encoded");
        let mut rows: Vec<Row> = self.rows.values().map(decode).collect();
        rows.sort_by_key(|row| row.last_seq);
        rows
    }

    /// The state of all rows, by what they are found by.
    pub(crate) fn by_reference(&self) -> BTreeMap<RowRef, Row> {
        self.rows().into_iter().map(|row| (row.reference(), row)).collect()
    }

    /// Answers a pull.
    pub(crate) fn pull(&self, request: &PullRequest) -> PullData {
        let mut rows = self.rows();
        rows.retain(|row| request.wants(row.last_seq, row.deleted));
        let more = rows.len() > request.max_rows;
        rows.truncate(request.max_rows);
        let row = |reference: &RowRef| {
            self.rows.get(reference).map(|stored| Row::decode(stored).expect("what was encoded"))
        };
        let keeper = |pair: PairKey| self.pairs.get(&pair).and_then(Option::as_ref).and_then(&row);
        let corrected = |reference: &RowRef| match reference.pair() {
            Some(pair) => Corrected { row: None, keeper: keeper(pair) },
            None => {
                let row = row(reference);
                let lost = row.as_ref().filter(|row| !row.is_live()).and_then(|row| row.pair);
                Corrected { keeper: lost.and_then(keeper), row }
            }
        };
        let corrected = request.corrections.iter().map(corrected).collect();
        PullData { head: self.head.seq, rows, more, corrected }
    }
}
