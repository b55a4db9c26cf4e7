//! Statements of sessions. Several at once are locked by id, or only those that nobody has locked: the order in which the
//! database finds them is no order.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::StoreError;
use crate::accounts::{RefreshRotation, Session, SessionId, SessionKind, TokenHash, UserId};
use crate::postgres::access;
use crate::postgres::error::PgError;
use crate::postgres::transaction::{Connection, execute, query, query_opt};
use crate::postgres::values::{corrupt, id, uuid};

const KIND_ACCESS: i16 = 1;
const KIND_DEVICE: i16 = 2;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, user_id, kind, method, token_hash, refresh_hash, previous_refresh_hash, rotated_us,
                    expires_us, created_us, last_used_us, revoked_us, device_name, user_agent, address
             FROM sessions ",
            $rest
        )
    };
}

/// `$1` the user, `$2` the limit.
pub(in super::super) const LIST: &str =
    select!("WHERE user_id = $1 ORDER BY created_us DESC, id DESC LIMIT $2");
/// `$1` the hash.
pub(in super::super) const BY_TOKEN_HASH: &str = select!("WHERE token_hash = $1");
/// `$1` the user, `$2` the time.
pub(in super::super) const REVOKE_ALL: &str = "WITH live AS MATERIALIZED (
         SELECT id FROM sessions WHERE user_id = $1 AND revoked_us IS NULL ORDER BY id FOR UPDATE)
     UPDATE sessions s SET revoked_us = $2 FROM live WHERE s.id = live.id";
/// `$1` the user, `$2` the session that stays, `$3` the time.
pub(in super::super) const REVOKE_OTHERS: &str = "WITH live AS MATERIALIZED (
         SELECT id FROM sessions WHERE user_id = $1 AND id <> $2 AND revoked_us IS NULL ORDER BY id FOR UPDATE)
     UPDATE sessions s SET revoked_us = $3 FROM live WHERE s.id = live.id";
/// `$1` the user, `$2` the time, `$3` the limit.
pub(in super::super) const LIVE: &str = select!(
    "WHERE user_id = $1 AND revoked_us IS NULL AND expires_us > $2 ORDER BY created_us DESC, id DESC LIMIT $3"
);
/// `$1` the time, `$2` the limit. The expression is that of the index `sessions_by_end`.
pub(in super::super) const DELETE_EXPIRED: &str = "WITH dead AS MATERIALIZED (
         SELECT id FROM sessions WHERE least(expires_us, coalesce(revoked_us, expires_us)) < $1
         ORDER BY least(expires_us, coalesce(revoked_us, expires_us)) LIMIT $2 FOR UPDATE SKIP LOCKED)
     DELETE FROM sessions s USING dead WHERE s.id = dead.id";
/// `$1` the user.
pub(in super::super) const DELETE_OF_USER: &str = "WITH own AS MATERIALIZED (
         SELECT id FROM sessions WHERE user_id = $1 ORDER BY id FOR UPDATE)
     DELETE FROM sessions s USING own WHERE s.id = own.id";

/// Keeps a new session if its user exists. A taken id or token hash is [`StoreError::Conflict`].
pub(super) async fn create(connection: &Connection, session: &Session) -> Result<bool, PgError> {
    if !access::user_stays(connection, session.user).await? {
        return Ok(false);
    }
    let sql = "INSERT INTO sessions (id, user_id, kind, method, token_hash, refresh_hash, previous_refresh_hash,
                   rotated_us, expires_us, created_us, last_used_us, revoked_us, device_name, user_agent, address)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
               ON CONFLICT DO NOTHING";
    let kind = match session.kind {
        SessionKind::Access => KIND_ACCESS,
        SessionKind::Device => KIND_DEVICE,
    };
    let bytes = |hash: Option<TokenHash>| hash.map(|hash| hash.0.to_vec());
    let inserted = execute(
        connection,
        sql,
        &[
            &uuid(session.id.0),
            &uuid(session.user.0),
            &kind,
            &session.method,
            &session.token_hash.0.as_slice(),
            &bytes(session.refresh_hash),
            &bytes(session.previous_refresh_hash),
            &session.rotated_us,
            &session.expires_us,
            &session.created_us,
            &session.last_used_us,
            &session.revoked_us,
            &session.device_name,
            &session.user_agent,
            &session.address,
        ],
    )
    .await?;
    if inserted == 0 { Err(StoreError::Conflict("session").into()) } else { Ok(true) }
}

/// Keeps a new session in the place of a dead one.
pub(super) async fn replace(
    connection: &Connection,
    dead: SessionId,
    session: &Session,
) -> Result<bool, PgError> {
    if !access::user_stays(connection, session.user).await? {
        return Ok(false);
    }
    let sql = "DELETE FROM sessions WHERE id = $1 AND (revoked_us IS NOT NULL OR expires_us <= $2)";
    let removed = execute(connection, sql, &[&uuid(dead.0), &session.created_us]).await?;
    if removed == 0 { Ok(false) } else { create(connection, session).await }
}

/// The session with this id.
pub(super) async fn by_id(connection: &Connection, id: SessionId) -> Result<Option<Session>, PgError> {
    let found = query_opt(connection, select!("WHERE id = $1"), &[&uuid(id.0)]).await?;
    found.map(|row| read(&row)).transpose()
}

/// The session with this token hash.
pub(super) async fn by_token_hash(
    connection: &Connection,
    hash: TokenHash,
) -> Result<Option<Session>, PgError> {
    let found = query_opt(connection, BY_TOKEN_HASH, &[&hash.0.as_slice()]).await?;
    found.map(|row| read(&row)).transpose()
}

/// Swaps the refresh hash if it is still the one expected and the session is live. Of two at once, the second waits for the
/// first, and then looks at what that has left.
pub(super) async fn rotate(connection: &Connection, rotation: &RefreshRotation) -> Result<bool, PgError> {
    let sql = "UPDATE sessions
               SET previous_refresh_hash = refresh_hash, refresh_hash = $3, rotated_us = $4, expires_us = $5,
                   last_used_us = greatest(last_used_us, $4), address = coalesce($6, address)
               WHERE id = $1 AND refresh_hash = $2 AND revoked_us IS NULL AND expires_us > $4";
    let RefreshRotation { session, current, next, now_us, expires_us, address } = rotation;
    let (current, next) = (current.0.as_slice(), next.0.as_slice());
    let values: [&(dyn ToSql + Sync); 6] = [&uuid(session.0), &current, &next, now_us, expires_us, address];
    Ok(execute(connection, sql, &values).await? > 0)
}

/// Revokes a session that is not yet revoked.
pub(super) async fn revoke(connection: &Connection, id: SessionId, now_us: i64) -> Result<bool, PgError> {
    let sql = "UPDATE sessions SET revoked_us = $2 WHERE id = $1 AND revoked_us IS NULL";
    Ok(execute(connection, sql, &[&uuid(id.0), &now_us]).await? > 0)
}

/// Revokes every session of a user that is not yet revoked.
pub(super) async fn revoke_all(connection: &Connection, user: UserId, now_us: i64) -> Result<u64, PgError> {
    execute(connection, REVOKE_ALL, &[&uuid(user.0), &now_us]).await
}

/// Revokes every session of a user but one that is not yet revoked.
pub(super) async fn revoke_others(
    connection: &Connection,
    user: UserId,
    keep: SessionId,
    now_us: i64,
) -> Result<u64, PgError> {
    execute(connection, REVOKE_OTHERS, &[&uuid(user.0), &uuid(keep.0), &now_us]).await
}

/// Notes that a session was used.
pub(super) async fn touch(connection: &Connection, id: SessionId, now_us: i64) -> Result<(), PgError> {
    let sql = "UPDATE sessions SET last_used_us = $2 WHERE id = $1 AND last_used_us < $2";
    execute(connection, sql, &[&uuid(id.0), &now_us]).await?;
    Ok(())
}

/// The newest sessions of a user.
pub(super) async fn list(connection: &Connection, user: UserId, limit: u32) -> Result<Vec<Session>, PgError> {
    query(connection, LIST, &[&uuid(user.0), &i64::from(limit)]).await?.iter().map(read).collect()
}

/// The newest sessions of a user that are live.
pub(super) async fn live(
    connection: &Connection,
    user: UserId,
    now_us: i64,
    limit: u32,
) -> Result<Vec<Session>, PgError> {
    query(connection, LIVE, &[&uuid(user.0), &now_us, &i64::from(limit)]).await?.iter().map(read).collect()
}

/// Removes sessions that ended before `before_us`, but for those that are in use.
pub(super) async fn delete_expired(
    connection: &Connection,
    before_us: i64,
    limit: u32,
) -> Result<u64, PgError> {
    execute(connection, DELETE_EXPIRED, &[&before_us, &i64::from(limit)]).await
}

/// Removes all sessions of a user whose account is locked.
pub(in super::super) async fn delete_of_user(connection: &Connection, user: UserId) -> Result<(), PgError> {
    execute(connection, DELETE_OF_USER, &[&uuid(user.0)]).await?;
    Ok(())
}

fn read(row: &Row) -> Result<Session, PgError> {
    let session = SessionId(id(row, 0)?);
    let hash = |at: usize, column: &'static str| -> Result<Option<TokenHash>, PgError> {
        let bytes: Option<Vec<u8>> = row.try_get(at)?;
        let hash = bytes.map(|bytes| bytes.try_into().map(TokenHash)).transpose();
        hash.map_err(|_| corrupt("sessions", column, session))
    };
    Ok(Session {
        id: session,
        user: UserId(id(row, 1)?),
        kind: match row.try_get(2)? {
            KIND_ACCESS => SessionKind::Access,
            KIND_DEVICE => SessionKind::Device,
            _ => return Err(corrupt("sessions", "kind", session)),
        },
        method: row.try_get(3)?,
        token_hash: hash(4, "token_hash")?.ok_or_else(|| corrupt("sessions", "token_hash", session))?,
        refresh_hash: hash(5, "refresh_hash")?,
        previous_refresh_hash: hash(6, "previous_refresh_hash")?,
        rotated_us: row.try_get(7)?,
        expires_us: row.try_get(8)?,
        created_us: row.try_get(9)?,
        last_used_us: row.try_get(10)?,
        revoked_us: row.try_get(11)?,
        device_name: row.try_get(12)?,
        user_agent: row.try_get(13)?,
        address: row.try_get(14)?,
    })
}
