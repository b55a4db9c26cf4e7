//! One transaction for uploads of several spaces: what is locked, read, merged and written.

use std::collections::{BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use lattice_engine::{Batch, Context, Effects, MAX_ROUNDS, Needs, SpaceId};
use tokio_postgres::Statement;
use uuid::Uuid;

use super::error::PgError;
use super::overlay::{Overlay, Overlays};
use super::queue::Job;
use super::quotas::{self, Configured, Keeper};
use super::spaces::{self, Loads, Wanted};
use super::transaction::{Connection, commit};
use super::values::{id, space, uuid};
use super::writes::{Inserts, Writes};
use crate::StoreError;
use crate::directory::AccessRecord;
use crate::rules::standing::Standing;
use crate::stored::seen;

/// What became of each upload of a group, and the version of what anybody may do that it was decided by.
pub(super) struct Stored {
    pub(super) results: Vec<Result<Effects, StoreError>>,
    pub(super) version: i64,
}

/// Writers whose record is known to be stored.
pub(super) type KnownWriters = HashSet<(SpaceId, [u8; 16])>;

/// The statements of a group on one connection. All are prepared before the first is sent, since those that are sent
/// together must go out in order.
struct Statements {
    lock: Statement,
    version: Statement,
    access: Statement,
    held: Statement,
    loads: Loads,
    inserts: Inserts,
}

impl Statements {
    async fn prepare(connection: &Connection) -> Result<Self, PgError> {
        Ok(Self {
            lock: connection.prepare_cached(spaces::LOCK).await?,
            version: connection.prepare_cached(quotas::VERSION).await?,
            access: connection.prepare_cached(spaces::ACCESS).await?,
            held: connection.prepare_cached(quotas::HELD).await?,
            loads: Loads::prepare(connection).await?,
            inserts: Inserts::prepare(connection).await?,
        })
    }
}

/// What holds for all uploads.
#[derive(Clone, Copy)]
pub(super) struct Settings<'a> {
    pub(super) max_skew_us: i64,
    pub(super) quotas: &'a Configured,
}

/// Stores uploads in one transaction. Fails as a whole; an upload that may not be stored has an error of its own.
pub(super) async fn store(
    connection: &Connection,
    jobs: &[Job],
    known_writers: &KnownWriters,
    settings: Settings<'_>,
    now_us: impl Fn() -> i64,
) -> Result<Stored, PgError> {
    let statements = Statements::prepare(connection).await?;
    let mut batches: Vec<(Batch<'_>, Needs)> =
        jobs.iter().map(|job| batch(job, settings.max_skew_us)).collect();
    let mut overlays = Overlays::new();
    let mut wanted = Wanted::default();
    for (job, (_, needs)) in jobs.iter().zip(&batches) {
        let overlay = overlays.entry(job.upload.space.id).or_default();
        wanted.add(job.upload.space.id, &overlay.unread(needs));
    }
    let begun = begin(connection, &statements, jobs, &wanted, &mut overlays, settings.quotas).await?;

    let (mut writes, mut results) = (Writes::default(), Vec::with_capacity(jobs.len()));
    let mut keeper = begun.keeper;
    let now_us = now_us();
    for (job, (mut batch, needs)) in jobs.iter().zip(batches.drain(..)) {
        let (id, user) = (job.upload.space.id, job.upload.origin.user);
        let record = begun.records.get(&(id, user)).filter(|_| begun.present.contains(&id));
        let (Some(record), Some(overlay)) = (record, overlays.get_mut(&id)) else {
            results.push(Err(StoreError::NoAccess));
            continue;
        };
        supply(connection, &statements.loads, id, overlay, needs, &mut batch).await?;
        let Ok(effects) = batch.finish(overlay.head, &record.of(user), now_us) else {
            results.push(Err(StoreError::SpaceFull));
            continue;
        };
        if let Err(error) = keeper.grow(id, overlay.head, effects.head) {
            results.push(Err(error));
            continue;
        }
        let states: Vec<Bytes> = effects.rows.iter().map(|write| encoded(&write.row)).collect();
        overlay.apply(&effects, &states);
        writes.add(&job.upload, &effects, states, known_writers);
        results.push(Ok(effects));
    }
    let locked = overlays.iter().filter(|(id, _)| begun.present.contains(id));
    writes.heads(locked.map(|(id, overlay)| (*id, overlay.head)));
    // Answers may leave only after the commit. It is sent together with what it commits; if anything of that fails, the
    // server takes all of it back.
    tokio::try_join!(writes.store(connection, &statements.inserts), commit(connection))?;
    Ok(Stored { results, version: begun.version })
}

/// What the first round trip of a transaction has locked and read.
struct Begun {
    /// The version of what anybody may do.
    version: i64,
    /// What those who upload may do, where they may do anything.
    records: HashMap<Asker, AccessRecord>,
    /// Spaces that are there.
    present: HashSet<SpaceId>,
    keeper: Keeper,
}

/// Begins the transaction in one round trip: locks the spaces of `overlays`, and fills these with what is wanted. Each statement
/// begins once those before it have ended, and sees what was committed until then: what is read here is read under the locks.
async fn begin(
    connection: &Connection,
    statements: &Statements,
    jobs: &[Job],
    wanted: &Wanted,
    overlays: &mut Overlays,
    quotas: &Configured,
) -> Result<Begun, PgError> {
    let locked: Vec<Uuid> = overlays.keys().map(|id| uuid(id.0)).collect();
    let askers: BTreeSet<_> =
        jobs.iter().map(|job| (job.upload.space.id.0, job.upload.origin.user)).collect();
    let (ask_spaces, ask_users): (Vec<Uuid>, Vec<Uuid>) =
        askers.into_iter().map(|(space, user)| (uuid(space), uuid(user))).unzip();
    let asks_quotas = quotas.is_on();
    let (_, heads, version, access, held, loaded) = tokio::try_join!(
        async { Ok::<_, PgError>(connection.batch_execute("BEGIN").await?) },
        async { Ok(connection.query(&statements.lock, &[&locked]).await?) },
        async { Ok(connection.query(&statements.version, &[]).await?) },
        async { Ok(connection.query(&statements.access, &[&ask_spaces, &ask_users]).await?) },
        async {
            if !asks_quotas {
                return Ok(Keeper::default());
            }
            Keeper::read(connection, &statements.held, &locked, quotas).await
        },
        wanted.load(connection, &statements.loads),
    )?;
    loaded.put(overlays)?;
    let (version, any_set) =
        version.first().map_or(Ok((0, false)), |row| Ok::<_, PgError>((row.try_get(0)?, row.try_get(1)?)))?;
    quotas.seen(any_set);
    let keeper = match asks_quotas == quotas.is_on() {
        true => held,
        // The first quota of all was set just now.
        false => Keeper::read(connection, &statements.held, &locked, quotas).await?,
    };
    let mut present = HashSet::new();
    for row in &heads {
        let (id, head) = spaces::read_head(row)?;
        overlays.entry(id).or_default().head = head;
        present.insert(id);
    }
    let mut records = HashMap::new();
    for row in &access {
        records.extend(read_access(row)?);
    }
    Ok(Begun { version, records, present, keeper })
}

fn batch(job: &Job, max_skew_us: i64) -> (Batch<'_>, Needs) {
    let upload = &job.upload;
    let context = Context {
        writer: upload.origin.writer,
        max_skew_us,
        rules: &upload.space.rules,
        minter: &upload.space.minter,
        plain: upload.plain,
        echoes: upload.echoes,
        read_only: upload.read_only,
        applied: upload.applied,
        private: upload.space.private,
    };
    // A copy of handles: the upload itself is kept for another try.
    let mut batch = Batch::new(context, upload.incoming.clone());
    let needs = batch.needs();
    (batch, needs)
}

async fn supply(
    connection: &Connection,
    loads: &Loads,
    space: SpaceId,
    overlay: &mut Overlay,
    first: Needs,
    batch: &mut Batch<'_>,
) -> Result<(), PgError> {
    overlay.supply(&first, batch)?;
    for _ in 1..MAX_ROUNDS {
        let needs = batch.needs();
        if needs.is_empty() {
            break;
        }
        let unread = overlay.unread(&needs);
        if !unread.is_empty() {
            let mut wanted = Wanted::default();
            wanted.add(space, &unread);
            wanted.load(connection, loads).await?.put_one(overlay)?;
        }
        overlay.supply(&needs, batch)?;
    }
    Ok(())
}

fn encoded(row: &lattice_engine::Row) -> Bytes {
    let mut state = Vec::new();
    row.encode(&mut state);
    state.into()
}

type Asker = (SpaceId, [u8; 16]);

fn read_access(row: &tokio_postgres::Row) -> Result<Option<(Asker, AccessRecord)>, PgError> {
    let (space, user) = (space(row, 0)?, id(row, 1)?);
    let member: Option<&str> = row.try_get(4)?;
    let member = member.map(|name| seen::role(name, space)).transpose()?;
    let standing = Standing::of(seen::kind(row.try_get(2)?, space)?, row.try_get(3)?, member);
    let Some(standing) = standing else { return Ok(None) };
    let record = seen::access(space, standing, row.try_get(5)?, row.try_get(6)?)?;
    Ok(Some(((space, user), record)))
}
