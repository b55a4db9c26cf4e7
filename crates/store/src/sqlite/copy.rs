//! Both ends of a copy, by SQLite. A target takes what it is given by the writer's own way: through the log.

use lattice_engine::{PairKey, PairWrite, Row, Seq, SpaceHead, SpaceId, WriterId};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, ToSql, Transaction, params, params_from_iter};
use tokio::sync::oneshot;

use super::group::{Group, in_savepoint};
use super::keys::key_from_bytes;
use super::recent::View;
use super::spaces::corrupt;
use super::writer::Job;
use super::{SqliteStore, page, spaces};
use crate::copy::{CopySource, CopyTarget, Kind, Part, Record, Secrets, Section, Value};
use crate::spaces::{AuditLine, Origin};
use crate::{BoxFuture, StoreError};

/// How a section is read (its columns, after a key, in the order of it: `?1` … the key, then the limit) and written (`?1` …
/// its columns).
struct Statements {
    read: &'static str,
    write: &'static str,
}

fn statements(section: &Section) -> Result<Statements, StoreError> {
    let (read, write) = match section.name {
        "users" => (
            "SELECT id, email, email_verified_us, full_name, password_hash, created_us
             FROM users WHERE id > ?1 ORDER BY id LIMIT ?2",
            "INSERT INTO users (id, email, email_verified_us, full_name, password_hash, created_us)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        ),
        "sessions" => (
            "SELECT id, user_id, kind, method, token_hash, refresh_hash, previous_refresh_hash, rotated_us,
                    expires_us, created_us, last_used_us, revoked_us, device_name, user_agent, address
             FROM sessions WHERE id > ?1 ORDER BY id LIMIT ?2",
            "INSERT INTO sessions (id, user_id, kind, method, token_hash, refresh_hash, previous_refresh_hash,
                                   rotated_us, expires_us, created_us, last_used_us, revoked_us, device_name,
                                   user_agent, address)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        ),
        "one_time_token" => (
            "SELECT hash, purpose, user_id, payload, created_us, expires_us
             FROM one_time_token WHERE hash > ?1 ORDER BY hash LIMIT ?2",
            "INSERT INTO one_time_token (hash, purpose, user_id, payload, created_us, expires_us)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        ),
        "anonymous_account" => (
            "SELECT user_id, look_us, ended_us FROM anonymous_account WHERE user_id > ?1 ORDER BY user_id LIMIT ?2",
            "INSERT INTO anonymous_account (user_id, look_us, ended_us) VALUES (?1, ?2, ?3)",
        ),
        "identity" => (
            "SELECT id, user_id, issuer, subject, email, created_us FROM identity WHERE id > ?1 ORDER BY id LIMIT ?2",
            "INSERT INTO identity (id, user_id, issuer, subject, email, created_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        ),
        "totp" => (
            "SELECT user_id, secret, created_us, confirmed_us, last_step FROM totp WHERE user_id > ?1
             ORDER BY user_id LIMIT ?2",
            "INSERT INTO totp (user_id, secret, created_us, confirmed_us, last_step) VALUES (?1, ?2, ?3, ?4, ?5)",
        ),
        "recovery_code" => (
            "SELECT user_id, hash FROM recovery_code WHERE (user_id, hash) > (?1, ?2) ORDER BY user_id, hash LIMIT ?3",
            "INSERT INTO recovery_code (user_id, hash) VALUES (?1, ?2)",
        ),
        "passkey" => (
            "SELECT id, user_id, credential_id, name, credential, second_factor, created_us, last_used_us
             FROM passkey WHERE id > ?1 ORDER BY id LIMIT ?2",
            "INSERT INTO passkey (id, user_id, credential_id, name, credential, second_factor, created_us, last_used_us)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        ),
        "access_log" => (
            "SELECT at_us, id, kind, code, actor, subject, space_id, session_id, address, user_agent, detail
             FROM access_log WHERE (at_us, id) > (?1, ?2) ORDER BY at_us, id LIMIT ?3",
            "INSERT INTO access_log (at_us, id, kind, code, actor, subject, space_id, session_id, address, user_agent,
                                     detail)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        ),
        "trace_to_erase" => (
            "SELECT user_id, deleted_us FROM trace_to_erase WHERE user_id > ?1 ORDER BY user_id LIMIT ?2",
            "INSERT INTO trace_to_erase (user_id, deleted_us) VALUES (?1, ?2)",
        ),
        "space" => (
            "SELECT id, kind, owner, name, rules, policy, schema_rule, created_us, archived_us, deleted_us, purged
             FROM space WHERE id > ?1 ORDER BY id LIMIT ?2",
            "INSERT INTO space (id, kind, owner, name, rules, policy, schema_rule, created_us, archived_us, deleted_us,
                                purged)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        ),
        "member" => (
            "SELECT space_id, user, role, since_us FROM member
             WHERE (space_id, user) > (?1, ?2) ORDER BY space_id, user LIMIT ?3",
            "INSERT INTO member (space, space_id, user, role, since_us)
             VALUES ((SELECT no FROM space WHERE id = ?1), ?1, ?2, ?3, ?4)",
        ),
        "invite" => (
            "SELECT i.id, s.id, i.role, i.email, i.token_hash, i.uses, i.max_uses, i.created_by, i.created_us,
                    i.expires_us
             FROM invite i JOIN space s ON s.no = i.space WHERE i.id > ?1 ORDER BY i.id LIMIT ?2",
            "INSERT INTO invite (id, space, role, email, token_hash, uses, max_uses, created_by, created_us, expires_us)
             VALUES (?1, (SELECT no FROM space WHERE id = ?2), ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        ),
        "quota" => (
            "SELECT id, subject, bytes, changes, spaces FROM quota
             WHERE (id, subject) > (?1, ?2) ORDER BY id, subject LIMIT ?3",
            "INSERT INTO quota (id, subject, bytes, changes, spaces) VALUES (?1, ?2, ?3, ?4, ?5)",
        ),
        "remembered_view" => (
            "SELECT s.id, v.user, v.id, v.definition, v.turn, v.until_seq
             FROM remembered_view v JOIN space s ON s.no = v.space
             WHERE (v.space, v.user, v.id) > (ifnull((SELECT no FROM space WHERE id = ?1), 0), ?2, ?3)
             ORDER BY v.space, v.user, v.id LIMIT ?4",
            "INSERT INTO remembered_view (space, user, id, definition, turn, until_seq)
             VALUES ((SELECT no FROM space WHERE id = ?1), ?2, ?3, ?4, ?5, ?6)",
        ),
        name => return Err(StoreError::Database(format!("no way to copy {name}"))),
    };
    Ok(Statements { read, write })
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Id(id) => ValueRef::Blob(id),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Flag(flag) => ValueRef::Integer(i64::from(*flag)),
        }))
    }
}

fn read_value(kind: Kind, value: ValueRef<'_>) -> Option<Value> {
    Some(match (kind, value) {
        (_, ValueRef::Null) => Value::Null,
        (Kind::Id, ValueRef::Blob(bytes)) => Value::Id(bytes.try_into().ok()?),
        (Kind::Bytes, ValueRef::Blob(bytes)) => Value::Bytes(bytes.to_vec()),
        (Kind::Text, ValueRef::Text(text)) => Value::Text(String::from_utf8(text.to_vec()).ok()?),
        (Kind::Integer, ValueRef::Integer(number)) => Value::Integer(number),
        (Kind::Flag, ValueRef::Integer(number)) => Value::Flag(number != 0),
        _ => return None,
    })
}

fn records(
    connection: &Connection,
    section: &'static Section,
    after: Option<&Record>,
    limit: usize,
) -> Result<Vec<Record>, StoreError> {
    let lowest = |kind: &Kind| match kind {
        Kind::Integer => Value::Integer(i64::MIN),
        Kind::Text => Value::Text(String::new()),
        _ => Value::Bytes(Vec::new()),
    };
    let mut values: Vec<Value> = match after {
        Some(record) => record[..section.key].to_vec(),
        None => section.columns[..section.key].iter().map(lowest).collect(),
    };
    values.push(Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
    let mut statement = connection.prepare_cached(statements(section)?.read)?;
    let mut found = statement.query(params_from_iter(values))?;
    let mut records = Vec::new();
    while let Some(row) = found.next()? {
        let mut record = Record::with_capacity(section.columns.len());
        for (at, kind) in section.columns.iter().enumerate() {
            let value = read_value(*kind, row.get_ref(at)?);
            record.push(value.ok_or_else(|| corrupt(section.name, "column", at))?);
        }
        records.push(record);
    }
    Ok(records)
}

fn put_records(
    connection: &Connection,
    section: &'static Section,
    records: &[Record],
) -> Result<(), StoreError> {
    let sql = format!("{} ON CONFLICT DO NOTHING", statements(section)?.write);
    let mut statement = connection.prepare_cached(&sql)?;
    for record in records {
        statement.execute(params_from_iter(record))?;
    }
    Ok(())
}

fn no_of(connection: &Connection, space: SpaceId) -> Result<u32, StoreError> {
    let mut statement = connection.prepare_cached("SELECT no FROM space WHERE id = ?1")?;
    statement.query_row([space.0], |row| row.get(0)).optional()?.ok_or(StoreError::NoAccess)
}

fn secrets(connection: &Connection) -> Result<Secrets, StoreError> {
    let mut statement = connection.prepare_cached("SELECT key, value FROM meta ORDER BY key")?;
    Ok(statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
}

/// The table that says that a copy to this database is not finished, and which spaces are.
const UNFINISHED: &str = "unfinished_copy";

/// Whether a copy to this database was not finished.
pub(super) fn is_unfinished(connection: &Connection) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1)";
    Ok(connection.query_row(sql, [UNFINISHED], |row| row.get(0))?)
}

fn begin(connection: &Connection, wanted: &Secrets) -> Result<(), StoreError> {
    let goes_on = is_unfinished(connection)?;
    let held = secrets(connection)?;
    let empty: bool = connection.query_row(
        "SELECT NOT EXISTS (SELECT 1 FROM users) AND NOT EXISTS (SELECT 1 FROM space)",
        [],
        |row| row.get(0),
    )?;
    if goes_on && wanted.iter().all(|secret| held.contains(secret)) {
        return Ok(());
    }
    if goes_on || !empty {
        return Err(StoreError::Conflict("something else"));
    }
    connection.execute_batch(&format!(
        "CREATE TABLE {UNFINISHED} (space BLOB PRIMARY KEY) STRICT, WITHOUT ROWID"
    ))?;
    for (key, value) in wanted {
        let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2)
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        connection.execute(sql, params![key, value])?;
    }
    Ok(())
}

fn origin(connection: &Connection, writer: WriterId) -> Result<Option<Origin>, StoreError> {
    let sql = "SELECT user, session, address, user_agent, opened_us FROM writer WHERE id = ?1";
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Origin {
            writer,
            user: row.get(0)?,
            session: row.get(1)?,
            address: row.get(2)?,
            user_agent: row.get(3)?,
            opened_us: row.get(4)?,
        })
    };
    Ok(connection.prepare_cached(sql)?.query_row([writer.0], read).optional()?)
}

/// Pairs in order: what is settled, with what is in memory in its place.
fn pairs(
    connection: &Connection,
    recent: &View,
    space: u32,
    after: Option<PairKey>,
    limit: usize,
) -> Result<Vec<PairWrite>, StoreError> {
    let mut found = recent.pairs(space);
    if let Some(after) = after {
        found.retain(|pair, _| *pair > after);
    }
    let sql = "SELECT pair, key, name FROM pair WHERE space = ?1 AND pair > ?2 ORDER BY pair LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let lowest: &[u8] = after.as_ref().map_or(&[], |after| &after.0);
    let mut rows = statement.query(params![space, lowest, i64::try_from(limit).unwrap_or(i64::MAX)])?;
    while let Some(row) = rows.next()? {
        let pair = PairKey(row.get(0)?);
        let (key, name): (Option<Vec<u8>>, Option<String>) = (row.get(1)?, row.get(2)?);
        let keeper = key.zip(name).map(|(key, name)| {
            let key = key_from_bytes(&key).ok_or_else(|| corrupt("pair", "key", &name))?;
            Ok::<_, StoreError>(lattice_engine::RowRef { table: name.into(), key })
        });
        let keeper = keeper.transpose()?;
        found.entry(pair).or_insert(keeper);
    }
    Ok(found.into_iter().take(limit).map(|(pair, keeper)| PairWrite { pair, keeper }).collect())
}

/// Takes a part of a space in the writer's turn.
struct PutPart {
    space: SpaceId,
    part: Option<Part>,
    result: Result<(), StoreError>,
    answer: oneshot::Sender<Result<(), StoreError>>,
}

impl Job for PutPart {
    fn run(&mut self, transaction: &Transaction<'_>, group: &mut Group, _: i64) {
        let Some(part) = self.part.take() else { return };
        self.result = in_savepoint(transaction, || {
            let no = no_of(transaction, self.space)?;
            group.import(transaction, no, part)
        });
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let _ = self.answer.send(committed.and(self.result));
    }
}

impl CopySource for SqliteStore {
    fn secrets(&self) -> BoxFuture<'_, Result<Secrets, StoreError>> {
        Box::pin(self.read(secrets))
    }

    fn records<'a>(
        &'a self,
        section: &'static Section,
        after: Option<&'a Record>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        let after = after.cloned();
        Box::pin(self.read(move |connection| records(connection, section, after.as_ref(), limit)))
    }

    fn space_head(&self, space: SpaceId) -> BoxFuture<'_, Result<SpaceHead, StoreError>> {
        Box::pin(self.read_spaces(move |connection, recent| {
            spaces::head(connection, recent, no_of(connection, space)?)
        }))
    }

    fn lines(
        &self,
        space: SpaceId,
        after: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AuditLine>, StoreError>> {
        Box::pin(self.read_spaces(move |connection, recent| {
            spaces::audit(connection, recent, no_of(connection, space)?, after, limit)
        }))
    }

    fn origin(&self, _: SpaceId, writer: WriterId) -> BoxFuture<'_, Result<Option<Origin>, StoreError>> {
        Box::pin(self.read(move |connection| origin(connection, writer)))
    }

    fn rows(
        &self,
        space: SpaceId,
        after: Seq,
        max_rows: usize,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<(Vec<Row>, bool), StoreError>> {
        Box::pin(self.read_spaces(move |connection, recent| {
            let request = lattice_engine::PullRequest::page(after, max_rows, max_bytes);
            page::page(connection, recent, no_of(connection, space)?, &request)
        }))
    }

    fn pairs(
        &self,
        space: SpaceId,
        after: Option<PairKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<PairWrite>, StoreError>> {
        Box::pin(self.read_spaces(move |connection, recent| {
            pairs(connection, recent, no_of(connection, space)?, after, limit)
        }))
    }
}

impl CopyTarget for SqliteStore {
    fn begin(&self, secrets: Secrets) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.write(move |transaction| begin(transaction, &secrets)))
    }

    fn put_records(
        &self,
        section: &'static Section,
        records: Vec<Record>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.write(move |transaction| put_records(transaction, section, &records)))
    }

    fn put_part(&self, space: SpaceId, part: Part) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let (answer, receiver) = oneshot::channel();
            let job = PutPart { space, part: Some(part), result: Err(StoreError::Closed), answer };
            self.submit(Box::new(job)).await?;
            receiver.await.map_err(|_| StoreError::Closed)?
        })
    }

    fn space_done(&self, space: SpaceId) -> BoxFuture<'_, Result<(), StoreError>> {
        let sql = format!("INSERT INTO {UNFINISHED} (space) VALUES (?1) ON CONFLICT DO NOTHING");
        Box::pin(self.write(move |transaction| {
            transaction.execute(&sql, [space.0])?;
            Ok(())
        }))
    }

    fn is_space_done(&self, space: SpaceId) -> BoxFuture<'_, Result<bool, StoreError>> {
        let sql = format!("SELECT 1 FROM {UNFINISHED} WHERE space = ?1");
        Box::pin(self.read(move |connection| Ok(connection.prepare_cached(&sql)?.exists([space.0])?)))
    }

    fn finish(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(
            self.write(|transaction| Ok(transaction.execute_batch(&format!("DROP TABLE {UNFINISHED}"))?)),
        )
    }
}
