//! Reading a page: what is settled and what is in memory, as one order.

use bytes::Bytes;
use lattice_engine::{PullRequest, Row};
use rusqlite::Connection;

use super::keys::{place, seq_of};
use super::recent::View;
use super::spaces::corrupt;
use crate::StoreError;

/// Places in a row that rows have left, in memory, from which on it is cheaper to look beyond them in the table than to
/// step over what it still has there.
const MIN_SKIPPED_PLACES: i64 = 32;

/// A row that was read and is not decoded yet.
enum Read {
    /// Where it ends in the buffer of what is settled.
    Settled(usize),
    /// Its stored form.
    Recent(Bytes),
}

/// A page that fills up.
struct Page<'a> {
    request: &'a PullRequest,
    /// One buffer for what is settled, so that these rows are slices of one allocation.
    settled: Vec<u8>,
    read: Vec<(i64, Read)>,
    bytes: usize,
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
}

/// The rows of a space after `request.after`, and whether there are more. The caller holds a snapshot.
pub(super) fn page(
    connection: &Connection,
    recent: &View,
    space: u32,
    request: &PullRequest,
) -> Result<(Vec<Row>, bool), StoreError> {
    let sql = "SELECT place, state FROM row WHERE place > ?1 AND place <= ?2 ORDER BY place";
    let mut statement = connection.prepare_cached(sql)?;
    let last = place(space, lattice_engine::MAX_SEQ);
    let mut in_memory = recent.rows(space, request.after);
    let mut newer = in_memory.next();
    let mut page = Page { request, settled: Vec::new(), read: Vec::new(), bytes: 0 };
    let mut after = place(space, request.after);
    let more = 'seek: loop {
        let mut found = statement.query([after, last])?;
        let mut settled = found.next()?;
        loop {
            let settled_at: Option<i64> = settled.map(|row| row.get(0)).transpose()?;
            let newer_at = newer.as_ref().map(|(seq, _)| place(space, *seq));
            match (settled_at, newer_at) {
                (None, None) => break 'seek false,
                // What is in memory counts first: the table says the same, or something older.
                (_, Some(at)) if settled_at.is_none_or(|settled_at| at <= settled_at) => {
                    let mut end = at;
                    let row = newer.take();
                    if let Some((_, Some(state))) = row.as_ref()
                        && page.leaves_out(at, state)
                    {
                        newer = in_memory.next();
                    } else if let Some((_, Some(state))) = row {
                        if page.is_full(state.len()) {
                            break 'seek true;
                        }
                        page.bytes += state.len();
                        page.read.push((at, Read::Recent(state)));
                        newer = in_memory.next();
                    } else {
                        newer = in_memory.next();
                        while let Some((_, None)) =
                            newer.as_ref().filter(|(seq, _)| place(space, *seq) == end + 1)
                        {
                            end += 1;
                            newer = in_memory.next();
                        }
                        if end - at >= MIN_SKIPPED_PLACES {
                            after = end;
                            continue 'seek;
                        }
                    }
                    while let Some(row) = settled {
                        if row.get::<_, i64>(0)? > end {
                            break;
                        }
                        settled = found.next()?;
                    }
                }
                (at, _) => {
                    let Some((at, row)) = at.zip(settled) else { break 'seek false };
                    let state = row.get_ref(1)?.as_blob().map_err(|_| corrupt("row", "state", at))?;
                    if page.leaves_out(at, state) {
                        settled = found.next()?;
                        continue;
                    }
                    if page.is_full(state.len()) {
                        break 'seek true;
                    }
                    page.bytes += state.len();
                    page.settled.extend_from_slice(state);
                    page.read.push((at, Read::Settled(page.settled.len())));
                    settled = found.next()?;
                }
            }
        }
    };
    let (buffer, mut start) = (Bytes::from(page.settled), 0);
    let decode = |(at, read)| {
        let state = match read {
            Read::Settled(end) => buffer.slice(std::mem::replace(&mut start, end)..end),
            Read::Recent(state) => state,
        };
        Row::decode(&state).map_err(|_| corrupt("row", "state", seq_of(at)))
    };
    Ok((page.read.into_iter().map(decode).collect::<Result<_, _>>()?, more))
}
