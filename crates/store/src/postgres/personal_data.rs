//! Erasing personal data of accounts that are gone, a little at a time: where their users came from.

use super::error::PgError;
use super::transaction::{Connection, execute, query};
use super::values::{id, uuid};
use crate::accounts::UserId;
use crate::stored::PERSONAL_DATA_GRACE_US;

/// `$1` the user, `$2` the limit: of their connections. Several instances may be at it.
const WRITERS: &str = "WITH these AS MATERIALIZED (
         SELECT space_id, id FROM writer WHERE user_id = $1 AND (address <> '' OR user_agent <> '') LIMIT $2
         FOR UPDATE SKIP LOCKED)
     UPDATE writer w SET address = '', user_agent = '' FROM these
     WHERE w.space_id = these.space_id AND w.id = these.id";
/// Of what they did, and of what somebody did who was taken for them.
const EVENTS: &str = "WITH these AS MATERIALIZED (
         SELECT at_us, id FROM access_log
         WHERE (actor = $1 OR (subject = $1 AND actor IS NULL)) AND (address IS NOT NULL OR user_agent IS NOT NULL)
         LIMIT $2 FOR UPDATE SKIP LOCKED)
     UPDATE access_log l SET address = NULL, user_agent = NULL FROM these
     WHERE l.at_us = these.at_us AND l.id = these.id";

/// Notes that a user is gone.
pub(super) async fn note(connection: &Connection, user: UserId, now_us: i64) -> Result<(), PgError> {
    let sql = "INSERT INTO trace_to_erase (user_id, deleted_us) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    execute(connection, sql, &[&uuid(user.0), &now_us]).await?;
    Ok(())
}

/// Takes addresses out of at most `limit` records. That nothing more can come of a user counts as one. Each statement is for
/// itself.
pub(super) async fn erase(connection: &Connection, limit: u64, now_us: i64) -> Result<u64, PgError> {
    let users = query(connection, "SELECT user_id, deleted_us FROM trace_to_erase", &[]).await?;
    let mut erased = 0;
    for row in users {
        let (user, deleted_us) = (uuid(id(&row, 0)?), row.try_get::<_, i64>(1)?);
        for sql in [WRITERS, EVENTS] {
            let left = i64::try_from(limit - erased).unwrap_or(i64::MAX);
            erased += execute(connection, sql, &[&user, &left]).await?;
        }
        if erased < limit && deleted_us < now_us - PERSONAL_DATA_GRACE_US {
            erased += execute(connection, "DELETE FROM trace_to_erase WHERE user_id = $1", &[&user]).await?;
        }
        if erased >= limit {
            break;
        }
    }
    Ok(erased)
}
