//! Quotas, in SQLite: looked at by the one writer, which knows what every space holds.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use lattice_engine::{SpaceHead, SpaceId};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::block::Block;
use super::open::{self, OpenError};
use super::recent::{RecentLimits, Snapshot};
use super::spaces::{self, corrupt};
use super::{SqliteStore, access_log, log};
use crate::access_log::AccessEvent;
use crate::accounts::UserId;
use crate::quotas::{Account, Limit, Limits, LimitsChange, QuotaStore, Quotas, Subject, Usage};
use crate::rules::quotas::Held;
use crate::time::Random;
use crate::{BoxFuture, StoreError, rules};

/// Spaces and owners that are remembered; forgetting one costs a look-up by key.
const MAX_REMEMBERED: usize = 100_000;

/// Looks whether uploads lead beyond quotas.
#[derive(Default)]
pub(super) struct Keeper {
    configured: Quotas,
    /// Whether a quota was set for anybody; `None` while that is not known.
    any_set: Option<bool>,
    spaces: HashMap<u32, Held>,
    /// What all spaces of an owner hold.
    owners: HashMap<[u8; 16], Usage>,
    /// Changes when another process has written: `quota set` may run while a server does.
    data_version: Option<i64>,
}

impl Keeper {
    pub(super) fn new(configured: Quotas) -> Self {
        Self { configured, ..Self::default() }
    }

    /// Something was written that may decide who owns what, or what holds.
    pub(super) fn forget(&mut self) {
        self.any_set = None;
        self.spaces.clear();
        self.owners.clear();
    }

    /// A transaction has begun.
    pub(super) fn begin(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let version = connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        let is_new = self.data_version.replace(version) != Some(version);
        if is_new || self.spaces.len() > MAX_REMEMBERED || self.owners.len() > MAX_REMEMBERED {
            self.forget();
        }
        Ok(())
    }

    /// Whether a space may grow from `before` to `after`. `head` says what another space holds. What the owner holds with it
    /// is counted by [`Keeper::grown`].
    pub(super) fn check(
        &mut self,
        connection: &Connection,
        no: u32,
        (before, after): (SpaceHead, SpaceHead),
        head: impl FnMut(u32) -> Result<SpaceHead, StoreError>,
    ) -> Result<(), StoreError> {
        if after.seq == before.seq || !self.is_on(connection)? {
            return Ok(());
        }
        let held = self.held(connection, no)?;
        // Counting what an owner holds takes a look-up for each of their spaces.
        let owned =
            if held.user.is_off() { Usage::default() } else { self.owned(connection, held.owner, head)? };
        rules::quotas::grow(held, (before, after), owned).map(|_| ())
    }

    /// A space has grown.
    pub(super) fn grown(&mut self, no: u32, before: SpaceHead, after: SpaceHead) {
        let Some(held) = self.spaces.get(&no) else { return };
        if let Some(usage) = self.owners.get_mut(&held.owner) {
            *usage = usage.plus(Usage::of(after).since(Usage::of(before)));
        }
    }

    fn is_on(&mut self, connection: &Connection) -> Result<bool, StoreError> {
        if !self.configured.is_off() {
            return Ok(true);
        }
        if let Some(known) = self.any_set {
            return Ok(known);
        }
        let any = connection.prepare_cached("SELECT 1 FROM quota LIMIT 1")?.exists([])?;
        self.any_set = Some(any);
        Ok(any)
    }

    fn held(&mut self, connection: &Connection, no: u32) -> Result<Held, StoreError> {
        if let Some(held) = self.spaces.get(&no) {
            return Ok(*held);
        }
        let sql = "SELECT id, owner FROM space WHERE no = ?1";
        let (id, owner) =
            connection.prepare_cached(sql)?.query_row([no], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (space, user) = (limits(connection, "space", id)?, limits(connection, "user", owner)?);
        let held = Held::of(owner, space, user, self.configured);
        self.spaces.insert(no, held);
        Ok(held)
    }

    fn owned(
        &mut self,
        connection: &Connection,
        owner: [u8; 16],
        head: impl FnMut(u32) -> Result<SpaceHead, StoreError>,
    ) -> Result<Usage, StoreError> {
        if let Some(usage) = self.owners.get(&owner) {
            return Ok(*usage);
        }
        let usage = usage_of_owner(connection, owner, head)?;
        self.owners.insert(owner, usage);
        Ok(usage)
    }
}

fn usage_of_owner(
    connection: &Connection,
    owner: [u8; 16],
    mut head: impl FnMut(u32) -> Result<SpaceHead, StoreError>,
) -> Result<Usage, StoreError> {
    let sql = "SELECT no FROM space WHERE owner = ?1 AND deleted_us IS NULL";
    let mut statement = connection.prepare_cached(sql)?;
    let owned = statement.query_map([owner], |row| row.get(0))?.collect::<Result<Vec<u32>, _>>()?;
    owned.into_iter().try_fold(Usage::default(), |sum, no| Ok(sum.plus(Usage::of(head(no)?))))
}

/// What is set for a user or space.
fn limits(connection: &Connection, subject: &str, id: [u8; 16]) -> Result<Limits, StoreError> {
    let sql = "SELECT bytes, changes, spaces FROM quota WHERE id = ?1 AND subject = ?2";
    let read = |row: &rusqlite::Row<'_>| {
        let limit = |at| row.get(at).map(Limit::from_stored);
        Ok(Limits { bytes: limit(0)?, changes: limit(1)?, spaces: limit(2)? })
    };
    Ok(connection.prepare_cached(sql)?.query_row(params![id, subject], read).optional()?.unwrap_or_default())
}

/// What is set for a user.
pub(super) fn set_for_user(connection: &Connection, user: UserId) -> Result<Limits, StoreError> {
    limits(connection, "user", user.0)
}

/// Forgets what is set for a user who goes, and for their spaces.
pub(super) fn forget_user(connection: &Connection, user: UserId) -> Result<(), StoreError> {
    let sql = "DELETE FROM quota WHERE (id = ?1 AND subject = 'user')
               OR (subject = 'space' AND id IN (SELECT id FROM space WHERE owner = ?1))";
    connection.prepare_cached(sql)?.execute([user.0])?;
    Ok(())
}

/// Forgets what is set for a space that goes.
pub(super) fn forget_space(connection: &Connection, space: SpaceId) -> Result<(), StoreError> {
    let sql = "DELETE FROM quota WHERE id = ?1 AND subject = 'space'";
    connection.prepare_cached(sql)?.execute([space.0])?;
    Ok(())
}

/// The kind and the id of whom a quota is for, if they are there.
fn find(connection: &Connection, subject: &Subject) -> Result<Option<(&'static str, [u8; 16])>, StoreError> {
    let (kind, sql, key): (_, _, &dyn rusqlite::ToSql) = match subject {
        Subject::User(user) => ("user", "SELECT id FROM users WHERE id = ?1", &user.0),
        Subject::Email(email) => ("user", "SELECT id FROM users WHERE email = ?1", email),
        Subject::Space(space) => {
            ("space", "SELECT id FROM space WHERE id = ?1 AND deleted_us IS NULL", &space.0)
        }
    };
    let found = connection.prepare_cached(sql)?.query_row([key], |row| row.get(0)).optional()?;
    Ok(found.map(|id| (kind, id)))
}

fn change(
    connection: &Connection,
    subject: &Subject,
    change: LimitsChange,
) -> Result<Option<Limits>, StoreError> {
    let Some((kind, id)) = find(connection, subject)? else { return Ok(None) };
    let next = rules::quotas::change(kind == "space", limits(connection, kind, id)?, change);
    if next == Limits::default() {
        let sql = "DELETE FROM quota WHERE id = ?1 AND subject = ?2";
        connection.prepare_cached(sql)?.execute(params![id, kind])?;
    } else {
        let sql =
            "INSERT OR REPLACE INTO quota (id, subject, bytes, changes, spaces) VALUES (?1, ?2, ?3, ?4, ?5)";
        let Limits { bytes, changes, spaces } = next;
        let values = params![id, kind, bytes.to_stored(), changes.to_stored(), spaces.to_stored()];
        connection.prepare_cached(sql)?.execute(values)?;
    }
    Ok(Some(next))
}

fn account(
    connection: &Connection,
    recent: &Snapshot,
    subject: &Subject,
) -> Result<Option<Account>, StoreError> {
    let Some((kind, id)) = find(connection, subject)? else { return Ok(None) };
    let head = |no| spaces::head(connection, recent, no);
    let usage = match spaces::number(connection, SpaceId(id))? {
        Some(no) if kind == "space" => Usage::of(head(no)?),
        _ => usage_of_owner(connection, id, head)?,
    };
    Ok(Some(Account { limits: limits(connection, kind, id)?, usage }))
}

impl QuotaStore for SqliteStore {
    fn change_limits(
        &self,
        subject: Subject,
        wanted: LimitsChange,
    ) -> BoxFuture<'_, Result<Option<Limits>, StoreError>> {
        Box::pin(self.write(move |transaction| change(transaction, &subject, wanted)))
    }

    fn quota_account(&self, subject: Subject) -> BoxFuture<'_, Result<Option<Account>, StoreError>> {
        Box::pin(self.read_spaces(move |connection, recent| account(connection, recent, &subject)))
    }
}

/// Counts the bytes of what is in blocks from before they were counted, once.
pub(super) fn count_once(connection: &mut Connection) -> Result<(), StoreError> {
    let counted = |connection: &Connection| {
        connection.query_row("SELECT bytes_counted FROM settled", [], |row| row.get::<_, bool>(0))
    };
    if counted(connection)? {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut bytes: HashMap<u32, (SpaceHead, u64)> = HashMap::new();
    {
        let mut statement = transaction.prepare("SELECT no, content FROM block ORDER BY no")?;
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            let content = bytes::Bytes::from(row.get::<_, Vec<u8>>(1)?);
            let block = Block::decode(&content).ok_or_else(|| corrupt("block", "content", 0))?;
            let (head, sum) = match bytes.entry(block.space) {
                Entry::Occupied(held) => held.into_mut(),
                Entry::Vacant(place) => place.insert((spaces::flushed_head(&transaction, block.space)?, 0)),
            };
            // What comes later is counted when the log is read.
            let flushed = block.records.iter().filter(|record| record.seq <= head.seq);
            *sum += flushed.map(|record| record.raw.len() as u64).sum::<u64>();
        }
    }
    for (no, (head, sum)) in bytes {
        spaces::set_head(&transaction, no, SpaceHead { bytes: head.bytes + sum, ..head })?;
    }
    transaction.execute("UPDATE settled SET bytes_counted = 1", [])?;
    transaction.commit()?;
    Ok(())
}

/// The quotas of a database file, for use while a server runs on it: what is set is seen by its next commit.
pub struct QuotaFile(Connection);

impl QuotaFile {
    /// Opens the file. Brings its schema up to date if no server runs on it.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path, random: &dyn Random) -> Result<Self, OpenError> {
        let lock = open::lock(path);
        let mut connection = open::open_connection(path)?;
        match lock {
            Ok(_lock) => {
                open::prepare(&mut connection, random)?;
                count_once(&mut connection)?;
            }
            Err(OpenError::InUse(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(Self(connection))
    }

    /// See [`QuotaStore::change_limits`].
    ///
    /// # Errors
    /// What the database says.
    pub fn change_limits(
        &mut self,
        subject: &Subject,
        wanted: LimitsChange,
    ) -> Result<Option<Limits>, StoreError> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let changed = change(&transaction, subject, wanted)?;
        transaction.commit()?;
        Ok(changed)
    }

    /// Notes in the access log what was done.
    ///
    /// # Errors
    /// What the database says.
    pub fn note(&mut self, event: AccessEvent) -> Result<(), StoreError> {
        access_log::append(&self.0, &[event])
    }

    /// See [`QuotaStore::quota_account`]. Reads what is not flushed yet from the log.
    ///
    /// # Errors
    /// What the database says.
    pub fn quota_account(&mut self, subject: &Subject) -> Result<Option<Account>, StoreError> {
        let snapshot: Transaction<'_> = self.0.transaction()?;
        let recent = log::reload(&snapshot, RecentLimits::default())?;
        account(&snapshot, &recent.published_snapshot(), subject)
    }
}
