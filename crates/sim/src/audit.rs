//! What the audit log must say at the end, whatever happened.

use std::collections::BTreeMap;

use lattice_engine::{Row, RowRef, Seq, Verdict, WriterId};
use lattice_protocol::native::{ClientFrame, decode};
use lattice_protocol::{Change, Incoming, Operation, limits};
use lattice_store::StoreError;
use lattice_store::spaces::AuditLine;
use rusqlite::Connection;

use crate::history::Problem;
use crate::wire;

/// What the log says of one row.
struct Track {
    /// The only writer so far, as long as no change of it had a time of its own.
    only_untimed_writer: Option<WriterId>,
    /// An INSERT or DELETE was accepted.
    exists: bool,
    last: Option<Change>,
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

/// Checks the log of a space against its rows: seqs without gaps, arrival times in their order, no snapshot that
/// changed a row that was known, and of one person's edits the last one.
pub(crate) fn check(log: &[AuditLine], head: Seq, rows: &[Row]) -> Result<(), Problem> {
    if !log.iter().map(|line| line.record.seq).eq(1..=head) {
        let seqs: Vec<_> = log.iter().map(|line| line.record.seq).collect();
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
            let unknown = Track { only_untimed_writer: None, exists: false, last: None };
            tracks.entry(reference).or_insert(unknown).only_untimed_writer = None;
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
        let track = tracks.entry(reference).or_insert(Track {
            only_untimed_writer: Some(line.writer),
            exists: false,
            last: None,
        });
        let accepted = matches!(line.record.verdict, Verdict::Applied | Verdict::Merged);
        if change.synthesized && track.exists && accepted {
            return Err(format!("the snapshot {} changed a row that was known", line.record.id));
        }
        track.exists |= accepted && change.operation != Operation::Update;
        let plain = change.timestamp_us.is_none() && !change.synthesized && !change.filter_removal;
        if track.only_untimed_writer != Some(line.writer) || !plain {
            track.only_untimed_writer = None;
        }
        track.last = Some(change);
    }
    // One person's edits of one row, without times: the last one holds.
    for row in rows.iter().filter(|row| row.is_live() && row.pair.is_none()) {
        let Some(track) = tracks.get(&row.reference()) else { continue };
        let Some(last) = track.last.as_ref().filter(|_| track.only_untimed_writer.is_some()) else {
            continue;
        };
        let holds = |field: &lattice_protocol::Field| {
            row.field(&field.name).is_some_and(|held| held.value == field.value)
        };
        if last.operation == Operation::Delete || !last.fields.iter().all(holds) {
            return Err(format!("{} is the last edit of {} and does not hold", last.id, row.id.to_text()));
        }
    }
    Ok(())
}
