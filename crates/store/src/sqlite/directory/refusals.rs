//! The inbox of refused changes: which lines of the audit log concern whom.

use lattice_engine::{LogRecord, SpaceId, Verdict, WriterId};
use rusqlite::{Connection, params};

use super::granted;
use super::seen;
use crate::StoreError;
use crate::accounts::UserId;
use crate::directory::{Answer, Page, RefusalCursor, RefusalsOf, RefusedChange};
use crate::rules::standing;
use crate::sqlite::recent::Snapshot;
use crate::sqlite::spaces::audit;

/// Changes of one page hold at most this many bytes, and one change more: an entry can be as large as a frame.
const MAX_PAGE_BYTES: usize = 1 << 20;

/// Notes which of the lines that were just written are refusals, for their sender and the space's owner to find.
pub(in super::super) fn store(
    connection: &Connection,
    space: u32,
    writer: WriterId,
    log: &[LogRecord],
) -> Result<(), StoreError> {
    let refused = log.iter().filter(|record| matches!(record.verdict, Verdict::Rejected(_)));
    for record in refused {
        let sql = "INSERT INTO refusal (space, arrived_us, id, seq, user)
                   SELECT ?1, ?2, ?3, ?4, user FROM writer WHERE id = ?5";
        let seq = record.seq.cast_signed();
        connection.prepare_cached(sql)?.execute(params![
            space,
            record.arrived_us,
            record.id.0,
            seq,
            writer.0
        ])?;
    }
    Ok(())
}

/// A line of the inbox: what of it stands in its own table.
struct Line {
    cursor: RefusalCursor,
    space_no: u32,
    space: SpaceId,
    seq: u64,
    user: UserId,
}

fn read(row: &rusqlite::Row<'_>) -> Result<Line, rusqlite::Error> {
    Ok(Line {
        cursor: RefusalCursor { arrived_us: row.get(0)?, id: row.get(1)? },
        space_no: row.get(2)?,
        space: SpaceId(row.get(3)?),
        seq: row.get::<_, i64>(4)?.cast_unsigned(),
        user: UserId(row.get(5)?),
    })
}

/// Of a user, those in spaces that they still see: `?1` the user, `?2`, `?3` the cursor, `?4` the limit.
pub(super) const OF_USER: &str = "SELECT r.arrived_us, r.id, r.space, s.id, r.seq, r.user
     FROM refusal r INDEXED BY refusal_of_user CROSS JOIN space s ON s.no = r.space
     WHERE r.user = ?1 AND (r.arrived_us, r.id) < (?2, ?3) AND s.deleted_us IS NULL
       AND (s.kind = 'public' OR s.owner = ?1
            OR EXISTS (SELECT 1 FROM member m WHERE m.space = s.no AND m.user = ?1))
     ORDER BY r.arrived_us DESC, r.id DESC LIMIT ?4";

/// Of a space: `?1` its number, `?2`, `?3` the cursor, `?4` the limit.
pub(super) const OF_SPACE: &str = "SELECT r.arrived_us, r.id, r.space, s.id, r.seq, r.user
     FROM refusal r CROSS JOIN space s ON s.no = r.space
     WHERE r.space = ?1 AND (r.arrived_us, r.id) < (?2, ?3)
     ORDER BY r.arrived_us DESC, r.id DESC LIMIT ?4";

/// Refused changes with their lines of the audit log, the last that arrived first.
pub(super) fn list(
    connection: &Connection,
    recent: &Snapshot,
    of: RefusalsOf,
    before: Option<RefusalCursor>,
    limit: u32,
) -> Result<Answer<Page<RefusedChange, RefusalCursor>>, StoreError> {
    let limit = limit.max(1) as usize;
    let before = before.unwrap_or(RefusalCursor { arrived_us: i64::MAX, id: [0xFF; 16] });
    let (at_us, id, one_more) = (before.arrived_us, before.id, limit as i64 + 1);
    let lines: Vec<Line> = match of {
        RefusalsOf::User(user) => {
            let mut statement = connection.prepare_cached(OF_USER)?;
            statement.query_map(params![user.0, at_us, id, one_more], read)?.collect::<Result<_, _>>()?
        }
        RefusalsOf::Space { actor, space } => {
            let space = granted!(seen::granted(connection, actor, space, standing::owns)?);
            let mut statement = connection.prepare_cached(OF_SPACE)?;
            statement.query_map(params![space.no, at_us, id, one_more], read)?.collect::<Result<_, _>>()?
        }
    };
    let (mut items, mut bytes, mut last, mut more) = (Vec::new(), 0, None, lines.len() > limit);
    for line in lines.into_iter().take(limit) {
        if bytes >= MAX_PAGE_BYTES {
            more = true;
            break;
        }
        last = Some(line.cursor);
        let found = audit(connection, recent, line.space_no, line.seq.saturating_sub(1), 1)?;
        let found = found.into_iter().find(|found| found.record.seq == line.seq);
        if let Some(found) = found {
            bytes += found.record.raw.len();
            items.push(RefusedChange { space: line.space, user: line.user, line: found });
        }
    }
    Ok(Ok(Page { items, next: last.filter(|_| more) }))
}
