//! The log of blocks: appended to by uploads, read when the database is opened and by the audit.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bytes::Bytes;
use lattice_engine::{Effects, Receipt, Row, RowRef, Seq, SpaceHead, Verdict, WriterId};
use rusqlite::{Connection, OptionalExtension, params};

use super::block::{self, Block, Part, StoredRow};
use super::recent::{BlockNo, Recent, RecentLimits};
use super::spaces::{corrupt, flushed_head};
use crate::StoreError;

/// Up to which block everything is flushed. As the first read of a transaction it begins the snapshot.
pub(super) fn flushed(connection: &Connection) -> Result<BlockNo, StoreError> {
    Ok(connection.prepare_cached("SELECT upto FROM settled")?.query_row([], |row| row.get(0))?)
}

/// Everything up to this block is flushed.
pub(super) fn set_flushed(connection: &Connection, upto: BlockNo) -> Result<(), StoreError> {
    connection.prepare_cached("UPDATE settled SET upto = ?1")?.execute([upto])?;
    Ok(())
}

/// What an upload does, as it is to be appended.
pub(super) struct Addition {
    space: u32,
    states: Vec<Bytes>,
    parts: Vec<Part>,
}

impl Addition {
    /// Writes it down. It has no blocks when nothing is to be kept.
    pub(super) fn new(space: u32, writer: WriterId, effects: &Effects) -> Self {
        let states = encode_rows(effects);
        let empty = effects.log.is_empty() && effects.rows.is_empty() && effects.pairs.is_empty();
        let parts = if empty { Vec::new() } else { block::encode(space, writer, effects, &states) };
        Self { space, states, parts }
    }

    /// Whether appending it is a single statement.
    pub(super) fn is_one_statement(&self) -> bool {
        matches!(&self.parts[..], [part] if part.last_record.is_some())
    }

    /// Stages it, and appends it to the log after block `last`. When that fails, it is staged all the same. Answers the last block of it.
    pub(super) fn append(
        self,
        connection: &Connection,
        recent: &Recent,
        last: BlockNo,
        effects: &Effects,
    ) -> Result<BlockNo, StoreError> {
        let upto = last + self.parts.len() as BlockNo;
        if self.parts.is_empty() {
            return Ok(upto);
        }
        recent.stage(self.space, effects.before, upto, |staging| {
            staging.head(effects.head);
            for record in &effects.log {
                let refused = matches!(record.verdict, Verdict::Rejected(_));
                staging.receipt(record.id, Receipt { seq: record.seq, refused });
            }
            for (write, state) in effects.rows.iter().zip(self.states) {
                let row = &write.row;
                staging.row(write.stored_at, &row.table, &row.id.key, row.last_seq, state);
            }
            for write in &effects.pairs {
                staging.pair(write.pair, write.keeper.clone());
            }
            for (no, part) in (last + 1..).zip(&self.parts) {
                if let Some(seq) = part.last_record {
                    staging.block(seq, no);
                }
            }
        });
        let mut insert = connection.prepare_cached("INSERT INTO block (no, content) VALUES (?1, ?2)")?;
        for (no, part) in (last + 1..).zip(&self.parts) {
            insert.execute(params![no, &part.content])?;
            if part.last_record.is_none() {
                let sql = "INSERT INTO lineless_block (space, block) VALUES (?1, ?2)";
                connection.prepare_cached(sql)?.execute(params![self.space, no])?;
            }
        }
        Ok(upto)
    }
}

/// The stored forms of all rows: slices of one buffer.
fn encode_rows(effects: &Effects) -> Vec<Bytes> {
    let (mut buffer, mut ends) = (Vec::new(), Vec::with_capacity(effects.rows.len()));
    for write in &effects.rows {
        write.row.encode(&mut buffer);
        ends.push(buffer.len());
    }
    let (buffer, mut start) = (Bytes::from(buffer), 0);
    let slice = |end| buffer.slice(std::mem::replace(&mut start, end)..end);
    ends.into_iter().map(slice).collect()
}

/// Reads what is not flushed yet.
///
/// # Errors
/// What the database says, or that a block cannot be read.
pub(super) fn reload(connection: &Connection, limits: RecentLimits) -> Result<Recent, StoreError> {
    let flushed = flushed(connection)?;
    let recent = Recent::new(limits, flushed);
    let mut statement =
        connection.prepare_cached("SELECT no, content FROM block WHERE no > ?1 ORDER BY no")?;
    let mut found = statement.query([flushed])?;
    let mut counted: HashMap<u32, SpaceHead> = HashMap::new();
    while let Some(row) = found.next()? {
        let no: BlockNo = row.get(0)?;
        let content = Bytes::from(row.get::<_, Vec<u8>>(1)?);
        let block = Block::decode(&content).ok_or_else(|| corrupt("block", "content", no))?;
        recent.mark_reloaded();
        let counted = match counted.entry(block.space) {
            Entry::Occupied(held) => held.into_mut(),
            Entry::Vacant(place) => place.insert(flushed_head(connection, block.space)?),
        };
        count(counted, &block);
        restage(&recent, no, &block, counted.bytes).ok_or_else(|| corrupt("block", "content", no))?;
        recent.publish(no, false);
    }
    // What comes now was never flushed in part.
    recent.seal();
    Ok(recent)
}

/// Counts the bytes of those of a block's records that are not counted yet: what flushed of a generation may be ahead of what
/// says that all of it is.
pub(super) fn count(counted: &mut SpaceHead, block: &Block) {
    for record in &block.records {
        if record.seq > counted.seq {
            counted.seq = record.seq;
            counted.bytes += record.raw.len() as u64;
        }
    }
}

fn restage(recent: &Recent, no: BlockNo, block: &Block, bytes: u64) -> Option<()> {
    let rows = block.rows.iter().map(|StoredRow { stored_at, state }| {
        // A slice would keep the whole block in memory.
        let state = Bytes::copy_from_slice(state);
        Row::decode(&state).ok().map(|row| (*stored_at, row.reference(), row.last_seq, state))
    });
    let rows: Vec<(Option<Seq>, RowRef, Seq, Bytes)> = rows.collect::<Option<_>>()?;
    recent.stage(block.space, 0, no, |staging| {
        staging.head(SpaceHead { bytes, ..block.head });
        for record in &block.records {
            let refused = matches!(record.verdict, Verdict::Rejected(_));
            staging.receipt(record.id, Receipt { seq: record.seq, refused });
        }
        for (stored_at, row, seq, state) in rows {
            staging.row(stored_at, &row.table, &row.key, seq, state);
        }
        for write in &block.pairs {
            staging.pair(write.pair, write.keeper.clone());
        }
        if let Some(last) = block.records.last() {
            staging.block(last.seq, no);
        }
    });
    Some(())
}

/// How many bytes a block takes as it is stored. Its content is not read.
pub(super) fn stored_bytes(connection: &Connection, no: BlockNo) -> Result<usize, StoreError> {
    let mut statement = connection.prepare_cached("SELECT length(content) FROM block WHERE no = ?1")?;
    let length: Option<i64> = statement.query_row([no], |row| row.get(0)).optional()?;
    let length = length.ok_or_else(|| corrupt("block_place", "block", no))?;
    Ok(usize::try_from(length).unwrap_or(usize::MAX))
}

/// Reads a block.
pub(super) fn read(connection: &Connection, no: BlockNo) -> Result<Block, StoreError> {
    let mut statement = connection.prepare_cached("SELECT content FROM block WHERE no = ?1")?;
    let content = statement.query_row([no], |row| row.get::<_, Vec<u8>>(0)).optional()?;
    let content = content.ok_or_else(|| corrupt("block_place", "block", no))?;
    Block::decode(&Bytes::from(content)).ok_or_else(|| corrupt("block", "content", no))
}
