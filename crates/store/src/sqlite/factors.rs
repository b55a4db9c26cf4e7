//! Second factors and passkeys, in SQLite.

use rusqlite::{Connection, Row, params};

use super::SqliteStore;
use super::accounts::user_by_id;
use super::columns::{Columns, execute, one};
use super::{anonymous, identities};
use crate::accounts::{PasskeyId, TokenHash, UserId};
use crate::factors::{Added, Factors, SecondFactors, StoredPasskey, Totp};
use crate::identities::Removal;
use crate::rules::ways_in;
use crate::{BoxFuture, StoreError};

const SECOND_FACTORS: &str = "SELECT
         EXISTS (SELECT 1 FROM totp WHERE user_id = ?1 AND confirmed_us IS NOT NULL) AS totp,
         EXISTS (SELECT 1 FROM passkey WHERE user_id = ?1 AND second_factor) AS passkey,
         (SELECT count(*) FROM recovery_code WHERE user_id = ?1) AS recovery_codes";
const PASSKEYS: &str =
    "SELECT id, user_id, credential_id, name, credential, second_factor, created_us, last_used_us
     FROM passkey WHERE user_id = ?1 ORDER BY created_us, id LIMIT ?2";
const PASSKEY: &str =
    "SELECT id, user_id, credential_id, name, credential, second_factor, created_us, last_used_us
     FROM passkey WHERE credential_id = ?1";

fn second_factors(connection: &Connection, user: UserId) -> Result<SecondFactors, StoreError> {
    let found = one(connection, SECOND_FACTORS, params![user.0], |row| {
        Ok(SecondFactors {
            totp: row.get("totp")?,
            passkey: row.get("passkey")?,
            recovery_codes: row.get("recovery_codes")?,
        })
    })?;
    Ok(found.unwrap_or_default())
}

fn totp(connection: &Connection, user: UserId) -> Result<Option<Totp>, StoreError> {
    let sql = "SELECT user_id, secret, created_us, confirmed_us, last_step FROM totp WHERE user_id = ?1";
    one(connection, sql, params![user.0], |row| {
        let columns = Columns { table: "totp", row };
        Ok(Totp {
            user: UserId(columns.bytes("user_id")?),
            secret: row.get("secret")?,
            created_us: columns.integer("created_us")?,
            confirmed_us: columns.maybe_integer("confirmed_us")?,
            last_step: columns.integer("last_step")?,
        })
    })
}

fn offer_totp(connection: &Connection, totp: &Totp) -> Result<bool, StoreError> {
    if user_by_id(connection, totp.user)?.is_none() {
        return Ok(false);
    }
    let sql = "INSERT INTO totp (user_id, secret, created_us, confirmed_us, last_step) VALUES (?1, ?2, ?3, NULL, ?4)
               ON CONFLICT (user_id) DO UPDATE
               SET secret = excluded.secret, created_us = excluded.created_us, last_step = excluded.last_step
               WHERE confirmed_us IS NULL";
    let values = params![totp.user.0, totp.secret, totp.created_us, totp.last_step];
    execute(connection, sql, values).map(|written| written > 0)
}

fn confirm_totp(
    connection: &Connection,
    user: UserId,
    secret: &[u8],
    step: i64,
    now_us: i64,
) -> Result<bool, StoreError> {
    let sql = "UPDATE totp SET confirmed_us = ?4, last_step = ?3
               WHERE user_id = ?1 AND secret = ?2 AND confirmed_us IS NULL";
    execute(connection, sql, params![user.0, secret, step, now_us]).map(|confirmed| confirmed > 0)
}

fn take_totp_step(connection: &Connection, user: UserId, step: i64) -> Result<bool, StoreError> {
    let sql =
        "UPDATE totp SET last_step = ?2 WHERE user_id = ?1 AND last_step < ?2 AND confirmed_us IS NOT NULL";
    execute(connection, sql, params![user.0, step]).map(|taken| taken > 0)
}

fn delete_totp(connection: &Connection, user: UserId) -> Result<bool, StoreError> {
    let deleted = execute(connection, "DELETE FROM totp WHERE user_id = ?1", params![user.0])? > 0;
    drop_idle_codes(connection, user)?;
    Ok(deleted)
}

/// Recovery codes stand in for a second factor: without one they are of no use.
fn drop_idle_codes(connection: &Connection, user: UserId) -> Result<(), StoreError> {
    if second_factors(connection, user)?.is_asked() {
        return Ok(());
    }
    execute(connection, "DELETE FROM recovery_code WHERE user_id = ?1", params![user.0]).map(|_| ())
}

fn set_recovery_codes(
    connection: &Connection,
    user: UserId,
    hashes: &[TokenHash],
) -> Result<bool, StoreError> {
    if !second_factors(connection, user)?.is_asked() {
        return Ok(false);
    }
    execute(connection, "DELETE FROM recovery_code WHERE user_id = ?1", params![user.0])?;
    for hash in hashes {
        let sql = "INSERT INTO recovery_code (user_id, hash) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        execute(connection, sql, params![user.0, hash.0])?;
    }
    Ok(true)
}

fn take_recovery_code(connection: &Connection, user: UserId, hash: TokenHash) -> Result<bool, StoreError> {
    let sql = "DELETE FROM recovery_code WHERE user_id = ?1 AND hash = ?2";
    execute(connection, sql, params![user.0, hash.0]).map(|taken| taken > 0)
}

fn add_passkey(connection: &Connection, passkey: &StoredPasskey, limit: u32) -> Result<Added, StoreError> {
    let exists = user_by_id(connection, passkey.user)?.is_some();
    let held = identities::ways_in(connection, passkey.user)?.passkeys;
    let decided = ways_in::add_passkey(exists, held, limit);
    if decided != Added::Kept {
        return Ok(decided);
    }
    let sql = "INSERT INTO passkey (id, user_id, credential_id, name, credential, second_factor, created_us, last_used_us)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING";
    let StoredPasskey { id, user, credential_id, name, credential, second_factor, created_us, last_used_us } =
        passkey;
    let values =
        params![id.0, user.0, credential_id, name, credential, second_factor, created_us, last_used_us];
    if execute(connection, sql, values)? == 0 {
        return Ok(Added::Known);
    }
    anonymous::forget(connection, passkey.user)?;
    Ok(Added::Kept)
}

fn passkeys(connection: &Connection, user: UserId, limit: u32) -> Result<Vec<StoredPasskey>, StoreError> {
    let mut select = connection.prepare_cached(PASSKEYS)?;
    let mut rows = select.query(params![user.0, limit])?;
    let mut passkeys = Vec::new();
    while let Some(row) = rows.next()? {
        passkeys.push(read(row)?);
    }
    Ok(passkeys)
}

fn use_passkey(
    connection: &Connection,
    id: PasskeyId,
    current: &str,
    next: &str,
    now_us: i64,
) -> Result<bool, StoreError> {
    let sql = "UPDATE passkey SET credential = ?3, last_used_us = ?4 WHERE id = ?1 AND credential = ?2";
    execute(connection, sql, params![id.0, current, next, now_us]).map(|used| used > 0)
}

fn delete_passkey(connection: &Connection, user: UserId, id: PasskeyId) -> Result<Removal, StoreError> {
    let sql = "SELECT 1 FROM passkey WHERE id = ?1 AND user_id = ?2";
    let is_theirs = one(connection, sql, params![id.0, user.0], |_| Ok(()))?.is_some();
    let decided = ways_in::remove(is_theirs, identities::ways_in(connection, user)?);
    if decided == Removal::Removed {
        execute(connection, "DELETE FROM passkey WHERE id = ?1", params![id.0])?;
        drop_idle_codes(connection, user)?;
    }
    Ok(decided)
}

/// Removes those of a user whose account goes.
pub(super) fn forget(connection: &Connection, user: UserId) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM totp WHERE user_id = ?1",
        "DELETE FROM recovery_code WHERE user_id = ?1",
        "DELETE FROM passkey WHERE user_id = ?1",
    ] {
        execute(connection, sql, params![user.0])?;
    }
    Ok(())
}

fn read(row: &Row<'_>) -> Result<StoredPasskey, StoreError> {
    let columns = Columns { table: "passkey", row };
    Ok(StoredPasskey {
        id: PasskeyId(columns.bytes("id")?),
        user: UserId(columns.bytes("user_id")?),
        credential_id: row.get("credential_id")?,
        name: columns.text("name")?.ok_or_else(|| columns.corrupt("name"))?,
        credential: columns.text("credential")?.ok_or_else(|| columns.corrupt("credential"))?,
        second_factor: row.get("second_factor")?,
        created_us: columns.integer("created_us")?,
        last_used_us: columns.maybe_integer("last_used_us")?,
    })
}

impl Factors for SqliteStore {
    fn second_factors(&self, user: UserId) -> BoxFuture<'_, Result<SecondFactors, StoreError>> {
        Box::pin(self.read(move |connection| second_factors(connection, user)))
    }

    fn totp(&self, user: UserId) -> BoxFuture<'_, Result<Option<Totp>, StoreError>> {
        Box::pin(self.read(move |connection| totp(connection, user)))
    }

    fn offer_totp(&self, totp: Totp) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |transaction| offer_totp(transaction, &totp)))
    }

    fn confirm_totp(
        &self,
        user: UserId,
        secret: Vec<u8>,
        step: i64,
        now_us: i64,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |transaction| confirm_totp(transaction, user, &secret, step, now_us)))
    }

    fn take_totp_step(&self, user: UserId, step: i64) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |transaction| take_totp_step(transaction, user, step)))
    }

    fn delete_totp(&self, user: UserId) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |transaction| delete_totp(transaction, user)))
    }

    fn set_recovery_codes(
        &self,
        user: UserId,
        hashes: Vec<TokenHash>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |transaction| set_recovery_codes(transaction, user, &hashes)))
    }

    fn take_recovery_code(&self, user: UserId, hash: TokenHash) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |transaction| take_recovery_code(transaction, user, hash)))
    }

    fn add_passkey(&self, passkey: StoredPasskey, limit: u32) -> BoxFuture<'_, Result<Added, StoreError>> {
        Box::pin(self.write(move |transaction| add_passkey(transaction, &passkey, limit)))
    }

    fn passkeys(&self, user: UserId, limit: u32) -> BoxFuture<'_, Result<Vec<StoredPasskey>, StoreError>> {
        Box::pin(self.read(move |connection| passkeys(connection, user, limit)))
    }

    fn passkey(&self, credential_id: Vec<u8>) -> BoxFuture<'_, Result<Option<StoredPasskey>, StoreError>> {
        Box::pin(self.read(move |connection| one(connection, PASSKEY, params![credential_id], read)))
    }

    fn use_passkey(
        &self,
        id: PasskeyId,
        current: String,
        next: String,
        now_us: i64,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |transaction| use_passkey(transaction, id, &current, &next, now_us)))
    }

    fn delete_passkey(&self, user: UserId, id: PasskeyId) -> BoxFuture<'_, Result<Removal, StoreError>> {
        Box::pin(self.write(move |transaction| delete_passkey(transaction, user, id)))
    }
}
