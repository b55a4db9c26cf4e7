//! The statements of spaces. Functions here know SQL and nothing of the merge rules.

use std::collections::BTreeMap;

use bytes::Bytes;
use bytestring::ByteString;
use lattice_engine::mutation::Mutation;
use lattice_engine::{
    Corrected, Needs, PairKey, PullData, PullRequest, Receipt, Row, RowRef, Seq, SpaceHead, SpaceId,
};
use lattice_protocol::EntryId;
use rusqlite::{Connection, OptionalExtension, params};

use super::keys::{MAX_SPACE_NO, key_bytes, key_from_bytes, row_address};
use super::recent::Snapshot;
use super::{audit, page::page};
use crate::StoreError;
use crate::spaces::{AuditLine, Origin};

pub(super) fn corrupt(table: &'static str, column: &'static str, row: impl ToString) -> StoreError {
    StoreError::Corrupt { table, column, row: row.to_string() }
}

/// The number of a space that is there.
pub(super) fn number(connection: &Connection, id: SpaceId) -> Result<Option<u32>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT no FROM space WHERE id = ?1")?;
    Ok(statement.query_row([id.0], |row| row.get(0)).optional()?)
}

/// The counters of a space.
pub fn head(connection: &Connection, recent: &Snapshot, space: u32) -> Result<SpaceHead, StoreError> {
    match recent.head(space) {
        Some(head) => Ok(head),
        None => flushed_head(connection, space),
    }
}

/// The counters of a space as far as it is flushed.
pub(super) fn flushed_head(connection: &Connection, space: u32) -> Result<SpaceHead, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT head, arrival_us, bytes FROM space WHERE no = ?1")?;
    let (seq, arrival_us, bytes): (i64, i64, i64) =
        statement.query_row([space], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let seq = u64::try_from(seq).map_err(|_| corrupt("space", "head", space))?;
    Ok(SpaceHead { seq, arrival_us, bytes: u64::try_from(bytes).unwrap_or(0) })
}

/// Stores the counters of a space.
pub(crate) fn set_head(connection: &Connection, space: u32, head: SpaceHead) -> Result<(), StoreError> {
    let mut statement =
        connection.prepare_cached("UPDATE space SET head = ?2, arrival_us = ?3, bytes = ?4 WHERE no = ?1")?;
    statement.execute(params![space, head.seq as i64, head.arrival_us, head.bytes.cast_signed()])?;
    Ok(())
}

/// How a receipt is stored.
pub(super) fn mark_of(receipt: Receipt) -> i64 {
    (receipt.seq as i64) << 1 | i64::from(receipt.refused)
}

/// What is remembered of an entry.
pub fn receipt(
    connection: &Connection,
    recent: &Snapshot,
    space: u32,
    id: EntryId,
) -> Result<Option<Receipt>, StoreError> {
    let mut sql = "SELECT mark FROM receipt WHERE space = ?1 AND id = ?2";
    let mut known = recent.receipt(space, id);
    if Mutation::DedupAcrossSpaces.is_active() {
        sql = "SELECT mark FROM receipt WHERE ?1 >= 0 AND id = ?2";
        known = recent.receipt_anywhere(id);
    }
    if known.is_some() {
        return Ok(known);
    }
    let mut statement = connection.prepare_cached(sql)?;
    let mark: Option<i64> = statement.query_row(params![space, id.0], |row| row.get(0)).optional()?;
    Ok(mark.map(|mark| Receipt { seq: mark as u64 >> 1, refused: mark & 1 == 1 }))
}

/// The state of a row.
pub fn row(
    connection: &Connection,
    recent: &Snapshot,
    space: u32,
    reference: &RowRef,
) -> Result<Option<Row>, StoreError> {
    if let Some(row) = recent_row(recent, space, reference)? {
        return Ok(Some(row));
    }
    let sql = "SELECT row.place, row.state FROM row_key JOIN row ON row.place = row_key.place
               WHERE row_key.space = ?1 AND row_key.key = ?2 AND row_key.name = ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, Bytes::from(row.get::<_, Vec<u8>>(1)?)));
    let found =
        statement.query_row(params![space, key_bytes(&reference.key), &*reference.table], read).optional()?;
    found.map(|(address, state)| decode(address, &state)).transpose()
}

fn recent_row(recent: &Snapshot, space: u32, reference: &RowRef) -> Result<Option<Row>, StoreError> {
    let found = recent.row(space, reference);
    found.map(|(seq, state)| decode(row_address(space, seq), &state)).transpose()
}

fn decode(address: i64, state: &Bytes) -> Result<Row, StoreError> {
    Row::decode(state).map_err(|_| corrupt("row", "state", address))
}

/// The live row of a pair: `None` when the pair was never linked, `Some(None)` when it is not now.
fn pair(
    connection: &Connection,
    recent: &Snapshot,
    space: u32,
    pair: PairKey,
) -> Result<Option<Option<RowRef>>, StoreError> {
    if let Some(keeper) = recent.pair(space, pair) {
        return Ok(Some(keeper));
    }
    let mut statement =
        connection.prepare_cached("SELECT key, name FROM pair WHERE space = ?1 AND pair = ?2")?;
    let read =
        |row: &rusqlite::Row<'_>| Ok((row.get::<_, Option<Vec<u8>>>(0)?, row.get::<_, Option<String>>(1)?));
    let Some((key, name)) = statement.query_row(params![space, pair.0], read).optional()? else {
        return Ok(None);
    };
    let (Some(key), Some(name)) = (key, name) else { return Ok(Some(None)) };
    let key = key_from_bytes(&key).ok_or_else(|| corrupt("pair", "key", format!("{pair:?}")))?;
    Ok(Some(Some(RowRef { table: ByteString::from(name), key })))
}

/// Loads what a batch needs and hands it over. Without `tables` everything is in memory.
pub(crate) fn supply(
    tables: Option<&Connection>,
    recent: &Snapshot,
    space: u32,
    needs: &Needs,
    batch: &mut lattice_engine::Batch<'_>,
) -> Result<(), StoreError> {
    for id in &needs.entries {
        let known = match tables {
            Some(connection) => receipt(connection, recent, space, *id)?,
            None => recent.receipt(space, *id),
        };
        if let Some(known) = known {
            batch.supply_entry(*id, known);
        }
    }
    for reference in &needs.rows {
        let known = match tables {
            Some(connection) => row(connection, recent, space, reference)?,
            None => recent_row(recent, space, reference)?,
        };
        if let Some(known) = known {
            batch.supply_row(known);
        }
    }
    for key in &needs.pairs {
        let keeper = match tables {
            Some(connection) => pair(connection, recent, space, *key)?,
            None => recent.pair(space, *key),
        };
        if let Some(keeper) = keeper {
            batch.supply_pair(*key, keeper);
        }
    }
    Ok(())
}

/// Keeps who stands behind a writer id.
pub(crate) fn store_writer(connection: &Connection, origin: &Origin) -> Result<(), StoreError> {
    let sql = "INSERT INTO writer (id, user, session, address, user_agent, opened_us)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO NOTHING";
    connection.prepare_cached(sql)?.execute(params![
        origin.writer.0,
        origin.user,
        origin.session,
        origin.address,
        origin.user_agent,
        origin.opened_us
    ])?;
    Ok(())
}

/// Reads a page, the head and the rows to be corrected. The caller holds a snapshot.
pub fn pull(
    connection: &Connection,
    recent: &Snapshot,
    space: u32,
    request: &PullRequest,
) -> Result<PullData, StoreError> {
    let head = head(connection, recent, space)?.seq;
    let (rows, more) = page(connection, recent, space, request)?;
    let (mut corrected, mut bytes) = (Vec::with_capacity(request.corrections.len()), 0_usize);
    let mut follows_pair = false;
    for reference in &request.corrections {
        if bytes >= request.max_bytes && !follows_pair {
            break;
        }
        follows_pair = reference.pair().is_some();
        let found = match reference.pair() {
            None => row(connection, recent, space, reference)?,
            Some(_) => None,
        };
        let own_pair = found.as_ref().filter(|row| !row.is_live()).and_then(|row| row.pair);
        let lost_pair = reference.pair().or(own_pair);
        let keeper = match lost_pair {
            Some(key) => pair(connection, recent, space, key)?.flatten(),
            None => None,
        };
        let keeper = match keeper {
            Some(keeper) => row(connection, recent, space, &keeper)?,
            None => None,
        };
        let size =
            |row: &Row| row.fields.iter().map(|field| field.value.len() + field.name.len()).sum::<usize>();
        bytes += found.as_ref().map_or(0, size) + keeper.as_ref().map_or(0, size);
        corrected.push(Corrected { row: found, keeper });
    }
    let mut data = PullData { head, rows, more, corrected };
    if request.ends {
        look_for_ends(connection, recent, space, &mut data)?;
    }
    Ok(data)
}

/// Looks for the rows that links name which know nothing of them.
fn look_for_ends(
    connection: &Connection,
    recent: &Snapshot,
    space: u32,
    data: &mut PullData,
) -> Result<(), StoreError> {
    for link in data.rows_mut() {
        let mut found = BTreeMap::new();
        for reference in link.unknown_ends() {
            let end = row(connection, recent, space, &reference)?.and_then(|row| row.as_end());
            found.extend(end.map(|end| (reference, end)));
        }
        if !found.is_empty() {
            link.know_ends(|reference| found.get(reference).cloned());
        }
    }
    Ok(())
}

/// Lines of the audit log after `after`, in order.
pub fn audit(
    connection: &Connection,
    recent: &Snapshot,
    space: u32,
    after: Seq,
    max_lines: usize,
) -> Result<Vec<AuditLine>, StoreError> {
    let mut lines = audit::single_lines(connection, space, after, max_lines)?;
    audit::lines_of_blocks(connection, recent, space, after, max_lines, &mut lines)?;
    Ok(lines)
}

/// A space by its owner: number, public id and stored rules.
pub type SpaceRecord = (u32, [u8; 16], String);

/// The private space of a user, if it was made and its owner is not gone.
pub fn private(connection: &Connection, owner: [u8; 16]) -> Result<Option<SpaceRecord>, StoreError> {
    let sql = "SELECT no, id, rules FROM space WHERE owner = ?1 AND kind = 'private' AND deleted_us IS NULL";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    Ok(connection.prepare_cached(sql)?.query_row([owner], read).optional()?)
}

/// Makes the private space of a user.
pub fn create_private(
    connection: &Connection,
    owner: [u8; 16],
    id: [u8; 16],
    rules: &str,
    now_us: i64,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO space (id, kind, owner, rules, created_us) VALUES (?1, 'private', ?2, ?3, ?4)
               ON CONFLICT DO NOTHING";
    connection.prepare_cached(sql)?.execute(params![id, owner, rules, now_us])?;
    let no: i64 = connection.query_row("SELECT max(no) FROM space", [], |row| row.get(0))?;
    if no > i64::from(MAX_SPACE_NO) {
        return Err(StoreError::SpaceFull);
    }
    Ok(())
}
