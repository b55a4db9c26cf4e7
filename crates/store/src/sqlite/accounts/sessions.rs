//! Statements of sessions.

use rusqlite::{Connection, Row, params};

use crate::StoreError;
use crate::accounts::{RefreshRotation, Session, SessionId, SessionKind, TokenHash, UserId};
use crate::sqlite::columns::{Columns, execute, one};

const KIND_ACCESS: i64 = 1;
const KIND_DEVICE: i64 = 2;

const SESSION_COLUMNS: &str = "id, user_id, kind, method, token_hash, refresh_hash, previous_refresh_hash, \
     rotated_us, expires_us, created_us, last_used_us, revoked_us, device_name, user_agent, address";

/// Keeps a new session if its user exists. A taken id or token hash is [`StoreError::Conflict`].
pub(in crate::sqlite) fn create_session(
    connection: &Connection,
    session: &Session,
) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM users WHERE id = ?1";
    if one(connection, sql, params![session.user.0], |_| Ok(()))?.is_none() {
        return Ok(false);
    }
    let sql = "INSERT INTO sessions (id, user_id, kind, method, token_hash, refresh_hash, previous_refresh_hash,
                   rotated_us, expires_us, created_us, last_used_us, revoked_us, device_name, user_agent, address)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
               ON CONFLICT DO NOTHING";
    let kind = match session.kind {
        SessionKind::Access => KIND_ACCESS,
        SessionKind::Device => KIND_DEVICE,
    };
    let inserted = execute(
        connection,
        sql,
        params![
            session.id.0,
            session.user.0,
            kind,
            session.method,
            session.token_hash.0,
            session.refresh_hash.map(|hash| hash.0),
            session.previous_refresh_hash.map(|hash| hash.0),
            session.rotated_us,
            session.expires_us,
            session.created_us,
            session.last_used_us,
            session.revoked_us,
            session.device_name,
            session.user_agent,
            session.address,
        ],
    )?;
    if inserted == 0 { Err(StoreError::Conflict("session")) } else { Ok(true) }
}

/// Keeps a new session in the place of a dead one.
pub(in crate::sqlite) fn replace_session(
    connection: &Connection,
    dead: SessionId,
    session: &Session,
) -> Result<bool, StoreError> {
    let sql = "DELETE FROM sessions WHERE id = ?1 AND (revoked_us IS NOT NULL OR expires_us <= ?2)
                   AND EXISTS (SELECT 1 FROM users WHERE id = ?3)";
    let removed = execute(connection, sql, params![dead.0, session.created_us, session.user.0])?;
    if removed == 0 { Ok(false) } else { create_session(connection, session) }
}

/// The session with this id.
pub(in crate::sqlite) fn session_by_id(
    connection: &Connection,
    id: SessionId,
) -> Result<Option<Session>, StoreError> {
    one(connection, &format!("SELECT {SESSION_COLUMNS} FROM sessions WHERE id = ?1"), params![id.0], session)
}

/// The session with this token hash.
pub(in crate::sqlite) fn session_by_token_hash(
    connection: &Connection,
    hash: TokenHash,
) -> Result<Option<Session>, StoreError> {
    let sql = format!("SELECT {SESSION_COLUMNS} FROM sessions WHERE token_hash = ?1");
    one(connection, &sql, params![hash.0], session)
}

/// Swaps the refresh hash if it is still the one expected and the session is live.
pub(in crate::sqlite) fn rotate_refresh(
    connection: &Connection,
    rotation: &RefreshRotation,
) -> Result<bool, StoreError> {
    let sql = "UPDATE sessions
               SET previous_refresh_hash = refresh_hash, refresh_hash = ?3, rotated_us = ?4, expires_us = ?5,
                   last_used_us = max(last_used_us, ?4), address = ifnull(?6, address)
               WHERE id = ?1 AND refresh_hash = ?2 AND revoked_us IS NULL AND expires_us > ?4";
    let RefreshRotation { session, current, next, now_us, expires_us, address } = rotation;
    execute(connection, sql, params![session.0, current.0, next.0, now_us, expires_us, address])
        .map(|changed| changed > 0)
}

/// Revokes a session that is not yet revoked.
pub(in crate::sqlite) fn revoke_session(
    connection: &Connection,
    id: SessionId,
    now_us: i64,
) -> Result<bool, StoreError> {
    let sql = "UPDATE sessions SET revoked_us = ?2 WHERE id = ?1 AND revoked_us IS NULL";
    execute(connection, sql, params![id.0, now_us]).map(|changed| changed > 0)
}

/// Revokes every session of a user that is not yet revoked.
pub(in crate::sqlite) fn revoke_all_sessions(
    connection: &Connection,
    user: UserId,
    now_us: i64,
) -> Result<u64, StoreError> {
    let sql = "UPDATE sessions SET revoked_us = ?2 WHERE user_id = ?1 AND revoked_us IS NULL";
    execute(connection, sql, params![user.0, now_us])
}

/// Revokes every session of a user but one that is not yet revoked.
pub(in crate::sqlite) fn revoke_other_sessions(
    connection: &Connection,
    user: UserId,
    keep: SessionId,
    now_us: i64,
) -> Result<u64, StoreError> {
    let sql = "UPDATE sessions SET revoked_us = ?3 WHERE user_id = ?1 AND id <> ?2 AND revoked_us IS NULL";
    execute(connection, sql, params![user.0, keep.0, now_us])
}

/// Notes that a session was used.
pub(in crate::sqlite) fn touch_session(
    connection: &Connection,
    id: SessionId,
    now_us: i64,
) -> Result<(), StoreError> {
    let sql = "UPDATE sessions SET last_used_us = ?2 WHERE id = ?1 AND last_used_us < ?2";
    execute(connection, sql, params![id.0, now_us]).map(|_| ())
}

/// The newest sessions of a user.
pub(in crate::sqlite) fn list_sessions(
    connection: &Connection,
    user: UserId,
    limit: u32,
) -> Result<Vec<Session>, StoreError> {
    let sql = format!(
        "SELECT {SESSION_COLUMNS} FROM sessions WHERE user_id = ?1 ORDER BY created_us DESC, id DESC LIMIT ?2"
    );
    let mut select = connection.prepare_cached(&sql)?;
    let mut rows = select.query(params![user.0, limit])?;
    let mut sessions = Vec::new();
    while let Some(row) = rows.next()? {
        sessions.push(session(row)?);
    }
    Ok(sessions)
}

/// The newest sessions of a user that are live.
pub(in crate::sqlite) fn live_sessions(
    connection: &Connection,
    user: UserId,
    now_us: i64,
    limit: u32,
) -> Result<Vec<Session>, StoreError> {
    let sql = format!(
        "SELECT {SESSION_COLUMNS} FROM sessions WHERE user_id = ?1 AND revoked_us IS NULL AND expires_us > ?2
         ORDER BY created_us DESC, id DESC LIMIT ?3"
    );
    let mut select = connection.prepare_cached(&sql)?;
    let mut rows = select.query(params![user.0, now_us, limit])?;
    let mut sessions = Vec::new();
    while let Some(row) = rows.next()? {
        sessions.push(session(row)?);
    }
    Ok(sessions)
}

/// Removes sessions that ended before `before_us`.
pub(in crate::sqlite) fn delete_expired_sessions(
    connection: &Connection,
    before_us: i64,
    limit: u32,
) -> Result<u64, StoreError> {
    // The expression is that of the index `sessions_by_end`, letter by letter, or SQLite would scan the table.
    let sql = "DELETE FROM sessions WHERE id IN (
                   SELECT id FROM sessions
                   WHERE min(expires_us, ifnull(revoked_us, expires_us)) < ?1
                   ORDER BY min(expires_us, ifnull(revoked_us, expires_us)) LIMIT ?2)";
    execute(connection, sql, params![before_us, limit])
}

/// Removes all sessions of a user whose account goes.
pub(in crate::sqlite) fn delete_of_user(connection: &Connection, user: UserId) -> Result<(), StoreError> {
    execute(connection, "DELETE FROM sessions WHERE user_id = ?1", params![user.0]).map(|_| ())
}

fn session(row: &Row<'_>) -> Result<Session, StoreError> {
    let columns = Columns { table: "sessions", row };
    Ok(Session {
        id: SessionId(columns.bytes("id")?),
        user: UserId(columns.bytes("user_id")?),
        kind: match columns.integer("kind")? {
            KIND_ACCESS => SessionKind::Access,
            KIND_DEVICE => SessionKind::Device,
            _ => return Err(columns.corrupt("kind")),
        },
        method: columns.text("method")?.ok_or_else(|| columns.corrupt("method"))?,
        token_hash: TokenHash(columns.bytes("token_hash")?),
        refresh_hash: columns.maybe_bytes("refresh_hash")?.map(TokenHash),
        previous_refresh_hash: columns.maybe_bytes("previous_refresh_hash")?.map(TokenHash),
        rotated_us: columns.maybe_integer("rotated_us")?,
        expires_us: columns.integer("expires_us")?,
        created_us: columns.integer("created_us")?,
        last_used_us: columns.integer("last_used_us")?,
        revoked_us: columns.maybe_integer("revoked_us")?,
        device_name: columns.text("device_name")?,
        user_agent: columns.text("user_agent")?,
        address: columns.text("address")?,
    })
}
