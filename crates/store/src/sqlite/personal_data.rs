//! Erasing personal data of accounts that are gone, a little at a time: where their users came from.

use rusqlite::{Connection, params};

use super::columns::execute;
use crate::StoreError;
use crate::accounts::UserId;
use crate::stored::PERSONAL_DATA_GRACE_US;

/// `?1` the user, `?2` the limit: of their connections.
pub(super) const WRITERS: &str = "UPDATE writer SET address = '', user_agent = '' WHERE id IN (
         SELECT id FROM writer WHERE user = ?1 AND (address <> '' OR user_agent <> '') LIMIT ?2)";
/// Of what they did.
pub(super) const OF_ACTOR: &str =
    "UPDATE access_log SET address = NULL, user_agent = NULL WHERE (at_us, id) IN (
         SELECT at_us, id FROM access_log
         WHERE actor = ?1 AND (address IS NOT NULL OR user_agent IS NOT NULL) LIMIT ?2)";
/// Of what somebody did who was taken for them.
pub(super) const OF_SUBJECT: &str =
    "UPDATE access_log SET address = NULL, user_agent = NULL WHERE (at_us, id) IN (
         SELECT at_us, id FROM access_log
         WHERE subject = ?1 AND actor IS NULL AND (address IS NOT NULL OR user_agent IS NOT NULL) LIMIT ?2)";

/// Notes that a user is gone.
pub(super) fn note(connection: &Connection, user: UserId, now_us: i64) -> Result<(), StoreError> {
    let sql = "INSERT INTO trace_to_erase (user_id, deleted_us) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    execute(connection, sql, params![user.0, now_us]).map(|_| ())
}

/// Takes addresses out of at most `limit` records. That nothing more can come of a user counts as one.
pub(super) fn erase(connection: &Connection, limit: u64, now_us: i64) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached("SELECT user_id, deleted_us FROM trace_to_erase")?;
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, i64>(1)?));
    let users: Vec<([u8; 16], i64)> = statement.query_map([], read)?.collect::<Result<_, _>>()?;
    let mut erased = 0;
    for (user, deleted_us) in users {
        for sql in [WRITERS, OF_ACTOR, OF_SUBJECT] {
            let left = i64::try_from(limit - erased).unwrap_or(i64::MAX);
            erased += execute(connection, sql, params![user, left])?;
        }
        if erased < limit && deleted_us < now_us - PERSONAL_DATA_GRACE_US {
            erased += execute(connection, "DELETE FROM trace_to_erase WHERE user_id = ?1", params![user])?;
        }
        if erased >= limit {
            break;
        }
    }
    Ok(erased)
}
