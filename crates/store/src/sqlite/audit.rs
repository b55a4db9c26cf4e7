//! Reading the audit log: lines of blocks, and those that were stored one by one before there were blocks.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use lattice_engine::{LogRecord, Seq, WriterId};
use lattice_protocol::{EntryId, Spelling};
use rusqlite::{Connection, OptionalExtension, params};

use super::keys::{row_address, seq_of};
use super::log;
use super::recent::{BlockNo, Snapshot};
use super::spaces::corrupt;
use crate::StoreError;
use crate::spaces::AuditLine;
use crate::stored::verdict;

/// Lines that were stored one by one.
pub(super) fn single_lines(
    connection: &Connection,
    space: u32,
    after: Seq,
    max_lines: usize,
) -> Result<Vec<AuditLine>, StoreError> {
    let sql = "SELECT entry.place, entry.id, entry.spelling, entry.writer, entry.verdict, entry.clamped, entry.time_us,
                      entry.arrived_us, entry.content, writer.user
               FROM entry LEFT JOIN writer ON writer.id = entry.writer
               WHERE entry.place > ?1 AND entry.place <= ?2 ORDER BY entry.place LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let last = row_address(space, lattice_engine::MAX_SEQ);
    let mut found = statement.query(params![row_address(space, after), last, max_lines as i64])?;
    let mut lines = Vec::new();
    while let Some(row) = found.next()? {
        let address: i64 = row.get(0)?;
        let verdict =
            verdict::from_text(row.get_ref(4)?.as_str().map_err(|_| corrupt("entry", "verdict", address))?);
        lines.push(AuditLine {
            record: LogRecord {
                seq: seq_of(address),
                id: EntryId(row.get(1)?),
                id_spelling: Spelling(row.get(2)?),
                verdict: verdict.ok_or_else(|| corrupt("entry", "verdict", address))?,
                clamped: row.get(5)?,
                time_us: row.get(6)?,
                arrived_us: row.get(7)?,
                raw: Bytes::from(row.get::<_, Vec<u8>>(8)?),
            },
            writer: WriterId(row.get(3)?),
            user: row.get(9)?,
        });
    }
    Ok(lines)
}

/// Lines in blocks, until there are `max_lines` in all. They come after all that were stored one by one.
pub(super) fn lines_of_blocks(
    connection: &Connection,
    recent: &Snapshot,
    space: u32,
    after: Seq,
    max_lines: usize,
    lines: &mut Vec<AuditLine>,
) -> Result<(), StoreError> {
    let mut users: HashMap<WriterId, Option<[u8; 16]>> = HashMap::new();
    for no in blocks(connection, recent, space, after, max_lines.saturating_sub(lines.len()))?.into_values() {
        let block = log::read(connection, no)?;
        let user = match users.get(&block.writer) {
            Some(user) => *user,
            None => *users.entry(block.writer).or_insert(user_of(connection, block.writer)?),
        };
        for record in block.records.into_iter().filter(|record| record.seq > after) {
            if lines.len() >= max_lines {
                return Ok(());
            }
            lines.push(AuditLine { record, writer: block.writer, user });
        }
    }
    Ok(())
}

/// Blocks with lines after a seq, by the last line of each. Each has a line at least, so `most` are enough for as many.
fn blocks(
    connection: &Connection,
    recent: &Snapshot,
    space: u32,
    after: Seq,
    most: usize,
) -> Result<BTreeMap<Seq, BlockNo>, StoreError> {
    let sql = "SELECT place, block FROM block_place WHERE place > ?1 AND place <= ?2 ORDER BY place LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let last = row_address(space, lattice_engine::MAX_SEQ);
    let mut found = statement.query(params![row_address(space, after), last, most as i64])?;
    let mut blocks: BTreeMap<Seq, BlockNo> = recent.blocks(space, after, most).into_iter().collect();
    while let Some(row) = found.next()? {
        blocks.insert(seq_of(row.get(0)?), row.get(1)?);
    }
    Ok(blocks)
}

fn user_of(connection: &Connection, writer: WriterId) -> Result<Option<[u8; 16]>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT user FROM writer WHERE id = ?1")?;
    Ok(statement.query_row([writer.0], |row| row.get(0)).optional()?)
}
