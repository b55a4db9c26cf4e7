//! Second factors and passkeys, in PostgreSQL.

use tokio_postgres::Row;

use super::error::PgError;
use super::transaction::{Connection, Mode, Params, attempt, execute, query, query_opt};
use super::values::{id, uuid};
use super::{PostgresStore, access, anonymous, identities};
use crate::accounts::{PasskeyId, TokenHash, UserId};
use crate::factors::{Added, Factors, SecondFactors, StoredPasskey, Totp};
use crate::identities::Removal;
use crate::rules::ways_in;
use crate::{BoxFuture, StoreError};

const SECOND_FACTORS: &str = "SELECT
         EXISTS (SELECT 1 FROM totp WHERE user_id = $1 AND confirmed_us IS NOT NULL),
         EXISTS (SELECT 1 FROM passkey WHERE user_id = $1 AND second_factor),
         (SELECT count(*) FROM recovery_code WHERE user_id = $1)";
pub(super) const PASSKEYS: &str =
    "SELECT id, user_id, credential_id, name, credential, second_factor, created_us, last_used_us
     FROM passkey WHERE user_id = $1 ORDER BY created_us, id LIMIT $2";
pub(super) const PASSKEY: &str =
    "SELECT id, user_id, credential_id, name, credential, second_factor, created_us, last_used_us
     FROM passkey WHERE credential_id = $1";

async fn second_factors(connection: &Connection, user: UserId) -> Result<SecondFactors, PgError> {
    let Some(row) = query_opt(connection, SECOND_FACTORS, &[&uuid(user.0)]).await? else {
        return Ok(SecondFactors::default());
    };
    let codes: i64 = row.try_get(2)?;
    Ok(SecondFactors {
        totp: row.try_get(0)?,
        passkey: row.try_get(1)?,
        recovery_codes: u32::try_from(codes).unwrap_or(u32::MAX),
    })
}

async fn totp(connection: &Connection, user: UserId) -> Result<Option<Totp>, PgError> {
    let sql = "SELECT secret, created_us, confirmed_us, last_step FROM totp WHERE user_id = $1";
    let Some(row) = query_opt(connection, sql, &[&uuid(user.0)]).await? else { return Ok(None) };
    Ok(Some(Totp {
        user,
        secret: row.try_get(0)?,
        created_us: row.try_get(1)?,
        confirmed_us: row.try_get(2)?,
        last_step: row.try_get(3)?,
    }))
}

async fn offer_totp(connection: &Connection, totp: &Totp) -> Result<bool, PgError> {
    if !access::user_goes(connection, totp.user).await? {
        return Ok(false);
    }
    let sql = "INSERT INTO totp (user_id, secret, created_us, confirmed_us, last_step) VALUES ($1, $2, $3, NULL, $4)
               ON CONFLICT (user_id) DO UPDATE
               SET secret = excluded.secret, created_us = excluded.created_us, last_step = excluded.last_step
               WHERE totp.confirmed_us IS NULL";
    let values: Params<'_> = &[&uuid(totp.user.0), &totp.secret, &totp.created_us, &totp.last_step];
    Ok(execute(connection, sql, values).await? > 0)
}

async fn confirm_totp(
    connection: &Connection,
    user: UserId,
    secret: &[u8],
    step: i64,
    now_us: i64,
) -> Result<bool, PgError> {
    let sql = "UPDATE totp SET confirmed_us = $4, last_step = $3
               WHERE user_id = $1 AND secret = $2 AND confirmed_us IS NULL";
    Ok(execute(connection, sql, &[&uuid(user.0), &secret, &step, &now_us]).await? > 0)
}

async fn take_totp_step(connection: &Connection, user: UserId, step: i64) -> Result<bool, PgError> {
    let sql =
        "UPDATE totp SET last_step = $2 WHERE user_id = $1 AND last_step < $2 AND confirmed_us IS NOT NULL";
    Ok(execute(connection, sql, &[&uuid(user.0), &step]).await? > 0)
}

/// Of several that change somebody's second factors, the others wait for the lock of the account.
async fn delete_totp(connection: &Connection, user: UserId) -> Result<bool, PgError> {
    if !access::user_goes(connection, user).await? {
        return Ok(false);
    }
    let deleted = execute(connection, "DELETE FROM totp WHERE user_id = $1", &[&uuid(user.0)]).await? > 0;
    drop_idle_codes(connection, user).await?;
    Ok(deleted)
}

/// Recovery codes stand in for a second factor: without one they are of no use.
async fn drop_idle_codes(connection: &Connection, user: UserId) -> Result<(), PgError> {
    if !second_factors(connection, user).await?.is_asked() {
        execute(connection, "DELETE FROM recovery_code WHERE user_id = $1", &[&uuid(user.0)]).await?;
    }
    Ok(())
}

async fn set_recovery_codes(
    connection: &Connection,
    user: UserId,
    hashes: &[TokenHash],
) -> Result<bool, PgError> {
    if !access::user_goes(connection, user).await? || !second_factors(connection, user).await?.is_asked() {
        return Ok(false);
    }
    execute(connection, "DELETE FROM recovery_code WHERE user_id = $1", &[&uuid(user.0)]).await?;
    let hashes: Vec<&[u8]> = hashes.iter().map(|hash| hash.0.as_slice()).collect();
    let sql =
        "INSERT INTO recovery_code (user_id, hash) SELECT $1, unnest($2::bytea[]) ON CONFLICT DO NOTHING";
    execute(connection, sql, &[&uuid(user.0), &hashes]).await?;
    Ok(true)
}

async fn take_recovery_code(connection: &Connection, user: UserId, hash: TokenHash) -> Result<bool, PgError> {
    let sql = "DELETE FROM recovery_code WHERE user_id = $1 AND hash = $2";
    Ok(execute(connection, sql, &[&uuid(user.0), &hash.0.as_slice()]).await? > 0)
}

async fn add_passkey(connection: &Connection, passkey: &StoredPasskey, limit: u32) -> Result<Added, PgError> {
    let exists = access::user_goes(connection, passkey.user).await?;
    let held = identities::ways_in(connection, passkey.user).await?.passkeys;
    let decided = ways_in::add_passkey(exists, held, limit);
    if decided != Added::Kept {
        return Ok(decided);
    }
    let sql = "INSERT INTO passkey (id, user_id, credential_id, name, credential, second_factor, created_us, last_used_us)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
    let StoredPasskey { id, user, credential_id, name, credential, second_factor, created_us, last_used_us } =
        passkey;
    let values: Params<'_> = &[
        &uuid(id.0),
        &uuid(user.0),
        credential_id,
        name,
        credential,
        second_factor,
        created_us,
        last_used_us,
    ];
    if execute(connection, sql, values).await? == 0 {
        return Ok(Added::Known);
    }
    anonymous::forget(connection, passkey.user).await?;
    Ok(Added::Kept)
}

async fn passkeys(connection: &Connection, user: UserId, limit: u32) -> Result<Vec<StoredPasskey>, PgError> {
    let rows = query(connection, PASSKEYS, &[&uuid(user.0), &i64::from(limit)]).await?;
    rows.iter().map(read).collect()
}

async fn passkey(connection: &Connection, credential_id: &[u8]) -> Result<Option<StoredPasskey>, PgError> {
    query_opt(connection, PASSKEY, &[&credential_id]).await?.map(|row| read(&row)).transpose()
}

async fn use_passkey(
    connection: &Connection,
    id: PasskeyId,
    current: &str,
    next: &str,
    now_us: i64,
) -> Result<bool, PgError> {
    let sql = "UPDATE passkey SET credential = $3, last_used_us = $4 WHERE id = $1 AND credential = $2";
    Ok(execute(connection, sql, &[&uuid(id.0), &current, &next, &now_us]).await? > 0)
}

async fn delete_passkey(connection: &Connection, user: UserId, id: PasskeyId) -> Result<Removal, PgError> {
    if !access::user_goes(connection, user).await? {
        return Ok(Removal::NotFound);
    }
    let id = uuid(id.0);
    let sql = "SELECT 1 FROM passkey WHERE id = $1 AND user_id = $2";
    let is_theirs = query_opt(connection, sql, &[&id, &uuid(user.0)]).await?.is_some();
    let decided = ways_in::remove(is_theirs, identities::ways_in(connection, user).await?);
    if decided == Removal::Removed {
        execute(connection, "DELETE FROM passkey WHERE id = $1", &[&id]).await?;
        drop_idle_codes(connection, user).await?;
    }
    Ok(decided)
}

/// Removes those of a user whose account is locked and goes.
pub(super) async fn forget(connection: &Connection, user: UserId) -> Result<(), PgError> {
    for sql in [
        "DELETE FROM totp WHERE user_id = $1",
        "DELETE FROM recovery_code WHERE user_id = $1",
        "DELETE FROM passkey WHERE user_id = $1",
    ] {
        execute(connection, sql, &[&uuid(user.0)]).await?;
    }
    Ok(())
}

fn read(row: &Row) -> Result<StoredPasskey, PgError> {
    Ok(StoredPasskey {
        id: PasskeyId(id(row, 0)?),
        user: UserId(id(row, 1)?),
        credential_id: row.try_get(2)?,
        name: row.try_get(3)?,
        credential: row.try_get(4)?,
        second_factor: row.try_get(5)?,
        created_us: row.try_get(6)?,
        last_used_us: row.try_get(7)?,
    })
}

// What would answer otherwise when it is done a second time runs in a transaction, as with accounts.
impl Factors for PostgresStore {
    fn second_factors(&self, user: UserId) -> BoxFuture<'_, Result<SecondFactors, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Single, |c| second_factors(c, user).await) })
    }

    fn totp(&self, user: UserId) -> BoxFuture<'_, Result<Option<Totp>, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Single, |c| totp(c, user).await) })
    }

    fn offer_totp(&self, totp: Totp) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| offer_totp(c, &totp).await) })
    }

    fn confirm_totp(
        &self,
        user: UserId,
        secret: Vec<u8>,
        step: i64,
        now_us: i64,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            attempt!(self, Mode::Write, |c| confirm_totp(c, user, &secret, step, now_us).await)
        })
    }

    fn take_totp_step(&self, user: UserId, step: i64) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| take_totp_step(c, user, step).await) })
    }

    fn delete_totp(&self, user: UserId) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| delete_totp(c, user).await) })
    }

    fn set_recovery_codes(
        &self,
        user: UserId,
        hashes: Vec<TokenHash>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| set_recovery_codes(c, user, &hashes).await) })
    }

    fn take_recovery_code(&self, user: UserId, hash: TokenHash) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| take_recovery_code(c, user, hash).await) })
    }

    fn add_passkey(&self, passkey: StoredPasskey, limit: u32) -> BoxFuture<'_, Result<Added, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| add_passkey(c, &passkey, limit).await) })
    }

    fn passkeys(&self, user: UserId, limit: u32) -> BoxFuture<'_, Result<Vec<StoredPasskey>, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Single, |c| passkeys(c, user, limit).await) })
    }

    fn passkey(&self, credential_id: Vec<u8>) -> BoxFuture<'_, Result<Option<StoredPasskey>, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Single, |c| passkey(c, &credential_id).await) })
    }

    fn use_passkey(
        &self,
        id: PasskeyId,
        current: String,
        next: String,
        now_us: i64,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(
            async move { attempt!(self, Mode::Write, |c| use_passkey(c, id, &current, &next, now_us).await) },
        )
    }

    fn delete_passkey(&self, user: UserId, id: PasskeyId) -> BoxFuture<'_, Result<Removal, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| delete_passkey(c, user, id).await) })
    }
}
