//! Accounts elsewhere that sign in here, in SQLite.

use rusqlite::{Connection, Row, params};

use super::SqliteStore;
use super::accounts::{create_user, user_by_id};
use super::anonymous;
use super::columns::{Columns, execute, one};
use crate::accounts::{IdentityId, User, UserId};
use crate::identities::{Identities, Link, LinkedIdentity, Removal};
use crate::{BoxFuture, StoreError};

const INSERT: &str = "INSERT INTO identity (id, user_id, issuer, subject, email, created_us)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
const FIND: &str =
    "SELECT id, user_id, issuer, subject, email, created_us FROM identity WHERE issuer = ?1 AND subject = ?2";
const LIST: &str = "SELECT id, user_id, issuer, subject, email, created_us FROM identity WHERE user_id = ?1
     ORDER BY created_us, id LIMIT ?2";
/// How many ways lead to the account `?1`. A password is one where it has an address to go with.
const WAYS_IN: &str = "SELECT (SELECT count(*) FROM users
             WHERE id = ?1 AND email IS NOT NULL AND password_hash IS NOT NULL)
         + (SELECT count(*) FROM identity WHERE user_id = ?1) + (SELECT count(*) FROM passkey WHERE user_id = ?1)
     AS ways";

fn create(connection: &Connection, user: &User, identity: &LinkedIdentity) -> Result<(), StoreError> {
    create_user(connection, user)?;
    if insert(connection, identity)? { Ok(()) } else { Err(StoreError::Conflict("identity")) }
}

fn insert(connection: &Connection, identity: &LinkedIdentity) -> Result<bool, StoreError> {
    let LinkedIdentity { id, user, issuer, subject, email, created_us } = identity;
    execute(connection, INSERT, params![id.0, user.0, issuer, subject, email, created_us])
        .map(|inserted| inserted > 0)
}

fn link(connection: &Connection, identity: &LinkedIdentity, limit: u32) -> Result<Link, StoreError> {
    if user_by_id(connection, identity.user)?.is_none() {
        return Ok(Link::NoUser);
    }
    if let Some(known) = find(connection, &identity.issuer, &identity.subject)? {
        return Ok(if known.user == identity.user { Link::Known } else { Link::Taken });
    }
    if list(connection, identity.user, limit)?.len() >= limit as usize {
        return Ok(Link::TooMany);
    }
    if !insert(connection, identity)? {
        return Err(StoreError::Conflict("identity"));
    }
    anonymous::forget(connection, identity.user)?;
    Ok(Link::Made)
}

fn find(connection: &Connection, issuer: &str, subject: &str) -> Result<Option<LinkedIdentity>, StoreError> {
    one(connection, FIND, params![issuer, subject], read)
}

fn list(connection: &Connection, user: UserId, limit: u32) -> Result<Vec<LinkedIdentity>, StoreError> {
    let mut select = connection.prepare_cached(LIST)?;
    let mut rows = select.query(params![user.0, limit])?;
    let mut identities = Vec::new();
    while let Some(row) = rows.next()? {
        identities.push(read(row)?);
    }
    Ok(identities)
}

fn unlink(connection: &Connection, user: UserId, id: IdentityId) -> Result<Removal, StoreError> {
    let sql = "SELECT 1 FROM identity WHERE id = ?1 AND user_id = ?2";
    if one(connection, sql, params![id.0, user.0], |_| Ok(()))?.is_none() {
        return Ok(Removal::NotFound);
    }
    if is_last_way_in(connection, user)? {
        return Ok(Removal::LastWayIn);
    }
    execute(connection, "DELETE FROM identity WHERE id = ?1", params![id.0])?;
    Ok(Removal::Removed)
}

/// Whether nothing but one identity or passkey, or nothing at all, leads to an account.
pub(super) fn is_last_way_in(connection: &Connection, user: UserId) -> Result<bool, StoreError> {
    let ways = one(connection, WAYS_IN, params![user.0], |row| Ok(row.get::<_, i64>("ways")?))?;
    Ok(ways.unwrap_or(0) < 2)
}

/// Removes those of a user whose account goes.
pub(super) fn forget(connection: &Connection, user: UserId) -> Result<(), StoreError> {
    execute(connection, "DELETE FROM identity WHERE user_id = ?1", params![user.0]).map(|_| ())
}

fn read(row: &Row<'_>) -> Result<LinkedIdentity, StoreError> {
    let columns = Columns { table: "identity", row };
    Ok(LinkedIdentity {
        id: IdentityId(columns.bytes("id")?),
        user: UserId(columns.bytes("user_id")?),
        issuer: columns.text("issuer")?.ok_or_else(|| columns.corrupt("issuer"))?,
        subject: columns.text("subject")?.ok_or_else(|| columns.corrupt("subject"))?,
        email: columns.text("email")?,
        created_us: columns.integer("created_us")?,
    })
}

impl Identities for SqliteStore {
    fn create_user_by_identity(
        &self,
        user: User,
        identity: LinkedIdentity,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.write(move |transaction| create(transaction, &user, &identity)))
    }

    fn link_identity(&self, identity: LinkedIdentity, limit: u32) -> BoxFuture<'_, Result<Link, StoreError>> {
        Box::pin(self.write(move |transaction| link(transaction, &identity, limit)))
    }

    fn identity(
        &self,
        issuer: &str,
        subject: &str,
    ) -> BoxFuture<'_, Result<Option<LinkedIdentity>, StoreError>> {
        let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
        Box::pin(self.read(move |connection| find(connection, &issuer, &subject)))
    }

    fn identities(&self, user: UserId, limit: u32) -> BoxFuture<'_, Result<Vec<LinkedIdentity>, StoreError>> {
        Box::pin(self.read(move |connection| list(connection, user, limit)))
    }

    fn unlink_identity(&self, user: UserId, id: IdentityId) -> BoxFuture<'_, Result<Removal, StoreError>> {
        Box::pin(self.write(move |transaction| unlink(transaction, user, id)))
    }
}
