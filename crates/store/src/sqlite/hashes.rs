//! What is asked of password hashes alone, in SQLite.

use rusqlite::{Connection, params};

use super::SqliteStore;
use super::columns::{execute, one};
use crate::accounts::UserId;
use crate::hashes::PasswordHashes;
use crate::{BoxFuture, StoreError};

/// The conditions are those of the index `user_by_bcrypt_cost`.
pub(super) const HIGHEST_BCRYPT_COST: &str = "SELECT substr(password_hash, 5, 2) AS cost FROM users
     WHERE substr(password_hash, 1, 2) = '$2' ORDER BY substr(password_hash, 5, 2) DESC LIMIT 1";

fn replace(connection: &Connection, id: UserId, current: &str, next: &str) -> Result<bool, StoreError> {
    let sql = "UPDATE users SET password_hash = ?3 WHERE id = ?1 AND password_hash = ?2";
    execute(connection, sql, params![id.0, current, next]).map(|changed| changed > 0)
}

fn highest_bcrypt_cost(connection: &Connection) -> Result<Option<u32>, StoreError> {
    let cost = one(connection, HIGHEST_BCRYPT_COST, [], |row| Ok(row.get::<_, String>("cost")?))?;
    Ok(cost.and_then(|cost| cost.parse().ok()))
}

impl PasswordHashes for SqliteStore {
    fn replace_hash(
        &self,
        id: UserId,
        current: String,
        next: String,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |transaction| replace(transaction, id, &current, &next)))
    }

    fn highest_bcrypt_cost(&self) -> BoxFuture<'_, Result<Option<u32>, StoreError>> {
        Box::pin(self.read(highest_bcrypt_cost))
    }
}
