//! What every backend answers when it cannot do what was asked.

/// Why a call of the store failed. Callers match the variant, never its text.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database refused or failed; nothing of the call was kept.
    #[error("the database failed: {0}")]
    Database(String),
    /// A stored row cannot be read as what it should be.
    #[error("{table}.{column} of row {row} is corrupt")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's key, as text.
        row: String,
    },
    /// Something that must be unique exists already; nothing of the call was kept.
    #[error("{0} exists already")]
    Conflict(&'static str),
    /// A queue is full or a lock was not had in time; the same call may succeed later.
    #[error("the database is busy")]
    Busy,
    /// The database cannot be reached; the same call may succeed later.
    #[error("the database cannot be reached: {0}")]
    Unavailable(String),
    /// The connection to the database was lost while the call was being committed: it may have been stored, or not.
    #[error("it is not known whether the call was stored: the connection to the database was lost")]
    Uncertain,
    /// The user may not use the space any more: nothing of the upload was stored, and it may be sent again.
    #[error("the user may not use this space")]
    NoAccess,
    /// The space's counter of changes is used up.
    #[error("the space is full")]
    SpaceFull,
    /// A space or its owner holds as much as they may: nothing of the upload was stored, and it may be sent again.
    #[error("the quota of the space or of its owner is used up")]
    QuotaExceeded,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => Self::Busy,
            _ => Self::Database(error.to_string()),
        }
    }
}
