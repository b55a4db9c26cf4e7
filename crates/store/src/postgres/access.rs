//! Transactions that may change what anybody may do, and the locks of all transactions.
//!
//! Every transaction takes its locks in this order, so that no two wait for one another:
//!
//! 1. accounts, by id: [`user_stays`], [`user_is_counted`], [`user_goes`];
//! 2. records in `space_head`, by the id of the space: [`space`], [`spaces`], and for uploads [`LOCK`];
//! 3. records of a space whose lock is held; of what several of them might touch (sessions and invites), single ones, or
//!    all of them by id, or only those that nobody has locked;
//! 4. `access_version`, as the last statement ([`versioned`]).
//!
//! A transaction sees what was committed when each of its statements began, so whatever was read before a lock is read
//! once more under it.

use lattice_engine::{Seq, SpaceId};

use super::PostgresStore;
use super::error::PgError;
use super::spaces::{LOCK, read_head};
use super::transaction::{Connection, query, query_opt};
use super::values::{seq, uuid};
use crate::accounts::UserId;
use crate::directory::Answer;

/// Whether there is such an account. If so, it stays until this transaction has ended.
pub(super) async fn user_stays(connection: &Connection, user: UserId) -> Result<bool, PgError> {
    lock_user(connection, "SELECT 1 FROM users WHERE id = $1 FOR KEY SHARE", user).await
}

/// Whether there is such an account. If so, it stays, and nobody else counts what it owns until this transaction has ended.
pub(super) async fn user_is_counted(connection: &Connection, user: UserId) -> Result<bool, PgError> {
    lock_user(connection, "SELECT 1 FROM users WHERE id = $1 FOR NO KEY UPDATE", user).await
}

/// Whether there is such an account. If so, it comes into nothing new until this transaction has ended, with it at best.
pub(super) async fn user_goes(connection: &Connection, user: UserId) -> Result<bool, PgError> {
    lock_user(connection, "SELECT 1 FROM users WHERE id = $1 FOR UPDATE", user).await
}

async fn lock_user(connection: &Connection, sql: &str, user: UserId) -> Result<bool, PgError> {
    Ok(query_opt(connection, sql, &[&uuid(user.0)]).await?.is_some())
}

/// Locks a space and answers its last seq; `None` when it was erased.
pub(super) async fn space(connection: &Connection, space: SpaceId) -> Result<Option<Seq>, PgError> {
    let sql = "SELECT head FROM space_head WHERE space_id = $1 FOR UPDATE";
    let found = query_opt(connection, sql, &[&uuid(space.0)]).await?;
    found.map(|row| seq(&row, 0)).transpose()
}

/// Locks spaces and answers which of them there are.
pub(super) async fn spaces(connection: &Connection, spaces: &[SpaceId]) -> Result<Vec<SpaceId>, PgError> {
    let ids: Vec<_> = spaces.iter().map(|space| uuid(space.0)).collect();
    let rows = query(connection, LOCK, &[&ids]).await?;
    rows.iter().map(|row| read_head(row).map(|(space, _)| space)).collect()
}

/// What a write answers, and whether it means that something has changed.
pub(super) trait Outcome {
    fn has_changed(&self) -> bool;
}

impl<T> Outcome for Answer<T> {
    fn has_changed(&self) -> bool {
        self.is_ok()
    }
}

impl Outcome for bool {
    fn has_changed(&self) -> bool {
        *self
    }
}

/// How many were changed.
impl Outcome for u64 {
    fn has_changed(&self) -> bool {
        *self > 0
    }
}

/// The last step of a transaction that may have changed what anybody may do: the version that it brings. Until the commit
/// this record is every other such transaction's to wait for, so nothing may come after it.
pub(super) async fn versioned<T: Outcome>(
    connection: &Connection,
    outcome: T,
) -> Result<(T, Option<i64>), PgError> {
    if !outcome.has_changed() {
        return Ok((outcome, None));
    }
    let row = query_opt(connection, "UPDATE access_version SET n = n + 1 RETURNING n", &[]).await?;
    let version = row.map(|row| row.try_get(0)).transpose()?;
    Ok((outcome, version))
}

impl PostgresStore {
    /// What anybody may do has changed: known here before whoever asked for it is answered.
    pub(super) fn access_written(&self, version: Option<i64>) {
        if let Some(version) = version {
            self.inner.version.seen(version);
        }
    }
}

/// Runs a write that may change what anybody may do, in a transaction of its own.
macro_rules! change_access {
    ($store:expr, |$connection:ident| $work:expr) => {{
        use $crate::postgres::{access, transaction};
        let changed = transaction::attempt!($store, transaction::Mode::Write, |$connection| {
            access::versioned($connection, $work?).await
        });
        changed.map(|(outcome, version)| {
            $store.access_written(version);
            outcome
        })
    }};
}
pub(super) use change_access;
