//! Statements of spaces: locks, counters, and what is found by key. Functions here know SQL and nothing of the merge rules.

use bytes::Bytes;
use bytestring::ByteString;
use lattice_engine::{Needs, PairKey, RowRef, Seq, SpaceHead, SpaceId};
use lattice_protocol::EntryId;
use tokio_postgres::{Row, Statement};
use uuid::Uuid;

use super::error::PgError;
use super::overlay::{Overlay, Overlays, decode};
use super::transaction::{Connection, Params, query, query_opt};
use super::values::{corrupt, id, receipt, seq, space, uuid};
use crate::stored::keys::{key_bytes, key_from_bytes};

/// `$1` spaces. Always in the same order, so that no two transactions wait for one another.
pub(super) const LOCK: &str =
    "SELECT space_id, head, arrival_us, bytes FROM space_head WHERE space_id = ANY($1::uuid[])
     ORDER BY space_id FOR UPDATE";
pub(super) const VERSION: &str = "SELECT n FROM access_version";
/// `$1` spaces, `$2` users: what decides what each may do in each.
pub(super) const ACCESS: &str =
    "SELECT u.space_id, u.user_id, s.kind, s.owner = u.user_id, m.role, s.policy, s.archived_us IS NOT NULL
     FROM unnest($1::uuid[], $2::uuid[]) AS u (space_id, user_id)
     JOIN space s ON s.space_id = u.space_id AND s.deleted_us IS NULL
     LEFT JOIN member m ON m.space_id = u.space_id AND m.user_id = u.user_id";
const ENTRIES: &str = "SELECT e.space_id, e.id, e.seq, e.verdict LIKE 'rejected:%'
     FROM unnest($1::uuid[], $2::uuid[]) AS u (space_id, id)
     JOIN entry e ON e.space_id = u.space_id AND e.id = u.id";
const ROWS: &str =
    "SELECT r.space_id, r.state FROM unnest($1::uuid[], $2::bytea[], $3::text[]) AS u (space_id, key, name)
     JOIN row_state r ON r.space_id = u.space_id AND r.key = u.key AND r.name = u.name";
const PAIRS: &str =
    "SELECT p.space_id, p.pair, p.key, p.name FROM unnest($1::uuid[], $2::uuid[]) AS u (space_id, pair)
     JOIN pair p ON p.space_id = u.space_id AND p.pair = u.pair";

/// The database's version of what anybody may do.
pub(super) async fn version(connection: &Connection) -> Result<i64, PgError> {
    let row = query_opt(connection, VERSION, &[]).await?;
    Ok(row.map_or(Ok(0), |row| row.try_get(0))?)
}

/// The counters of a space; `None` when it was erased.
pub(super) async fn head(connection: &Connection, space: SpaceId) -> Result<Option<SpaceHead>, PgError> {
    let sql = "SELECT space_id, head, arrival_us, bytes FROM space_head WHERE space_id = $1";
    let row = query_opt(connection, sql, &[&uuid(space.0)]).await?;
    row.map(|row| read_head(&row).map(|(_, head)| head)).transpose()
}

/// The last seqs of those of many spaces that are there.
pub(super) async fn heads(
    connection: &Connection,
    wanted: &[SpaceId],
) -> Result<Vec<(SpaceId, Seq)>, PgError> {
    let sql = "SELECT space_id, head FROM space_head WHERE space_id = ANY($1::uuid[])";
    let wanted: Vec<Uuid> = wanted.iter().map(|id| uuid(id.0)).collect();
    let rows = query(connection, sql, &[&wanted]).await?;
    rows.iter().map(|row| Ok((space(row, 0)?, seq(row, 1)?))).collect()
}

/// Reads a row of [`LOCK`].
pub(super) fn read_head(row: &Row) -> Result<(SpaceId, SpaceHead), PgError> {
    let bytes = row.try_get::<_, i64>(3)?.cast_unsigned();
    Ok((space(row, 0)?, SpaceHead { seq: seq(row, 1)?, arrival_us: row.try_get(2)?, bytes }))
}

/// Statements that load what uploads need, prepared on one connection.
pub(super) struct Loads {
    entries: Statement,
    rows: Statement,
    pairs: Statement,
}

impl Loads {
    pub(super) async fn prepare(connection: &Connection) -> Result<Self, PgError> {
        Ok(Self {
            entries: connection.prepare_cached(ENTRIES).await?,
            rows: connection.prepare_cached(ROWS).await?,
            pairs: connection.prepare_cached(PAIRS).await?,
        })
    }
}

/// What is asked of several spaces at once, as columns.
#[derive(Default)]
pub(super) struct Wanted {
    entries: (Vec<Uuid>, Vec<Uuid>),
    rows: (Vec<Uuid>, Vec<Vec<u8>>, Vec<String>),
    pairs: (Vec<Uuid>, Vec<Uuid>),
}

impl Wanted {
    pub(super) fn add(&mut self, space: SpaceId, needs: &Needs) {
        let space = uuid(space.0);
        for id in &needs.entries {
            self.entries.0.push(space);
            self.entries.1.push(uuid(id.0));
        }
        for row in &needs.rows {
            self.rows.0.push(space);
            self.rows.1.push(key_bytes(&row.key));
            self.rows.2.push(row.table.to_string());
        }
        for pair in &needs.pairs {
            self.pairs.0.push(space);
            self.pairs.1.push(uuid(pair.0));
        }
    }

    /// Loads it, in one round trip.
    pub(super) async fn load(&self, connection: &Connection, loads: &Loads) -> Result<Loaded, PgError> {
        let (entries, rows, pairs) = tokio::try_join!(
            async {
                load(
                    connection,
                    &loads.entries,
                    self.entries.0.is_empty(),
                    &[&self.entries.0, &self.entries.1],
                )
                .await
            },
            async {
                load(
                    connection,
                    &loads.rows,
                    self.rows.0.is_empty(),
                    &[&self.rows.0, &self.rows.1, &self.rows.2],
                )
                .await
            },
            async {
                load(connection, &loads.pairs, self.pairs.0.is_empty(), &[&self.pairs.0, &self.pairs.1]).await
            },
        )?;
        Ok(Loaded { entries, rows, pairs })
    }
}

async fn load(
    connection: &Connection,
    statement: &Statement,
    nothing: bool,
    params: Params<'_>,
) -> Result<Vec<Row>, PgError> {
    if nothing { Ok(Vec::new()) } else { Ok(connection.query(statement, params).await?) }
}

/// What was loaded.
pub(super) struct Loaded {
    entries: Vec<Row>,
    rows: Vec<Row>,
    pairs: Vec<Row>,
}

impl Loaded {
    /// Puts it where uploads find it.
    pub(super) fn put(self, overlays: &mut Overlays) -> Result<(), PgError> {
        for row in &self.entries {
            put_entry(overlays.entry(space(row, 0)?).or_default(), row)?;
        }
        for row in &self.rows {
            put_row(overlays.entry(space(row, 0)?).or_default(), row)?;
        }
        for row in &self.pairs {
            put_pair(overlays.entry(space(row, 0)?).or_default(), row)?;
        }
        Ok(())
    }

    /// The same, where all of it is of one space.
    pub(super) fn put_one(self, overlay: &mut Overlay) -> Result<(), PgError> {
        self.entries.iter().try_for_each(|row| put_entry(overlay, row))?;
        self.rows.iter().try_for_each(|row| put_row(overlay, row))?;
        self.pairs.iter().try_for_each(|row| put_pair(overlay, row))
    }
}

fn put_entry(overlay: &mut Overlay, row: &Row) -> Result<(), PgError> {
    overlay.read_entry(EntryId(id(row, 1)?), receipt(row, 2, 3)?);
    Ok(())
}

fn put_row(overlay: &mut Overlay, row: &Row) -> Result<(), PgError> {
    let state = Bytes::from(row.try_get::<_, Vec<u8>>(1)?);
    overlay.read_row(decode(&state)?.reference(), state);
    Ok(())
}

fn put_pair(overlay: &mut Overlay, row: &Row) -> Result<(), PgError> {
    overlay.read_pair(PairKey(id(row, 1)?), keeper(row, 2)?);
    Ok(())
}

/// The live row of a pair, from its key and its table.
pub(super) fn keeper(row: &Row, at: usize) -> Result<Option<RowRef>, PgError> {
    let (key, name): (Option<Vec<u8>>, Option<String>) = (row.try_get(at)?, row.try_get(at + 1)?);
    let (Some(key), Some(name)) = (key, name) else { return Ok(None) };
    let key = key_from_bytes(&key).ok_or_else(|| corrupt("pair", "key", &name))?;
    Ok(Some(RowRef { table: ByteString::from(name), key }))
}

/// The private space of a user, if it was made and its owner is not gone: its id and stored rules.
pub(super) async fn private(
    connection: &Connection,
    owner: [u8; 16],
) -> Result<Option<(SpaceId, String)>, PgError> {
    let sql =
        "SELECT space_id, rules FROM space WHERE owner = $1 AND kind = 'private' AND deleted_us IS NULL";
    let found = query_opt(connection, sql, &[&uuid(owner)]).await?;
    found.map(|row| Ok((space(&row, 0)?, row.try_get(1)?))).transpose()
}

/// Makes the private space of a user, if it is not there.
pub(super) async fn create_private(
    connection: &Connection,
    owner: [u8; 16],
    id: SpaceId,
    rules: &str,
    now_us: i64,
) -> Result<(), PgError> {
    // One statement: whoever finds the space finds its counters.
    let sql = "WITH made AS (
                   INSERT INTO space (space_id, kind, owner, rules, created_us) VALUES ($1, 'private', $2, $3, $4)
                   ON CONFLICT DO NOTHING RETURNING space_id)
               INSERT INTO space_head (space_id) SELECT space_id FROM made";
    query(connection, sql, &[&uuid(id.0), &uuid(owner), &rules, &now_us]).await?;
    Ok(())
}
