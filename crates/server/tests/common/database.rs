//! A look into the database.

use std::collections::BTreeSet;

use lattice_engine::Verdict;
use lattice_protocol::EntryId;
use lattice_store::spaces::AuditLine;
use lattice_store::sqlite::{Group, RecentLimits, spaces};
use lattice_testkit::Database;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::server::TestServer;

/// A database that is looked into.
pub enum Look<'a> {
    /// A file, read only.
    File(Connection),
    /// A database of PostgreSQL.
    Postgres(&'a Database),
}

/// Looks into the server's database.
pub fn open(server: &TestServer) -> Look<'_> {
    if let Some(database) = server.database() {
        return Look::Postgres(database);
    }
    let path = server.data_dir().join("lattice.db");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    Look::File(Connection::open_with_flags(path, flags).expect("the database opens"))
}

/// The audit log of a space, as one snapshot has it.
fn audit(connection: &Connection, space: u32) -> Vec<AuditLine> {
    let snapshot = connection.unchecked_transaction().expect("a snapshot");
    let group = Group::open(&snapshot, 0, RecentLimits::default()).expect("the log");
    spaces::audit(&snapshot, &group.view(), space, 0, usize::MAX >> 1).expect("the audit log")
}

fn space_numbers(connection: &Connection) -> Vec<u32> {
    let mut statement = connection.prepare("SELECT no FROM space").expect("the spaces");
    let numbers = statement.query_map([], |row| row.get(0)).expect("the spaces");
    numbers.collect::<Result<_, _>>().expect("their numbers")
}

fn id(text: &str) -> [u8; 16] {
    EntryId::parse(text).expect("an id").0.0
}

/// Ids of all entries in the audit log of a user, a UUID.
pub fn audit_ids(look: &Look<'_>, user: &str) -> BTreeSet<[u8; 16]> {
    match look {
        Look::File(connection) => {
            let sql = "SELECT no FROM space WHERE hex(owner) = ?1";
            let owner = user.replace('-', "").to_ascii_uppercase();
            let space = connection.query_row(sql, [owner], |row| row.get(0)).optional().expect("the spaces");
            let lines = space.map(|space| audit(connection, space)).unwrap_or_default();
            lines.iter().map(|line| line.record.id.0).collect()
        }
        Look::Postgres(database) => {
            let owner = id(user).map(|byte| format!("{byte:02x}")).concat();
            let sql = format!(
                "SELECT id FROM entry JOIN space USING (space_id) WHERE kind = 'private' AND owner = '{owner}'"
            );
            database.query(&sql).iter().map(|row| id(&row[0])).collect()
        }
    }
}

/// The verdict on an entry.
pub fn verdict(look: &Look<'_>, entry: &str) -> Option<String> {
    let (id, _) = EntryId::parse(entry)?;
    match look {
        Look::File(connection) => {
            let mut lines = space_numbers(connection).into_iter().flat_map(|space| audit(connection, space));
            let line = lines.find(|line| line.record.id == id)?;
            Some(match line.record.verdict {
                Verdict::Rejected(code) => format!("rejected:{code}"),
                verdict => format!("{verdict:?}").to_lowercase(),
            })
        }
        Look::Postgres(database) => {
            let id = id.0.map(|byte| format!("{byte:02x}")).concat();
            let mut rows = database.query(&format!("SELECT verdict FROM entry WHERE id = '{id}'"));
            rows.pop().map(|mut row| row.remove(0))
        }
    }
}

/// How many lines the audit log has in all.
pub fn entries(look: &Look<'_>) -> usize {
    match look {
        Look::File(connection) => {
            space_numbers(connection).into_iter().map(|space| audit(connection, space).len()).sum()
        }
        Look::Postgres(database) => database.query("SELECT id FROM entry").len(),
    }
}

/// Checks that the file is whole; a server of databases sees to that itself.
#[track_caller]
pub fn check(look: &Look<'_>) {
    if let Look::File(connection) = look {
        let answer: String =
            connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a check");
        assert_eq!(answer, "ok", "the database is damaged");
    }
}

/// Checks a copy of the file, as a crash has left it: the server itself is to recover the original.
#[track_caller]
pub fn check_copy(server: &TestServer) {
    if server.database().is_some() {
        return;
    }
    let data_dir = server.data_dir();
    let copy = tempfile::tempdir().expect("a folder");
    for name in ["lattice.db", "lattice.db-wal"] {
        let from = data_dir.join(name);
        if from.exists() {
            std::fs::copy(from, copy.path().join(name)).expect("a copy");
        }
    }
    let connection = Connection::open(copy.path().join("lattice.db")).expect("the copy opens");
    check(&Look::File(connection));
}
