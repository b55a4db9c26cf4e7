//! Group commit: one transaction and one flush for everything that waits, a savepoint for each upload.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lattice_engine::mutation::Mutation;
use lattice_engine::{Batch, Context, Effects, RowWrite, SpaceHead, Verdict, WriterId};
use rusqlite::Connection;

use super::flush::Flusher;
use super::quotas::Keeper;
use super::recent::{BlockNo, Recent, RecentLimits, Snapshot};
use super::{directory, log, spaces};
use crate::StoreError;
use crate::copy::Part;
use crate::directory::AccessRecord;
use crate::quotas::Quotas;
use crate::spaces::Upload;

/// Spaces whose counters are kept in memory between commits.
const MAX_CACHED_HEADS: usize = 100_000;

/// The counters of spaces, as of the last commit and as changed since.
#[derive(Default)]
struct Heads {
    committed: HashMap<u32, SpaceHead>,
    changed: HashMap<u32, SpaceHead>,
    /// Spaces of which something is flushed.
    flushed: HashSet<u32>,
}

impl Heads {
    fn get(
        &mut self,
        connection: &Connection,
        recent: &Snapshot,
        space: u32,
    ) -> Result<SpaceHead, StoreError> {
        if let Some(head) = self.changed.get(&space).or_else(|| self.committed.get(&space)) {
            return Ok(*head);
        }
        let head = spaces::head(connection, recent, space)?;
        self.committed.insert(space, head);
        Ok(head)
    }

    /// Whether the tables have anything of a space that is not in memory as well. A young space is in memory as a whole.
    fn is_flushed(&mut self, connection: &Connection, space: u32) -> Result<bool, StoreError> {
        let flushed = self.flushed.contains(&space) || spaces::flushed_head(connection, space)?.seq > 0;
        if flushed {
            self.flushed.insert(space);
        }
        Ok(flushed)
    }
}

/// Applies uploads inside the transaction of a group.
pub struct Group {
    heads: Heads,
    known_writers: HashSet<[u8; 16]>,
    /// What users may do in spaces, as of the last write that was no upload.
    access: HashMap<(u32, [u8; 16]), Arc<AccessRecord>>,
    quotas: Keeper,
    max_skew_us: i64,
    recent: Arc<Recent>,
    flusher: Flusher,
    /// The last block of the log, as of the last commit and with what was appended since.
    committed_block: BlockNo,
    last_block: BlockNo,
    /// Items of the current generation when the transaction began.
    items_before: usize,
}

/// Writers that are remembered as stored; forgetting one costs an insert that does nothing.
const MAX_KNOWN_WRITERS: usize = 100_000;
/// Users in spaces whose access is kept in memory; forgetting it costs one look-up by key.
const MAX_CACHED_ACCESS: usize = 100_000;

impl Group {
    /// Starts with what the log holds and the tables do not. `max_skew_us`: how far in the future a timestamp may be.
    ///
    /// # Errors
    /// What the database says, or that the log cannot be read.
    pub fn open(connection: &Connection, max_skew_us: i64, limits: RecentLimits) -> Result<Self, StoreError> {
        let recent = log::reload(connection, limits)?;
        let last_block = recent.published();
        Ok(Self {
            heads: Heads::default(),
            known_writers: HashSet::new(),
            access: HashMap::new(),
            quotas: Keeper::default(),
            max_skew_us,
            recent: Arc::new(recent),
            flusher: Flusher::default(),
            committed_block: last_block,
            last_block,
            items_before: 0,
        })
    }

    /// The same, with quotas.
    #[must_use]
    pub fn with_quotas(self, quotas: Quotas) -> Self {
        Self { quotas: Keeper::new(quotas), ..self }
    }

    /// What is committed and not flushed yet.
    pub(super) fn recent(&self) -> &Arc<Recent> {
        &self.recent
    }

    /// The last block of the log that is committed.
    pub(super) fn committed_block(&self) -> BlockNo {
        self.committed_block
    }

    /// What is committed and not flushed yet, for reads on the writing connection between two groups.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.recent.published_snapshot()
    }

    /// What is not flushed yet, with what the group under way has written.
    #[must_use]
    pub fn staged_snapshot(&self) -> Snapshot {
        self.recent.staged()
    }

    /// Something was written that may decide what users may do.
    ///
    /// # Errors
    /// What the database says.
    pub fn access_written(&mut self, connection: &Connection) -> Result<(), StoreError> {
        if !Mutation::CachedAccess.is_active() {
            self.access.clear();
        }
        self.quotas.forget();
        let recent = self.recent.staged();
        directory::views::fill_in_heads(connection, |space| {
            self.heads.get(connection, &recent, space).map(|head| head.seq)
        })
    }

    /// Up to which block everything is flushed. Flushes some more of what is not, when that is less than `upto`; when
    /// nothing is ready for it, what is waiting will be with the next commit.
    pub(super) fn flush_towards(
        &mut self,
        connection: &Connection,
        upto: BlockNo,
        records: usize,
    ) -> Result<BlockNo, StoreError> {
        let flushed = log::flushed(connection)?;
        if flushed < upto {
            match self.recent.oldest() {
                Some(oldest) => self.flusher.step(connection, Some(oldest), records)?,
                None => self.recent.seal_at_publish(),
            }
        }
        Ok(flushed)
    }

    /// What a user may do in a space at this moment of the transaction.
    fn access(
        &mut self,
        connection: &Connection,
        space: u32,
        user: [u8; 16],
    ) -> Result<Arc<AccessRecord>, StoreError> {
        if let Some(known) = self.access.get(&(space, user)) {
            return Ok(Arc::clone(known));
        }
        let found = directory::access_in(connection, space, user)?.ok_or(StoreError::NoAccess)?;
        let found = Arc::new(found);
        self.access.insert((space, user), Arc::clone(&found));
        Ok(found)
    }

    /// A transaction has begun.
    ///
    /// # Errors
    /// What the database says.
    pub fn begin(&mut self, connection: &Connection) -> Result<(), StoreError> {
        self.heads.changed.clear();
        self.items_before = self.recent.current_items();
        if self.heads.committed.len() > MAX_CACHED_HEADS {
            self.heads.committed.clear();
        }
        if self.heads.flushed.len() > MAX_CACHED_HEADS {
            self.heads.flushed.clear();
        }
        if self.known_writers.len() > MAX_KNOWN_WRITERS {
            self.known_writers.clear();
        }
        if self.access.len() > MAX_CACHED_ACCESS {
            self.access.clear();
        }
        self.quotas.begin(connection)
    }

    /// Applies one upload, under its own savepoint where that takes several statements: when it fails, nothing of it is
    /// left and the group goes on.
    ///
    /// # Errors
    /// What the database says, that the space is full, [`StoreError::NoAccess`] or [`StoreError::QuotaExceeded`].
    pub fn upload(
        &mut self,
        connection: &Connection,
        upload: &mut Upload,
        now_us: i64,
    ) -> Result<Effects, StoreError> {
        let (no, writer) = (upload.space.no, upload.origin.writer);
        let (before, effects) = self.merge(connection, upload, now_us)?;
        let Self { quotas, heads, recent, .. } = self;
        let recent = recent.staged();
        quotas.check(connection, no, (before, effects.head), |no| heads.get(connection, &recent, no))?;
        let addition = log::Addition::new(no, writer, &effects);
        let refuses = effects.log.iter().any(|record| matches!(record.verdict, Verdict::Rejected(_)));
        let is_known = self.known_writers.contains(&writer.0);
        let one_statement = is_known && !refuses && addition.is_one_statement();
        let (recent, last_block) = (&self.recent, self.last_block);
        let append = || addition.append(connection, recent, last_block, &effects);
        let appended = if one_statement {
            // A statement that fails leaves nothing by itself.
            append()
        } else {
            in_savepoint(connection, || {
                spaces::store_writer(connection, &upload.origin)?;
                directory::refusals::store(connection, no, writer, &effects.log)?;
                append()
            })
        };
        match appended {
            Ok(appended) => {
                self.known_writers.insert(writer.0);
                self.heads.changed.insert(no, effects.head);
                self.quotas.grown(no, before, effects.head);
                self.last_block = appended;
                Ok(effects)
            }
            Err(error) => {
                if !Mutation::NoSavepoint.is_active() {
                    self.recent.take_back(last_block + 1);
                }
                Err(error)
            }
        }
    }

    /// Takes a part of a space as another database had it. When it fails, nothing of it is left in memory; what was written
    /// is the caller's to take back.
    pub(super) fn import(
        &mut self,
        connection: &Connection,
        space: u32,
        part: Part,
    ) -> Result<(), StoreError> {
        let (last_block, head) = (self.last_block, self.heads.changed.get(&space).copied());
        let imported = self.import_all(connection, space, part);
        if imported.is_err() {
            self.recent.take_back(last_block + 1);
            self.last_block = last_block;
            self.heads.changed.remove(&space);
            self.heads.changed.extend(head.map(|head| (space, head)));
        }
        imported
    }

    fn import_all(&mut self, connection: &Connection, space: u32, part: Part) -> Result<(), StoreError> {
        for origin in &part.origins {
            spaces::store_writer(connection, origin)?;
        }
        let recent = self.recent.staged();
        let mut before = self.heads.get(connection, &recent, space)?;
        // A block has one writer.
        for lines in part.lines.chunk_by(|one, next| one.writer == next.writer) {
            let Some(last) = lines.last() else { continue };
            let effects = Effects {
                before: before.seq,
                head: SpaceHead {
                    seq: last.record.seq,
                    arrival_us: last.record.arrived_us,
                    bytes: before.bytes + lines.iter().map(|line| line.record.raw.len() as u64).sum::<u64>(),
                },
                log: lines.iter().map(|line| line.record.clone()).collect(),
                ..Effects::default()
            };
            directory::refusals::store(connection, space, last.writer, &effects.log)?;
            before = effects.head;
            self.import_effects(connection, space, last.writer, &effects)?;
        }
        if !part.rows.is_empty() || !part.pairs.is_empty() {
            let rows = part.rows.into_iter().map(|row| RowWrite { stored_at: None, row });
            let effects = Effects {
                before: before.seq,
                head: part.head,
                rows: rows.collect(),
                pairs: part.pairs,
                ..Effects::default()
            };
            self.import_effects(connection, space, WriterId([0; 16]), &effects)?;
        }
        Ok(())
    }

    fn import_effects(
        &mut self,
        connection: &Connection,
        space: u32,
        writer: WriterId,
        effects: &Effects,
    ) -> Result<(), StoreError> {
        let addition = log::Addition::new(space, writer, effects);
        self.last_block = addition.append(connection, &self.recent, self.last_block, effects)?;
        self.heads.changed.insert(space, effects.head);
        Ok(())
    }

    /// What an upload does. Nothing is written here.
    fn merge(
        &mut self,
        connection: &Connection,
        upload: &mut Upload,
        now_us: i64,
    ) -> Result<(SpaceHead, Effects), StoreError> {
        let no = upload.space.no;
        let record = self.access(connection, no, upload.origin.user)?;
        let recent = self.recent.staged();
        let before = self.heads.get(connection, &recent, no)?;
        let flushed = self.heads.is_flushed(connection, no)? || Mutation::DedupAcrossSpaces.is_active();
        let context = Context {
            writer: upload.origin.writer,
            max_skew_us: self.max_skew_us,
            rules: &upload.space.rules,
            minter: &upload.space.minter,
            plain: upload.plain,
            echoes: upload.echoes,
            read_only: upload.read_only,
            applied: upload.applied,
            private: upload.space.private,
        };
        let mut batch = Batch::new(context, std::mem::take(&mut upload.incoming));
        loop {
            let needs = batch.needs();
            if needs.is_empty() {
                break;
            }
            spaces::supply(flushed.then_some(connection), &recent, no, &needs, &mut batch)?;
        }
        let effects = batch.finish(before, &record.of(upload.origin.user), now_us);
        Ok((before, effects.map_err(|_| StoreError::SpaceFull)?))
    }

    /// Flushes some of what earlier groups brought; the last thing before the commit.
    ///
    /// # Errors
    /// What the database says.
    pub fn flush(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let new_items = self.recent.current_items().saturating_sub(self.items_before);
        self.flusher.step(connection, self.recent.oldest(), new_items)
    }

    /// The transaction has ended. After a failure nothing that was cached can be trusted.
    pub fn ended(&mut self, committed: bool) {
        let flushed = self.flusher.ended(committed);
        if committed {
            self.heads.committed.extend(self.heads.changed.drain());
            self.committed_block = self.last_block;
            self.recent.publish(self.last_block, flushed);
        } else {
            self.heads = Heads::default();
            self.known_writers.clear();
            self.access.clear();
            self.quotas.forget();
            self.last_block = self.committed_block;
            self.recent.take_back(self.committed_block + 1);
        }
    }
}

/// Runs `work` so that a failure of it leaves nothing behind.
pub(crate) fn in_savepoint<T>(
    connection: &Connection,
    work: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    execute(connection, "SAVEPOINT one")?;
    let result = work();
    if result.is_err() && !Mutation::NoSavepoint.is_active() {
        execute(connection, "ROLLBACK TO one")?;
    }
    execute(connection, "RELEASE one")?;
    result
}

fn execute(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}
