//! Accounts elsewhere that sign in here, in SQLite.

use rusqlite::{Connection, Row, params};

use super::SqliteStore;
use super::accounts::{create_user, user_by_id};
use super::anonymous;
use super::columns::{Columns, execute, one};
use crate::accounts::{IdentityId, User, UserId};
use crate::identities::{Identities, Link, LinkedIdentity, Removal};
use crate::rules::ways_in::{self as rules, Linking, WaysIn};
use crate::{BoxFuture, StoreError};

const INSERT: &str = "INSERT INTO identity (id, user_id, issuer, subject, email, created_us)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
const FIND: &str =
    "SELECT id, user_id, issuer, subject, email, created_us FROM identity WHERE issuer = ?1 AND subject = ?2";
const LIST: &str = "SELECT id, user_id, issuer, subject, email, created_us FROM identity WHERE user_id = ?1
     ORDER BY created_us, id LIMIT ?2";
/// What leads to the account `?1`.
const WAYS_IN: &str = "SELECT email IS NOT NULL, password_hash IS NOT NULL,
         (SELECT count(*) FROM identity WHERE user_id = ?1), (SELECT count(*) FROM passkey WHERE user_id = ?1)
     FROM users WHERE id = ?1";

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
    let facts = Linking {
        account: user_by_id(connection, identity.user)?.map(|user| user.id),
        linked_to: find(connection, &identity.issuer, &identity.subject)?.map(|known| known.user),
        identities: ways_in(connection, identity.user)?.identities,
        limit,
    };
    let decided = rules::link(facts);
    if decided != Link::Made {
        return Ok(decided);
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
    let is_theirs = one(connection, sql, params![id.0, user.0], |_| Ok(()))?.is_some();
    let decided = rules::remove(is_theirs, ways_in(connection, user)?);
    if decided == Removal::Removed {
        execute(connection, "DELETE FROM identity WHERE id = ?1", params![id.0])?;
    }
    Ok(decided)
}

/// What leads to an account.
pub(super) fn ways_in(connection: &Connection, user: UserId) -> Result<WaysIn, StoreError> {
    let ways = one(connection, WAYS_IN, params![user.0], |row| {
        Ok(WaysIn {
            has_email: row.get(0)?,
            has_password: row.get(1)?,
            identities: row.get(2)?,
            passkeys: row.get(3)?,
        })
    })?;
    Ok(ways.unwrap_or_default())
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
