//! What the audit log must say at the end, whatever happened.

use std::collections::BTreeMap;

use lattice_engine::{Row, RowRef, Seq, Verdict};
use lattice_protocol::native::{ClientFrame, decode};
use lattice_protocol::{Change, Incoming, Operation, limits};
use lattice_store::StoreError;
use lattice_store::spaces::AuditLine;
use rusqlite::Connection;

use crate::history::Problem;
use crate::wire;

/// What the log says of one row.
struct Track {
    /// An INSERT or DELETE was accepted.
    exists: bool,
    /// The latest time of any change so far. The greatest there is where more than times decides.
    latest_us: i64,
    /// The change that arrived last, unless one before it has a later time: so it must hold.
    last: Option<Change>,
}

impl Track {
    const NEW: Self = Self { exists: false, latest_us: i64::MIN, last: None };

    /// From now on nothing is said about the row.
    fn give_up(&mut self) {
        (self.latest_us, self.last) = (i64::MAX, None);
    }
}

/// The row of a change that came in the JSON dialect, which is the one that writes operations in small letters.
fn of_json(line: &AuditLine) -> Option<RowRef> {
    let json: serde_json::Value = serde_json::from_slice(&line.record.raw).ok()?;
    json["operation"].as_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_lowercase()))?;
    let table = json["tableName"].as_str()?.to_owned();
    let row = lattice_protocol::RowId::parse(json["globalRowId"].as_str()?)?;
    Some(RowRef { table: table.into(), key: row.key })
}

/// Checks that no change of the JSON dialect was logged twice, which it would be if a retry had another id.
pub(crate) fn check_retries(log: &[AuditLine], edits: usize) -> Result<(), Problem> {
    let logged = log.iter().filter(|line| of_json(line).is_some()).count();
    (logged <= edits).then_some(()).ok_or_else(|| format!("{edits} JSON changes were logged as {logged}"))
}

/// Checks that the inbox of a space holds the refused changes of its log, with who made them, and nothing else.
pub(crate) fn check_inbox(
    db: &Connection,
    space: u32,
    log: &[AuditLine],
) -> Result<Result<(), Problem>, StoreError> {
    let sql = "SELECT seq, user FROM refusal WHERE space = ?1 ORDER BY seq";
    let mut statement = db.prepare_cached(sql)?;
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?));
    let inbox: Vec<(Seq, [u8; 16])> = statement.query_map([space], read)?.collect::<Result<_, _>>()?;
    let refused = log.iter().filter(|line| matches!(line.record.verdict, Verdict::Rejected(_)));
    let refused: Vec<(Seq, [u8; 16])> =
        refused.filter_map(|line| Some((line.record.seq, line.user?))).collect();
    Ok((inbox == refused)
        .then_some(())
        .ok_or_else(|| format!("the inbox holds {inbox:?}, the log {refused:?}")))
}

/// Checks the log of a space against its rows: seqs without gaps but those that a link took when one of its two ends came, arrival times in their order, no snapshot that
/// changed a row that was known, and of changes whose times do not go back the last one, whatever their ids.
pub(crate) fn check(log: &[AuditLine], head: Seq, rows: &[Row]) -> Result<(), Problem> {
    let seqs: Vec<Seq> = log.iter().map(|line| line.record.seq).collect();
    let links = rows.iter().filter(|row| row.pair.is_some()).count();
    let in_order = seqs.is_sorted_by(|one, next| one < next);
    let within = seqs.first().is_none_or(|first| *first >= 1) && seqs.last().is_none_or(|last| *last <= head);
    if !in_order || !within || seqs.len() + 2 * links < usize::try_from(head).unwrap_or(usize::MAX) {
        return Err(format!("the head is {head} and the log holds {seqs:?}"));
    }
    let mut tracks: BTreeMap<RowRef, Track> = BTreeMap::new();
    let mut arrived_us = i64::MIN;
    for line in log {
        if line.record.arrived_us <= arrived_us {
            return Err(format!("{} arrived no later than the one before", line.record.id));
        }
        arrived_us = line.record.arrived_us;
        if line.record.id.is_minted() {
            return Err(format!(
                "{} is the server's own word, and was logged as somebody's change",
                line.record.id
            ));
        }
        if let Some(reference) = of_json(line) {
            tracks.entry(reference).or_insert(Track::NEW).give_up();
            continue;
        }
        let frame = wire::frame([&line.record.raw]);
        let Ok(ClientFrame::Changes(mut changes)) = decode(&frame, limits::MAX_CHANGES_PER_FRAME) else {
            return Err(format!("{} cannot be read any more", line.record.id));
        };
        let Some(Incoming::Change(change)) = changes.pop() else { continue };
        if matches!(line.record.verdict, Verdict::Rejected(_)) {
            continue;
        }
        let reference = RowRef { table: change.table.clone(), key: change.row.key.clone() };
        let track = tracks.entry(reference).or_insert(Track::NEW);
        let accepted = matches!(line.record.verdict, Verdict::Applied | Verdict::Merged);
        let is_snapshot = change.synthesized && !change.by_filter;
        if is_snapshot && track.exists && accepted {
            return Err(format!("the snapshot {} changed a row that was known", line.record.id));
        }
        // An INSERT of a row that is known may be a filtered client's, which edits what differs from what it was sent.
        let may_be_resent = change.operation == Operation::Insert && (change.by_filter || track.exists);
        let left_filter =
            change.filter_removal || (change.by_filter && change.operation == Operation::Delete && !accepted);
        track.exists |= accepted && change.operation != Operation::Update;
        if is_snapshot || may_be_resent {
            track.give_up();
        } else if !left_filter {
            track.last = (line.record.time_us >= track.latest_us).then_some(change);
            track.latest_us = track.latest_us.max(line.record.time_us);
        }
    }
    // Also where all times are equal, as those of edits within a millisecond are.
    for row in rows.iter().filter(|row| row.is_live() && row.pair.is_none()) {
        let Some(track) = tracks.get(&row.reference()) else { continue };
        let Some(last) = &track.last else { continue };
        let holds = |field: &lattice_protocol::Field| {
            row.field(&field.name).is_some_and(|held| held.value == field.value)
        };
        if last.operation == Operation::Delete || !last.fields.iter().all(holds) {
            return Err(format!("{} is the last edit of {} and does not hold", last.id, row.id.to_text()));
        }
    }
    Ok(())
}
