//! Anonymous accounts, in SQLite.

use rusqlite::{Connection, Row, params};

use super::SqliteStore;
use super::accounts::create_user;
use super::columns::{Columns, execute, one};
use crate::accounts::{User, UserId};
use crate::anonymous::{Abandoned, AnonymousAccounts, Upgrade};
use crate::{BoxFuture, StoreError};

const FORGET: &str = "DELETE FROM anonymous_account WHERE user_id = ?1";
/// `?1` the time, `?2` the limit. The expression of a session's end is that of the index `sessions_by_end`.
const NOTE_ENDED: &str = "UPDATE anonymous_account
     SET look_us = found.end_us, ended_us = iif(found.end_us > ?1, NULL, found.end_us)
     FROM (SELECT due.user_id AS user_id,
                  ifnull((SELECT max(min(expires_us, ifnull(revoked_us, expires_us))) FROM sessions
                          WHERE sessions.user_id = due.user_id), due.look_us) AS end_us
           FROM (SELECT user_id, look_us FROM anonymous_account WHERE ended_us IS NULL AND look_us <= ?1
                 ORDER BY look_us LIMIT ?2) due) found
     WHERE anonymous_account.user_id = found.user_id";
/// `?1` the time, `?2` and `?3` the one before, `?4` the limit.
const ABANDONED: &str =
    "SELECT a.ended_us, a.user_id FROM anonymous_account a CROSS JOIN users u ON u.id = a.user_id
     WHERE a.ended_us IS NOT NULL AND a.ended_us < ?1 AND (a.ended_us, a.user_id) > (?2, ?3)
         AND u.email IS NULL AND u.password_hash IS NULL
     ORDER BY a.ended_us, a.user_id LIMIT ?4";

fn create(connection: &Connection, user: &User, look_us: i64) -> Result<(), StoreError> {
    create_user(connection, user)?;
    let sql = "INSERT INTO anonymous_account (user_id, look_us) VALUES (?1, ?2)";
    execute(connection, sql, params![user.id.0, look_us]).map(|_| ())
}

fn is_anonymous(connection: &Connection, id: UserId) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM anonymous_account WHERE user_id = ?1";
    one(connection, sql, params![id.0], |_| Ok(())).map(|found| found.is_some())
}

fn upgrade(connection: &Connection, id: UserId, upgrade: &Upgrade) -> Result<bool, StoreError> {
    if !is_anonymous(connection, id)? {
        return Ok(false);
    }
    let sql = "UPDATE OR IGNORE users SET email = ?2, password_hash = ?3, full_name = ifnull(?4, full_name)
               WHERE id = ?1";
    let Upgrade { email, password_hash, full_name } = upgrade;
    if execute(connection, sql, params![id.0, email, password_hash, full_name])? == 0 {
        return Err(StoreError::Conflict("user"));
    }
    execute(connection, FORGET, params![id.0]).map(|forgotten| forgotten > 0)
}

fn abandoned(
    connection: &Connection,
    before_us: i64,
    after: Option<Abandoned>,
    limit: u32,
) -> Result<Vec<Abandoned>, StoreError> {
    let after = after.unwrap_or(Abandoned { ended_us: i64::MIN, user: UserId([0; 16]) });
    let mut select = connection.prepare_cached(ABANDONED)?;
    let mut rows = select.query(params![before_us, after.ended_us, after.user.0, limit])?;
    let mut abandoned = Vec::new();
    while let Some(row) = rows.next()? {
        abandoned.push(read(row)?);
    }
    Ok(abandoned)
}

fn read(row: &Row<'_>) -> Result<Abandoned, StoreError> {
    let columns = Columns { table: "anonymous_account", row };
    Ok(Abandoned { ended_us: columns.integer("ended_us")?, user: UserId(columns.bytes("user_id")?) })
}

/// Removes what is kept of a user whose account goes.
pub(super) fn forget(connection: &Connection, id: UserId) -> Result<(), StoreError> {
    execute(connection, FORGET, params![id.0]).map(|_| ())
}

impl AnonymousAccounts for SqliteStore {
    fn create_anonymous(&self, user: User, look_us: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.write(move |transaction| create(transaction, &user, look_us)))
    }

    fn is_anonymous(&self, id: UserId) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.read(move |connection| is_anonymous(connection, id)))
    }

    fn upgrade_anonymous(&self, id: UserId, to: Upgrade) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |transaction| upgrade(transaction, id, &to)))
    }

    fn end_anonymity(&self, id: UserId) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |transaction| {
            execute(transaction, FORGET, params![id.0]).map(|forgotten| forgotten > 0)
        }))
    }

    fn note_ended_anonymous(&self, now_us: i64, limit: u32) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.write(move |transaction| execute(transaction, NOTE_ENDED, params![now_us, limit])))
    }

    fn abandoned_anonymous(
        &self,
        before_us: i64,
        after: Option<Abandoned>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Abandoned>, StoreError>> {
        Box::pin(self.read(move |connection| abandoned(connection, before_us, after, limit)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::hashes;

    #[test]
    fn every_look_up_uses_an_index() {
        let connection = Connection::open_in_memory().expect("memory");
        for schema in [
            include_str!("migrations/V2__accounts.sql"),
            include_str!("migrations/V5__sign_in.sql"),
            include_str!("migrations/V10__anonymous.sql"),
        ] {
            connection.execute_batch(schema).expect("the schema is SQL");
        }
        for sql in [NOTE_ENDED, ABANDONED, hashes::HIGHEST_BCRYPT_COST] {
            let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("SQL");
            let columns = explain.parameter_count();
            let nulls = rusqlite::params_from_iter(std::iter::repeat_n(rusqlite::types::Null, columns));
            let lines = explain.query_map(nulls, |row| row.get::<_, String>("detail")).expect("a plan");
            let plan: Vec<String> = lines.map(|line| line.expect("a line")).collect();
            // What was found to be due is walked through, once; of the index on costs the first record is read.
            let walks = |line: &str| {
                line.starts_with("SCAN") && !line.contains("due") && !line.contains("user_by_bcrypt_cost")
            };
            let bad = |line: &String| walks(line) || line.contains("USE TEMP B-TREE");
            assert!(!plan.iter().any(bad), "{sql}\n{}", plan.join("\n"));
        }
    }
}
