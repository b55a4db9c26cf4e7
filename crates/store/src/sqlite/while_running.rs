//! Looking into a file while a server runs on it: what is in its tables, not what it has in memory.

use std::path::Path;

use rusqlite::Connection;

use super::access_log;
use super::accounts::user_by_email;
use super::open::{OpenError, open_reader};
use crate::StoreError;
use crate::access_log::{AccessEvent, EventCursor, EventQuery};
use crate::accounts::UserId;
use crate::directory::Page;
use crate::restores::PLACE;

/// Kibibytes that such a look keeps in memory.
const CACHE_KIB: i32 = 2_048;

fn open(path: &Path) -> Result<Connection, OpenError> {
    if !path.exists() {
        let (path, reason) = (path.display().to_string(), "there is no such file".to_owned());
        return Err(OpenError::Unusable { path, reason });
    }
    open_reader(path, CACHE_KIB)
}

/// Events of the access log, the last one first.
///
/// # Errors
/// When the file cannot be opened or read.
pub fn read_access_log(path: &Path, query: &EventQuery) -> Result<Page<AccessEvent, EventCursor>, OpenError> {
    access_log::list(&open(path)?, query).map_err(OpenError::Failed)
}

/// The user with this e-mail address, which the caller has normalised.
///
/// # Errors
/// When the file cannot be opened or read.
pub fn find_user(path: &Path, email: &str) -> Result<Option<UserId>, OpenError> {
    let user = user_by_email(&open(path)?, email).map_err(OpenError::Failed)?;
    Ok(user.map(|user| user.id))
}

/// Copies the file as it is at this moment to a new one, with everything that is committed, for a process that looks at it and
/// gives nothing out of it.
///
/// # Errors
/// When the file cannot be opened, or the new one not be written.
pub fn snapshot(path: &Path, to: &Path) -> Result<(), OpenError> {
    copy_to(path, to)?;
    // Else it would count as an older copy.
    Connection::open(to)?.execute("DELETE FROM meta WHERE key = ?1", [PLACE])?;
    Ok(())
}

/// One read transaction: the copy is of one moment, whatever is committed meanwhile. A copy page by page, as the online backup makes it,
/// would start over with every commit of the server, which is another process. Pages that hold nothing any more, and may hold
/// what was deleted, are left out.
pub(super) fn copy_to(path: &Path, to: &Path) -> Result<(), OpenError> {
    let to = to.to_str().ok_or_else(|| StoreError::Database("the name of the copy is no text".to_owned()))?;
    open(path)?.execute("VACUUM INTO ?1", [to])?;
    Ok(())
}
