//! Users and sessions in SQLite. The statements work on one connection; [`AccountStore`] for [`SqliteStore`] sends the
//! writing ones to the writer thread and the reading ones to a reader.

pub(super) mod sessions;
mod users;

use super::SqliteStore;
use super::directory::users::delete;
use crate::accounts::{AccountStore, RefreshRotation, Session, SessionId, TokenHash, User, UserId};
use crate::rules::departure::Others;
use crate::time::random_id;
use crate::{BoxFuture, StoreError};

use sessions::{
    create_session, delete_expired_sessions, list_sessions, live_sessions, replace_session,
    revoke_all_sessions, revoke_other_sessions, revoke_session, rotate_refresh, session_by_id,
    session_by_token_hash, touch_session,
};
use users::{set_email, set_password_hash, verify_email};

pub(super) use users::{create_user, user_by_email, user_by_id};

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
        Box::pin(async move {
            let delete = move |transaction: &rusqlite::Transaction<'_>| {
                delete(transaction, id, tombstone, now_us, Others::LoseTheirs)
            };
            Ok(self.write_access(delete).await?.is_ok())
        })
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

    use rusqlite::Connection;

    use super::*;
    use crate::accounts::SessionKind;
    use crate::spaces::NoSink;
    use crate::sqlite::SqliteOptions;
    use crate::time::{SystemClock, SystemRandom};

    const SCHEMA: [&str; 2] =
        [include_str!("migrations/V2__accounts.sql"), include_str!("migrations/V5__sign_in.sql")];

    fn open(path: &std::path::Path) -> SqliteStore {
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        SqliteStore::open(path, SqliteOptions::default(), Arc::new(NoSink), clock, random)
            .expect("a new file opens")
    }

    #[tokio::test]
    async fn conforms() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(&folder.path().join("lattice.db"));
        crate::conformance::accounts(&store).await;
        crate::conformance::one_time_tokens(&Arc::new(store.clone())).await;
        crate::conformance::anonymous_accounts(&store).await;
        crate::conformance::identities(&store).await;
        crate::conformance::factors(&store).await;
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
