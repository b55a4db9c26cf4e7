//! The inbox of refused changes: which lines of the audit log concern whom.

use lattice_engine::{Seq, SpaceId};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{granted, seen};
use crate::accounts::UserId;
use crate::directory::{Answer, Page, RefusalCursor, RefusalsOf, RefusedChange};
use crate::postgres::error::PgError;
use crate::postgres::space_store::audit_line;
use crate::postgres::transaction::{Connection, query};
use crate::postgres::values::{id, seq, space, uuid};
use crate::rules::standing;

/// Changes of one page hold at most this many bytes, and one change more: an entry can be as large as a frame.
const MAX_PAGE_BYTES: i64 = 1 << 20;

/// Of a user, those in spaces that they still see: `$1` the user, `$2`, `$3` the cursor, `$4` the limit.
pub(super) const OF_USER: &str = "SELECT r.arrived_us, r.id, r.space_id, r.seq, r.user_id
     FROM refusal r CROSS JOIN LATERAL (
         SELECT 1 FROM space s
         WHERE s.space_id = r.space_id AND s.deleted_us IS NULL
           AND (s.kind = 'public' OR s.owner = $1
                OR EXISTS (SELECT 1 FROM member m WHERE m.space_id = s.space_id AND m.user_id = $1)) OFFSET 0) s
     WHERE r.user_id = $1 AND (r.arrived_us, r.id) < ($2, $3)
     ORDER BY r.arrived_us DESC, r.id DESC LIMIT $4";

/// Of a space: `$1` its id, `$2`, `$3` the cursor, `$4` the limit.
pub(super) const OF_SPACE: &str = "SELECT r.arrived_us, r.id, r.space_id, r.seq, r.user_id
     FROM refusal r WHERE r.space_id = $1 AND (r.arrived_us, r.id) < ($2, $3)
     ORDER BY r.arrived_us DESC, r.id DESC LIMIT $4";

/// Lines of the audit log, as many as fit: `$1` spaces, `$2` seqs, `$3` most bytes before the last one. The lengths of large
/// values are known without reading them.
pub(super) const LINES: &str =
    "SELECT e.seq, e.id, e.spelling, e.verdict, e.clamped, e.time_us, e.arrived_us, e.content, e.writer, e.user_id
     FROM (SELECT u.at, e.*, sum(coalesce(octet_length(e.content), 0)) OVER (
                      ORDER BY u.at ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
           FROM unnest($1::uuid[], $2::int8[]) WITH ORDINALITY AS u (space_id, seq, at)
           LEFT JOIN entry e ON e.space_id = u.space_id AND e.seq = u.seq) e
     WHERE e.before IS NULL OR e.before < $3 ORDER BY e.at";

/// A line of the inbox: what of it stands in its own table.
struct Line {
    cursor: RefusalCursor,
    space: SpaceId,
    seq: Seq,
    user: UserId,
}

fn read(row: &Row) -> Result<Line, PgError> {
    Ok(Line {
        cursor: RefusalCursor { arrived_us: row.try_get(0)?, id: id(row, 1)? },
        space: space(row, 2)?,
        seq: seq(row, 3)?,
        user: UserId(id(row, 4)?),
    })
}

/// Refused changes with their lines of the audit log, the last that arrived first. To be called in a snapshot.
pub(super) async fn list(
    connection: &Connection,
    of: RefusalsOf,
    before: Option<RefusalCursor>,
    limit: u32,
) -> Result<Answer<Page<RefusedChange, RefusalCursor>>, PgError> {
    let limit = limit.max(1) as usize;
    let before = before.unwrap_or(RefusalCursor { arrived_us: i64::MAX, id: [0xFF; 16] });
    let (sql, key) = match of {
        RefusalsOf::User(user) => (OF_USER, user.0),
        RefusalsOf::Space { actor, space } => {
            granted!(seen::granted(connection, actor, space, standing::owns).await?);
            (OF_SPACE, space.0)
        }
    };
    let one_more = super::one_more(limit);
    let rows = query(connection, sql, &[&uuid(key), &before.arrived_us, &uuid(before.id), &one_more]).await?;
    let mut lines = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let mut more = lines.len() > limit;
    lines.truncate(limit);
    let (spaces, seqs): (Vec<Uuid>, Vec<i64>) =
        lines.iter().map(|line| (uuid(line.space.0), line.seq.cast_signed())).unzip();
    let rows = query(connection, LINES, &[&spaces, &seqs, &MAX_PAGE_BYTES]).await?;
    more |= rows.len() < lines.len();
    lines.truncate(rows.len());
    let next = lines.last().map(|line| line.cursor).filter(|_| more);
    let mut items = Vec::with_capacity(lines.len());
    for (line, row) in lines.into_iter().zip(&rows) {
        // A line that is not there has a place in the answer all the same.
        if row.try_get::<_, Option<i64>>(0)?.is_some() {
            items.push(RefusedChange { space: line.space, user: line.user, line: audit_line(row)? });
        }
    }
    Ok(Ok(Page { items, next }))
}
