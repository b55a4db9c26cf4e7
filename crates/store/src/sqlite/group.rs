//! Group commit: one transaction and one flush for everything that waits, a savepoint for each upload.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lattice_engine::mutation::Mutation;
use lattice_engine::{Access, Batch, Context, Effects, SpaceHead};
use rusqlite::Connection;

use super::{directory, spaces};
use crate::StoreError;
use crate::directory::AccessRecord;
use crate::spaces::Upload;

/// Spaces whose counters are kept in memory between commits.
const MAX_CACHED_HEADS: usize = 100_000;

/// The counters of spaces, as of the last commit and as changed since.
#[derive(Default)]
struct Heads {
    committed: HashMap<u32, SpaceHead>,
    changed: HashMap<u32, SpaceHead>,
}

impl Heads {
    fn get(&mut self, connection: &Connection, space: u32) -> Result<SpaceHead, StoreError> {
        if let Some(head) = self.changed.get(&space).or_else(|| self.committed.get(&space)) {
            return Ok(*head);
        }
        let head = spaces::head(connection, space)?;
        self.committed.insert(space, head);
        Ok(head)
    }
}

/// Applies uploads inside the transaction of a group.
pub struct Group {
    heads: Heads,
    known_writers: HashSet<[u8; 16]>,
    /// What users may do in spaces, as of the last write that was no upload.
    access: HashMap<(u32, [u8; 16]), Arc<AccessRecord>>,
    max_skew_us: i64,
}

/// Writers that are remembered as stored; forgetting one costs an insert that does nothing.
const MAX_KNOWN_WRITERS: usize = 100_000;
/// Users in spaces whose access is kept in memory; forgetting it costs one look-up by key.
const MAX_CACHED_ACCESS: usize = 100_000;

impl Group {
    /// Starts with nothing cached. `max_skew_us`: how far in the future a timestamp may be.
    #[must_use]
    pub fn new(max_skew_us: i64) -> Self {
        Self { heads: Heads::default(), known_writers: HashSet::new(), access: HashMap::new(), max_skew_us }
    }

    /// Something was written that may decide what users may do.
    pub fn forget_access(&mut self) {
        self.access.clear();
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
    pub fn begin(&mut self) {
        self.heads.changed.clear();
        if self.heads.committed.len() > MAX_CACHED_HEADS {
            self.heads.committed.clear();
        }
        if self.known_writers.len() > MAX_KNOWN_WRITERS {
            self.known_writers.clear();
        }
        if self.access.len() > MAX_CACHED_ACCESS {
            self.access.clear();
        }
    }

    /// Applies one upload under its own savepoint: when it fails, nothing of it is left and the group goes on.
    ///
    /// # Errors
    /// What the database says, that the space is full, or [`StoreError::NoAccess`].
    pub fn upload(
        &mut self,
        connection: &Connection,
        upload: &mut Upload,
        now_us: i64,
    ) -> Result<Effects, StoreError> {
        let no = upload.space.no;
        let record = self.access(connection, no, upload.origin.user)?;
        let before = self.heads.get(connection, no)?;
        let result = in_savepoint(connection, || {
            let context = Context {
                writer: upload.origin.writer,
                now_us,
                max_skew_us: self.max_skew_us,
                rules: &upload.space.rules,
                minter: &upload.space.minter,
                access: Access {
                    user: upload.origin.user,
                    role: record.role,
                    policy: &record.policy,
                    archived: record.archived,
                    private: record.private,
                },
                plain: upload.plain,
                echoes: upload.echoes,
            };
            let mut batch = Batch::new(context, std::mem::take(&mut upload.incoming));
            loop {
                let needs = batch.needs();
                if needs.is_empty() {
                    break;
                }
                spaces::supply(connection, no, &needs, &mut batch)?;
            }
            let effects = batch.finish(before).map_err(|_| StoreError::SpaceFull)?;
            if !self.known_writers.contains(&upload.origin.writer.0) {
                spaces::store_writer(connection, &upload.origin)?;
            }
            spaces::store(connection, no, upload.origin.writer, &effects)?;
            Ok(effects)
        });
        if let Ok(effects) = &result {
            self.known_writers.insert(upload.origin.writer.0);
            self.heads.changed.insert(no, effects.head);
        }
        result
    }

    /// Stores the counters that the group changed; the last thing before the commit.
    ///
    /// # Errors
    /// What the database says.
    pub fn store_heads(&self, connection: &Connection) -> Result<(), StoreError> {
        self.heads.changed.iter().try_for_each(|(space, head)| spaces::set_head(connection, *space, *head))
    }

    /// The transaction has ended. After a failure nothing that was cached can be trusted.
    pub fn ended(&mut self, committed: bool) {
        if committed {
            self.heads.committed.extend(self.heads.changed.drain());
        } else {
            self.heads = Heads::default();
            self.known_writers.clear();
            self.access.clear();
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
