//! The statements of spaces. Functions here know SQL and nothing of the merge rules.

use bytes::Bytes;
use bytestring::ByteString;
use lattice_engine::mutation::Mutation;
use lattice_engine::{
    Corrected, Effects, LogRecord, Needs, PairKey, PairWrite, PullData, PullRequest, Receipt, Row, RowRef,
    RowWrite, Seq, SpaceHead, WriterId,
};
use lattice_protocol::{EntryId, RowKey, Spelling};
use rusqlite::{Connection, OptionalExtension, params};

use super::verdict;
use crate::StoreError;
use crate::spaces::{AuditLine, Origin};

/// Bits of a place that hold the seq.
const SEQ_BITS: u32 = 36;
/// Spaces that one file can number.
pub(crate) const MAX_SPACE_NO: u32 = (1 << 27) - 1;

/// Where something with this seq stands.
pub(super) const fn place(space: u32, seq: Seq) -> i64 {
    ((space as i64) << SEQ_BITS) | seq as i64
}

const fn seq_of(place: i64) -> Seq {
    place as u64 & ((1 << SEQ_BITS) - 1)
}

/// A row key as bytes: 16 for a UUID; text is padded with 0xFF, which is in no text, to at least 17.
fn key_bytes(key: &RowKey) -> Vec<u8> {
    match key {
        RowKey::Uuid(bytes) => bytes.to_vec(),
        RowKey::Text(text) => {
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize((bytes.len() + 1).max(17), 0xFF);
            bytes
        }
    }
}

fn key_from_bytes(bytes: &[u8]) -> Option<RowKey> {
    if let Ok(uuid) = bytes.try_into() {
        return Some(RowKey::Uuid(uuid));
    }
    let end = bytes.iter().position(|byte| *byte == 0xFF)?;
    std::str::from_utf8(&bytes[..end]).ok().map(|text| RowKey::Text(text.into()))
}

fn corrupt(table: &'static str, column: &'static str, row: impl ToString) -> StoreError {
    StoreError::Corrupt { table, column, row: row.to_string() }
}

/// The counters of a space.
pub fn head(connection: &Connection, space: u32) -> Result<SpaceHead, StoreError> {
    let mut statement = connection.prepare_cached("SELECT head, arrival_us FROM space WHERE no = ?1")?;
    let (seq, arrival_us): (i64, i64) = statement.query_row([space], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let seq = u64::try_from(seq).map_err(|_| corrupt("space", "head", space))?;
    Ok(SpaceHead { seq, arrival_us })
}

/// Stores the counters of a space.
pub(crate) fn set_head(connection: &Connection, space: u32, head: SpaceHead) -> Result<(), StoreError> {
    let mut statement =
        connection.prepare_cached("UPDATE space SET head = ?2, arrival_us = ?3 WHERE no = ?1")?;
    statement.execute(params![space, head.seq as i64, head.arrival_us])?;
    Ok(())
}

/// What is remembered of an entry.
pub fn receipt(connection: &Connection, space: u32, id: EntryId) -> Result<Option<Receipt>, StoreError> {
    let mut sql = "SELECT place, verdict >= 'rejected:' AND verdict < 'rejected;' FROM entry WHERE space = ?1 AND id = ?2";
    if Mutation::DedupAcrossSpaces.is_active() {
        sql = "SELECT place, 0 FROM entry WHERE ?1 >= 0 AND id = ?2";
    }
    let mut statement = connection.prepare_cached(sql)?;
    let read = |row: &rusqlite::Row<'_>| Ok(Receipt { seq: seq_of(row.get(0)?), refused: row.get(1)? });
    Ok(statement.query_row(params![space, id.0], read).optional()?)
}

/// The state of a row.
pub fn row(connection: &Connection, space: u32, reference: &RowRef) -> Result<Option<Row>, StoreError> {
    let sql = "SELECT row.place, row.state FROM row_key JOIN row ON row.place = row_key.place
               WHERE row_key.space = ?1 AND row_key.key = ?2 AND row_key.name = ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, Bytes::from(row.get::<_, Vec<u8>>(1)?)));
    let found =
        statement.query_row(params![space, key_bytes(&reference.key), &*reference.table], read).optional()?;
    found.map(|(place, state)| Row::decode(&state).map_err(|_| corrupt("row", "state", place))).transpose()
}

/// The live row of a pair: `None` when the pair was never linked, `Some(None)` when it is not now.
fn pair(connection: &Connection, space: u32, pair: PairKey) -> Result<Option<Option<RowRef>>, StoreError> {
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

/// Loads what a batch needs and hands it over.
pub(crate) fn supply(
    connection: &Connection,
    space: u32,
    needs: &Needs,
    batch: &mut lattice_engine::Batch<'_>,
) -> Result<(), StoreError> {
    for id in &needs.entries {
        if let Some(known) = receipt(connection, space, *id)? {
            batch.supply_entry(*id, known);
        }
    }
    for reference in &needs.rows {
        if let Some(known) = row(connection, space, reference)? {
            batch.supply_row(known);
        }
    }
    for key in &needs.pairs {
        if let Some(keeper) = pair(connection, space, *key)? {
            batch.supply_pair(*key, keeper);
        }
    }
    Ok(())
}

/// Stores what an upload does, its counters excepted.
pub(crate) fn store(
    connection: &Connection,
    space: u32,
    writer: WriterId,
    effects: &Effects,
) -> Result<(), StoreError> {
    store_log(connection, space, writer, &effects.log)?;
    super::directory::refusals::store(connection, space, writer, &effects.log)?;
    store_rows(connection, space, &effects.rows)?;
    for PairWrite { pair, keeper } in &effects.pairs {
        let sql = "INSERT INTO pair (space, pair, key, name) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT (space, pair) DO UPDATE SET key = excluded.key, name = excluded.name";
        let key = keeper.as_ref().map(|keeper| key_bytes(&keeper.key));
        let name = keeper.as_ref().map(|keeper| &*keeper.table);
        connection.prepare_cached(sql)?.execute(params![space, pair.0, key, name])?;
    }
    Ok(())
}

fn store_log(
    connection: &Connection,
    space: u32,
    writer: WriterId,
    log: &[LogRecord],
) -> Result<(), StoreError> {
    let sql = "INSERT INTO entry (place, space, id, spelling, writer, verdict, clamped, time_us, arrived_us, content)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let mut statement = connection.prepare_cached(sql)?;
    for record in log {
        statement.execute(params![
            place(space, record.seq),
            space,
            record.id.0,
            record.id_spelling.0,
            writer.0,
            verdict::to_text(record.verdict),
            record.clamped,
            record.time_us,
            record.arrived_us,
            &record.raw[..],
        ])?;
    }
    Ok(())
}

fn store_rows(connection: &Connection, space: u32, rows: &[RowWrite]) -> Result<(), StoreError> {
    let mut state = Vec::new();
    let mut insert = connection.prepare_cached("INSERT INTO row (place, state) VALUES (?1, ?2)")?;
    let mut insert_key =
        connection.prepare_cached("INSERT INTO row_key (space, key, name, place) VALUES (?1, ?2, ?3, ?4)")?;
    let mut update = connection.prepare_cached("UPDATE row SET place = ?2, state = ?3 WHERE place = ?1")?;
    let mut update_key = connection
        .prepare_cached("UPDATE row_key SET place = ?4 WHERE space = ?1 AND key = ?2 AND name = ?3")?;
    for RowWrite { stored_at, row } in rows {
        state.clear();
        row.encode(&mut state);
        let to = place(space, row.last_seq);
        let key = || key_bytes(&row.id.key);
        let Some(stored_at) = stored_at else {
            insert.execute(params![to, &state])?;
            insert_key.execute(params![space, key(), &*row.table, to])?;
            continue;
        };
        let changed = update.execute(params![place(space, *stored_at), to, &state])?;
        if changed != 1 {
            return Err(corrupt("row_key", "place", place(space, *stored_at)));
        }
        if *stored_at != row.last_seq {
            update_key.execute(params![space, key(), &*row.table, to])?;
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
pub fn pull(connection: &Connection, space: u32, request: &PullRequest) -> Result<PullData, StoreError> {
    let head = head(connection, space)?.seq;
    let (rows, more) = page(connection, space, request)?;
    let (mut corrected, mut bytes) = (Vec::with_capacity(request.corrections.len()), 0_usize);
    let mut follows_pair = false;
    for reference in &request.corrections {
        if bytes >= request.max_bytes && !follows_pair {
            break;
        }
        follows_pair = reference.pair().is_some();
        let found = match reference.pair() {
            None => row(connection, space, reference)?,
            Some(_) => None,
        };
        let own_pair = found.as_ref().filter(|row| !row.is_live()).and_then(|row| row.pair);
        let lost_pair = reference.pair().or(own_pair);
        let keeper = match lost_pair {
            Some(key) => pair(connection, space, key)?.flatten(),
            None => None,
        };
        let keeper = match keeper {
            Some(keeper) => row(connection, space, &keeper)?,
            None => None,
        };
        let size =
            |row: &Row| row.fields.iter().map(|field| field.value.len() + field.name.len()).sum::<usize>();
        bytes += found.as_ref().map_or(0, size) + keeper.as_ref().map_or(0, size);
        corrected.push(Corrected { row: found, keeper });
    }
    Ok(PullData { head, rows, more, corrected })
}

fn page(connection: &Connection, space: u32, request: &PullRequest) -> Result<(Vec<Row>, bool), StoreError> {
    let sql = "SELECT place, state FROM row WHERE place > ?1 AND place <= ?2 ORDER BY place";
    let mut statement = connection.prepare_cached(sql)?;
    let last = place(space, lattice_engine::MAX_SEQ);
    let mut found = statement.query(params![place(space, request.after), last])?;
    // One buffer for the page, so that its rows are slices of one allocation.
    let (mut buffer, mut ends, mut more) = (Vec::new(), Vec::new(), false);
    while let Some(row) = found.next()? {
        let state = row.get_ref(1)?.as_blob().map_err(|_| corrupt("row", "state", "a page"))?;
        if ends.len() >= request.max_rows
            || (!ends.is_empty() && buffer.len() + state.len() > request.max_bytes)
        {
            more = true;
            break;
        }
        buffer.extend_from_slice(state);
        ends.push((row.get::<_, i64>(0)?, buffer.len()));
    }
    let buffer = Bytes::from(buffer);
    let (mut rows, mut start) = (Vec::with_capacity(ends.len()), 0);
    for (place, end) in ends {
        rows.push(Row::decode(&buffer.slice(start..end)).map_err(|_| corrupt("row", "state", place))?);
        start = end;
    }
    Ok((rows, more))
}

/// Lines of the audit log after `after`, in order.
pub fn audit(
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
    let last = place(space, lattice_engine::MAX_SEQ);
    let mut found = statement.query(params![place(space, after), last, max_lines as i64])?;
    let mut lines = Vec::new();
    while let Some(row) = found.next()? {
        let place: i64 = row.get(0)?;
        let verdict =
            verdict::from_text(row.get_ref(4)?.as_str().map_err(|_| corrupt("entry", "verdict", place))?);
        lines.push(AuditLine {
            record: LogRecord {
                seq: seq_of(place),
                id: EntryId(row.get(1)?),
                id_spelling: Spelling(row.get(2)?),
                verdict: verdict.ok_or_else(|| corrupt("entry", "verdict", place))?,
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
