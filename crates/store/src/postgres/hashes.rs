//! What is asked of password hashes alone, in PostgreSQL.

use super::PostgresStore;
use super::error::PgError;
use super::transaction::{Connection, Mode, attempt, execute, query_opt};
use super::values::uuid;
use crate::accounts::UserId;
use crate::hashes::PasswordHashes;
use crate::{BoxFuture, StoreError};

/// The conditions are those of the index `user_by_bcrypt_cost`.
pub(super) const HIGHEST_BCRYPT_COST: &str = "SELECT substr(password_hash, 5, 2) FROM users
     WHERE substr(password_hash, 1, 2) = '$2' ORDER BY substr(password_hash, 5, 2) DESC LIMIT 1";

async fn replace(connection: &Connection, id: UserId, current: &str, next: &str) -> Result<bool, PgError> {
    let sql = "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2";
    Ok(execute(connection, sql, &[&uuid(id.0), &current, &next]).await? > 0)
}

async fn highest_bcrypt_cost(connection: &Connection) -> Result<Option<u32>, PgError> {
    let row = query_opt(connection, HIGHEST_BCRYPT_COST, &[]).await?;
    let cost: Option<String> = row.map(|row| row.try_get(0)).transpose()?;
    Ok(cost.and_then(|cost| cost.parse().ok()))
}

impl PasswordHashes for PostgresStore {
    fn replace_hash(
        &self,
        id: UserId,
        current: String,
        next: String,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| replace(c, id, &current, &next).await) })
    }

    fn highest_bcrypt_cost(&self) -> BoxFuture<'_, Result<Option<u32>, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Single, |c| highest_bcrypt_cost(c).await) })
    }
}
