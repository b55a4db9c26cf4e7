//! Users and sessions in SQLite. The functions work on one connection; [`AccountStore`] for [`SqliteStore`] sends the
//! writing ones to the writer thread and the reading ones to a reader.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::directory::users;
use super::traces;
use super::{SqliteStore, anonymous};
use crate::accounts::{
    AccountStore, RefreshRotation, Session, SessionId, SessionKind, TokenHash, User, UserId,
};
use crate::time::random_id;
use crate::{BoxFuture, StoreError};

const KIND_ACCESS: i64 = 1;
const KIND_DEVICE: i64 = 2;

const USER_COLUMNS: &str = "id, email, email_verified_us, full_name, password_hash, created_us";
const SESSION_COLUMNS: &str = "id, user_id, kind, method, token_hash, refresh_hash, previous_refresh_hash, \
     rotated_us, expires_us, created_us, last_used_us, revoked_us, device_name, user_agent, address";

/// Keeps a new user. A taken id or e-mail address is [`StoreError::Conflict`].
pub(super) fn create_user(connection: &Connection, user: &User) -> Result<(), StoreError> {
    let sql = "INSERT INTO users (id, email, email_verified_us, full_name, password_hash, created_us)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
    let inserted = execute(
        connection,
        sql,
        params![
            user.id.0,
            user.email,
            user.email_verified_us,
            user.full_name,
            user.password_hash,
            user.created_us,
        ],
    )?;
    if inserted == 0 { Err(StoreError::Conflict("user")) } else { Ok(()) }
}

/// The user with this e-mail address.
pub(super) fn user_by_email(connection: &Connection, email: &str) -> Result<Option<User>, StoreError> {
    one(connection, &format!("SELECT {USER_COLUMNS} FROM users WHERE email = ?1"), params![email], user)
}

/// The user with this id.
fn user_by_id(connection: &Connection, id: UserId) -> Result<Option<User>, StoreError> {
    one(connection, &format!("SELECT {USER_COLUMNS} FROM users WHERE id = ?1"), params![id.0], user)
}

/// Replaces a password hash.
fn set_password_hash(connection: &Connection, id: UserId, hash: &str) -> Result<bool, StoreError> {
    let sql = "UPDATE users SET password_hash = ?2 WHERE id = ?1";
    execute(connection, sql, params![id.0, hash]).map(|changed| changed > 0)
}

/// Gives a user a verified address. One that somebody else has is [`StoreError::Conflict`].
fn set_email(connection: &Connection, id: UserId, email: &str, verified_us: i64) -> Result<bool, StoreError> {
    let sql = "UPDATE OR IGNORE users SET email = ?2, email_verified_us = ?3 WHERE id = ?1";
    if execute(connection, sql, params![id.0, email, verified_us])? > 0 {
        return Ok(true);
    }
    if user_by_id(connection, id)?.is_some() { Err(StoreError::Conflict("user")) } else { Ok(false) }
}

/// Notes that a user's address is verified.
fn verify_email(connection: &Connection, id: UserId, email: &str, now_us: i64) -> Result<bool, StoreError> {
    let sql =
        "UPDATE users SET email_verified_us = ifnull(email_verified_us, ?3) WHERE id = ?1 AND email = ?2";
    execute(connection, sql, params![id.0, email, now_us]).map(|changed| changed > 0)
}

/// Removes a user, their sessions, memberships and spaces; for `tombstone` see [`users::forget`]. Does not rely on
/// `foreign_keys`, which each connection may set or not.
pub(super) fn delete_user(
    connection: &Connection,
    id: UserId,
    tombstone: [u8; 16],
    now_us: i64,
) -> Result<bool, StoreError> {
    if user_by_id(connection, id)?.is_none() {
        return Ok(false);
    }
    users::forget(connection, id, tombstone, now_us)?;
    execute(connection, "DELETE FROM sessions WHERE user_id = ?1", params![id.0])?;
    execute(connection, "DELETE FROM one_time_token WHERE user_id = ?1", params![id.0])?;
    anonymous::forget(connection, id)?;
    traces::note(connection, id, now_us)?;
    execute(connection, "DELETE FROM users WHERE id = ?1", params![id.0]).map(|deleted| deleted > 0)
}

/// Keeps a new session if its user exists. A taken id or token hash is [`StoreError::Conflict`].
fn create_session(connection: &Connection, session: &Session) -> Result<bool, StoreError> {
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
fn replace_session(connection: &Connection, dead: SessionId, session: &Session) -> Result<bool, StoreError> {
    let sql = "DELETE FROM sessions WHERE id = ?1 AND (revoked_us IS NOT NULL OR expires_us <= ?2)
                   AND EXISTS (SELECT 1 FROM users WHERE id = ?3)";
    let removed = execute(connection, sql, params![dead.0, session.created_us, session.user.0])?;
    if removed == 0 { Ok(false) } else { create_session(connection, session) }
}

/// The session with this id.
fn session_by_id(connection: &Connection, id: SessionId) -> Result<Option<Session>, StoreError> {
    one(connection, &format!("SELECT {SESSION_COLUMNS} FROM sessions WHERE id = ?1"), params![id.0], session)
}

/// The session with this token hash.
fn session_by_token_hash(connection: &Connection, hash: TokenHash) -> Result<Option<Session>, StoreError> {
    let sql = format!("SELECT {SESSION_COLUMNS} FROM sessions WHERE token_hash = ?1");
    one(connection, &sql, params![hash.0], session)
}

/// Swaps the refresh hash if it is still the one expected and the session is live.
fn rotate_refresh(connection: &Connection, rotation: &RefreshRotation) -> Result<bool, StoreError> {
    let sql = "UPDATE sessions
               SET previous_refresh_hash = refresh_hash, refresh_hash = ?3, rotated_us = ?4, expires_us = ?5,
                   last_used_us = max(last_used_us, ?4), address = ifnull(?6, address)
               WHERE id = ?1 AND refresh_hash = ?2 AND revoked_us IS NULL AND expires_us > ?4";
    let RefreshRotation { session, current, next, now_us, expires_us, address } = rotation;
    execute(connection, sql, params![session.0, current.0, next.0, now_us, expires_us, address])
        .map(|changed| changed > 0)
}

/// Revokes a session that is not yet revoked.
fn revoke_session(connection: &Connection, id: SessionId, now_us: i64) -> Result<bool, StoreError> {
    let sql = "UPDATE sessions SET revoked_us = ?2 WHERE id = ?1 AND revoked_us IS NULL";
    execute(connection, sql, params![id.0, now_us]).map(|changed| changed > 0)
}

/// Revokes every session of a user that is not yet revoked.
fn revoke_all_sessions(connection: &Connection, user: UserId, now_us: i64) -> Result<u64, StoreError> {
    let sql = "UPDATE sessions SET revoked_us = ?2 WHERE user_id = ?1 AND revoked_us IS NULL";
    execute(connection, sql, params![user.0, now_us])
}

/// Revokes every session of a user but one that is not yet revoked.
fn revoke_other_sessions(
    connection: &Connection,
    user: UserId,
    keep: SessionId,
    now_us: i64,
) -> Result<u64, StoreError> {
    let sql = "UPDATE sessions SET revoked_us = ?3 WHERE user_id = ?1 AND id <> ?2 AND revoked_us IS NULL";
    execute(connection, sql, params![user.0, keep.0, now_us])
}

/// Notes that a session was used.
fn touch_session(connection: &Connection, id: SessionId, now_us: i64) -> Result<(), StoreError> {
    let sql = "UPDATE sessions SET last_used_us = ?2 WHERE id = ?1 AND last_used_us < ?2";
    execute(connection, sql, params![id.0, now_us]).map(|_| ())
}

/// The newest sessions of a user.
fn list_sessions(connection: &Connection, user: UserId, limit: u32) -> Result<Vec<Session>, StoreError> {
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
fn live_sessions(
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
fn delete_expired_sessions(connection: &Connection, before_us: i64, limit: u32) -> Result<u64, StoreError> {
    // The expression is that of the index `sessions_by_end`, letter by letter, or SQLite would scan the table.
    let sql = "DELETE FROM sessions WHERE id IN (
                   SELECT id FROM sessions
                   WHERE min(expires_us, ifnull(revoked_us, expires_us)) < ?1
                   ORDER BY min(expires_us, ifnull(revoked_us, expires_us)) LIMIT ?2)";
    execute(connection, sql, params![before_us, limit])
}

pub(super) fn execute(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> Result<u64, StoreError> {
    Ok(connection.prepare_cached(sql)?.execute(values)? as u64)
}

/// The first row, read by `read`, whose own errors are kept apart from the driver's.
pub(super) fn one<T>(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
    read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let mut select = connection.prepare_cached(sql)?;
    select.query_row(values, |row| Ok(read(row))).optional()?.transpose()
}

fn user(row: &Row<'_>) -> Result<User, StoreError> {
    let columns = Columns { table: "users", row };
    Ok(User {
        id: UserId(columns.bytes("id")?),
        email: columns.text("email")?,
        email_verified_us: columns.maybe_integer("email_verified_us")?,
        full_name: columns.text("full_name")?,
        password_hash: columns.text("password_hash")?,
        created_us: columns.integer("created_us")?,
    })
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

/// Reads columns such that what cannot be read names table, column and row.
pub(super) struct Columns<'a, 'row> {
    pub(super) table: &'static str,
    pub(super) row: &'a Row<'row>,
}

impl Columns<'_, '_> {
    fn value(&self, column: &'static str) -> Result<ValueRef<'_>, StoreError> {
        Ok(self.row.get_ref(column)?)
    }

    pub(super) fn corrupt(&self, column: &'static str) -> StoreError {
        let row = match self.row.get_ref("id") {
            Ok(ValueRef::Blob(id)) => {
                <[u8; 16]>::try_from(id).map_or_else(|_| "?".to_owned(), |id| UserId(id).to_string())
            }
            _ => "?".to_owned(),
        };
        StoreError::Corrupt { table: self.table, column, row }
    }

    pub(super) fn maybe_bytes<const N: usize>(
        &self,
        column: &'static str,
    ) -> Result<Option<[u8; N]>, StoreError> {
        match self.value(column)? {
            ValueRef::Null => Ok(None),
            ValueRef::Blob(bytes) => bytes.try_into().map(Some).map_err(|_| self.corrupt(column)),
            _ => Err(self.corrupt(column)),
        }
    }

    pub(super) fn bytes<const N: usize>(&self, column: &'static str) -> Result<[u8; N], StoreError> {
        self.maybe_bytes(column)?.ok_or_else(|| self.corrupt(column))
    }

    pub(super) fn maybe_integer(&self, column: &'static str) -> Result<Option<i64>, StoreError> {
        match self.value(column)? {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(integer) => Ok(Some(integer)),
            _ => Err(self.corrupt(column)),
        }
    }

    pub(super) fn integer(&self, column: &'static str) -> Result<i64, StoreError> {
        self.maybe_integer(column)?.ok_or_else(|| self.corrupt(column))
    }

    pub(super) fn text(&self, column: &'static str) -> Result<Option<String>, StoreError> {
        match self.value(column)? {
            ValueRef::Null => Ok(None),
            ValueRef::Text(text) => {
                String::from_utf8(text.to_vec()).map(Some).map_err(|_| self.corrupt(column))
            }
            _ => Err(self.corrupt(column)),
        }
    }
}

impl AccountStore for SqliteStore {
    fn create_user(&self, user: User) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.write(move |transaction| create_user(transaction, &user)))
    }

    fn user_by_email(&self, email: &str) -> BoxFuture<'_, Result<Option<User>, StoreError>> {
        let email = email.to_owned();
        Box::pin(self.read(move |connection| user_by_email(connection, &email)))
    }

    fn user_by_id(&self, id: UserId) -> BoxFuture<'_, Result<Option<User>, StoreError>> {
        Box::pin(self.read(move |connection| user_by_id(connection, id)))
    }

    fn set_password_hash(&self, id: UserId, hash: String) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |transaction| set_password_hash(transaction, id, &hash)))
    }

    fn set_email(
        &self,
        id: UserId,
        email: String,
        verified_us: i64,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |transaction| set_email(transaction, id, &email, verified_us)))
    }

    fn verify_email(
        &self,
        id: UserId,
        email: String,
        now_us: i64,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |transaction| verify_email(transaction, id, &email, now_us)))
    }

    fn delete_user(&self, id: UserId) -> BoxFuture<'_, Result<bool, StoreError>> {
        let (tombstone, now_us) = (random_id(&*self.inner.random), self.inner.clock.now_us());
        Box::pin(self.write_access(move |transaction| delete_user(transaction, id, tombstone, now_us)))
    }

    fn create_session(&self, session: Session) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |transaction| create_session(transaction, &session)))
    }

    fn replace_session(&self, dead: SessionId, session: Session) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |transaction| replace_session(transaction, dead, &session)))
    }

    fn session_by_id(&self, id: SessionId) -> BoxFuture<'_, Result<Option<Session>, StoreError>> {
        Box::pin(self.read(move |connection| session_by_id(connection, id)))
    }

    fn session_by_token_hash(&self, hash: TokenHash) -> BoxFuture<'_, Result<Option<Session>, StoreError>> {
        Box::pin(self.read(move |connection| session_by_token_hash(connection, hash)))
    }

    fn rotate_refresh(&self, rotation: RefreshRotation) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |transaction| rotate_refresh(transaction, &rotation)))
    }

    fn revoke_session(&self, id: SessionId, now_us: i64) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write_access(move |transaction| revoke_session(transaction, id, now_us)))
    }

    fn revoke_all_sessions(&self, user: UserId, now_us: i64) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.write_access(move |transaction| revoke_all_sessions(transaction, user, now_us)))
    }

    fn revoke_other_sessions(
        &self,
        user: UserId,
        keep: SessionId,
        now_us: i64,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.write_access(move |transaction| revoke_other_sessions(transaction, user, keep, now_us)))
    }

    fn touch_session(&self, id: SessionId, now_us: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.write(move |transaction| touch_session(transaction, id, now_us)))
    }

    fn list_sessions(&self, user: UserId, limit: u32) -> BoxFuture<'_, Result<Vec<Session>, StoreError>> {
        Box::pin(self.read(move |connection| list_sessions(connection, user, limit)))
    }

    fn live_sessions(
        &self,
        user: UserId,
        now_us: i64,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Session>, StoreError>> {
        Box::pin(self.read(move |connection| live_sessions(connection, user, now_us, limit)))
    }

    fn delete_expired_sessions(&self, before_us: i64, limit: u32) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.write(move |transaction| delete_expired_sessions(transaction, before_us, limit)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::spaces::{CommitSink, Committed};
    use crate::sqlite::SqliteOptions;
    use crate::time::{SystemClock, SystemRandom};

    const SCHEMA: [&str; 2] =
        [include_str!("migrations/V2__accounts.sql"), include_str!("migrations/V5__sign_in.sql")];

    struct Nobody;
    impl CommitSink for Nobody {
        fn committed(&self, _: Committed) {}
    }

    fn open(path: &std::path::Path) -> SqliteStore {
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        SqliteStore::open(path, SqliteOptions::default(), Arc::new(Nobody), clock, random)
            .expect("a new file opens")
    }

    #[tokio::test]
    async fn conforms() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(&folder.path().join("lattice.db"));
        crate::conformance::accounts(&store).await;
        crate::conformance::one_time_tokens(&Arc::new(store.clone())).await;
        crate::conformance::anonymous_accounts(&store).await;
        crate::conformance::password_hashes(&store).await;
        crate::conformance::access_log(&store).await;
        store.close().await;
    }

    #[tokio::test]
    async fn what_is_kept_survives_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lattice.db");
        let store = open(&path);
        let someone = User {
            id: UserId([1; 16]),
            email: Some("a@b".to_owned()),
            email_verified_us: Some(2),
            full_name: None,
            password_hash: None,
            created_us: 1,
        };
        store.create_user(someone.clone()).await.expect("write");
        store.close().await;
        drop(store);
        let store = open(&path);
        assert_eq!(store.user_by_email("a@b").await, Ok(Some(someone)));
        store.close().await;
        assert_eq!(store.set_password_hash(UserId([1; 16]), "x".to_owned()).await, Err(StoreError::Closed));
    }

    fn in_memory() -> Connection {
        let connection = Connection::open_in_memory().expect("memory");
        connection.execute_batch(&SCHEMA.concat()).expect("the schema is SQL");
        connection
    }

    #[test]
    fn a_corrupt_row_names_table_column_and_row() {
        let connection = in_memory();
        let store = |sql: &str| connection.execute_batch(sql).expect("SQL");
        let row = "07070707-0707-0707-0707-070707070707".to_owned();
        store("PRAGMA ignore_check_constraints = on;");
        let id = "x'07070707070707070707070707070707'";
        store(&format!("INSERT INTO users VALUES ({id}, CAST(x'ff' AS TEXT), NULL, NULL, NULL, 0)"));
        assert_eq!(
            user_by_id(&connection, UserId([7; 16])),
            Err(StoreError::Corrupt { table: "users", column: "email", row: row.clone() })
        );
        let insert = format!(
            "INSERT INTO sessions VALUES ({id}, {id}, 1, 'x', {id}, {id}, NULL, NULL, 1, 1, 1, NULL, NULL, NULL, NULL)"
        );
        store(&insert);
        let read = || session_by_id(&connection, SessionId([7; 16]));
        let corrupt = |column| Err(StoreError::Corrupt { table: "sessions", column, row: row.clone() });
        assert_eq!(read(), corrupt("token_hash"), "16 bytes are no SHA-256");
        store("UPDATE sessions SET token_hash = zeroblob(32)");
        assert_eq!(read(), corrupt("refresh_hash"));
        store("UPDATE sessions SET refresh_hash = NULL, kind = 3");
        assert_eq!(read(), corrupt("kind"));
        store("UPDATE sessions SET kind = 2");
        assert_eq!(read().map(|session| session.map(|session| session.kind)), Ok(Some(SessionKind::Device)));
    }

    #[test]
    fn the_schema_refuses_what_cannot_be_read_back() {
        let connection = in_memory();
        let refuse = |sql: &str| assert!(connection.execute_batch(sql).is_err(), "{sql}");
        refuse("INSERT INTO users VALUES (x'07', 'a@b', NULL, NULL, NULL, 0)");
        refuse("INSERT INTO users VALUES (zeroblob(16), NULL, 5, NULL, NULL, 0)");
        refuse("INSERT INTO users VALUES (zeroblob(16), 'a@b', NULL, NULL, NULL, 'soon')");
    }

    #[test]
    fn every_look_up_uses_an_index() {
        let connection = in_memory();
        let plan = |sql: &str| -> String {
            let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("SQL");
            let lines = explain.query_map([], |row| row.get::<_, String>("detail")).expect("a plan");
            lines.map(|line| line.expect("a line")).collect::<Vec<_>>().join("\n")
        };
        for sql in [
            "SELECT id FROM users WHERE email = 'x'",
            "SELECT user_id FROM sessions WHERE token_hash = x''",
            "SELECT kind FROM sessions WHERE user_id = x'' ORDER BY created_us DESC, id DESC LIMIT 2",
            "DELETE FROM sessions WHERE user_id = x''",
            "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions
                 WHERE min(expires_us, ifnull(revoked_us, expires_us)) < 3
                 ORDER BY min(expires_us, ifnull(revoked_us, expires_us)) LIMIT 9)",
        ] {
            let plan = plan(sql);
            assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
        }
    }
}
