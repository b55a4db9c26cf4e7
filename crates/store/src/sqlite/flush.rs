//! Flushing: the oldest generation is written to the sorted tables, a bounded step with each commit.
//!
//! A step goes on in the order of the tables' keys, space by space, so that of all steps of a generation together each
//! page is touched about once. What the tables hold of a generation meanwhile is never newer than what readers see of it
//! in memory. After a restart the whole of it is read from the log and flushed again.

use std::sync::Arc;

use bytes::Bytes;
use lattice_engine::Seq;
use rusqlite::{Connection, params};

use super::keys::{key_bytes, row_address};
use super::recent::{Generation, List, Table};
use super::{log, spaces};
use crate::StoreError;

/// Records that are flushed for each item that a commit brings: an item becomes one and a half of them, so a generation
/// is flushed before the next one is full.
const RECORDS_PER_ITEM: usize = 2;
/// Bytes of a row that take as long as one record.
const BYTES_PER_RECORD: usize = 1_024;

/// Where flushing a generation stands.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Position {
    /// Index of the space.
    space: usize,
    /// Index of the table.
    table: usize,
    /// Index of the record.
    record: usize,
}

/// The generation that is being flushed.
struct Work {
    generation: Arc<Generation>,
    spaces: Vec<u32>,
    /// What is written now, and of which space and table it is.
    list: Option<((usize, usize), List)>,
}

/// Flushes generations one after the other.
#[derive(Default)]
pub(super) struct Flusher {
    work: Option<Work>,
    committed: Position,
    reached: Position,
    finished: bool,
}

impl Flusher {
    /// Goes on, in the transaction of a group that brought so many items. `oldest` is the generation to be flushed.
    pub(super) fn step(
        &mut self,
        connection: &Connection,
        oldest: Option<Arc<Generation>>,
        new_items: usize,
    ) -> Result<(), StoreError> {
        let Some(generation) = oldest else { return Ok(()) };
        let work = self.work.get_or_insert_with(|| Work {
            spaces: generation.spaces(),
            generation: Arc::clone(&generation),
            list: None,
        });
        let mut budget = new_items.saturating_mul(RECORDS_PER_ITEM);
        while budget > 0 && self.reached.space < work.spaces.len() {
            let (space, table) = (work.spaces[self.reached.space], self.reached.table);
            let of = (self.reached.space, table);
            if work.list.as_ref().is_none_or(|(held, _)| *held != of) {
                work.list = Some((of, work.generation.list(space, Table::ALL[table])));
            }
            let Some((_, list)) = &work.list else { break };
            let spent = write(connection, space, list, &mut self.reached.record, budget)?;
            if self.reached.record >= list.len() {
                let last = table + 1 == Table::ALL.len();
                let (space, table) =
                    if last { (self.reached.space + 1, 0) } else { (self.reached.space, table + 1) };
                self.reached = Position { space, table, record: 0 };
            }
            budget = budget.saturating_sub(spent);
        }
        if self.reached.space == work.spaces.len() {
            log::set_flushed(connection, work.generation.last_block())?;
            self.finished = true;
        }
        Ok(())
    }

    /// The transaction has ended. Answers whether the oldest generation is flushed now.
    pub(super) fn ended(&mut self, committed: bool) -> bool {
        let finished = std::mem::take(&mut self.finished) && committed;
        if finished {
            *self = Self::default();
        } else if committed {
            self.committed = self.reached;
        } else {
            self.reached = self.committed;
        }
        finished
    }
}

impl List {
    fn len(&self) -> usize {
        match self {
            Self::Rows(rows) => rows.len(),
            Self::Keys(keys) => keys.len(),
            Self::Receipts(receipts) => receipts.len(),
            Self::Pairs(pairs) => pairs.len(),
            Self::Blocks(blocks) => blocks.len(),
            Self::Head(head) => usize::from(head.is_some()),
        }
    }
}

/// Writes records from index `at` on, until there are no more or `budget` is spent. Answers what was spent.
fn write(
    connection: &Connection,
    space: u32,
    list: &List,
    at: &mut usize,
    budget: usize,
) -> Result<usize, StoreError> {
    let from = *at;
    let to = list.len().min(from.saturating_add(budget));
    *at = to;
    match list {
        List::Rows(rows) => {
            let (written, spent) = write_rows(connection, space, &rows[from..to], budget)?;
            *at = from + written;
            return Ok(spent);
        }
        List::Keys(keys) => {
            let sql = "INSERT OR REPLACE INTO row_key (space, key, name, place) VALUES (?1, ?2, ?3, ?4)";
            let mut insert = connection.prepare_cached(sql)?;
            for (key, name, seq) in &keys[from..to] {
                insert.execute(params![space, key_bytes(key), &**name, row_address(space, *seq)])?;
            }
        }
        List::Receipts(receipts) => {
            let sql = "INSERT OR REPLACE INTO receipt (space, id, mark) VALUES (?1, ?2, ?3)";
            let mut insert = connection.prepare_cached(sql)?;
            for (id, receipt) in &receipts[from..to] {
                insert.execute(params![space, id.0, spaces::mark_of(*receipt)])?;
            }
        }
        List::Pairs(pairs) => {
            let sql = "INSERT OR REPLACE INTO pair (space, pair, key, name) VALUES (?1, ?2, ?3, ?4)";
            let mut insert = connection.prepare_cached(sql)?;
            for (pair, keeper) in &pairs[from..to] {
                let key = keeper.as_ref().map(|keeper| key_bytes(&keeper.key));
                let name = keeper.as_ref().map(|keeper| &*keeper.table);
                insert.execute(params![space, pair.0, key, name])?;
            }
        }
        List::Blocks(blocks) => {
            let sql = "INSERT OR REPLACE INTO block_place (place, block) VALUES (?1, ?2)";
            let mut insert = connection.prepare_cached(sql)?;
            for (seq, no) in &blocks[from..to] {
                insert.execute([row_address(space, *seq), *no])?;
            }
        }
        List::Head(Some(head)) => spaces::set_head(connection, space, *head)?,
        List::Head(None) => {}
    }
    Ok(to - from)
}

/// Writes rows until `budget` is spent, to which large ones count as several records. Answers how many, and what was spent.
fn write_rows(
    connection: &Connection,
    space: u32,
    rows: &[(Seq, Option<Bytes>)],
    budget: usize,
) -> Result<(usize, usize), StoreError> {
    let sql = "INSERT OR REPLACE INTO row (place, state) VALUES (?1, ?2)";
    let mut insert = connection.prepare_cached(sql)?;
    let mut delete = connection.prepare_cached("DELETE FROM row WHERE place = ?1")?;
    let (mut written, mut spent) = (0, 0);
    for (seq, state) in rows {
        if spent >= budget {
            break;
        }
        match state {
            Some(state) => insert.execute(params![row_address(space, *seq), &state[..]])?,
            None => delete.execute([row_address(space, *seq)])?,
        };
        written += 1;
        spent += 1 + state.as_ref().map_or(0, |state| state.len() / BYTES_PER_RECORD);
    }
    Ok((written, spent))
}
