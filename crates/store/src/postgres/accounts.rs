//! Users and sessions in PostgreSQL.

pub(super) mod sessions;
pub(super) mod users;

use super::PostgresStore;
use super::access::change_access;
use super::directory::users::delete;
use super::transaction::{Mode, attempt};
use crate::accounts::{AccountStore, RefreshRotation, Session, SessionId, TokenHash, User, UserId};
use crate::rules::departure::Others;
use crate::time::random_id;
use crate::{BoxFuture, StoreError};

// What would answer otherwise when it is done a second time runs in a transaction, and so is not tried again once its commit
// was sent: nobody is told that an address is taken which they took themselves.
impl AccountStore for PostgresStore {
    fn create_user(&self, user: User) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| users::create(c, &user).await) })
    }

    fn user_by_email(&self, email: &str) -> BoxFuture<'_, Result<Option<User>, StoreError>> {
        let email = email.to_owned();
        Box::pin(async move { attempt!(self, Mode::Single, |c| users::by_email(c, &email).await) })
    }

    fn user_by_id(&self, id: UserId) -> BoxFuture<'_, Result<Option<User>, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Single, |c| users::by_id(c, id).await) })
    }

    fn set_password_hash(&self, id: UserId, hash: String) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(
            async move { attempt!(self, Mode::Single, |c| users::set_password_hash(c, id, &hash).await) },
        )
    }

    fn set_email(
        &self,
        id: UserId,
        email: String,
        verified_us: i64,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            attempt!(self, Mode::Write, |c| users::set_email(c, id, &email, verified_us).await)
        })
    }

    fn verify_email(
        &self,
        id: UserId,
        email: String,
        now_us: i64,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(
            async move { attempt!(self, Mode::Single, |c| users::verify_email(c, id, &email, now_us).await) },
        )
    }

    fn delete_user(&self, id: UserId) -> BoxFuture<'_, Result<bool, StoreError>> {
        let (tombstone, now_us) = (random_id(&*self.inner.random), self.inner.clock.now_us());
        Box::pin(async move {
            let deleted =
                change_access!(self, |c| delete(c, id, tombstone, now_us, Others::LoseTheirs).await)?;
            Ok(deleted.is_ok())
        })
    }

    fn create_session(&self, session: Session) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| sessions::create(c, &session).await) })
    }

    fn replace_session(&self, dead: SessionId, session: Session) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| sessions::replace(c, dead, &session).await) })
    }

    fn session_by_id(&self, id: SessionId) -> BoxFuture<'_, Result<Option<Session>, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Single, |c| sessions::by_id(c, id).await) })
    }

    fn session_by_token_hash(&self, hash: TokenHash) -> BoxFuture<'_, Result<Option<Session>, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Single, |c| sessions::by_token_hash(c, hash).await) })
    }

    fn rotate_refresh(&self, rotation: RefreshRotation) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| sessions::rotate(c, &rotation).await) })
    }

    fn revoke_session(&self, id: SessionId, now_us: i64) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { change_access!(self, |c| sessions::revoke(c, id, now_us).await) })
    }

    fn revoke_all_sessions(&self, user: UserId, now_us: i64) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move { change_access!(self, |c| sessions::revoke_all(c, user, now_us).await) })
    }

    fn revoke_other_sessions(
        &self,
        user: UserId,
        keep: SessionId,
        now_us: i64,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(
            async move { change_access!(self, |c| sessions::revoke_others(c, user, keep, now_us).await) },
        )
    }

    fn touch_session(&self, id: SessionId, now_us: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Single, |c| sessions::touch(c, id, now_us).await) })
    }

    fn list_sessions(&self, user: UserId, limit: u32) -> BoxFuture<'_, Result<Vec<Session>, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Single, |c| sessions::list(c, user, limit).await) })
    }

    fn live_sessions(
        &self,
        user: UserId,
        now_us: i64,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Session>, StoreError>> {
        Box::pin(
            async move { attempt!(self, Mode::Single, |c| sessions::live(c, user, now_us, limit).await) },
        )
    }

    fn delete_expired_sessions(&self, before_us: i64, limit: u32) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            attempt!(self, Mode::Single, |c| sessions::delete_expired(c, before_us, limit).await)
        })
    }
}
