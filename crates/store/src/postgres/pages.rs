//! Reading a page, the head and what is to be corrected, in one snapshot.

use std::collections::BTreeMap;

use bytes::Bytes;
use lattice_engine::{Corrected, End, Needs, PairKey, PullData, PullRequest, RowRef, SpaceId};
use tokio_postgres::types::ToSql;

use super::error::PgError;
use super::overlay::{Overlay, decode};
use super::spaces::{Loads, Wanted};
use super::transaction::{Connection, query};
use super::values::{seq, uuid};
use crate::StoreError;

/// Corrections that are loaded together. Rows may be large: what does not fit is to be asked for again.
const CORRECTIONS_AT_ONCE: usize = 64;

/// One statement, and so one snapshot: the version of what anybody may do, the head, and the page. `$1` the space, `$2` after
/// which seq, `$3` one row more than fits, `$4` most bytes, `$5` up to which seq tombstones are left out, which is bit 1 of byte 1 of
/// the stored form (`Row::is_stored_deleted`). The lengths of large values are known without reading them.
const PAGE: &str = "SELECT v.n, h.head, p.rows, p.state
     FROM access_version v
     LEFT JOIN space_head h ON h.space_id = $1
     LEFT JOIN LATERAL (
         SELECT s.state, s.last_seq, s.rows, s.at, s.bytes
         FROM (SELECT r.state, r.last_seq, count(*) OVER () AS rows, row_number() OVER (ORDER BY r.last_seq) AS at,
                      sum(octet_length(r.state)) OVER (ORDER BY r.last_seq) AS bytes
               FROM (SELECT state, last_seq FROM row_state WHERE space_id = $1 AND last_seq > $2
                       AND (last_seq > $5 OR get_byte(substring(state FROM 1 FOR 2), 1) & 2 = 0)
                     ORDER BY last_seq LIMIT $3) r) s
         WHERE s.at < $3 AND (s.at = 1 OR s.bytes <= $4)) p ON true
     ORDER BY p.last_seq";

/// What a page came with: the version of what anybody may do in its snapshot.
pub(super) struct Pulled {
    pub(super) data: PullData,
    pub(super) version: i64,
}

/// Reads a page, and what is to be corrected. With corrections, the caller holds a snapshot.
pub(super) async fn pull(
    connection: &Connection,
    space: SpaceId,
    request: &PullRequest,
) -> Result<Pulled, PgError> {
    let after = request.after.cast_signed();
    let one_more = i64::try_from(request.max_rows).unwrap_or(i64::MAX).saturating_add(1);
    let max_bytes = i64::try_from(request.max_bytes).unwrap_or(i64::MAX);
    let deleted_after = request.deleted_after.cast_signed();
    let parameters: [&(dyn ToSql + Sync); 5] =
        [&uuid(space.0), &after, &one_more, &max_bytes, &deleted_after];
    let found = query(connection, PAGE, &parameters).await?;
    // Without a record of its own, the space was erased.
    let first = found.first().ok_or(StoreError::NoAccess)?;
    let version: i64 = first.try_get(0)?;
    first.try_get::<_, Option<i64>>(1)?.ok_or(StoreError::NoAccess)?;
    let head = seq(first, 1)?;
    let available: i64 = first.try_get::<_, Option<i64>>(2)?.unwrap_or(0);
    let mut rows = Vec::with_capacity(found.len());
    for row in &found {
        if let Some(state) = row.try_get::<_, Option<Vec<u8>>>(3)? {
            rows.push(decode(&Bytes::from(state))?);
        }
    }
    let more = available > i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let corrected = corrections(connection, space, request).await?;
    let mut data = PullData { head, rows, more, corrected };
    if request.ends {
        look_for_ends(connection, space, &mut data).await?;
    }
    Ok(Pulled { data, version })
}

/// Looks for the rows that links name which know nothing of them. Who created a row never changes, so this may be read a little later than the
/// page: a link whose end came in between follows at its new place.
async fn look_for_ends(connection: &Connection, space: SpaceId, data: &mut PullData) -> Result<(), PgError> {
    let unknown: Vec<RowRef> = data.rows_mut().flat_map(|link| link.unknown_ends()).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let loads = Loads::prepare(connection).await?;
    let mut overlay = Overlay::default();
    load(connection, &loads, space, &mut overlay, unknown, Vec::new()).await?;
    let found: BTreeMap<RowRef, End> =
        overlay.rows()?.filter_map(|row| Some((row.reference(), row.as_end()?))).collect();
    data.rows_mut().for_each(|link| {
        if !link.unknown_ends().is_empty() {
            link.know_ends(|reference| found.get(reference).cloned());
        }
    });
    Ok(())
}

/// The rows that are to be corrected, in their order, as many as fit.
async fn corrections(
    connection: &Connection,
    space: SpaceId,
    request: &PullRequest,
) -> Result<Vec<Corrected>, PgError> {
    let (mut corrected, mut bytes, mut follows_pair) =
        (Vec::with_capacity(request.corrections.len()), 0, false);
    if request.corrections.is_empty() {
        return Ok(corrected);
    }
    let loads = Loads::prepare(connection).await?;
    for chunk in request.corrections.chunks(CORRECTIONS_AT_ONCE) {
        let mut overlay = Overlay::default();
        let rows = chunk.iter().filter(|reference| reference.pair().is_none()).cloned().collect();
        let pairs = chunk.iter().filter_map(RowRef::pair).collect();
        load(connection, &loads, space, &mut overlay, rows, pairs).await?;
        let lost = overlay.rows()?.filter(|row| !row.is_live()).filter_map(|row| row.pair).collect();
        load(connection, &loads, space, &mut overlay, Vec::new(), lost).await?;
        let keepers = overlay.keepers();
        load(connection, &loads, space, &mut overlay, keepers, Vec::new()).await?;
        for reference in chunk {
            if bytes >= request.max_bytes && !follows_pair {
                return Ok(corrected);
            }
            follows_pair = reference.pair().is_some();
            let row = overlay.row(reference)?;
            let own_pair = row.as_ref().filter(|row| !row.is_live()).and_then(|row| row.pair);
            let lost_pair = reference.pair().or(own_pair);
            let keeper = lost_pair.and_then(|pair| overlay.keeper(pair));
            let keeper = keeper.map(|keeper| overlay.row(&keeper)).transpose()?.flatten();
            bytes += row.as_ref().map_or(0, size) + keeper.as_ref().map_or(0, size);
            corrected.push(Corrected { row, keeper });
        }
    }
    Ok(corrected)
}

fn size(row: &lattice_engine::Row) -> usize {
    row.fields.iter().map(|field| field.value.len() + field.name.len()).sum()
}

async fn load(
    connection: &Connection,
    loads: &Loads,
    space: SpaceId,
    overlay: &mut Overlay,
    rows: Vec<RowRef>,
    pairs: Vec<PairKey>,
) -> Result<(), PgError> {
    let unread = overlay.unread(&Needs { entries: Vec::new(), rows, pairs });
    if unread.is_empty() {
        return Ok(());
    }
    let mut wanted = Wanted::default();
    wanted.add(space, &unread);
    wanted.load(connection, loads).await?.put_one(overlay)
}
