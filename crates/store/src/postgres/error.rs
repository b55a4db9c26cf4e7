//! What PostgreSQL answers when it does not do what was asked, and what may be tried again.

use deadpool_postgres::PoolError;
use tokio_postgres::error::SqlState;

use crate::StoreError;

/// Why a transaction failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum PgError {
    /// The server or the connection to it.
    #[error("{}", described(.0))]
    Driver(#[from] tokio_postgres::Error),
    /// No connection could be had.
    #[error("no connection: {}", described_pool(.0))]
    Pool(#[from] PoolError),
    /// It took longer than the named limit.
    #[error("the database did not answer in time")]
    TimedOut,
    /// The connection was lost while the commit was under way.
    #[error("the connection was lost during the commit: {0}")]
    CommitLost(String),
    /// What the store itself found.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PgError {
    /// Whether the same may succeed later, on another connection. Nothing of it was stored, but for
    /// [`PgError::is_uncertain`].
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Driver(error) => is_transient(error),
            Self::Pool(PoolError::Backend(error)) => is_transient(error),
            Self::Pool(PoolError::Timeout(_) | PoolError::PostCreateHook(_))
            | Self::TimedOut
            | Self::CommitLost(_) => true,
            Self::Pool(_) | Self::Store(_) => false,
        }
    }

    /// Whether it is unknown if it was stored.
    pub(super) fn is_uncertain(&self) -> bool {
        matches!(self, Self::CommitLost(_))
    }

    /// What the failure of a commit means: without the server's answer it is not known what became of it.
    pub(super) fn of_commit(self) -> Self {
        match self {
            Self::Driver(error) if error.code().is_none() => Self::CommitLost(error.to_string()),
            Self::TimedOut => Self::CommitLost(self.to_string()),
            error => error,
        }
    }

    /// As callers of the store see it.
    pub(super) fn into_store(self) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::CommitLost(_) => StoreError::Uncertain,
            error if error.is_transient() => StoreError::Unavailable(error.to_string()),
            error => StoreError::Database(error.to_string()),
        }
    }
}

fn described_pool(error: &PoolError) -> String {
    match error {
        PoolError::Backend(error) => described(error),
        PoolError::Timeout(_) => "all of them are in use".to_owned(),
        error => error.to_string(),
    }
}

/// With what the server said, which the driver's own text leaves out.
fn described(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{} ({})", said.message(), said.code().code()),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

/// Whether another try, on another connection, may succeed.
fn is_transient(error: &tokio_postgres::Error) -> bool {
    let Some(code) = error.code() else {
        // No answer of the server's: the connection failed, or could not be made.
        return error.is_closed() || std::error::Error::source(error).is_some();
    };
    // Classes 08 (connection), 53 (resources) and 57P (the server is going, or not there yet) say so as a whole.
    let class = code.code();
    class.starts_with("08")
        || class.starts_with("53")
        || class.starts_with("57P")
        || [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::QUERY_CANCELED,
            // A standby that has not been promoted yet.
            SqlState::READ_ONLY_SQL_TRANSACTION,
        ]
        .contains(code)
}
