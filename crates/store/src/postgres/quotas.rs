//! Quotas, in PostgreSQL: looked at under the locks of the spaces that grow. What other spaces of an owner hold is read
//! without their locks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use lattice_engine::{SpaceHead, SpaceId};
use tokio_postgres::{Row, Statement};
use uuid::Uuid;

use super::PostgresStore;
use super::error::PgError;
use super::transaction::{Connection, Mode, attempt, execute, query_opt};
use super::values::{id, space, uuid};
use crate::accounts::UserId;
use crate::quotas::{Account, Limit, Limits, LimitsChange, QuotaStore, Quotas, Subject, Usage};
use crate::rules::quotas::Held;
use crate::{BoxFuture, StoreError, rules};

/// The version of what anybody may do, and whether a quota was set for anybody.
pub(super) const VERSION: &str = "SELECT n, EXISTS (SELECT 1 FROM quota) FROM access_version";

/// `$1` spaces, `$2` whether all users have a quota: owners, what was set for the space and for its owner, and what the
/// owner holds, where that may matter.
pub(super) const HELD: &str =
    "SELECT s.space_id, s.owner, qs.bytes, qs.changes, qu.bytes, qu.changes, held.bytes, held.changes
     FROM unnest($1::uuid[]) AS u (space_id) JOIN space s ON s.space_id = u.space_id
     LEFT JOIN quota qs ON qs.id = s.space_id AND qs.subject = 'space'
     LEFT JOIN quota qu ON qu.id = s.owner AND qu.subject = 'user'
     LEFT JOIN LATERAL (
         SELECT sum(h.bytes)::int8 AS bytes, sum(h.head)::int8 AS changes
         FROM space o JOIN space_head h ON h.space_id = o.space_id
         WHERE o.owner = s.owner AND o.deleted_us IS NULL AND ($2 OR qu.id IS NOT NULL)) held ON true";

/// The quotas of the settings, and whether any was set besides.
#[derive(Default)]
pub(super) struct Configured {
    quotas: Quotas,
    /// Set once one was seen, and never taken back: it costs a statement in a round trip that is made anyway.
    any_set: AtomicBool,
}

impl Configured {
    pub(super) fn new(quotas: Quotas) -> Self {
        Self { quotas, any_set: AtomicBool::new(false) }
    }

    /// Whether quotas are to be looked at.
    pub(super) fn is_on(&self) -> bool {
        !self.quotas.is_off() || self.any_set.load(Ordering::Relaxed)
    }

    /// Notes what [`VERSION`] says.
    pub(super) fn seen(&self, any_set: bool) {
        if any_set {
            self.any_set.store(true, Ordering::Relaxed);
        }
    }
}

/// What holds for the spaces of a group.
#[derive(Default)]
pub(super) struct Keeper {
    spaces: HashMap<SpaceId, Held>,
    /// What all spaces of an owner hold, with what the group has added.
    owners: HashMap<[u8; 16], Usage>,
}

impl Keeper {
    /// Reads what holds for spaces.
    pub(super) async fn read(
        connection: &Connection,
        statement: &Statement,
        spaces: &[Uuid],
        configured: &Configured,
    ) -> Result<Self, PgError> {
        let of_all = !configured.quotas.user.is_off();
        let rows = connection.query(statement, &[&spaces, &of_all]).await?;
        let mut keeper = Self::default();
        for row in &rows {
            let owner = id(row, 1)?;
            let (space_limits, user_limits) = (limits(row, 2)?, limits(row, 4)?);
            let held = Held::of(owner, space_limits, user_limits, configured.quotas);
            keeper.spaces.insert(space(row, 0)?, held);
            keeper.owners.insert(owner, usage(row, 6)?);
        }
        Ok(keeper)
    }

    /// Counts that a space grows, if it may.
    pub(super) fn grow(
        &mut self,
        id: SpaceId,
        before: SpaceHead,
        after: SpaceHead,
    ) -> Result<(), StoreError> {
        let Some(held) = self.spaces.get(&id).filter(|_| after.seq > before.seq) else { return Ok(()) };
        let owned = self.owners.entry(held.owner).or_default();
        *owned = rules::quotas::grow(*held, (before, after), *owned)?;
        Ok(())
    }
}

fn limits(row: &Row, at: usize) -> Result<Limits, PgError> {
    let limit = |at| row.try_get(at).map(Limit::from_stored);
    Ok(Limits { bytes: limit(at)?, changes: limit(at + 1)?, spaces: Limit::AsConfigured })
}

fn usage(row: &Row, at: usize) -> Result<Usage, PgError> {
    let count = |at| row.try_get::<_, Option<i64>>(at).map(|count| count.unwrap_or(0).cast_unsigned());
    Ok(Usage { bytes: count(at)?, changes: count(at + 1)? })
}

/// What is set for a user or space.
async fn set_for(connection: &Connection, subject: &str, id: Uuid) -> Result<Limits, PgError> {
    let sql = "SELECT bytes, changes, spaces FROM quota WHERE id = $1 AND subject = $2";
    let Some(row) = query_opt(connection, sql, &[&id, &subject]).await? else { return Ok(Limits::default()) };
    Ok(Limits { spaces: Limit::from_stored(row.try_get(2)?), ..limits(&row, 0)? })
}

/// What is set for a user.
pub(super) async fn set_for_user(connection: &Connection, user: UserId) -> Result<Limits, PgError> {
    set_for(connection, "user", uuid(user.0)).await
}

/// Forgets what is set for a user who goes, and for their spaces. Their account and these spaces are locked.
pub(super) async fn forget(connection: &Connection, user: UserId, spaces: &[Uuid]) -> Result<(), PgError> {
    let sql = "DELETE FROM quota WHERE (id = $1 AND subject = 'user') OR (id = ANY($2::uuid[]) AND subject = 'space')";
    execute(connection, sql, &[&uuid(user.0), &spaces]).await?;
    Ok(())
}

/// Forgets what is set for a space that goes, and is locked.
pub(super) async fn forget_space(connection: &Connection, space: SpaceId) -> Result<(), PgError> {
    let sql = "DELETE FROM quota WHERE id = $1 AND subject = 'space'";
    execute(connection, sql, &[&uuid(space.0)]).await?;
    Ok(())
}

/// The kind and the id of whom a quota is for, if they are there; they stay until the transaction has ended.
async fn find(connection: &Connection, subject: &Subject) -> Result<Option<(&'static str, Uuid)>, PgError> {
    let (kind, row) = match subject {
        Subject::User(user) => {
            let sql = "SELECT id FROM users WHERE id = $1 FOR KEY SHARE";
            ("user", query_opt(connection, sql, &[&uuid(user.0)]).await?)
        }
        Subject::Email(email) => (
            "user",
            query_opt(connection, "SELECT id FROM users WHERE email = $1 FOR KEY SHARE", &[email]).await?,
        ),
        Subject::Space(space) => {
            let sql = "SELECT space_id FROM space WHERE space_id = $1 AND deleted_us IS NULL FOR KEY SHARE";
            ("space", query_opt(connection, sql, &[&uuid(space.0)]).await?)
        }
    };
    Ok(row.map(|row| row.try_get(0)).transpose()?.map(|id| (kind, id)))
}

async fn change(
    connection: &Connection,
    subject: &Subject,
    change: LimitsChange,
) -> Result<Option<Limits>, PgError> {
    let Some((kind, id)) = find(connection, subject).await? else { return Ok(None) };
    let next = rules::quotas::change(kind == "space", set_for(connection, kind, id).await?, change);
    if next == Limits::default() {
        execute(connection, "DELETE FROM quota WHERE id = $1 AND subject = $2", &[&id, &kind]).await?;
    } else {
        let sql = "INSERT INTO quota (id, subject, bytes, changes, spaces) VALUES ($1, $2, $3, $4, $5)
                   ON CONFLICT (id, subject) DO UPDATE
                   SET bytes = excluded.bytes, changes = excluded.changes, spaces = excluded.spaces";
        let Limits { bytes, changes, spaces } = next;
        let values = (bytes.to_stored(), changes.to_stored(), spaces.to_stored());
        execute(connection, sql, &[&id, &kind, &values.0, &values.1, &values.2]).await?;
    }
    Ok(Some(next))
}

async fn account(connection: &Connection, subject: &Subject) -> Result<Option<Account>, PgError> {
    let Some((kind, id)) = find(connection, subject).await? else { return Ok(None) };
    let sql = "SELECT sum(h.bytes)::int8, sum(h.head)::int8 FROM space o JOIN space_head h ON h.space_id = o.space_id
               WHERE o.deleted_us IS NULL
               AND CASE WHEN $2 = 'space' THEN o.space_id = $1 ELSE o.owner = $1 END";
    let row = query_opt(connection, sql, &[&id, &kind]).await?;
    let held = row.map_or(Ok(Usage::default()), |row| usage(&row, 0))?;
    Ok(Some(Account { limits: set_for(connection, kind, id).await?, usage: held }))
}

impl QuotaStore for PostgresStore {
    fn change_limits(
        &self,
        subject: Subject,
        wanted: LimitsChange,
    ) -> BoxFuture<'_, Result<Option<Limits>, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| change(c, &subject, wanted).await) })
    }

    fn quota_account(&self, subject: Subject) -> BoxFuture<'_, Result<Option<Account>, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| account(c, &subject).await) })
    }
}
