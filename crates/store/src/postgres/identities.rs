//! Accounts elsewhere that sign in here, in PostgreSQL.

use tokio_postgres::Row;

use super::error::PgError;
use super::transaction::{Connection, Mode, attempt, execute, query, query_opt};
use super::values::{id, uuid};
use super::{PostgresStore, access, accounts, anonymous};
use crate::accounts::{IdentityId, User, UserId};
use crate::identities::{Identities, Link, LinkedIdentity, Removal};
use crate::rules::ways_in::{self as rules, Linking, WaysIn};
use crate::{BoxFuture, StoreError};

const INSERT: &str = "INSERT INTO identity (id, user_id, issuer, subject, email, created_us)
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
pub(super) const FIND: &str =
    "SELECT id, user_id, issuer, subject, email, created_us FROM identity WHERE issuer = $1 AND subject = $2";
pub(super) const LIST: &str =
    "SELECT id, user_id, issuer, subject, email, created_us FROM identity WHERE user_id = $1
     ORDER BY created_us, id LIMIT $2";
/// What leads to the account `$1`.
const WAYS_IN: &str = "SELECT email IS NOT NULL, password_hash IS NOT NULL,
         (SELECT count(*) FROM identity WHERE user_id = $1), (SELECT count(*) FROM passkey WHERE user_id = $1)
     FROM users WHERE id = $1";

async fn create(connection: &Connection, user: &User, identity: &LinkedIdentity) -> Result<(), PgError> {
    accounts::users::create(connection, user).await?;
    if insert(connection, identity).await? { Ok(()) } else { Err(StoreError::Conflict("identity").into()) }
}

async fn insert(connection: &Connection, identity: &LinkedIdentity) -> Result<bool, PgError> {
    let LinkedIdentity { id, user, issuer, subject, email, created_us } = identity;
    let values: super::transaction::Params<'_> =
        &[&uuid(id.0), &uuid(user.0), issuer, subject, email, created_us];
    Ok(execute(connection, INSERT, values).await? > 0)
}

/// Of several that change the ways into an account, the others wait for its lock.
async fn link(connection: &Connection, identity: &LinkedIdentity, limit: u32) -> Result<Link, PgError> {
    let exists = access::user_goes(connection, identity.user).await?;
    let facts = Linking {
        account: exists.then_some(identity.user),
        linked_to: find(connection, &identity.issuer, &identity.subject).await?.map(|known| known.user),
        identities: ways_in(connection, identity.user).await?.identities,
        limit,
    };
    let decided = rules::link(facts);
    if decided != Link::Made {
        return Ok(decided);
    }
    if !insert(connection, identity).await? {
        // Somebody else has linked it to another account since this transaction looked.
        return Ok(Link::Taken);
    }
    anonymous::forget(connection, identity.user).await?;
    Ok(Link::Made)
}

async fn find(
    connection: &Connection,
    issuer: &str,
    subject: &str,
) -> Result<Option<LinkedIdentity>, PgError> {
    query_opt(connection, FIND, &[&issuer, &subject]).await?.map(|row| read(&row)).transpose()
}

async fn list(connection: &Connection, user: UserId, limit: u32) -> Result<Vec<LinkedIdentity>, PgError> {
    let rows = query(connection, LIST, &[&uuid(user.0), &i64::from(limit)]).await?;
    rows.iter().map(read).collect()
}

async fn unlink(connection: &Connection, user: UserId, id: IdentityId) -> Result<Removal, PgError> {
    if !access::user_goes(connection, user).await? {
        return Ok(Removal::NotFound);
    }
    let (id, user_id) = (uuid(id.0), uuid(user.0));
    let sql = "SELECT 1 FROM identity WHERE id = $1 AND user_id = $2";
    let is_theirs = query_opt(connection, sql, &[&id, &user_id]).await?.is_some();
    let decided = rules::remove(is_theirs, ways_in(connection, user).await?);
    if decided == Removal::Removed {
        execute(connection, "DELETE FROM identity WHERE id = $1", &[&id]).await?;
    }
    Ok(decided)
}

/// What leads to an account that is locked.
pub(super) async fn ways_in(connection: &Connection, user: UserId) -> Result<WaysIn, PgError> {
    let Some(row) = query_opt(connection, WAYS_IN, &[&uuid(user.0)]).await? else {
        return Ok(WaysIn::default());
    };
    let count = |at| Ok::<_, PgError>(u32::try_from(row.try_get::<_, i64>(at)?).unwrap_or(u32::MAX));
    Ok(WaysIn {
        has_email: row.try_get(0)?,
        has_password: row.try_get(1)?,
        identities: count(2)?,
        passkeys: count(3)?,
    })
}

/// Removes those of a user whose account is locked and goes.
pub(super) async fn forget(connection: &Connection, user: UserId) -> Result<(), PgError> {
    execute(connection, "DELETE FROM identity WHERE user_id = $1", &[&uuid(user.0)]).await?;
    Ok(())
}

fn read(row: &Row) -> Result<LinkedIdentity, PgError> {
    Ok(LinkedIdentity {
        id: IdentityId(id(row, 0)?),
        user: UserId(id(row, 1)?),
        issuer: row.try_get(2)?,
        subject: row.try_get(3)?,
        email: row.try_get(4)?,
        created_us: row.try_get(5)?,
    })
}

impl Identities for PostgresStore {
    fn create_user_by_identity(
        &self,
        user: User,
        identity: LinkedIdentity,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| create(c, &user, &identity).await) })
    }

    fn link_identity(&self, identity: LinkedIdentity, limit: u32) -> BoxFuture<'_, Result<Link, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| link(c, &identity, limit).await) })
    }

    fn identity(
        &self,
        issuer: &str,
        subject: &str,
    ) -> BoxFuture<'_, Result<Option<LinkedIdentity>, StoreError>> {
        let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
        Box::pin(async move { attempt!(self, Mode::Single, |c| find(c, &issuer, &subject).await) })
    }

    fn identities(&self, user: UserId, limit: u32) -> BoxFuture<'_, Result<Vec<LinkedIdentity>, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Single, |c| list(c, user, limit).await) })
    }

    fn unlink_identity(&self, user: UserId, id: IdentityId) -> BoxFuture<'_, Result<Removal, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| unlink(c, user, id).await) })
    }
}
