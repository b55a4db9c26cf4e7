//! A look into the database file.

use std::collections::BTreeSet;
use std::path::Path;

use lattice_engine::Verdict;
use lattice_protocol::EntryId;
use lattice_store::spaces::AuditLine;
use lattice_store::sqlite::{Group, RecentLimits, spaces};
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::server::TestServer;

/// The file, read only.
pub fn open(server: &TestServer) -> Connection {
    let path = server.data_dir().join("lattice.db");
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the database opens")
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

/// Ids of all entries in the audit log of a user, a UUID.
pub fn audit_ids(connection: &Connection, user: &str) -> BTreeSet<[u8; 16]> {
    let sql = "SELECT no FROM space WHERE hex(owner) = ?1";
    let owner = user.replace('-', "").to_ascii_uppercase();
    let space = connection.query_row(sql, [owner], |row| row.get(0)).optional().expect("the spaces");
    let lines = space.map(|space| audit(connection, space)).unwrap_or_default();
    lines.iter().map(|line| line.record.id.0).collect()
}

/// The verdict on an entry.
pub fn verdict(connection: &Connection, id: &str) -> Option<String> {
    let (id, _) = EntryId::parse(id)?;
    let mut lines = space_numbers(connection).into_iter().flat_map(|space| audit(connection, space));
    let line = lines.find(|line| line.record.id == id)?;
    Some(match line.record.verdict {
        Verdict::Rejected(code) => format!("rejected:{code}"),
        verdict => format!("{verdict:?}").to_lowercase(),
    })
}

/// How many lines the audit log has in all.
pub fn entries(connection: &Connection) -> usize {
    space_numbers(connection).into_iter().map(|space| audit(connection, space).len()).sum()
}

/// Checks a copy of the database, as a crash has left it: the server itself is to recover the original.
#[track_caller]
pub fn check_copy(data_dir: &Path) {
    let copy = tempfile::tempdir().expect("a folder");
    for name in ["lattice.db", "lattice.db-wal"] {
        let from = data_dir.join(name);
        if from.exists() {
            std::fs::copy(from, copy.path().join(name)).expect("a copy");
        }
    }
    let connection = Connection::open(copy.path().join("lattice.db")).expect("the copy opens");
    let answer: String =
        connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a check");
    assert_eq!(answer, "ok", "the database is damaged");
}
