//! Backups: what both backends tell of one, and why none is made or put back.

use std::path::PathBuf;

use crate::StoreError;

/// What a backup holds.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Contents {
    /// Accounts.
    pub users: u64,
    /// Spaces that were not deleted.
    pub spaces: u64,
}

/// What was put back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restored {
    /// What it holds.
    pub contents: Contents,
    /// What was acknowledged at this time or later may be lost, in microseconds since 1970.
    pub since_us: i64,
    /// Where what it took the place of is kept: a file, or a schema of the database.
    pub kept: Option<String>,
}

/// Why a backup was not made, or not put back: one sentence for the operator. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// A file of this name is there already.
    #[error("{0} exists already; name another file")]
    Exists(PathBuf),
    /// A backup to it was broken off, or is being made.
    #[error("a backup to this name was not finished; if none is running, remove {0} and start again")]
    Unfinished(PathBuf),
    /// There is nothing to back up.
    #[error("there is no database at {0}")]
    NoDatabase(PathBuf),
    /// There is no backup.
    #[error("there is no file {0}")]
    NoFile(PathBuf),
    /// It is no backup of ours.
    #[error("{0} is not a backup of Lattice Server's database: {1}")]
    NotABackup(PathBuf, String),
    /// It cannot be trusted.
    #[error("{0} is damaged: {1}")]
    Damaged(PathBuf, String),
    /// A newer version made it.
    #[error("{0} was made by a newer version of Lattice Server; restore it with that version")]
    Newer(PathBuf),
    /// A server uses the database.
    #[error("the database {0} is in use; stop every server on it before restoring")]
    InUse(String),
    /// The database holds something.
    #[error(
        "the database {0} is not empty; `--replace` puts the backup in its place and keeps what is there"
    )]
    NotEmpty(String),
    /// The database holds tables of something else.
    #[error("the database {0} holds tables that are not Lattice Server's; restore to one of its own")]
    Foreign(String),
    /// The database is not fit to be copied.
    #[error("{0}")]
    Unusable(String),
    /// A file could not be read or written.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// The database failed.
    #[error("the database failed: {0}")]
    Failed(#[from] StoreError),
}

impl From<rusqlite::Error> for BackupError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.into())
    }
}
