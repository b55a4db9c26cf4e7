//! Anonymous accounts, in PostgreSQL.

use tokio_postgres::error::SqlState;

use super::error::PgError;
use super::transaction::{Connection, Mode, attempt, execute, query, query_opt};
use super::values::{id, uuid};
use super::{PostgresStore, access, accounts};
use crate::accounts::{User, UserId};
use crate::anonymous::{Abandoned, AnonymousAccounts, Upgrade};
use crate::{BoxFuture, StoreError};

const FORGET: &str = "DELETE FROM anonymous_account WHERE user_id = $1";
/// `$1` the time, `$2` the limit. Those that somebody else looks at, or upgrades, are left to them.
pub(super) const NOTE_ENDED: &str = "WITH due AS MATERIALIZED (
         SELECT user_id, look_us FROM anonymous_account WHERE ended_us IS NULL AND look_us <= $1
         ORDER BY look_us LIMIT $2 FOR UPDATE SKIP LOCKED),
     found AS MATERIALIZED (
         SELECT due.user_id, coalesce((SELECT max(least(expires_us, coalesce(revoked_us, expires_us))) FROM sessions
                                       WHERE sessions.user_id = due.user_id), due.look_us) AS end_us FROM due)
     UPDATE anonymous_account a
     SET look_us = found.end_us, ended_us = CASE WHEN found.end_us > $1 THEN NULL ELSE found.end_us END
     FROM found WHERE a.user_id = found.user_id";
/// `$1` the time, `$2` and `$3` the one before, `$4` the limit.
pub(super) const ABANDONED: &str =
    "SELECT a.ended_us, a.user_id FROM anonymous_account a JOIN users u ON u.id = a.user_id
     WHERE a.ended_us IS NOT NULL AND a.ended_us < $1 AND (a.ended_us, a.user_id) > ($2, $3)
         AND u.email IS NULL AND u.password_hash IS NULL
     ORDER BY a.ended_us, a.user_id LIMIT $4";

async fn create(connection: &Connection, user: &User, look_us: i64) -> Result<(), PgError> {
    accounts::users::create(connection, user).await?;
    let sql = "INSERT INTO anonymous_account (user_id, look_us) VALUES ($1, $2)";
    execute(connection, sql, &[&uuid(user.id.0), &look_us]).await?;
    Ok(())
}

async fn is_anonymous(connection: &Connection, id: UserId) -> Result<bool, PgError> {
    let sql = "SELECT 1 FROM anonymous_account WHERE user_id = $1";
    Ok(query_opt(connection, sql, &[&uuid(id.0)]).await?.is_some())
}

/// Of several that upgrade one account, the others wait for its lock, and then find it anonymous no more.
async fn upgrade(connection: &Connection, id: UserId, upgrade: &Upgrade) -> Result<bool, PgError> {
    if !access::user_goes(connection, id).await? || !is_anonymous(connection, id).await? {
        return Ok(false);
    }
    let sql =
        "UPDATE users SET email = $2, password_hash = $3, full_name = coalesce($4, full_name) WHERE id = $1";
    let Upgrade { email, password_hash, full_name } = upgrade;
    let updated = execute(connection, sql, &[&uuid(id.0), email, password_hash, full_name]).await;
    updated.map_err(taken)?;
    forget(connection, id).await
}

/// An address that somebody else has, or whom this statement has waited for has just taken.
pub(super) fn taken(error: PgError) -> PgError {
    match &error {
        PgError::Driver(driver) if driver.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
            StoreError::Conflict("user").into()
        }
        _ => error,
    }
}

async fn abandoned(
    connection: &Connection,
    before_us: i64,
    after: Option<Abandoned>,
    limit: u32,
) -> Result<Vec<Abandoned>, PgError> {
    let after = after.unwrap_or(Abandoned { ended_us: i64::MIN, user: UserId([0; 16]) });
    let values: super::transaction::Params<'_> =
        &[&before_us, &after.ended_us, &uuid(after.user.0), &i64::from(limit)];
    let rows = query(connection, ABANDONED, values).await?;
    rows.iter().map(|row| Ok(Abandoned { ended_us: row.try_get(0)?, user: UserId(id(row, 1)?) })).collect()
}

/// Removes what is kept of a user whose account goes, or is anonymous no more.
pub(super) async fn forget(connection: &Connection, id: UserId) -> Result<bool, PgError> {
    Ok(execute(connection, FORGET, &[&uuid(id.0)]).await? > 0)
}

impl AnonymousAccounts for PostgresStore {
    fn create_anonymous(&self, user: User, look_us: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| create(c, &user, look_us).await) })
    }

    fn is_anonymous(&self, id: UserId) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Single, |c| is_anonymous(c, id).await) })
    }

    fn upgrade_anonymous(&self, id: UserId, to: Upgrade) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| upgrade(c, id, &to).await) })
    }

    fn end_anonymity(&self, id: UserId) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| forget(c, id).await) })
    }

    fn note_ended_anonymous(&self, now_us: i64, limit: u32) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let limit = i64::from(limit);
            attempt!(self, Mode::Single, |c| execute(c, NOTE_ENDED, &[&now_us, &limit]).await)
        })
    }

    fn abandoned_anonymous(
        &self,
        before_us: i64,
        after: Option<Abandoned>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Abandoned>, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Single, |c| abandoned(c, before_us, after, limit).await) })
    }
}
