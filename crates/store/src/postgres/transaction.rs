//! Running work on a connection: in a transaction or not, within a time limit, again where that may help.

use std::future::Future;
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Object, Pool};
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::error::PgError;
use crate::StoreError;
use crate::time::Random;

/// How long one try may take, all its statements together.
const MAX_TRY_TIME: Duration = Duration::from_secs(20);
/// How long a call of the directory or of accounts is tried.
const MAX_CALL_TIME: Duration = Duration::from_secs(10);
/// First pause between two tries.
const MIN_PAUSE: Duration = Duration::from_millis(20);
/// Longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// A connection, with its cache of prepared statements.
pub(super) type Connection = ClientWrapper;

/// Parameters of a statement.
pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// The rows of a statement, which is prepared once for each connection.
pub(super) async fn query(
    connection: &Connection,
    sql: &str,
    params: Params<'_>,
) -> Result<Vec<Row>, PgError> {
    let statement = connection.prepare_cached(sql).await?;
    Ok(connection.query(&statement, params).await?)
}

/// The row of a statement that has one at most.
pub(super) async fn query_opt(
    connection: &Connection,
    sql: &str,
    params: Params<'_>,
) -> Result<Option<Row>, PgError> {
    let statement = connection.prepare_cached(sql).await?;
    Ok(connection.query_opt(&statement, params).await?)
}

/// Runs a statement and says how many rows it wrote.
pub(super) async fn execute(connection: &Connection, sql: &str, params: Params<'_>) -> Result<u64, PgError> {
    let statement = connection.prepare_cached(sql).await?;
    Ok(connection.execute(&statement, params).await?)
}

/// How work is wrapped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Each statement for itself.
    Single,
    /// Reads in one snapshot.
    Snapshot,
    /// A transaction that writes: each statement sees what others had committed when it began.
    Write,
}

/// Pauses between tries, each about twice the one before, none the same everywhere.
pub(super) struct Pauses {
    next: Duration,
    until: Instant,
}

impl Pauses {
    pub(super) fn for_at_most(time: Duration) -> Self {
        Self { next: MIN_PAUSE, until: Instant::now() + time }
    }

    /// Waits, or says that it is time to give up.
    pub(super) async fn wait(&mut self, random: &dyn Random) -> bool {
        let mut byte = [0];
        random.fill(&mut byte);
        let pause = self.next.mul_f64(0.5 + f64::from(byte[0]) / 256.0);
        if Instant::now() + pause >= self.until {
            return false;
        }
        tokio::time::sleep(pause).await;
        self.next = (self.next * 2).min(MAX_PAUSE);
        true
    }
}

/// The tries of one call.
pub(super) struct Tries<'a> {
    pool: &'a Pool,
    random: &'a dyn Random,
    mode: Mode,
    pauses: Pauses,
}

impl<'a> Tries<'a> {
    pub(super) fn new(pool: &'a Pool, random: &'a dyn Random, mode: Mode) -> Self {
        Self { pool, random, mode, pauses: Pauses::for_at_most(MAX_CALL_TIME) }
    }

    /// A connection on which the work may begin.
    pub(super) async fn begin(&self) -> Result<Held, PgError> {
        let held = Held::get(self.pool).await?;
        let begin = match self.mode {
            Mode::Single => return Ok(held),
            Mode::Snapshot => "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
            Mode::Write => "BEGIN",
        };
        limited(held.connection()?.batch_execute(begin)).await?;
        Ok(held)
    }

    /// Commits what the work has done, or takes it back. `None`: it is to be done once more.
    pub(super) async fn end<T>(
        &mut self,
        held: Option<Held>,
        result: Result<T, PgError>,
    ) -> Option<Result<T, StoreError>> {
        let error = match self.settle(held, result).await {
            Ok(value) => return Some(Ok(value)),
            Err(error) => error,
        };
        let again = error.is_transient() && !error.is_uncertain() && !self.pool.is_closed();
        if !again || !self.pauses.wait(self.random).await {
            return Some(Err(closed_or(self.pool, error)));
        }
        tracing::warn!(%error, "the database failed; it is tried again");
        None
    }

    async fn settle<T>(&self, held: Option<Held>, result: Result<T, PgError>) -> Result<T, PgError> {
        let Some(held) = held else { return result };
        let connection = held.connection()?;
        match &result {
            _ if self.mode == Mode::Single => {}
            Ok(_) => commit(connection).await?,
            Err(error) if error.is_transient() => return result,
            Err(_) => limited(connection.batch_execute("ROLLBACK")).await?,
        }
        if !result.as_ref().is_err_and(PgError::is_transient) {
            held.give_back();
        }
        result
    }
}

/// Runs work on a connection of `$store`, again on another one where that may help and nothing of it can have been stored.
/// A macro, since a closure could not lend its surroundings to a future that is `Send`.
macro_rules! attempt {
    ($store:expr, $mode:expr, |$connection:ident| $work:expr) => {{
        use $crate::postgres::transaction::{Tries, limited};
        let mut tries = Tries::new(&$store.inner.pool, &*$store.inner.random, $mode);
        loop {
            let (held, result) = match tries.begin().await {
                Ok(held) => {
                    let result = match held.connection() {
                        Ok($connection) => limited(async { $work }).await,
                        Err(error) => Err(error),
                    };
                    (Some(held), result)
                }
                Err(error) => (None, Err(error)),
            };
            if let Some(result) = tries.end(held, result).await {
                break result;
            }
        }
    }};
}
pub(super) use attempt;

/// Gives work up that takes too long: a server that is stopped keeps its connections.
pub(super) async fn limited<T, E: Into<PgError>>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, PgError> {
    match tokio::time::timeout(MAX_TRY_TIME, work).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(PgError::TimedOut),
    }
}

pub(super) fn closed_or(pool: &Pool, error: PgError) -> StoreError {
    if pool.is_closed() { StoreError::Closed } else { error.into_store() }
}

/// A connection of the pool that goes back only once it is known to be in no transaction. Callers may be dropped at any
/// `await`, as when a client of the HTTP API goes away.
pub(super) struct Held {
    connection: Option<Object>,
    clean: bool,
}

impl Held {
    pub(super) async fn get(pool: &Pool) -> Result<Self, PgError> {
        Ok(Self { connection: Some(pool.get().await?), clean: false })
    }

    /// It is in no transaction, and goes back to the pool.
    pub(super) fn give_back(mut self) {
        self.clean = true;
    }

    pub(super) fn connection(&self) -> Result<&Connection, PgError> {
        let held = self.connection.as_deref();
        held.ok_or(PgError::Store(StoreError::Closed))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take().filter(|_| !self.clean) {
            drop(Object::take(connection));
        }
    }
}

/// Commits; from here on a lost connection leaves it open whether anything was stored.
pub(super) async fn commit(connection: &Connection) -> Result<(), PgError> {
    limited(connection.batch_execute("COMMIT")).await.map_err(PgError::of_commit)
}
