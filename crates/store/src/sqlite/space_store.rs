//! The storage trait of spaces, by SQLite.

use std::sync::Arc;

use lattice_engine::{Minter, PullData, PullRequest, Receipt, Seq, SpaceHead, SpaceId};
use lattice_protocol::{EntryId, Spelling};

use super::writer::UploadJob;
use super::{SqliteStore, audit, spaces};
use crate::spaces::{AuditLine, Space, SpaceStore, Upload, UploadAnswer};
use crate::stored::rules;
use crate::time::random_id;
use crate::{BoxFuture, StoreError};

impl SqliteStore {
    pub(super) fn space_of(
        &self,
        (no, id, rules): spaces::SpaceRecord,
        private: bool,
    ) -> Result<Arc<Space>, StoreError> {
        let corrupt = || StoreError::Corrupt { table: "space", column: "rules", row: no.to_string() };
        let identity = self.inner.identity;
        Ok(Arc::new(Space {
            no,
            id: SpaceId(id),
            private,
            rules: rules::parse(&rules).ok_or_else(corrupt)?,
            minter: Minter::new(identity.mint_key, SpaceId(id), identity.epoch, 0),
        }))
    }
}

impl SpaceStore for SqliteStore {
    fn private_space(&self, user: [u8; 16]) -> BoxFuture<'_, Result<Arc<Space>, StoreError>> {
        Box::pin(async move {
            let found = self.read(move |connection| spaces::private(connection, user)).await?;
            let record = match found {
                Some(record) => record,
                None => {
                    let (id, now_us) = (random_id(&*self.inner.random), self.inner.clock.now_us());
                    let rules = rules::text(&self.inner.new_space_rules);
                    self.write(move |transaction| {
                        spaces::create_private(transaction, user, id, &rules, now_us)?;
                        spaces::private(transaction, user)?.ok_or(StoreError::Closed)
                    })
                    .await?
                }
            };
            self.space_of(record, true)
        })
    }

    fn upload(&self, upload: Upload) -> BoxFuture<'_, Result<UploadAnswer, StoreError>> {
        Box::pin(async move {
            let (job, answer) = UploadJob::new(upload);
            self.submit(Box::new(job)).await?;
            Ok(answer)
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
        let (no, request) = (space.no, request.clone());
        Box::pin(self.read_spaces(move |connection, recent| spaces::pull(connection, recent, no, &request)))
    }

    fn receipt<'a>(
        &'a self,
        space: &'a Space,
        id: EntryId,
    ) -> BoxFuture<'a, Result<Option<Receipt>, StoreError>> {
        let no = space.no;
        Box::pin(self.read_spaces(move |connection, recent| spaces::receipt(connection, recent, no, id)))
    }

    fn head<'a>(&'a self, space: &'a Space) -> BoxFuture<'a, Result<SpaceHead, StoreError>> {
        let no = space.no;
        Box::pin(self.read_spaces(move |connection, recent| spaces::head(connection, recent, no)))
    }

    fn heads<'a>(&'a self, wanted: &'a [SpaceId]) -> BoxFuture<'a, Result<Vec<(SpaceId, Seq)>, StoreError>> {
        let wanted = wanted.to_vec();
        Box::pin(self.read_spaces(move |connection, recent| {
            let mut heads = Vec::with_capacity(wanted.len());
            for id in wanted {
                if let Some(no) = spaces::number(connection, id)? {
                    heads.push((id, spaces::head(connection, recent, no)?.seq));
                }
            }
            Ok(heads)
        }))
    }

    fn newest_accepted<'a>(
        &'a self,
        space: &'a Space,
    ) -> BoxFuture<'a, Result<Option<(EntryId, Spelling)>, StoreError>> {
        let no = space.no;
        Box::pin(self.read_spaces(move |connection, recent| audit::newest_accepted(connection, recent, no)))
    }

    fn audit<'a>(
        &'a self,
        space: &'a Space,
        after: Seq,
        max_lines: usize,
    ) -> BoxFuture<'a, Result<Vec<AuditLine>, StoreError>> {
        let no = space.no;
        Box::pin(
            self.read_spaces(move |connection, recent| {
                spaces::audit(connection, recent, no, after, max_lines)
            }),
        )
    }
}
