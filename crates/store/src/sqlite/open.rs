//! Opening a database file: settings, whose file it is, schema migrations, and the secrets it holds.

use std::fs::{File, TryLockError};
use std::path::Path;

use lattice_engine::{FIRST_EPOCH, MintKey};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use crate::StoreError;
use crate::restores::{self, EPOCH, RESTORED_SINCE};
use crate::time::Random;

pub(super) mod migrations {
    refinery::embed_migrations!("src/sqlite/migrations");
}

/// Marks our files in SQLite's header: "Latt".
const APPLICATION_ID: i32 = 0x4c61_7474;
/// Pages of the write-ahead log that may stand before it is checkpointed: 80 MiB, kept and overwritten, since flushing
/// overwritten blocks costs a third of flushing appended ones.
pub(crate) const WAL_PAGES: i64 = 20_000;
/// Page cache of the writing connection, in KiB.
const WRITER_CACHE_KIB: i32 = 64 << 10;
/// How long a connection waits for another one's lock before it fails, in milliseconds.
const BUSY_TIMEOUT_MS: u64 = 5_000;

/// Why a database file cannot be used. Each is one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be opened or written.
    #[error("cannot open the database {path}: {reason}")]
    Unusable {
        /// The file.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// Another process has it open.
    #[error("the database {0} is in use by another process")]
    InUse(String),
    /// It is some other program's.
    #[error("{0} is a database of another program; choose another DATABASE_URL")]
    Foreign(String),
    /// It was written by a newer version.
    #[error(
        "the database {0} was written by a newer version of lattice-server; run that version, or restore a backup"
    )]
    Newer(String),
    /// A copy to it was not finished.
    #[error("the copy to the database {0} was not finished; start it again, it goes on where it was")]
    Unfinished(String),
    /// It failed.
    #[error("the database failed while it was opened: {0}")]
    Failed(#[from] StoreError),
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// What makes a database itself.
#[derive(Clone, Copy)]
pub struct Identity {
    /// The secret under which ids are minted.
    pub mint_key: MintKey,
    /// Changes when an older copy is restored.
    pub epoch: u32,
    /// Since when acknowledged changes may be lost, in microseconds since 1970, if an older copy was ever restored.
    pub restored_since_us: Option<i64>,
}

/// Opens the writing connection.
///
/// # Errors
/// See [`OpenError`].
pub fn open_connection(path: &Path) -> Result<Connection, OpenError> {
    let shown = path.display().to_string();
    let connection = Connection::open(path).map_err(|error| unusable(&shown, &error))?;
    connection.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS))?;
    let id: i32 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(|e| unusable(&shown, &e))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if id != APPLICATION_ID && (id != 0 || tables > 0) {
        return Err(OpenError::Foreign(shown));
    }
    connection.pragma_update(None, "journal_mode", "WAL").map_err(|error| unusable(&shown, &error))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    erase_by_the_way(&connection)?;
    connection.set_prepared_statement_cache_capacity(128);
    connection
        .pragma_update(None, "application_id", APPLICATION_ID)
        .map_err(|error| unusable(&shown, &error))?;
    Ok(connection)
}

/// Takes the database for this process, as long as the returned file is open. Counters are cached, so a second process
/// would give out the same seqs.
pub(crate) fn lock(path: &Path) -> Result<File, OpenError> {
    let shown = path.display().to_string();
    let unusable =
        |error: std::io::Error| OpenError::Unusable { path: shown.clone(), reason: error.to_string() };
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = File::options().create(true).truncate(false).write(true).open(name).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(shown)),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

/// Opens a connection that only reads.
pub(crate) fn open_reader(path: &Path, cache_kib: i32) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS))?;
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    stable_plans(&connection)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// What is deleted is overwritten where that costs no further page.
pub(crate) fn erase_by_the_way(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.pragma_update(None, "secure_delete", "FAST")
}

/// What is deleted is overwritten wherever it is: for what is deleted in order to be gone.
pub(crate) fn erase_all(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.pragma_update(None, "secure_delete", "ON")
}

/// Keeps the plans of cached statements. Without it SQLite looks at bound values, and compiles joins anew at every use.
fn stable_plans(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(|_| ())
}

fn unusable(path: &str, error: &rusqlite::Error) -> OpenError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::InUse(path.to_owned()),
        Some(ErrorCode::NotADatabase) => OpenError::Foreign(path.to_owned()),
        _ => OpenError::Unusable { path: path.to_owned(), reason: error.to_string() },
    }
}

/// Brings the schema up to date and reads, or makes, the database's secrets.
///
/// # Errors
/// See [`OpenError`].
pub fn prepare(connection: &mut Connection, random: &dyn Random) -> Result<Identity, OpenError> {
    stable_plans(connection)?;
    let path = connection.path().unwrap_or("in memory").to_owned();
    let runner = migrations::migrations::runner().set_abort_divergent(true).set_abort_missing(true);
    runner.run(connection).map_err(|error| match error.kind() {
        refinery::error::Kind::MissingVersion(_) => OpenError::Newer(path.clone()),
        refinery::error::Kind::DivergentVersion(..) => OpenError::Foreign(path.clone()),
        _ => OpenError::Failed(StoreError::Database(error.to_string())),
    })?;
    let mut fresh = [0_u8; 16];
    random.fill(&mut fresh);
    let key = meta(connection, "mint_key", &fresh)?;
    let epoch = meta(connection, EPOCH, &FIRST_EPOCH.to_le_bytes())?;
    let restored_since = find_meta(connection, RESTORED_SINCE)?;
    let corrupt = |row: &str| {
        OpenError::Failed(StoreError::Corrupt { table: "meta", column: "value", row: row.to_owned() })
    };
    Ok(Identity {
        mint_key: MintKey(key.try_into().map_err(|_| corrupt("mint_key"))?),
        epoch: u32::from_le_bytes(epoch.try_into().map_err(|_| corrupt(EPOCH))?),
        restored_since_us: restored_since.as_deref().and_then(restores::moment),
    })
}

fn meta(connection: &Connection, key: &str, fresh: &[u8]) -> Result<Vec<u8>, rusqlite::Error> {
    if let Some(value) = find_meta(connection, key)? {
        return Ok(value);
    }
    connection.execute("INSERT INTO meta (key, value) VALUES (?1, ?2)", (key, fresh))?;
    Ok(fresh.to_vec())
}

/// A value that the database keeps of itself.
pub(super) fn find_meta(connection: &Connection, key: &str) -> Result<Option<Vec<u8>>, rusqlite::Error> {
    let sql = "SELECT value FROM meta WHERE key = ?1";
    connection.query_row(sql, [key], |row| row.get(0)).optional()
}
