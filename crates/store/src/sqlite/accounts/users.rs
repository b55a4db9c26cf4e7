//! Statements of users.

use rusqlite::{Connection, Row, params};

use crate::StoreError;
use crate::accounts::{User, UserId};
use crate::sqlite::columns::{Columns, execute, one};

const USER_COLUMNS: &str = "id, email, email_verified_us, full_name, password_hash, created_us";

/// Keeps a new user. A taken id or e-mail address is [`StoreError::Conflict`].
pub(in crate::sqlite) fn create_user(connection: &Connection, user: &User) -> Result<(), StoreError> {
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
pub(in crate::sqlite) fn user_by_email(
    connection: &Connection,
    email: &str,
) -> Result<Option<User>, StoreError> {
    one(connection, &format!("SELECT {USER_COLUMNS} FROM users WHERE email = ?1"), params![email], user)
}

/// The user with this id.
pub(in crate::sqlite) fn user_by_id(connection: &Connection, id: UserId) -> Result<Option<User>, StoreError> {
    one(connection, &format!("SELECT {USER_COLUMNS} FROM users WHERE id = ?1"), params![id.0], user)
}

/// Replaces a password hash.
pub(in crate::sqlite) fn set_password_hash(
    connection: &Connection,
    id: UserId,
    hash: &str,
) -> Result<bool, StoreError> {
    let sql = "UPDATE users SET password_hash = ?2 WHERE id = ?1";
    execute(connection, sql, params![id.0, hash]).map(|changed| changed > 0)
}

/// Gives a user a verified address. One that somebody else has is [`StoreError::Conflict`].
pub(in crate::sqlite) fn set_email(
    connection: &Connection,
    id: UserId,
    email: &str,
    verified_us: i64,
) -> Result<bool, StoreError> {
    let sql = "UPDATE OR IGNORE users SET email = ?2, email_verified_us = ?3 WHERE id = ?1";
    if execute(connection, sql, params![id.0, email, verified_us])? > 0 {
        return Ok(true);
    }
    if user_by_id(connection, id)?.is_some() { Err(StoreError::Conflict("user")) } else { Ok(false) }
}

/// Notes that a user's address is verified.
pub(in crate::sqlite) fn verify_email(
    connection: &Connection,
    id: UserId,
    email: &str,
    now_us: i64,
) -> Result<bool, StoreError> {
    let sql =
        "UPDATE users SET email_verified_us = ifnull(email_verified_us, ?3) WHERE id = ?1 AND email = ?2";
    execute(connection, sql, params![id.0, email, now_us]).map(|changed| changed > 0)
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
