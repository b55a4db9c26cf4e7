//! Why a space cannot be used, and why a connection ends.

use core::fmt;

use lattice_engine::SchemaRule;
use lattice_protocol::Code;

/// The server has too much to do; come again after so many seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overloaded {
    /// When to come again, in seconds from now.
    pub retry_after_s: u32,
}

/// Why a space cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// There is no such space, or the user may not see it: nobody is told which.
    NotFound,
    /// The space asks for another version of the schema.
    Schema {
        /// What it asks for.
        rule: SchemaRule,
        /// What the client declares.
        declared: Option<u64>,
    },
    /// What the client may see has changed too often while it was connected.
    AccessChanged,
    /// The server has too much to do.
    Overloaded(Overloaded),
    /// The space or its owner holds as much as they may.
    OverQuota,
    /// The store failed. The driver has logged why.
    Store,
}

impl Refusal {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound => Code::SpaceNotFound,
            Self::Schema { .. } => Code::SchemaVersion,
            Self::AccessChanged => Code::AccessChanged,
            Self::Overloaded(_) => Code::Overloaded,
            Self::OverQuota => Code::QuotaExceeded,
            Self::Store => Code::Internal,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("there is no such space"),
            Self::Schema { rule, declared } => {
                match rule {
                    SchemaRule::Exact(version) => write!(f, "the space asks for schema version {version}")?,
                    SchemaRule::Minimum(version) => {
                        write!(f, "the space asks for schema version {version} or later")?;
                    }
                }
                match declared {
                    Some(version) => write!(f, ", the client declares {version}"),
                    None => f.write_str(", the client declares none"),
                }
            }
            Self::AccessChanged => f.write_str("what may be seen has changed; connect again"),
            Self::Overloaded(Overloaded { retry_after_s }) => {
                write!(f, "the server has too much to do; connect again in {retry_after_s} s")
            }
            Self::OverQuota => {
                f.write_str("the quota of the space or of its owner is used up; nothing was stored")
            }
            Self::Store => f.write_str("the server failed; connect again"),
        }
    }
}

impl From<Overloaded> for Refusal {
    fn from(overloaded: Overloaded) -> Self {
        Self::Overloaded(overloaded)
    }
}

/// Why nothing of an upload was stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UploadFailure {
    /// Its sender may not use the space any more.
    NoAccess,
    /// It would have led beyond a quota.
    OverQuota,
    /// The store failed. The driver has logged why.
    Store,
}

impl From<UploadFailure> for Refusal {
    fn from(failure: UploadFailure) -> Self {
        match failure {
            UploadFailure::NoAccess => Self::NotFound,
            UploadFailure::OverQuota => Self::OverQuota,
            UploadFailure::Store => Self::Store,
        }
    }
}

/// Why a session closes its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Close {
    /// The space cannot be used, or not any more.
    Refused(Refusal),
    /// The server is closing, and nothing is unanswered.
    ServerCloses,
}
