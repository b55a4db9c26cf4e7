//! Bringing the schema up to date, and what makes a database itself.

use std::time::Duration;

use deadpool_postgres::Pool;
use tokio::time::Instant;
use tokio_postgres::error::SqlState;

use super::connect::SERVER_NAME;
use super::error::PgError;
use super::place::{self, Place};
use super::transaction::{Connection, Held};
use super::{Identity, OpenError, copy};
use crate::StoreError;
use crate::time::Random;

/// Held by whoever migrates, so that instances that start together do not both do so.
pub(super) const MIGRATION_LOCK: i64 = 0x006c_6174_7469_6365;
/// Between two tries to reach a database that is not there yet.
const WAIT_PAUSE: Duration = Duration::from_millis(500);
/// How often it is said that the database is waited for.
const WAIT_REPORT: Duration = Duration::from_secs(5);

mod migrations {
    refinery::embed_migrations!("src/postgres/migrations");
}

/// The schema that this version makes.
pub(super) fn newest_version() -> i32 {
    let known = migrations::migrations::runner();
    known
        .get_migrations()
        .iter()
        .map(|one| i64::from(one.version()))
        .max()
        .and_then(|v| v.try_into().ok())
        .unwrap_or(0)
}

/// Waits until the database answers, for `max_wait` at most, and says that it does so.
pub(super) async fn wait_for(pool: &Pool, shown: &str, max_wait: Duration) -> Result<(), OpenError> {
    let began = Instant::now();
    let mut reported: Option<Instant> = None;
    loop {
        let error = match reach(pool).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if !is_worth_waiting(&error) || began.elapsed() >= max_wait {
            return Err(OpenError::Unreachable { database: shown.to_owned(), reason: error.to_string() });
        }
        if reported.is_none_or(|last| last.elapsed() >= WAIT_REPORT) {
            reported = Some(Instant::now());
            let (waited_s, max_wait_s) = (began.elapsed().as_secs(), max_wait.as_secs());
            tracing::warn!(%error, database = shown, waited_s, max_wait_s, "waiting for the database");
        }
        tokio::time::sleep(WAIT_PAUSE).await;
    }
}

async fn reach(pool: &Pool) -> Result<(), PgError> {
    let held = Held::get(pool).await?;
    held.connection()?.simple_query("SELECT 1").await?;
    held.give_back();
    Ok(())
}

/// A wrong password does not become right by waiting.
fn is_worth_waiting(error: &PgError) -> bool {
    let code = match error {
        PgError::Driver(error) | PgError::Pool(deadpool_postgres::PoolError::Backend(error)) => error.code(),
        _ => None,
    };
    let final_codes = [
        SqlState::INVALID_PASSWORD,
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        SqlState::INVALID_CATALOG_NAME,
    ];
    code.is_none_or(|code| !final_codes.contains(code))
}

/// Brings the schema up to date and reads, or makes, the database's secrets.
pub(super) async fn prepare(
    pool: &Pool,
    shown: &str,
    for_copy: bool,
    random: &dyn Random,
) -> Result<(Identity, Place), OpenError> {
    let failed = |error: PgError| OpenError::Failed(error.into_store());
    let mut object = pool.get().await.map_err(|error| failed(error.into()))?;
    // Another instance may be migrating for longer than a statement may take.
    let sql =
        format!("SET statement_timeout = 0; SET lock_timeout = 0; SELECT pg_advisory_lock({MIGRATION_LOCK})");
    object.batch_execute(&sql).await.map_err(|error| failed(error.into()))?;
    refuse_foreign(&object, shown).await?;
    let runner = migrations::migrations::runner().set_abort_divergent(true).set_abort_missing(true);
    let client: &mut tokio_postgres::Client = &mut object;
    runner.run_async(client).await.map_err(|error| match error.kind() {
        refinery::error::Kind::MissingVersion(_) => OpenError::Newer(shown.to_owned()),
        refinery::error::Kind::DivergentVersion(..) => OpenError::Foreign(shown.to_owned()),
        _ => OpenError::Failed(StoreError::Database(error.to_string())),
    })?;
    check_copy(&object, shown, for_copy).await?;
    let identified = place::identify(&object, shown, random).await.map_err(failed)?;
    // The connection, and with it the lock, goes.
    drop(deadpool_postgres::Object::take(object));
    Ok(identified)
}

/// A schema with tables that are not ours is left alone.
async fn refuse_foreign(connection: &Connection, shown: &str) -> Result<(), OpenError> {
    let sql = "SELECT count(*), coalesce(bool_or(tablename = 'refinery_schema_history'), false)
               FROM pg_tables WHERE schemaname = current_schema()";
    let row = connection
        .query_one(sql, &[])
        .await
        .map_err(|error| OpenError::Failed(PgError::from(error).into_store()))?;
    let (tables, ours): (i64, bool) = (row.get(0), row.get(1));
    if tables > 0 && !ours { Err(OpenError::Foreign(shown.to_owned())) } else { Ok(()) }
}

/// A server does not open what is unfinished, and a copy does not open what a server uses.
async fn check_copy(connection: &Connection, shown: &str, for_copy: bool) -> Result<(), OpenError> {
    let sql = "SELECT to_regclass($1) IS NOT NULL,
                      EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = $2)";
    let row = connection.query_one(sql, &[&copy::UNFINISHED, &SERVER_NAME]).await;
    let row = row.map_err(|error| OpenError::Failed(PgError::from(error).into_store()))?;
    let (unfinished, in_use): (bool, bool) = (row.get(0), row.get(1));
    match for_copy {
        false if unfinished => Err(OpenError::Unfinished(shown.to_owned())),
        true if in_use => Err(OpenError::InUse(shown.to_owned())),
        _ => Ok(()),
    }
}

/// A value that all instances share; the one given if there is none. Whoever is first is asked for by all.
pub(super) async fn meta(connection: &Connection, key: &str, fresh: &[u8]) -> Result<Vec<u8>, PgError> {
    let sql = "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING";
    connection.execute(sql, &[&key, &fresh]).await?;
    Ok(connection.query_one("SELECT value FROM meta WHERE key = $1", &[&key]).await?.try_get(0)?)
}

/// Keeps values that all instances share, whatever was there; all of them or none.
pub(super) async fn put_meta(connection: &Connection, values: &[(&str, &[u8])]) -> Result<(), PgError> {
    let sql = "INSERT INTO meta (key, value) SELECT * FROM unnest($1::text[], $2::bytea[])
               ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    let (keys, values): (Vec<&str>, Vec<&[u8]>) = values.iter().copied().unzip();
    connection.execute(sql, &[&keys, &values]).await?;
    Ok(())
}

/// Replaces a value that all instances share, if it is the one that is expected.
pub(super) async fn replace_meta(
    connection: &Connection,
    key: &str,
    expected: &[u8],
    new: &[u8],
) -> Result<bool, PgError> {
    let sql = "UPDATE meta SET value = $3 WHERE key = $1 AND value = $2";
    Ok(connection.execute(sql, &[&key, &expected, &new]).await? == 1)
}

/// A value that all instances share, if there is one.
pub(super) async fn find_meta(connection: &Connection, key: &str) -> Result<Option<Vec<u8>>, PgError> {
    let row = connection.query_opt("SELECT value FROM meta WHERE key = $1", &[&key]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}
