//! Reading the audit log: lines of blocks, and those that were stored one by one before there were blocks.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use lattice_engine::{LogRecord, Seq, Verdict, WriterId};
use lattice_protocol::{EntryId, Spelling};
use rusqlite::{Connection, OptionalExtension, params};

use super::keys::{row_address, seq_of};
use super::log;
use super::recent::{BlockNo, Snapshot};
use super::spaces::corrupt;
use crate::StoreError;
use crate::spaces::AuditLine;
use crate::stored::verdict;

/// Blocks, or single lines, of the end of a log among which the newest accepted change is looked for.
const MAX_LOOKED_AT: usize = 100;
/// Bytes of these blocks that are read, as they are stored: anybody who can connect has them read by a checkpoint of 36 bytes that
/// is not known.
const MAX_BYTES_LOOKED_AT: usize = 256 << 10;

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

/// The newest change that was accepted. Of lines that were stored one by one, and of blocks, so many are looked at; `None` also
/// where what would have to be read is too large.
pub(super) fn newest_accepted(
    connection: &Connection,
    recent: &Snapshot,
    space: u32,
) -> Result<Option<(EntryId, Spelling)>, StoreError> {
    let mut left = MAX_BYTES_LOOKED_AT;
    for no in last_blocks(connection, recent, space)?.into_values().rev() {
        let Some(rest) = left.checked_sub(log::stored_bytes(connection, no)?) else { return Ok(None) };
        left = rest;
        let records = log::read(connection, no)?.records;
        let accepted = |record: &&LogRecord| matches!(record.verdict, Verdict::Applied | Verdict::Merged);
        if let Some(record) = records.iter().rfind(accepted) {
            return Ok(Some((record.id, record.id_spelling)));
        }
    }
    let sql = "SELECT id, spelling FROM (
                   SELECT place, id, spelling, verdict FROM entry WHERE place > ?1 AND place <= ?2
                   ORDER BY place DESC LIMIT ?3
               ) WHERE verdict IN ('applied', 'merged') ORDER BY place DESC LIMIT 1";
    let range =
        params![row_address(space, 0), row_address(space, lattice_engine::MAX_SEQ), MAX_LOOKED_AT as i64];
    let read = |row: &rusqlite::Row<'_>| Ok((EntryId(row.get(0)?), Spelling(row.get(1)?)));
    Ok(connection.prepare_cached(sql)?.query_row(range, read).optional()?)
}

/// The last blocks of a space, by the last line of each.
fn last_blocks(
    connection: &Connection,
    recent: &Snapshot,
    space: u32,
) -> Result<BTreeMap<Seq, BlockNo>, StoreError> {
    let sql =
        "SELECT place, block FROM block_place WHERE place > ?1 AND place <= ?2 ORDER BY place DESC LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let range =
        params![row_address(space, 0), row_address(space, lattice_engine::MAX_SEQ), MAX_LOOKED_AT as i64];
    let mut found = statement.query(range)?;
    let mut blocks: BTreeMap<Seq, BlockNo> = recent.last_blocks(space, MAX_LOOKED_AT).into_iter().collect();
    while let Some(row) = found.next()? {
        blocks.insert(seq_of(row.get(0)?), row.get(1)?);
    }
    let first = blocks.keys().rev().nth(MAX_LOOKED_AT - 1).copied();
    Ok(match first {
        Some(first) => blocks.split_off(&first),
        None => blocks,
    })
}

fn user_of(connection: &Connection, writer: WriterId) -> Result<Option<[u8; 16]>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT user FROM writer WHERE id = ?1")?;
    Ok(statement.query_row([writer.0], |row| row.get(0)).optional()?)
}
