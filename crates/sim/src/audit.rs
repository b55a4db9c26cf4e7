//! What the audit log must say at the end, whatever happened.

use std::collections::BTreeMap;

use lattice_engine::{Row, RowRef, Seq, Verdict, WriterId};
use lattice_protocol::native::{ClientFrame, decode};
use lattice_protocol::{Change, Incoming, Operation, limits};
use lattice_store::spaces::AuditLine;

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
        let frame = wire::frame([&line.record.raw]);
        let Ok(ClientFrame::Changes(mut changes)) = decode(&frame, limits::MAX_CHANGES_PER_FRAME) else {
            return Err(format!("{} cannot be read any more", line.record.id));
        };
        let Some(Incoming::Change(change)) = changes.pop() else { continue };
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
