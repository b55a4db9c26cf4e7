//! The storage trait of spaces, by PostgreSQL.

use std::sync::Arc;

use bytes::Bytes;
use lattice_engine::{LogRecord, Minter, PullData, PullRequest, Receipt, Seq, SpaceHead, SpaceId, WriterId};
use lattice_protocol::{EntryId, Spelling};
use tokio::sync::oneshot;

use super::error::PgError;
use super::transaction::{Connection, Mode, attempt, query, query_opt};
use super::values::{corrupt, id, receipt, seq, uuid};
use super::{PostgresStore, pages, spaces};
use crate::spaces::{AuditLine, Space, SpaceStore, Upload, UploadAnswer};
use crate::stored::{rules, verdict};
use crate::time::random_id;
use crate::{BoxFuture, StoreError};

/// Lines of the audit log, from its end, among which the newest accepted change is looked for.
const MAX_LINES_LOOKED_AT: i64 = 1_000;

impl PostgresStore {
    /// A space from its id, its stored rules, and whether it is private.
    pub(super) fn space_of(
        &self,
        id: SpaceId,
        stored_rules: &str,
        private: bool,
    ) -> Result<Arc<Space>, StoreError> {
        let corrupt = || StoreError::Corrupt { table: "space", column: "rules", row: format!("{id:?}") };
        let identity = self.inner.identity;
        Ok(Arc::new(Space {
            no: 0,
            id,
            private,
            rules: rules::parse(stored_rules).ok_or_else(corrupt)?,
            minter: Minter::new(identity.mint_key, id, identity.epoch, 0),
        }))
    }
}

impl SpaceStore for PostgresStore {
    fn private_space(&self, user: [u8; 16]) -> BoxFuture<'_, Result<Arc<Space>, StoreError>> {
        Box::pin(async move {
            let found = attempt!(self, Mode::Single, |c| spaces::private(c, user).await)?;
            let (id, rules) = match found {
                Some(found) => found,
                None => {
                    let (id, now_us) = (SpaceId(random_id(&*self.inner.random)), self.inner.clock.now_us());
                    let rules = rules::text(&self.inner.new_space_rules);
                    attempt!(self, Mode::Single, |c| {
                        spaces::create_private(c, user, id, &rules, now_us).await?;
                        spaces::private(c, user).await
                    })?
                    .ok_or(StoreError::Closed)?
                }
            };
            self.space_of(id, &rules, true)
        })
    }

    fn upload(&self, upload: Upload) -> BoxFuture<'_, Result<UploadAnswer, StoreError>> {
        Box::pin(async move {
            let (answer, receiver) = oneshot::channel();
            self.inner.queue.put(upload, answer).await?;
            Ok(receiver)
        })
    }

    fn restored_since_us(&self) -> Option<i64> {
        self.inner.identity.restored_since_us
    }

    fn pull<'a>(
        &'a self,
        space: &'a Space,
        request: &'a PullRequest,
    ) -> BoxFuture<'a, Result<PullData, StoreError>> {
        Box::pin(async move {
            let mode = if request.corrections.is_empty() { Mode::Single } else { Mode::Snapshot };
            let pulled = attempt!(self, mode, |c| pages::pull(c, space.id, request).await)?;
            // Before the page is looked at: whoever reads it asks whether what they may see has changed by then.
            self.inner.version.seen(pulled.version);
            Ok(pulled.data)
        })
    }

    fn receipt<'a>(
        &'a self,
        space: &'a Space,
        entry: EntryId,
    ) -> BoxFuture<'a, Result<Option<Receipt>, StoreError>> {
        Box::pin(async move {
            let sql = "SELECT seq, verdict LIKE 'rejected:%' FROM entry WHERE space_id = $1 AND id = $2";
            attempt!(self, Mode::Single, |c| {
                let row = query_opt(c, sql, &[&uuid(space.id.0), &uuid(entry.0)]).await?;
                row.map(|row| receipt(&row, 0, 1)).transpose()
            })
        })
    }

    fn head<'a>(&'a self, space: &'a Space) -> BoxFuture<'a, Result<SpaceHead, StoreError>> {
        Box::pin(async move {
            attempt!(self, Mode::Single, |c| spaces::head(c, space.id).await)?.ok_or(StoreError::NoAccess)
        })
    }

    fn heads<'a>(&'a self, wanted: &'a [SpaceId]) -> BoxFuture<'a, Result<Vec<(SpaceId, Seq)>, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Single, |c| spaces::heads(c, wanted).await) })
    }

    fn newest_accepted<'a>(
        &'a self,
        space: &'a Space,
    ) -> BoxFuture<'a, Result<Option<(EntryId, Spelling)>, StoreError>> {
        Box::pin(async move {
            let sql = "SELECT id, spelling FROM (
                           SELECT seq, id, spelling, verdict FROM entry WHERE space_id = $1 ORDER BY seq DESC LIMIT $2
                       ) last WHERE verdict IN ('applied', 'merged') ORDER BY seq DESC LIMIT 1";
            attempt!(self, Mode::Single, |c| {
                let row = query_opt(c, sql, &[&uuid(space.id.0), &MAX_LINES_LOOKED_AT]).await?;
                row.map(|row| {
                    Ok::<_, PgError>((
                        EntryId(id(&row, 0)?),
                        Spelling(row.try_get::<_, i32>(1)?.cast_unsigned()),
                    ))
                })
                .transpose()
            })
        })
    }

    fn audit<'a>(
        &'a self,
        space: &'a Space,
        after: Seq,
        max_lines: usize,
    ) -> BoxFuture<'a, Result<Vec<AuditLine>, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Single, |c| audit(c, space.id, after, max_lines).await) })
    }
}

/// Lines of the audit log after `after`, in order.
pub(super) async fn audit(
    connection: &Connection,
    space: SpaceId,
    after: Seq,
    max_lines: usize,
) -> Result<Vec<AuditLine>, PgError> {
    let sql =
        "SELECT seq, id, spelling, verdict, clamped, time_us, arrived_us, content, writer, user_id FROM entry
               WHERE space_id = $1 AND seq > $2 ORDER BY seq LIMIT $3";
    let max_lines = i64::try_from(max_lines).unwrap_or(i64::MAX);
    let rows = query(connection, sql, &[&uuid(space.0), &after.cast_signed(), &max_lines]).await?;
    rows.iter().map(audit_line).collect()
}

pub(super) fn audit_line(row: &tokio_postgres::Row) -> Result<AuditLine, PgError> {
    let seq = seq(row, 0)?;
    let verdict = verdict::from_text(row.try_get(3)?).ok_or_else(|| corrupt("entry", "verdict", seq))?;
    Ok(AuditLine {
        record: LogRecord {
            seq,
            id: EntryId(id(row, 1)?),
            id_spelling: Spelling(row.try_get::<_, i32>(2)?.cast_unsigned()),
            verdict,
            clamped: row.try_get(4)?,
            time_us: row.try_get(5)?,
            arrived_us: row.try_get(6)?,
            raw: Bytes::from(row.try_get::<_, Vec<u8>>(7)?),
        },
        writer: WriterId(id(row, 8)?),
        user: Some(id(row, 9)?),
    })
}
