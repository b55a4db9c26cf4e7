//! Statements of users.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::StoreError;
use crate::accounts::{User, UserId};
use crate::postgres::anonymous;
use crate::postgres::error::PgError;
use crate::postgres::transaction::{Connection, execute, query_opt};
use crate::postgres::values::{id, uuid};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, email, email_verified_us, full_name, password_hash, created_us FROM users ",
            $rest
        )
    };
}

/// Keeps a new user. A taken id or e-mail address is [`StoreError::Conflict`].
pub(in super::super) async fn create(connection: &Connection, user: &User) -> Result<(), PgError> {
    let sql = "INSERT INTO users (id, email, email_verified_us, full_name, password_hash, created_us)
               VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    let User { id, email, email_verified_us, full_name, password_hash, created_us } = user;
    let values: [&(dyn ToSql + Sync); 6] =
        [&uuid(id.0), email, email_verified_us, full_name, password_hash, created_us];
    let inserted = execute(connection, sql, &values).await?;
    if inserted == 0 { Err(StoreError::Conflict("user").into()) } else { Ok(()) }
}

/// The user with this e-mail address.
pub(super) async fn by_email(connection: &Connection, email: &str) -> Result<Option<User>, PgError> {
    query_opt(connection, select!("WHERE email = $1"), &[&email]).await?.map(|row| read(&row)).transpose()
}

/// The user with this id.
pub(super) async fn by_id(connection: &Connection, id: UserId) -> Result<Option<User>, PgError> {
    query_opt(connection, select!("WHERE id = $1"), &[&uuid(id.0)]).await?.map(|row| read(&row)).transpose()
}

/// Replaces a password hash.
pub(super) async fn set_password_hash(
    connection: &Connection,
    id: UserId,
    hash: &str,
) -> Result<bool, PgError> {
    let sql = "UPDATE users SET password_hash = $2 WHERE id = $1";
    Ok(execute(connection, sql, &[&uuid(id.0), &hash]).await? > 0)
}

/// Gives a user a verified address. One that somebody else has is [`StoreError::Conflict`]: whoever is just taking it is waited
/// for by the second statement, which finds out by the index.
pub(super) async fn set_email(
    connection: &Connection,
    id: UserId,
    email: &str,
    verified_us: i64,
) -> Result<bool, PgError> {
    if by_email(connection, email).await?.is_some_and(|other| other.id != id) {
        return Err(StoreError::Conflict("user").into());
    }
    let sql = "UPDATE users SET email = $2, email_verified_us = $3 WHERE id = $1";
    let changed = execute(connection, sql, &[&uuid(id.0), &email, &verified_us]).await;
    Ok(changed.map_err(anonymous::taken)? > 0)
}

/// Notes that a user's address is verified.
pub(super) async fn verify_email(
    connection: &Connection,
    id: UserId,
    email: &str,
    now_us: i64,
) -> Result<bool, PgError> {
    let sql =
        "UPDATE users SET email_verified_us = coalesce(email_verified_us, $3) WHERE id = $1 AND email = $2";
    Ok(execute(connection, sql, &[&uuid(id.0), &email, &now_us]).await? > 0)
}

fn read(row: &Row) -> Result<User, PgError> {
    Ok(User {
        id: UserId(id(row, 0)?),
        email: row.try_get(1)?,
        email_verified_us: row.try_get(2)?,
        full_name: row.try_get(3)?,
        password_hash: row.try_get(4)?,
        created_us: row.try_get(5)?,
    })
}
