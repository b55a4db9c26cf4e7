//! What a group writes, as columns: one statement for each table, whatever spaces it concerns.

use std::collections::BTreeMap;

use bytes::Bytes;
use lattice_engine::{Effects, LogRecord, PairWrite, Row, SpaceHead, SpaceId, Verdict, WriterId};
use tokio_postgres::Statement;
use uuid::Uuid;

use super::error::PgError;
use super::group::KnownWriters;
use super::transaction::{Connection, Params};
use super::values::uuid;
use crate::spaces::{Origin, Upload};
use crate::stored::keys::key_bytes;
use crate::stored::verdict;

const HEAD: &str = "UPDATE space_head h SET head = u.head, arrival_us = u.arrival_us, bytes = u.bytes
     FROM unnest($1::uuid[], $2::int8[], $3::int8[], $4::int8[]) AS u (space_id, head, arrival_us, bytes)
     WHERE h.space_id = u.space_id";
const WRITER: &str = "INSERT INTO writer (space_id, id, user_id, session_id, address, user_agent, opened_us)
     SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::int8[])
     ON CONFLICT DO NOTHING";
const ENTRY: &str = "INSERT INTO entry (space_id, seq, id, spelling, writer, user_id, verdict, clamped, time_us, arrived_us, content)
     SELECT * FROM unnest($1::uuid[], $2::int8[], $3::uuid[], $4::int4[], $5::uuid[], $6::uuid[], $7::text[], $8::bool[],
                          $9::int8[], $10::int8[], $11::bytea[])";
const REFUSAL: &str = "INSERT INTO refusal (space_id, arrived_us, id, seq, user_id)
     SELECT * FROM unnest($1::uuid[], $2::int8[], $3::uuid[], $4::int8[], $5::uuid[])";
const ROW: &str = "INSERT INTO row_state (space_id, key, name, last_seq, state)
     SELECT * FROM unnest($1::uuid[], $2::bytea[], $3::text[], $4::int8[], $5::bytea[])
     ON CONFLICT (space_id, key, name) DO UPDATE SET last_seq = excluded.last_seq, state = excluded.state";
const PAIR: &str = "INSERT INTO pair (space_id, pair, key, name)
     SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::text[])
     ON CONFLICT (space_id, pair) DO UPDATE SET key = excluded.key, name = excluded.name";

/// The statements, prepared on one connection.
pub(super) struct Inserts {
    head: Statement,
    writer: Statement,
    entry: Statement,
    refusal: Statement,
    row: Statement,
    pair: Statement,
}

impl Inserts {
    pub(super) async fn prepare(connection: &Connection) -> Result<Self, PgError> {
        Ok(Self {
            head: connection.prepare_cached(HEAD).await?,
            writer: connection.prepare_cached(WRITER).await?,
            entry: connection.prepare_cached(ENTRY).await?,
            refusal: connection.prepare_cached(REFUSAL).await?,
            row: connection.prepare_cached(ROW).await?,
            pair: connection.prepare_cached(PAIR).await?,
        })
    }
}

/// Everything that a group writes. A row or pair that several of its uploads write is written once, as the last left it.
#[derive(Default)]
pub(super) struct Writes {
    heads: Heads,
    writers: Writers,
    entries: Entries,
    refusals: Refusals,
    rows: BTreeMap<RowPlace, (i64, Bytes)>,
    pairs: BTreeMap<(Uuid, Uuid), Option<Keeper>>,
}

/// Key and table of the live row of a pair.
type Keeper = (Vec<u8>, String);

/// Space, key and table of a row.
type RowPlace = (Uuid, Vec<u8>, String);

#[derive(Default)]
struct Heads {
    space: Vec<Uuid>,
    seq: Vec<i64>,
    arrival_us: Vec<i64>,
    bytes: Vec<i64>,
}

impl Heads {
    async fn write(&self, connection: &Connection, statement: &Statement) -> Result<(), PgError> {
        let params: Params<'_> = &[&self.space, &self.seq, &self.arrival_us, &self.bytes];
        write(connection, statement, self.space.is_empty(), params).await
    }
}

#[derive(Default)]
struct Refusals {
    space: Vec<Uuid>,
    arrived_us: Vec<i64>,
    id: Vec<Uuid>,
    seq: Vec<i64>,
    user: Vec<Uuid>,
}

impl Refusals {
    async fn write(&self, connection: &Connection, statement: &Statement) -> Result<(), PgError> {
        let params: Params<'_> = &[&self.space, &self.arrived_us, &self.id, &self.seq, &self.user];
        write(connection, statement, self.id.is_empty(), params).await
    }
}

#[derive(Default)]
struct Writers {
    space: Vec<Uuid>,
    id: Vec<Uuid>,
    user: Vec<Uuid>,
    session: Vec<Uuid>,
    address: Vec<String>,
    user_agent: Vec<String>,
    opened_us: Vec<i64>,
}

impl Writers {
    async fn write(&self, connection: &Connection, statement: &Statement) -> Result<(), PgError> {
        let params: Params<'_> = &[
            &self.space,
            &self.id,
            &self.user,
            &self.session,
            &self.address,
            &self.user_agent,
            &self.opened_us,
        ];
        write(connection, statement, self.id.is_empty(), params).await
    }
}

#[derive(Default)]
struct Entries {
    space: Vec<Uuid>,
    seq: Vec<i64>,
    id: Vec<Uuid>,
    spelling: Vec<i32>,
    writer: Vec<Uuid>,
    user: Vec<Uuid>,
    verdict: Vec<String>,
    clamped: Vec<bool>,
    time_us: Vec<i64>,
    arrived_us: Vec<i64>,
    content: Vec<Bytes>,
}

impl Entries {
    async fn write(&self, connection: &Connection, statement: &Statement) -> Result<(), PgError> {
        let contents: Vec<&[u8]> = self.content.iter().map(|content| &**content).collect();
        let params: Params<'_> = &[
            &self.space,
            &self.seq,
            &self.id,
            &self.spelling,
            &self.writer,
            &self.user,
            &self.verdict,
            &self.clamped,
            &self.time_us,
            &self.arrived_us,
            &contents,
        ];
        write(connection, statement, self.id.is_empty(), params).await
    }
}

#[derive(Default)]
struct Rows {
    space: Vec<Uuid>,
    key: Vec<Vec<u8>>,
    name: Vec<String>,
    last_seq: Vec<i64>,
    state: Vec<Bytes>,
}

impl Rows {
    fn of(written: BTreeMap<RowPlace, (i64, Bytes)>) -> Self {
        let mut rows = Self::default();
        for ((space, key, name), (last_seq, state)) in written {
            rows.space.push(space);
            rows.key.push(key);
            rows.name.push(name);
            rows.last_seq.push(last_seq);
            rows.state.push(state);
        }
        rows
    }

    async fn write(&self, connection: &Connection, statement: &Statement) -> Result<(), PgError> {
        let states: Vec<&[u8]> = self.state.iter().map(|state| &**state).collect();
        let params: Params<'_> = &[&self.space, &self.key, &self.name, &self.last_seq, &states];
        write(connection, statement, self.space.is_empty(), params).await
    }
}

#[derive(Default)]
struct Pairs {
    space: Vec<Uuid>,
    pair: Vec<Uuid>,
    key: Vec<Option<Vec<u8>>>,
    name: Vec<Option<String>>,
}

impl Pairs {
    fn of(written: BTreeMap<(Uuid, Uuid), Option<Keeper>>) -> Self {
        let mut pairs = Self::default();
        for ((space, pair), keeper) in written {
            let (key, name) = keeper.unzip();
            pairs.space.push(space);
            pairs.pair.push(pair);
            pairs.key.push(key);
            pairs.name.push(name);
        }
        pairs
    }

    async fn write(&self, connection: &Connection, statement: &Statement) -> Result<(), PgError> {
        let params: Params<'_> = &[&self.space, &self.pair, &self.key, &self.name];
        write(connection, statement, self.space.is_empty(), params).await
    }
}

impl Writes {
    /// Adds what an upload does. `states` are the stored forms of its rows.
    pub(super) fn add(
        &mut self,
        upload: &Upload,
        effects: &Effects,
        states: Vec<Bytes>,
        known: &KnownWriters,
    ) {
        let (space, origin) = (upload.space.id, &*upload.origin);
        if !known.contains(&(space, origin.writer.0)) {
            self.writer(space, origin);
        }
        for record in &effects.log {
            self.line(space, origin.writer, origin.user, record);
        }
        for (write, state) in effects.rows.iter().zip(states) {
            self.row(space, &write.row, state);
        }
        for write in &effects.pairs {
            self.pair(space, write);
        }
    }

    /// Adds who stands behind a writer.
    pub(super) fn writer(&mut self, space: SpaceId, origin: &Origin) {
        let writers = &mut self.writers;
        writers.space.push(uuid(space.0));
        writers.id.push(uuid(origin.writer.0));
        writers.user.push(uuid(origin.user));
        writers.session.push(uuid(origin.session));
        writers.address.push(origin.address.clone());
        writers.user_agent.push(origin.user_agent.clone());
        writers.opened_us.push(origin.opened_us);
    }

    /// Adds a line of the audit log, and of the inbox if it is a refusal.
    pub(super) fn line(&mut self, space: SpaceId, writer: WriterId, user: [u8; 16], record: &LogRecord) {
        let (space, user) = (uuid(space.0), uuid(user));
        let entries = &mut self.entries;
        entries.space.push(space);
        entries.seq.push(record.seq.cast_signed());
        entries.id.push(uuid(record.id.0));
        entries.spelling.push(record.id_spelling.0.cast_signed());
        entries.writer.push(uuid(writer.0));
        entries.user.push(user);
        entries.verdict.push(verdict::to_text(record.verdict).into_owned());
        entries.clamped.push(record.clamped);
        entries.time_us.push(record.time_us);
        entries.arrived_us.push(record.arrived_us);
        entries.content.push(record.raw.clone());
        if matches!(record.verdict, Verdict::Rejected(_)) {
            let refusals = &mut self.refusals;
            refusals.space.push(space);
            refusals.arrived_us.push(record.arrived_us);
            refusals.id.push(uuid(record.id.0));
            refusals.seq.push(record.seq.cast_signed());
            refusals.user.push(user);
        }
    }

    /// Adds a row with its stored form.
    pub(super) fn row(&mut self, space: SpaceId, row: &Row, state: Bytes) {
        let key = (uuid(space.0), key_bytes(&row.id.key), row.table.to_string());
        self.rows.insert(key, (row.last_seq.cast_signed(), state));
    }

    /// Adds a pair.
    pub(super) fn pair(&mut self, space: SpaceId, write: &PairWrite) {
        let keeper = write.keeper.as_ref().map(|keeper| (key_bytes(&keeper.key), keeper.table.to_string()));
        self.pairs.insert((uuid(space.0), uuid(write.pair.0)), keeper);
    }

    /// The counters of the spaces as they are now.
    pub(super) fn heads(&mut self, heads: impl Iterator<Item = (SpaceId, SpaceHead)>) {
        for (space, head) in heads {
            self.heads.space.push(uuid(space.0));
            self.heads.seq.push(head.seq.cast_signed());
            self.heads.arrival_us.push(head.arrival_us);
            self.heads.bytes.push(head.bytes.cast_signed());
        }
    }

    /// Writes it, in one round trip.
    pub(super) async fn store(self, connection: &Connection, inserts: &Inserts) -> Result<(), PgError> {
        let (rows, pairs) = (Rows::of(self.rows), Pairs::of(self.pairs));
        tokio::try_join!(
            self.heads.write(connection, &inserts.head),
            self.writers.write(connection, &inserts.writer),
            self.entries.write(connection, &inserts.entry),
            self.refusals.write(connection, &inserts.refusal),
            rows.write(connection, &inserts.row),
            pairs.write(connection, &inserts.pair),
        )?;
        Ok(())
    }
}

/// Sends a statement, unless there is nothing to write.
async fn write(
    connection: &Connection,
    statement: &Statement,
    nothing: bool,
    params: Params<'_>,
) -> Result<(), PgError> {
    if !nothing {
        connection.execute(statement, params).await?;
    }
    Ok(())
}
