//! Tokens that are good once, in PostgreSQL.

use tokio_postgres::Row;
use uuid::Uuid;

use super::error::PgError;
use super::transaction::{Connection, Mode, attempt, execute, query_opt};
use super::values::uuid;
use super::{PostgresStore, access};
use crate::accounts::{TokenHash, UserId};
use crate::one_time::{OneTimeToken, OneTimeTokens};
use crate::{BoxFuture, StoreError};

async fn put(connection: &Connection, token: &OneTimeToken) -> Result<bool, PgError> {
    if let Some(user) = token.user
        && !access::user_stays(connection, user).await?
    {
        return Ok(false);
    }
    let sql = "INSERT INTO one_time_token (hash, purpose, user_id, payload, created_us, expires_us)
               VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    let OneTimeToken { hash, purpose, user, payload, created_us, expires_us } = token;
    let user = user.map(|user| uuid(user.0));
    let inserted =
        execute(connection, sql, &[&hash.0.as_slice(), purpose, &user, payload, created_us, expires_us])
            .await?;
    if inserted == 0 { Err(StoreError::Conflict("token").into()) } else { Ok(true) }
}

async fn find(
    connection: &Connection,
    hash: TokenHash,
    purpose: &str,
    now_us: i64,
) -> Result<Option<OneTimeToken>, PgError> {
    let sql = "SELECT purpose, user_id, payload, created_us, expires_us FROM one_time_token
               WHERE hash = $1 AND purpose = $2 AND expires_us > $3";
    let row = query_opt(connection, sql, &[&hash.0.as_slice(), &purpose, &now_us]).await?;
    row.map(|row| read(hash, &row)).transpose()
}

async fn take(
    connection: &Connection,
    hash: TokenHash,
    purpose: &str,
    now_us: i64,
) -> Result<Option<OneTimeToken>, PgError> {
    let sql = "DELETE FROM one_time_token WHERE hash = $1 AND purpose = $2 AND expires_us > $3
               RETURNING purpose, user_id, payload, created_us, expires_us";
    let row = query_opt(connection, sql, &[&hash.0.as_slice(), &purpose, &now_us]).await?;
    row.map(|row| read(hash, &row)).transpose()
}

async fn update(
    connection: &Connection,
    hash: TokenHash,
    current: &str,
    next: &str,
) -> Result<bool, PgError> {
    let sql = "UPDATE one_time_token SET payload = $3 WHERE hash = $1 AND payload = $2";
    Ok(execute(connection, sql, &[&hash.0.as_slice(), &current, &next]).await? > 0)
}

/// By hash, as whoever else locks several does.
async fn delete_of(connection: &Connection, user: UserId, purpose: &str) -> Result<u64, PgError> {
    let sql = "WITH own AS MATERIALIZED (
                   SELECT hash FROM one_time_token WHERE user_id = $1 AND purpose = $2 ORDER BY hash FOR UPDATE)
               DELETE FROM one_time_token t USING own WHERE t.hash = own.hash";
    execute(connection, sql, &[&uuid(user.0), &purpose]).await
}

async fn delete_expired(connection: &Connection, before_us: i64, limit: u32) -> Result<u64, PgError> {
    let sql = "WITH dead AS MATERIALIZED (
                   SELECT hash FROM one_time_token WHERE expires_us < $1 ORDER BY expires_us LIMIT $2
                   FOR UPDATE SKIP LOCKED)
               DELETE FROM one_time_token t USING dead WHERE t.hash = dead.hash";
    execute(connection, sql, &[&before_us, &i64::from(limit)]).await
}

/// Removes all tokens of a user whose account is locked.
pub(super) async fn delete_of_user(connection: &Connection, user: UserId) -> Result<(), PgError> {
    let sql = "WITH own AS MATERIALIZED (
                   SELECT hash FROM one_time_token WHERE user_id = $1 ORDER BY hash FOR UPDATE)
               DELETE FROM one_time_token t USING own WHERE t.hash = own.hash";
    execute(connection, sql, &[&uuid(user.0)]).await?;
    Ok(())
}

fn read(hash: TokenHash, row: &Row) -> Result<OneTimeToken, PgError> {
    Ok(OneTimeToken {
        hash,
        purpose: row.try_get(0)?,
        user: row.try_get::<_, Option<Uuid>>(1)?.map(|id| UserId(id.into_bytes())),
        payload: row.try_get(2)?,
        created_us: row.try_get(3)?,
        expires_us: row.try_get(4)?,
    })
}

// What would answer otherwise when it is done a second time runs in a transaction, as with accounts.
impl OneTimeTokens for PostgresStore {
    fn put_token(&self, token: OneTimeToken) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| put(c, &token).await) })
    }

    fn find_token(
        &self,
        hash: TokenHash,
        purpose: &'static str,
        now_us: i64,
    ) -> BoxFuture<'_, Result<Option<OneTimeToken>, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Single, |c| find(c, hash, purpose, now_us).await) })
    }

    fn take_token(
        &self,
        hash: TokenHash,
        purpose: &'static str,
        now_us: i64,
    ) -> BoxFuture<'_, Result<Option<OneTimeToken>, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| take(c, hash, purpose, now_us).await) })
    }

    fn update_token(
        &self,
        hash: TokenHash,
        current: String,
        next: String,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| update(c, hash, &current, &next).await) })
    }

    fn delete_tokens(&self, user: UserId, purpose: &'static str) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Single, |c| delete_of(c, user, purpose).await) })
    }

    fn delete_expired_tokens(&self, before_us: i64, limit: u32) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Single, |c| delete_expired(c, before_us, limit).await) })
    }
}
