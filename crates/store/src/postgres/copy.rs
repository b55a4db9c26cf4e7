//! Both ends of a copy, by PostgreSQL.

use std::collections::HashSet;

use bytes::BytesMut;
use lattice_engine::{PairKey, PairWrite, PullRequest, Row, Seq, SpaceHead, SpaceId, WriterId};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use super::error::PgError;
use super::transaction::{Connection, Mode, attempt, execute, query, query_opt};
use super::values::{id, uuid};
use super::writes::{Inserts, Writes};
use super::{PostgresStore, pages, space_store, spaces};
use crate::copy::{CopySource, CopyTarget, Kind, Part, Record, Secrets, Section, Value, encoded};
use crate::spaces::{AuditLine, Origin};
use crate::{BoxFuture, StoreError};

/// The columns of a section, in its order.
fn columns(section: &Section) -> Result<&'static [&'static str], PgError> {
    Ok(match section.name {
        "users" => &["id", "email", "email_verified_us", "full_name", "password_hash", "created_us"],
        "sessions" => &[
            "id",
            "user_id",
            "kind",
            "method",
            "token_hash",
            "refresh_hash",
            "previous_refresh_hash",
            "rotated_us",
            "expires_us",
            "created_us",
            "last_used_us",
            "revoked_us",
            "device_name",
            "user_agent",
            "address",
        ],
        "one_time_token" => &["hash", "purpose", "user_id", "payload", "created_us", "expires_us"],
        "anonymous_account" => &["user_id", "look_us", "ended_us"],
        "identity" => &["id", "user_id", "issuer", "subject", "email", "created_us"],
        "totp" => &["user_id", "secret", "created_us", "confirmed_us", "last_step"],
        "recovery_code" => &["user_id", "hash"],
        "passkey" => &[
            "id",
            "user_id",
            "credential_id",
            "name",
            "credential",
            "second_factor",
            "created_us",
            "last_used_us",
        ],
        "access_log" => &[
            "at_us",
            "id",
            "kind",
            "code",
            "actor",
            "subject",
            "space_id",
            "session_id",
            "address",
            "user_agent",
            "detail",
        ],
        "trace_to_erase" => &["user_id", "deleted_us"],
        "space" => &[
            "space_id",
            "kind",
            "owner",
            "name",
            "rules",
            "policy",
            "schema_rule",
            "created_us",
            "archived_us",
            "deleted_us",
            "purged",
        ],
        "member" => &["space_id", "user_id", "role", "since_us"],
        "invite" => &[
            "id",
            "space_id",
            "role",
            "email",
            "token_hash",
            "uses",
            "max_uses",
            "created_by",
            "created_us",
            "expires_us",
        ],
        "quota" => &["id", "subject", "bytes", "changes", "spaces"],
        "remembered_view" => &["space_id", "user_id", "id", "definition", "turn", "until_seq"],
        name => return Err(StoreError::Database(format!("no way to copy {name}")).into()),
    })
}

/// Takes whatever integer type a column has.
impl ToSql for Value {
    fn to_sql(
        &self,
        of: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Id(id) => Uuid::from_bytes(*id).to_sql(of, out),
            Self::Bytes(bytes) => bytes.to_sql(of, out),
            Self::Text(text) => text.to_sql(of, out),
            Self::Flag(flag) => flag.to_sql(of, out),
            Self::Integer(number) => match *of {
                Type::INT2 => i16::try_from(*number)?.to_sql(of, out),
                Type::INT4 => i32::try_from(*number)?.to_sql(of, out),
                _ => number.to_sql(of, out),
            },
        }
    }

    fn accepts(of: &Type) -> bool {
        [Type::UUID, Type::BYTEA, Type::TEXT, Type::BOOL, Type::INT2, Type::INT4, Type::INT8].contains(of)
    }

    to_sql_checked!();
}

fn read_value(row: &tokio_postgres::Row, at: usize, kind: Kind) -> Result<Value, PgError> {
    let integer = |row: &tokio_postgres::Row| match *row.columns()[at].type_() {
        Type::INT2 => row.try_get::<_, Option<i16>>(at).map(|number| number.map(i64::from)),
        Type::INT4 => row.try_get::<_, Option<i32>>(at).map(|number| number.map(i64::from)),
        _ => row.try_get(at),
    };
    let value = match kind {
        Kind::Id => row.try_get::<_, Option<Uuid>>(at)?.map(|id| Value::Id(id.into_bytes())),
        Kind::Bytes => row.try_get(at).map(|bytes: Option<Vec<u8>>| bytes.map(Value::Bytes))?,
        Kind::Text => row.try_get(at).map(|text: Option<String>| text.map(Value::Text))?,
        Kind::Flag => row.try_get(at).map(|flag: Option<bool>| flag.map(Value::Flag))?,
        Kind::Integer => integer(row)?.map(Value::Integer),
    };
    Ok(value.unwrap_or(Value::Null))
}

async fn records(
    connection: &Connection,
    section: &'static Section,
    after: Option<&Record>,
    limit: i64,
) -> Result<Vec<Record>, PgError> {
    let columns = columns(section)?;
    let key = columns[..section.key].join(", ");
    let places: Vec<String> = (1..=section.key).map(|at| format!("${at}")).collect();
    let sql = format!(
        "SELECT {} FROM {} WHERE ({key}) > ({}) ORDER BY {key} LIMIT ${}",
        columns.join(", "),
        section.name,
        places.join(", "),
        section.key + 1
    );
    let lowest = |kind: &Kind| match kind {
        Kind::Integer => Value::Integer(i64::MIN),
        Kind::Text => Value::Text(String::new()),
        _ => Value::Id([0; 16]),
    };
    let mut values: Vec<Value> = match after {
        Some(record) => record[..section.key].to_vec(),
        None => section.columns[..section.key].iter().map(lowest).collect(),
    };
    values.push(Value::Integer(limit));
    let params: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
    let rows = query(connection, &sql, &params).await?;
    let read = |row: &tokio_postgres::Row| {
        section.columns.iter().enumerate().map(|(at, kind)| read_value(row, at, *kind)).collect()
    };
    rows.iter().map(read).collect()
}

async fn put_records(
    connection: &Connection,
    section: &'static Section,
    records: &[Record],
) -> Result<(), PgError> {
    let columns = columns(section)?;
    let places: Vec<String> = (1..=columns.len()).map(|at| format!("${at}")).collect();
    let sql = format!(
        "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING",
        section.name,
        columns.join(", "),
        places.join(", ")
    );
    let statement = connection.prepare_cached(&sql).await?;
    // Sent one after the other without waiting for answers.
    let inserts = records.iter().map(|record| async {
        let params: Vec<&(dyn ToSql + Sync)> = record.iter().map(|value| value as _).collect();
        connection.execute(&statement, &params).await
    });
    futures_util::future::try_join_all(inserts).await?;
    if section.name == "space" {
        let live = records.iter().filter_map(|record| match (&record[0], record.last()) {
            (Value::Id(id), Some(Value::Flag(false))) => Some(uuid(*id)),
            _ => None,
        });
        let live: Vec<Uuid> = live.collect();
        let sql = "INSERT INTO space_head (space_id) SELECT unnest($1::uuid[]) ON CONFLICT DO NOTHING";
        execute(connection, sql, &[&live]).await?;
    }
    Ok(())
}

async fn secrets(connection: &Connection) -> Result<Secrets, PgError> {
    let rows = query(connection, "SELECT key, value FROM meta ORDER BY key", &[]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// The table that says that a copy to this database is not finished, and which spaces are.
pub(super) const UNFINISHED: &str = "unfinished_copy";

async fn begin(connection: &Connection, wanted: &Secrets) -> Result<(), PgError> {
    let sql = "SELECT to_regclass($1) IS NOT NULL,
                      NOT EXISTS (SELECT 1 FROM users) AND NOT EXISTS (SELECT 1 FROM space)";
    let row = query_opt(connection, sql, &[&UNFINISHED]).await?.ok_or(StoreError::Closed)?;
    let (goes_on, empty): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    let held = secrets(connection).await?;
    if goes_on && wanted.iter().all(|secret| held.contains(secret)) {
        return Ok(());
    }
    if goes_on || !empty {
        return Err(StoreError::Conflict("something else").into());
    }
    connection.batch_execute(&format!("CREATE TABLE {UNFINISHED} (space_id uuid PRIMARY KEY)")).await?;
    for (key, value) in wanted {
        let sql = "INSERT INTO meta (key, value) VALUES ($1, $2)
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        execute(connection, sql, &[key, value]).await?;
    }
    Ok(())
}

async fn put_part(connection: &Connection, space: SpaceId, part: &Part) -> Result<(), PgError> {
    let inserts = Inserts::prepare(connection).await?;
    let mut writes = Writes::default();
    let mut known = HashSet::new();
    for origin in &part.origins {
        if known.insert(origin.writer) {
            writes.writer(space, origin);
        }
    }
    for line in &part.lines {
        writes.line(space, line.writer, line.user.unwrap_or_default(), &line.record);
    }
    for row in &part.rows {
        writes.row(space, row, encoded(row));
    }
    for pair in &part.pairs {
        writes.pair(space, pair);
    }
    writes.heads(std::iter::once((space, part.head)));
    writes.store(connection, &inserts).await
}

async fn origin(
    connection: &Connection,
    space: SpaceId,
    writer: WriterId,
) -> Result<Option<Origin>, PgError> {
    let sql = "SELECT user_id, session_id, address, user_agent, opened_us FROM writer
               WHERE space_id = $1 AND id = $2";
    let row = query_opt(connection, sql, &[&uuid(space.0), &uuid(writer.0)]).await?;
    row.map(|row| {
        Ok(Origin {
            writer,
            user: id(&row, 0)?,
            session: id(&row, 1)?,
            address: row.try_get(2)?,
            user_agent: row.try_get(3)?,
            opened_us: row.try_get(4)?,
        })
    })
    .transpose()
}

async fn pairs(
    connection: &Connection,
    space: SpaceId,
    after: Option<PairKey>,
    limit: i64,
) -> Result<Vec<PairWrite>, PgError> {
    // No pair is nil: pairs are hashes.
    let sql =
        "SELECT space_id, pair, key, name FROM pair WHERE space_id = $1 AND pair > $2 ORDER BY pair LIMIT $3";
    let after = uuid(after.map_or([0; 16], |after| after.0));
    let rows = query(connection, sql, &[&uuid(space.0), &after, &limit]).await?;
    rows.iter()
        .map(|row| Ok(PairWrite { pair: PairKey(id(row, 1)?), keeper: spaces::keeper(row, 2)? }))
        .collect()
}

fn capped(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

impl CopySource for PostgresStore {
    fn secrets(&self) -> BoxFuture<'_, Result<Secrets, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Single, |c| secrets(c).await) })
    }

    fn records<'a>(
        &'a self,
        section: &'static Section,
        after: Option<&'a Record>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(
            async move { attempt!(self, Mode::Single, |c| records(c, section, after, capped(limit)).await) },
        )
    }

    fn space_head(&self, space: SpaceId) -> BoxFuture<'_, Result<SpaceHead, StoreError>> {
        Box::pin(async move {
            attempt!(self, Mode::Single, |c| spaces::head(c, space).await)?.ok_or(StoreError::NoAccess)
        })
    }

    fn lines(
        &self,
        space: SpaceId,
        after: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AuditLine>, StoreError>> {
        Box::pin(
            async move { attempt!(self, Mode::Single, |c| space_store::audit(c, space, after, limit).await) },
        )
    }

    fn origin(&self, space: SpaceId, writer: WriterId) -> BoxFuture<'_, Result<Option<Origin>, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Single, |c| origin(c, space, writer).await) })
    }

    fn rows(
        &self,
        space: SpaceId,
        after: Seq,
        max_rows: usize,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<(Vec<Row>, bool), StoreError>> {
        Box::pin(async move {
            let request = PullRequest::page(after, max_rows, max_bytes);
            let pulled = attempt!(self, Mode::Single, |c| pages::pull(c, space, &request).await)?;
            Ok((pulled.data.rows, pulled.data.more))
        })
    }

    fn pairs(
        &self,
        space: SpaceId,
        after: Option<PairKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<PairWrite>, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Single, |c| pairs(c, space, after, capped(limit)).await) })
    }
}

impl CopyTarget for PostgresStore {
    fn begin(&self, secrets: Secrets) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| begin(c, &secrets).await) })
    }

    fn put_records(
        &self,
        section: &'static Section,
        records: Vec<Record>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| put_records(c, section, &records).await) })
    }

    fn put_part(&self, space: SpaceId, part: Part) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| put_part(c, space, &part).await) })
    }

    fn space_done(&self, space: SpaceId) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let sql = format!("INSERT INTO {UNFINISHED} (space_id) VALUES ($1) ON CONFLICT DO NOTHING");
            attempt!(self, Mode::Single, |c| execute(c, &sql, &[&uuid(space.0)]).await).map(|_| ())
        })
    }

    fn is_space_done(&self, space: SpaceId) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let sql = format!("SELECT 1 FROM {UNFINISHED} WHERE space_id = $1");
            let found = attempt!(self, Mode::Single, |c| query_opt(c, &sql, &[&uuid(space.0)]).await)?;
            Ok(found.is_some())
        })
    }

    fn finish(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let sql = format!("DROP TABLE IF EXISTS {UNFINISHED}");
            attempt!(self, Mode::Single, |c| execute(c, &sql, &[]).await).map(|_| ())
        })
    }
}
