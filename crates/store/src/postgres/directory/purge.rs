//! Erasing what deleted spaces held, a little at a time.

use lattice_engine::SpaceId;

use crate::postgres::access;
use crate::postgres::error::PgError;
use crate::postgres::transaction::{Connection, execute, query_opt};
use crate::postgres::values::{space, uuid};

/// What is erased of a space, for each table: `$1` the space, `$2` the limit. Invites are locked by id, as whoever else locks
/// several of them does; everything else is found by nobody but who holds the space's lock.
pub(super) const ERASE: [&str; 8] = [
    "DELETE FROM member WHERE space_id = $1 AND user_id IN (
         SELECT user_id FROM member WHERE space_id = $1 LIMIT $2)",
    "WITH these AS MATERIALIZED (SELECT id FROM invite WHERE space_id = $1 ORDER BY id LIMIT $2 FOR UPDATE)
     DELETE FROM invite i USING these WHERE i.id = these.id",
    "DELETE FROM remembered_view WHERE space_id = $1 AND (user_id, id) IN (
         SELECT user_id, id FROM remembered_view WHERE space_id = $1 LIMIT $2)",
    "DELETE FROM refusal WHERE space_id = $1 AND (arrived_us, id) IN (
         SELECT arrived_us, id FROM refusal WHERE space_id = $1 LIMIT $2)",
    "DELETE FROM row_state WHERE space_id = $1 AND (key, name) IN (
         SELECT key, name FROM row_state WHERE space_id = $1 LIMIT $2)",
    "DELETE FROM pair WHERE space_id = $1 AND pair IN (SELECT pair FROM pair WHERE space_id = $1 LIMIT $2)",
    "DELETE FROM entry WHERE space_id = $1 AND seq IN (
         SELECT seq FROM entry WHERE space_id = $1 ORDER BY seq LIMIT $2)",
    "DELETE FROM writer WHERE space_id = $1 AND id IN (SELECT id FROM writer WHERE space_id = $1 LIMIT $2)",
];

/// The space that was deleted first, of those that may hold something.
pub(super) const NEXT: &str = "SELECT space_id FROM space WHERE deleted_us IS NOT NULL AND NOT purged
     ORDER BY deleted_us LIMIT 1";

/// What was deleted and is not erased.
pub(super) async fn next(connection: &Connection) -> Result<Option<SpaceId>, PgError> {
    query_opt(connection, NEXT, &[]).await?.map(|row| space(&row, 0)).transpose()
}

/// Erases at most `limit` records of a deleted space. That it holds nothing any more counts as one.
pub(super) async fn erase(connection: &Connection, id: SpaceId, limit: u64) -> Result<u64, PgError> {
    // Several instances may be at it.
    if access::space(connection, id).await?.is_none() {
        return mark(connection, id).await;
    }
    let (space, mut erased) = (uuid(id.0), 0);
    for sql in ERASE {
        let left = i64::try_from(limit - erased).unwrap_or(i64::MAX);
        if left > 0 {
            erased += execute(connection, sql, &[&space, &left]).await?;
        }
    }
    if erased < limit {
        execute(connection, "DELETE FROM space_head WHERE space_id = $1", &[&space]).await?;
        erased += mark(connection, id).await?;
    }
    Ok(erased)
}

/// Nothing is left of a space but that there was one.
async fn mark(connection: &Connection, id: SpaceId) -> Result<u64, PgError> {
    let sql = "UPDATE space SET purged = true, name = '', policy = NULL, schema_rule = NULL
               WHERE space_id = $1 AND NOT purged";
    execute(connection, sql, &[&uuid(id.0)]).await
}
