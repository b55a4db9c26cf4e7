//! Tokens that are good once, in SQLite.

use rusqlite::{Connection, Row, params};

use super::SqliteStore;
use super::columns::{Columns, execute, one};
use crate::accounts::{TokenHash, UserId};
use crate::one_time::{OneTimeToken, OneTimeTokens};
use crate::{BoxFuture, StoreError};

fn put(connection: &Connection, token: &OneTimeToken) -> Result<bool, StoreError> {
    if let Some(user) = token.user
        && one(connection, "SELECT 1 FROM users WHERE id = ?1", params![user.0], |_| Ok(()))?.is_none()
    {
        return Ok(false);
    }
    let sql = "INSERT INTO one_time_token (hash, purpose, user_id, payload, created_us, expires_us)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
    let OneTimeToken { hash, purpose, user, payload, created_us, expires_us } = token;
    let values = params![hash.0, purpose, user.map(|user| user.0), payload, created_us, expires_us];
    if execute(connection, sql, values)? == 0 { Err(StoreError::Conflict("token")) } else { Ok(true) }
}

fn find(
    connection: &Connection,
    hash: TokenHash,
    purpose: &str,
    now_us: i64,
) -> Result<Option<OneTimeToken>, StoreError> {
    let sql = "SELECT hash, purpose, user_id, payload, created_us, expires_us FROM one_time_token
               WHERE hash = ?1 AND purpose = ?2 AND expires_us > ?3";
    one(connection, sql, params![hash.0, purpose, now_us], read)
}

fn take(
    connection: &Connection,
    hash: TokenHash,
    purpose: &str,
    now_us: i64,
) -> Result<Option<OneTimeToken>, StoreError> {
    let found = find(connection, hash, purpose, now_us)?;
    if found.is_some() {
        execute(connection, "DELETE FROM one_time_token WHERE hash = ?1", params![hash.0])?;
    }
    Ok(found)
}

fn update(connection: &Connection, hash: TokenHash, current: &str, next: &str) -> Result<bool, StoreError> {
    let sql = "UPDATE one_time_token SET payload = ?3 WHERE hash = ?1 AND payload = ?2";
    execute(connection, sql, params![hash.0, current, next]).map(|changed| changed > 0)
}

fn delete_of(connection: &Connection, user: UserId, purpose: &str) -> Result<u64, StoreError> {
    let sql = "DELETE FROM one_time_token WHERE user_id = ?1 AND purpose = ?2";
    execute(connection, sql, params![user.0, purpose])
}

fn delete_expired(connection: &Connection, before_us: i64, limit: u32) -> Result<u64, StoreError> {
    let sql = "DELETE FROM one_time_token WHERE hash IN (
                   SELECT hash FROM one_time_token WHERE expires_us < ?1 ORDER BY expires_us LIMIT ?2)";
    execute(connection, sql, params![before_us, limit])
}

/// Removes all tokens of a user whose account goes.
pub(super) fn delete_of_user(connection: &Connection, user: UserId) -> Result<(), StoreError> {
    execute(connection, "DELETE FROM one_time_token WHERE user_id = ?1", params![user.0]).map(|_| ())
}

fn read(row: &Row<'_>) -> Result<OneTimeToken, StoreError> {
    let columns = Columns { table: "one_time_token", row };
    let text = |column| columns.text(column)?.ok_or_else(|| columns.corrupt(column));
    Ok(OneTimeToken {
        hash: TokenHash(columns.bytes("hash")?),
        purpose: text("purpose")?,
        user: columns.maybe_bytes("user_id")?.map(UserId),
        payload: text("payload")?,
        created_us: columns.integer("created_us")?,
        expires_us: columns.integer("expires_us")?,
    })
}

impl OneTimeTokens for SqliteStore {
    fn put_token(&self, token: OneTimeToken) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |transaction| put(transaction, &token)))
    }

    fn find_token(
        &self,
        hash: TokenHash,
        purpose: &'static str,
        now_us: i64,
    ) -> BoxFuture<'_, Result<Option<OneTimeToken>, StoreError>> {
        Box::pin(self.read(move |connection| find(connection, hash, purpose, now_us)))
    }

    fn take_token(
        &self,
        hash: TokenHash,
        purpose: &'static str,
        now_us: i64,
    ) -> BoxFuture<'_, Result<Option<OneTimeToken>, StoreError>> {
        Box::pin(self.write(move |transaction| take(transaction, hash, purpose, now_us)))
    }

    fn update_token(
        &self,
        hash: TokenHash,
        current: String,
        next: String,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |transaction| update(transaction, hash, &current, &next)))
    }

    fn delete_tokens(&self, user: UserId, purpose: &'static str) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.write(move |transaction| delete_of(transaction, user, purpose)))
    }

    fn delete_expired_tokens(&self, before_us: i64, limit: u32) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.write(move |transaction| delete_expired(transaction, before_us, limit)))
    }
}
