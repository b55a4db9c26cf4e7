//! The copy itself: sections, then spaces, each verified; what was done before is not done again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use lattice_engine::{SpaceHead, SpaceId, WriterId};

use super::checksum::{self, PAGE, PAGE_BYTES};
use super::sections::{Record, SECTIONS, SPACE_DELETED, SPACE_PURGED, Section, Value};
use super::{CopySource, CopyTarget, Part};
use crate::StoreError;
use crate::spaces::Origin;

/// Why a copy ended. Nothing of the source was changed; the copy may be started again, and goes on where it was.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CopyError {
    /// The source.
    #[error("the source: {0}")]
    Source(StoreError),
    /// The target.
    #[error("the target: {0}")]
    Target(StoreError),
    /// The target holds something else.
    #[error(
        "the target is not empty, and not what an earlier copy from this source left; give it an empty database"
    )]
    NotEmpty,
    /// What was read back differs from what was copied.
    #[error("{0} was not copied faithfully: the checksums differ")]
    Differs(String),
}

/// Is told how far the copy is.
pub trait Progress: Send + Sync {
    /// So many spaces are to be copied.
    fn begins(&self, spaces: u64);
    /// One more is complete.
    fn space_done(&self);
    /// So many more lines of the audit log and rows were copied.
    fn records(&self, count: u64);
}

/// What was copied.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Report {
    /// Spaces, those not counted that an earlier copy had completed.
    pub spaces: u64,
    /// Of these, spaces that were complete already.
    pub known_spaces: u64,
    /// Lines of the audit log.
    pub lines: u64,
    /// Rows.
    pub rows: u64,
}

/// Copies everything, reads it back, and makes the target usable.
///
/// # Errors
/// See [`CopyError`].
pub async fn copy(
    source: &dyn CopySource,
    target: &dyn CopyTarget,
    progress: &dyn Progress,
) -> Result<Report, CopyError> {
    let secrets = source.secrets().await.map_err(CopyError::Source)?;
    target.begin(secrets).await.map_err(|error| match error {
        StoreError::Conflict(_) => CopyError::NotEmpty,
        error => CopyError::Target(error),
    })?;
    let mut spaces = Vec::new();
    for section in SECTIONS {
        copy_section(source, target, section, &mut spaces).await?;
    }
    let mut report = Report::default();
    progress.begins(spaces.len() as u64);
    for space in spaces {
        if target.is_space_done(space).await.map_err(CopyError::Target)? {
            report.known_spaces += 1;
        } else {
            copy_space(source, target, space, progress, &mut report).await?;
            let from = checksum::space(source, space).await.map_err(CopyError::Source)?;
            if checksum::space(target, space).await.map_err(CopyError::Target)? != from {
                return Err(CopyError::Differs(format!("space {}", uuid::Uuid::from_bytes(space.0))));
            }
            target.space_done(space).await.map_err(CopyError::Target)?;
            report.spaces += 1;
        }
        progress.space_done();
    }
    for section in SECTIONS {
        // Spaces that were deleted arrive as erased.
        if section.name != "space" {
            let from = checksum::section(source, section).await.map_err(CopyError::Source)?;
            if checksum::section(target, section).await.map_err(CopyError::Target)? != from {
                return Err(CopyError::Differs(format!("table {}", section.name)));
            }
        }
    }
    target.finish().await.map_err(CopyError::Target)?;
    Ok(report)
}

/// Copies a section; of the spaces in it, those that hold something are added to `spaces`.
async fn copy_section(
    source: &dyn CopySource,
    target: &dyn CopyTarget,
    section: &'static Section,
    spaces: &mut Vec<SpaceId>,
) -> Result<(), CopyError> {
    let mut after: Option<Record> = None;
    loop {
        let mut records = source.records(section, after.as_ref(), PAGE).await.map_err(CopyError::Source)?;
        let (count, last) = (records.len(), records.last().cloned());
        if section.name == "space" {
            for record in &mut records {
                match (&record[0], &record[SPACE_DELETED]) {
                    (Value::Id(id), Value::Null) => spaces.push(SpaceId(*id)),
                    _ => record[SPACE_PURGED] = Value::Flag(true),
                }
            }
        }
        target.put_records(section, records).await.map_err(CopyError::Target)?;
        if count < PAGE {
            return Ok(());
        }
        after = last;
    }
}

async fn copy_space(
    source: &dyn CopySource,
    target: &dyn CopyTarget,
    space: SpaceId,
    progress: &dyn Progress,
    report: &mut Report,
) -> Result<(), CopyError> {
    let head = source.space_head(space).await.map_err(CopyError::Source)?;
    let bytes = copy_lines(source, target, space, progress, report).await?;
    let head = SpaceHead { bytes, ..head };
    copy_rows(source, target, space, head, progress, report).await?;
    copy_pairs(source, target, space, head).await
}

/// Copies the audit log. Answers how many bytes of changes the target has then.
async fn copy_lines(
    source: &dyn CopySource,
    target: &dyn CopyTarget,
    space: SpaceId,
    progress: &dyn Progress,
    report: &mut Report,
) -> Result<u64, CopyError> {
    // The head that an earlier copy left says up to where it has come with the lines.
    let reached = target.space_head(space).await.map_err(CopyError::Target)?;
    let (mut after, mut bytes) = (reached.seq, reached.bytes);
    let mut origins: HashMap<WriterId, Option<Arc<Origin>>> = HashMap::new();
    loop {
        let lines = source.lines(space, after, PAGE).await.map_err(CopyError::Source)?;
        let Some(last) = lines.last() else { break };
        bytes += lines.iter().map(|line| line.record.raw.len() as u64).sum::<u64>();
        let (count, end) =
            (lines.len(), SpaceHead { seq: last.record.seq, arrival_us: last.record.arrived_us, bytes });
        let mut known = Vec::new();
        for line in &lines {
            let origin = match origins.entry(line.writer) {
                Entry::Occupied(held) => held.into_mut(),
                Entry::Vacant(place) => {
                    let found = source.origin(space, line.writer).await.map_err(CopyError::Source)?;
                    place.insert(found.map(Arc::new))
                }
            };
            known.extend(origin.clone());
        }
        let part = Part { lines, origins: known, rows: Vec::new(), pairs: Vec::new(), head: end };
        target.put_part(space, part).await.map_err(CopyError::Target)?;
        (after, report.lines) = (end.seq, report.lines + count as u64);
        progress.records(count as u64);
    }
    Ok(bytes)
}

async fn copy_rows(
    source: &dyn CopySource,
    target: &dyn CopyTarget,
    space: SpaceId,
    head: SpaceHead,
    progress: &dyn Progress,
    report: &mut Report,
) -> Result<(), CopyError> {
    let mut after = 0;
    loop {
        let (rows, more) = source.rows(space, after, PAGE, PAGE_BYTES).await.map_err(CopyError::Source)?;
        after = rows.last().map_or(after, |row| row.last_seq);
        let count = rows.len() as u64;
        if count > 0 {
            let part = Part { lines: Vec::new(), origins: Vec::new(), rows, pairs: Vec::new(), head };
            target.put_part(space, part).await.map_err(CopyError::Target)?;
        }
        report.rows += count;
        progress.records(count);
        if !more {
            return Ok(());
        }
    }
}

async fn copy_pairs(
    source: &dyn CopySource,
    target: &dyn CopyTarget,
    space: SpaceId,
    head: SpaceHead,
) -> Result<(), CopyError> {
    let mut after = None;
    loop {
        let pairs = source.pairs(space, after, PAGE).await.map_err(CopyError::Source)?;
        let (count, last) = (pairs.len(), pairs.last().map(|write| write.pair));
        if count > 0 {
            let part = Part { lines: Vec::new(), origins: Vec::new(), rows: Vec::new(), pairs, head };
            target.put_part(space, part).await.map_err(CopyError::Target)?;
        }
        if count < PAGE {
            return Ok(());
        }
        after = last;
    }
}
