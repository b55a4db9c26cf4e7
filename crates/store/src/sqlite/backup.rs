//! Backups of a file, while a server uses it, and putting one back.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::recent::RecentLimits;
use super::starts::{self, OF_A_BACKUP, sync_folder};
use super::{OpenError, copy, log, open, while_running};
use crate::backup::{BackupError, Contents, Restored};
use crate::restores::{BACKUP, PLACE};
use crate::time::Random;

/// The file of a backup that is being made, or put back, while it goes on. It is removed unless it is finished.
struct Partial(Option<PathBuf>);

impl Partial {
    /// A new file that only its owner may read.
    fn create(path: PathBuf) -> Result<Self, BackupError> {
        match File::options().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(_) => Ok(Self(Some(path))),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(BackupError::Unfinished(path))
            }
            Err(reason) => Err(BackupError::File { path, reason }),
        }
    }

    fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    /// It has another name now.
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        for path in self.0.iter().flat_map(|path| ["", "-journal", "-wal", "-shm"].map(|end| with(path, end)))
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn with(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> BackupError + use<> {
    let path = path.to_path_buf();
    move |reason| BackupError::File { path: path.clone(), reason }
}

/// Writes the database as it is at this moment to a new file, and checks that. A server may use it meanwhile. `now_us` is the time.
///
/// # Errors
/// See [`BackupError`]; there is no such file then.
pub fn backup(path: &Path, to: &Path, now_us: i64) -> Result<Contents, BackupError> {
    if !path.exists() {
        return Err(BackupError::NoDatabase(path.to_path_buf()));
    }
    if to.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(to.to_path_buf()));
    }
    let partial = Partial::create(with(to, ".partial"))?;
    while_running::copy_to(path, partial.path()).map_err(|error| unusable(path, error))?;
    let connection = Connection::open(partial.path())?;
    if copy::is_unfinished(&connection)? {
        return Err(BackupError::Unusable(OpenError::Unfinished(path.display().to_string()).to_string()));
    }
    for (name, value) in [(BACKUP, &now_us.to_le_bytes()[..]), (PLACE, OF_A_BACKUP)] {
        starts::put(&connection, name, value)?;
    }
    let contents = check(&connection, partial.path())?;
    connection.close().map_err(|(_, error)| error)?;
    File::open(partial.path()).and_then(|file| file.sync_all()).map_err(at(partial.path()))?;
    publish(partial, to)?;
    Ok(contents)
}

/// Gives the finished file its name, unless one of that name has come up meanwhile.
fn publish(partial: Partial, to: &Path) -> Result<(), BackupError> {
    match std::fs::hard_link(partial.path(), to) {
        Ok(()) => drop(partial),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(BackupError::Exists(to.to_path_buf()));
        }
        // Some file systems know no second names.
        Err(_) => {
            std::fs::rename(partial.path(), to).map_err(at(to))?;
            partial.keep();
        }
    }
    sync_folder(to).map_err(at(to))
}

fn unusable(path: &Path, error: OpenError) -> BackupError {
    match error {
        OpenError::Failed(error) => BackupError::Failed(error),
        OpenError::InUse(path) => BackupError::InUse(path),
        OpenError::Newer(_) => BackupError::Newer(path.to_path_buf()),
        OpenError::Foreign(_) => {
            BackupError::NotABackup(path.to_path_buf(), "it is another program's".to_owned())
        }
        error => BackupError::Unusable(error.to_string()),
    }
}

/// Whether everything in it can be found and read: its pages, its indexes, and what of the log is not flushed to tables.
fn check(connection: &Connection, path: &Path) -> Result<Contents, BackupError> {
    let damaged = |what: String| BackupError::Damaged(path.to_path_buf(), what);
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Err(damaged(found));
    }
    if connection.prepare("PRAGMA foreign_key_check")?.exists([])? {
        return Err(damaged("a record refers to one that is not there".to_owned()));
    }
    log::reload(connection, RecentLimits::default()).map_err(|error| damaged(error.to_string()))?;
    let count = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    Ok(Contents {
        users: count("SELECT count(*) FROM users")?.cast_unsigned(),
        spaces: count("SELECT count(*) FROM space WHERE deleted_us IS NULL")?.cast_unsigned(),
    })
}

/// Puts a backup in the place of a database that no server uses, in another epoch. What is there is kept under another name where
/// `replace` says so, and refused else. `now_us` is the time.
///
/// # Errors
/// See [`BackupError`]; the database is as it was then.
pub fn restore(
    from: &Path,
    path: &Path,
    replace: bool,
    random: &dyn Random,
    now_us: i64,
) -> Result<Restored, BackupError> {
    if !from.is_file() {
        return Err(BackupError::NoFile(from.to_path_buf()));
    }
    let _lock = open::lock(path).map_err(|error| unusable(path, error))?;
    if path.exists() && !replace && !is_empty(path) {
        return Err(BackupError::NotEmpty(path.display().to_string()));
    }
    let fresh = with(path, ".restoring");
    // One that a crash has left: whoever holds the lock is alone.
    drop(Partial(Some(fresh.clone())));
    let partial = Partial::create(fresh)?;
    copy_file(from, partial.path())?;
    let prepared = prepare(from, partial.path(), random)?;
    let kept = put_aside(path, now_us)?;
    std::fs::rename(partial.path(), path).map_err(at(path))?;
    partial.keep();
    // Before this the file is one that nothing beside it knows of, and would only be given one more epoch.
    starts::record(path, prepared.start, prepared.last_block).map_err(at(path))?;
    let kept = kept.map(|kept| kept.display().to_string());
    Ok(Restored { contents: prepared.contents, since_us: prepared.since_us, kept })
}

/// Whether a database file holds nothing that anybody made.
fn is_empty(path: &Path) -> bool {
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM users) AND NOT EXISTS (SELECT 1 FROM space)";
    let Ok(connection) = open::open_reader(path, 256) else { return false };
    connection.query_row(sql, [], |row| row.get(0)).unwrap_or(false)
}

/// With what stands in its write-ahead log, if it is no backup of ours and has one.
fn copy_file(from: &Path, to: &Path) -> Result<(), BackupError> {
    for end in ["", "-wal"] {
        let (source, target) = (with(from, end), with(to, end));
        if end.is_empty() || source.exists() {
            let mut options = File::options();
            let mut written = options
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&target)
                .map_err(at(&target))?;
            let mut read = File::open(&source).map_err(at(&source))?;
            std::io::copy(&mut read, &mut written).map_err(at(&target))?;
        }
    }
    Ok(())
}

/// What a copy that is ready to be put in place holds.
struct Prepared {
    contents: Contents,
    since_us: i64,
    start: starts::Start,
    last_block: super::recent::BlockNo,
}

/// Checks the copy, brings its schema up to date, and gives it another epoch.
fn prepare(from: &Path, fresh: &Path, random: &dyn Random) -> Result<Prepared, BackupError> {
    let mut connection = open::open_connection(fresh).map_err(|error| unreadable(from, error))?;
    let tables: i64 = connection.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE name IN ('meta', 'users', 'space', 'block')",
        [],
        |row| row.get(0),
    )?;
    if tables < 4 {
        return Err(BackupError::NotABackup(from.to_path_buf(), "tables are missing".to_owned()));
    }
    if copy::is_unfinished(&connection)? {
        let text = "a copy to it was not finished".to_owned();
        return Err(BackupError::NotABackup(from.to_path_buf(), text));
    }
    let identity = open::prepare(&mut connection, random).map_err(|error| unreadable(from, error))?;
    let contents = check(&connection, from)?;
    let mut start: starts::Start = [0; 16];
    random.fill(&mut start);
    let identity = starts::raise(&mut connection, identity, random, &start)?;
    let last_block = log::reload(&connection, RecentLimits::default())?.published();
    // All of it into the one file that gets another name.
    connection.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
    connection.close().map_err(|(_, error)| error)?;
    File::open(fresh).and_then(|file| file.sync_all()).map_err(at(fresh))?;
    Ok(Prepared { contents, since_us: identity.restored_since_us.unwrap_or(0), start, last_block })
}

fn unreadable(from: &Path, error: OpenError) -> BackupError {
    let from = from.to_path_buf();
    match error {
        OpenError::Newer(_) => BackupError::Newer(from),
        OpenError::Foreign(_) => BackupError::NotABackup(from, "it is another program's file".to_owned()),
        error => BackupError::Damaged(from, error.to_string()),
    }
}

/// A name for what is put aside that nothing has: two restores in one second must not write over what the first one kept.
fn unused_name(path: &Path, seconds: i64) -> PathBuf {
    let first = with(path, &format!(".replaced-{seconds}"));
    let others = (2_u32..).map(|number| with(path, &format!(".replaced-{seconds}-{number}")));
    std::iter::once(first.clone()).chain(others).find(|name| !name.exists()).unwrap_or(first)
}

/// Gives what is there another name. What of it stands in its write-ahead log goes into the file first, if it can be read at all.
fn put_aside(path: &Path, now_us: i64) -> Result<Option<PathBuf>, BackupError> {
    if !path.exists() {
        return Ok(None);
    }
    if let Ok(connection) = Connection::open(path) {
        let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
    let kept = unused_name(path, now_us / 1_000_000);
    for end in ["-wal", "-shm"] {
        let log = with(path, end);
        if log.exists() {
            std::fs::rename(&log, with(&kept, end)).map_err(at(&log))?;
        }
    }
    std::fs::rename(path, &kept).map_err(at(path))?;
    Ok(Some(kept))
}
