//! Checksums of what two databases hold, which are equal exactly if it is.

use std::collections::BTreeSet;

use lattice_engine::{PairWrite, Row, SpaceId};
use sha2::{Digest, Sha256};

use super::sections::{Record, Section, Value};
use super::{CopySource, encoded};
use crate::StoreError;
use crate::spaces::{AuditLine, Origin};
use crate::stored::keys::key_bytes;
use crate::stored::verdict;

/// Records, lines or pairs that are read at a time.
pub(super) const PAGE: usize = 1_000;
/// Bytes of rows that are read at a time.
pub(super) const PAGE_BYTES: usize = 4 << 20;

/// A checksum.
pub(super) type Checksum = [u8; 32];

/// Of a section. Backends have orders of their own for it, so it is the sum of the records' checksums.
pub(super) async fn section(
    source: &dyn CopySource,
    section: &'static Section,
) -> Result<Checksum, StoreError> {
    let (mut sum, mut after): (Checksum, Option<Record>) = ([0; 32], None);
    loop {
        let records = source.records(section, after.as_ref(), PAGE).await?;
        for record in &records {
            let mut hash = Sha256::new();
            record.iter().for_each(|value| put_value(&mut hash, value));
            for (sum, byte) in sum.iter_mut().zip(hash.finalize()) {
                *sum = sum.wrapping_add(byte);
            }
        }
        if records.len() < PAGE {
            return Ok(sum);
        }
        after = records.into_iter().next_back();
    }
}

/// Of what a space holds.
pub(super) async fn space(source: &dyn CopySource, space: SpaceId) -> Result<Checksum, StoreError> {
    let mut hash = Sha256::new();
    hash.update(source.space_head(space).await?.seq.to_le_bytes());
    let (mut after, mut origins) = (0, BTreeSet::new());
    loop {
        let lines = source.lines(space, after, PAGE).await?;
        for line in &lines {
            put_line(&mut hash, line);
            if origins.insert(line.writer) {
                let origin = source.origin(space, line.writer).await?;
                put_origin(&mut hash, origin.as_ref());
            }
        }
        after = lines.last().map_or(after, |line| line.record.seq);
        if lines.len() < PAGE {
            break;
        }
    }
    after = 0;
    loop {
        let (rows, more) = source.rows(space, after, PAGE, PAGE_BYTES).await?;
        rows.iter().for_each(|row| put_row(&mut hash, row));
        after = rows.last().map_or(after, |row| row.last_seq);
        if !more {
            break;
        }
    }
    let mut after = None;
    loop {
        let pairs = source.pairs(space, after, PAGE).await?;
        pairs.iter().for_each(|pair| put_pair(&mut hash, pair));
        if pairs.len() < PAGE {
            return Ok(hash.finalize().into());
        }
        after = pairs.last().map(|write| write.pair);
    }
}

fn put(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

fn put_value(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Null => hash.update([0]),
        Value::Id(id) => put(hash, id),
        Value::Bytes(bytes) => put(hash, bytes),
        Value::Text(text) => put(hash, text.as_bytes()),
        Value::Integer(number) => put(hash, &number.to_le_bytes()),
        Value::Flag(flag) => put(hash, &[u8::from(*flag)]),
    }
}

fn put_line(hash: &mut Sha256, line: &AuditLine) {
    let record = &line.record;
    hash.update(record.seq.to_le_bytes());
    hash.update(record.id.0);
    hash.update(record.id_spelling.0.to_le_bytes());
    hash.update(record.time_us.to_le_bytes());
    hash.update(record.arrived_us.to_le_bytes());
    hash.update([u8::from(record.clamped)]);
    hash.update(line.writer.0);
    put(hash, verdict::to_text(record.verdict).as_bytes());
    put(hash, &record.raw);
}

fn put_origin(hash: &mut Sha256, origin: Option<&Origin>) {
    let Some(origin) = origin else { return hash.update([0]) };
    hash.update(origin.user);
    hash.update(origin.session);
    put(hash, origin.address.as_bytes());
    put(hash, origin.user_agent.as_bytes());
    hash.update(origin.opened_us.to_le_bytes());
}

fn put_row(hash: &mut Sha256, row: &Row) {
    put(hash, &encoded(row));
}

fn put_pair(hash: &mut Sha256, write: &PairWrite) {
    hash.update(write.pair.0);
    match &write.keeper {
        None => hash.update([0]),
        Some(keeper) => {
            put(hash, keeper.table.as_bytes());
            put(hash, &key_bytes(&keeper.key));
        }
    }
}
