//! Reading a page: what is flushed and what is in memory, as one order.

use std::iter::Peekable;

use bytes::Bytes;
use lattice_engine::{PullRequest, Row, Seq};
use rusqlite::Connection;

use super::keys::{row_address, seq_of};
use super::recent::Snapshot;
use super::spaces::corrupt;
use crate::StoreError;

/// Row addresses one after the other that rows have left, in memory, from which on it is cheaper to look beyond them in the
/// table than to step over what it still has there.
const MIN_SKIPPED_ADDRESSES: i64 = 32;

/// A row that was read and is not decoded yet.
enum Read {
    /// Where it ends in the buffer of what is flushed.
    Flushed(usize),
    /// Its stored form.
    Recent(Bytes),
}

/// A page that fills up.
struct Page<'a> {
    request: &'a PullRequest,
    /// One buffer for what is flushed, so that these rows are slices of one allocation.
    flushed: Vec<u8>,
    read: Vec<(i64, Read)>,
    bytes: usize,
}

/// What became of the next address of what is in memory.
enum Taken {
    /// Its row has to wait for the next page.
    Nothing,
    /// What the table has up to this address is older.
    UpTo(i64),
    /// The same, and so much of it that it is not stepped over.
    Beyond(i64),
}

impl Page<'_> {
    /// Whether it is a tombstone that nobody asks for: passed over without being copied or decoded.
    fn leaves_out(&self, at: i64, state: &[u8]) -> bool {
        seq_of(at) <= self.request.deleted_after && Row::is_stored_deleted(state)
    }

    /// Whether a row of this size has to wait for the next page. One fits always.
    fn is_full(&self, bytes: usize) -> bool {
        self.read.len() >= self.request.max_rows
            || (!self.read.is_empty() && self.bytes + bytes > self.request.max_bytes)
    }

    /// Takes the next address of what is in memory: a row, or all addresses one after the other that rows have left.
    fn take_recent(
        &mut self,
        space: u32,
        recent: &mut Peekable<impl Iterator<Item = (Seq, Option<Bytes>)>>,
        at: i64,
    ) -> Taken {
        if let Some((_, Some(state))) = recent.peek() {
            if self.leaves_out(at, state) {
                recent.next();
                return Taken::UpTo(at);
            }
            if self.is_full(state.len()) {
                return Taken::Nothing;
            }
        }
        if let Some((_, Some(state))) = recent.next() {
            self.bytes += state.len();
            self.read.push((at, Read::Recent(state)));
            return Taken::UpTo(at);
        }
        let mut end = at;
        while recent.next_if(|(seq, state)| state.is_none() && row_address(space, *seq) == end + 1).is_some()
        {
            end += 1;
        }
        if end - at >= MIN_SKIPPED_ADDRESSES { Taken::Beyond(end) } else { Taken::UpTo(end) }
    }

    /// Takes a row of what is flushed. `false` when it has to wait for the next page.
    fn take_flushed(&mut self, at: i64, row: &rusqlite::Row<'_>) -> Result<bool, StoreError> {
        let state = row.get_ref(1)?.as_blob().map_err(|_| corrupt("row", "state", at))?;
        if self.leaves_out(at, state) {
            return Ok(true);
        }
        if self.is_full(state.len()) {
            return Ok(false);
        }
        self.bytes += state.len();
        self.flushed.extend_from_slice(state);
        self.read.push((at, Read::Flushed(self.flushed.len())));
        Ok(true)
    }

    fn decode(self) -> Result<Vec<Row>, StoreError> {
        let (buffer, mut start) = (Bytes::from(self.flushed), 0);
        let decode = |(at, read)| {
            let state = match read {
                Read::Flushed(end) => buffer.slice(std::mem::replace(&mut start, end)..end),
                Read::Recent(state) => state,
            };
            Row::decode(&state).map_err(|_| corrupt("row", "state", seq_of(at)))
        };
        self.read.into_iter().map(decode).collect()
    }
}

/// The rows of a space after `request.after`, and whether there are more. The caller holds a snapshot.
pub(super) fn page(
    connection: &Connection,
    recent: &Snapshot,
    space: u32,
    request: &PullRequest,
) -> Result<(Vec<Row>, bool), StoreError> {
    let sql = "SELECT place, state FROM row WHERE place > ?1 AND place <= ?2 ORDER BY place";
    let mut statement = connection.prepare_cached(sql)?;
    let last = row_address(space, lattice_engine::MAX_SEQ);
    let mut newer = recent.rows(space, request.after).peekable();
    let mut page = Page { request, flushed: Vec::new(), read: Vec::new(), bytes: 0 };
    let mut after = row_address(space, request.after);
    let more = 'seek: loop {
        let mut found = statement.query([after, last])?;
        let mut flushed = found.next()?;
        loop {
            let flushed_at: Option<i64> = flushed.map(|row| row.get(0)).transpose()?;
            let newer_at = newer.peek().map(|(seq, _)| row_address(space, *seq));
            match (flushed_at, newer_at) {
                (None, None) => break 'seek false,
                // What is in memory counts first: the table says the same, or something older.
                (_, Some(at)) if flushed_at.is_none_or(|flushed_at| at <= flushed_at) => {
                    let end = match page.take_recent(space, &mut newer, at) {
                        Taken::Nothing => break 'seek true,
                        Taken::Beyond(end) => {
                            after = end;
                            continue 'seek;
                        }
                        Taken::UpTo(end) => end,
                    };
                    while let Some(row) = flushed {
                        if row.get::<_, i64>(0)? > end {
                            break;
                        }
                        flushed = found.next()?;
                    }
                }
                (at, _) => {
                    let Some((at, row)) = at.zip(flushed) else { break 'seek false };
                    if !page.take_flushed(at, row)? {
                        break 'seek true;
                    }
                    flushed = found.next()?;
                }
            }
        }
    };
    Ok((page.decode()?, more))
}
