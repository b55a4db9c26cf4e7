//! Remembered views: what the ids of views in cursors stood for. Whoever writes one holds the lock of its space.

use lattice_engine::{Seq, SpaceId, View};

use crate::accounts::UserId;
use crate::directory::{MAX_REMEMBERED_VIEWS, RememberedView, SpaceKind, ViewMemory};
use crate::postgres::access;
use crate::postgres::directory::seen;
use crate::postgres::error::PgError;
use crate::postgres::transaction::{Connection, execute, query, query_opt};
use crate::postgres::values::{seq, uuid};

/// The views of a user in a space, the newest first.
pub(super) async fn list(
    connection: &Connection,
    space: SpaceId,
    user: UserId,
) -> Result<Vec<RememberedView>, PgError> {
    let sql = "SELECT id, definition, until_seq FROM remembered_view
               WHERE space_id = $1 AND user_id = $2 ORDER BY turn DESC";
    let rows = query(connection, sql, &[&uuid(space.0), &uuid(user.0)]).await?;
    let read = |row: &tokio_postgres::Row| {
        Ok(RememberedView {
            id: seq(row, 0)?,
            definition: row.try_get(1)?,
            until: row.try_get::<_, Option<i64>>(2)?.map(i64::cast_unsigned),
        })
    };
    rows.iter().map(read).collect()
}

/// The newest view of a user in a space, if it has not ended.
pub(super) async fn newest(
    connection: &Connection,
    space: SpaceId,
    user: UserId,
) -> Result<Option<u64>, PgError> {
    let sql = "SELECT id, until_seq IS NULL FROM remembered_view
               WHERE space_id = $1 AND user_id = $2 ORDER BY turn DESC LIMIT 1";
    let Some(row) = query_opt(connection, sql, &[&uuid(space.0), &uuid(user.0)]).await? else {
        return Ok(None);
    };
    let goes_on: bool = row.try_get(1)?;
    Ok(Some(seq(&row, 0)?).filter(|_| goes_on))
}

/// What a user may do in a locked space is changing: what they were shown until now ends at its head.
pub(super) async fn end(
    connection: &Connection,
    space: SpaceId,
    user: UserId,
    head: Seq,
) -> Result<(), PgError> {
    let sql = "UPDATE remembered_view SET until_seq = $3
               WHERE space_id = $1 AND user_id = $2 AND until_seq IS NULL";
    execute(connection, sql, &[&uuid(space.0), &uuid(user.0), &head.cast_signed()]).await?;
    Ok(())
}

/// What everybody may do in a locked space is changing.
pub(super) async fn end_all(connection: &Connection, space: SpaceId, head: Seq) -> Result<(), PgError> {
    let sql = "UPDATE remembered_view SET until_seq = $2 WHERE space_id = $1 AND until_seq IS NULL";
    execute(connection, sql, &[&uuid(space.0), &head.cast_signed()]).await?;
    Ok(())
}

/// Makes a view the newest and forgets the oldest ones beyond the limit, if it is still what the user's rights show. Nothing is kept for somebody, or of a space, that is
/// gone: nobody would come to erase it.
pub(super) async fn remember(
    connection: &Connection,
    space: SpaceId,
    user: UserId,
    id: u64,
    definition: &str,
) -> Result<ViewMemory, PgError> {
    if !access::user_stays(connection, user).await? || access::space(connection, space).await?.is_none() {
        return Ok(ViewMemory::Remembered);
    }
    // Under the lock of the space, which whatever changes rights takes too.
    if let Some(view) = View::parse(definition) {
        let Some(seen) = seen::seen(connection, user, space).await? else { return Ok(ViewMemory::Outdated) };
        if !view.is_of(&*seen.policy()?, seen.standing.role, user.0, seen.standing.kind == SpaceKind::Private)
        {
            return Ok(ViewMemory::Outdated);
        }
    }
    let (space, user) = (uuid(space.0), uuid(user.0));
    let sql = "INSERT INTO remembered_view (space_id, user_id, id, definition, turn)
               SELECT $1, $2, $3, $4, 1 + coalesce(max(turn), 0) FROM remembered_view
               WHERE space_id = $1 AND user_id = $2
               ON CONFLICT (space_id, user_id, id) DO UPDATE SET definition = excluded.definition,
                   turn = excluded.turn, until_seq = NULL";
    execute(connection, sql, &[&space, &user, &id.cast_signed(), &definition]).await?;
    let sql = "DELETE FROM remembered_view WHERE space_id = $1 AND user_id = $2 AND id IN (
                   SELECT id FROM remembered_view WHERE space_id = $1 AND user_id = $2
                   ORDER BY turn DESC OFFSET $3)";
    execute(connection, sql, &[&space, &user, &(MAX_REMEMBERED_VIEWS as i64)]).await?;
    Ok(ViewMemory::Remembered)
}
