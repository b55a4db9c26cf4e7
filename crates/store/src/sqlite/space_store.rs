//! The storage trait of spaces, by SQLite.

use std::sync::Arc;

use lattice_engine::{Minter, PullData, PullRequest, Receipt, Rule, Rules, Seq, SpaceHead, SpaceId};
use lattice_protocol::EntryId;

use super::writer::UploadJob;
use super::{SqliteStore, spaces};
use crate::spaces::{AuditLine, Space, SpaceStore, Upload, UploadAnswer};
use crate::time::random_id;
use crate::{BoxFuture, StoreError};

impl SqliteStore {
    pub(super) fn space_of(&self, (no, id, rules): spaces::SpaceRecord) -> Result<Arc<Space>, StoreError> {
        let corrupt = || StoreError::Corrupt { table: "space", column: "rules", row: no.to_string() };
        let identity = self.inner.identity;
        Ok(Arc::new(Space {
            no,
            id: SpaceId(id),
            rules: parse_rules(&rules).ok_or_else(corrupt)?,
            minter: Minter::new(identity.mint_key, SpaceId(id), identity.epoch, 0),
        }))
    }
}

/// Rules are stored as words: the default rule, then `table=rule` for each table that has its own.
fn parse_rules(text: &str) -> Option<Rules> {
    let mut words = text.split_ascii_whitespace();
    let mut rules = Rules { default: Rule::parse(words.next()?)?, ..Rules::default() };
    for word in words {
        let (table, rule) = word.split_once('=')?;
        rules.tables.insert(table.to_owned(), Rule::parse(rule)?);
    }
    Some(rules)
}

pub(super) fn rules_text(rules: &Rules) -> String {
    let tables = rules.tables.iter().map(|(table, rule)| format!(" {table}={}", rule.as_str()));
    std::iter::once(rules.default.as_str().to_owned()).chain(tables).collect()
}

impl SpaceStore for SqliteStore {
    fn private_space(&self, user: [u8; 16]) -> BoxFuture<'_, Result<Arc<Space>, StoreError>> {
        Box::pin(async move {
            let found = self.read(move |connection| spaces::private(connection, user)).await?;
            let record = match found {
                Some(record) => record,
                None => {
                    let (id, now_us) = (random_id(&*self.inner.random), self.inner.clock.now_us());
                    let rules = rules_text(&self.inner.new_space_rules);
                    self.write(move |transaction| {
                        spaces::create_private(transaction, user, id, &rules, now_us)?;
                        spaces::private(transaction, user)?.ok_or(StoreError::Closed)
                    })
                    .await?
                }
            };
            self.space_of(record)
        })
    }

    fn upload(&self, upload: Upload) -> BoxFuture<'_, Result<UploadAnswer, StoreError>> {
        Box::pin(async move {
            let (job, answer) = UploadJob::new(upload);
            self.submit(Box::new(job)).await?;
            Ok(answer)
        })
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
