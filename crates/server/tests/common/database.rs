//! A look into the database file.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::server::TestServer;

/// The file, read only.
pub fn open(server: &TestServer) -> Connection {
    let path = server.data_dir().join("lattice.db");
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the database opens")
}

/// Ids of all entries in the audit log of a user, a UUID.
pub fn audit_ids(connection: &Connection, user: &str) -> BTreeSet<[u8; 16]> {
    let sql = "SELECT entry.id FROM entry JOIN space ON space.no = entry.space WHERE hex(space.owner) = ?1";
    let owner = user.replace('-', "").to_ascii_uppercase();
    let mut statement = connection.prepare(sql).expect("the audit log");
    let ids = statement.query_map([owner], |row| row.get(0)).expect("the audit log");
    ids.collect::<Result<_, _>>().expect("ids of 16 bytes")
}

/// The verdict on an entry.
pub fn verdict(connection: &Connection, id: &str) -> Option<String> {
    let sql = "SELECT verdict FROM entry WHERE hex(id) = ?1";
    let id = id.replace('-', "").to_ascii_uppercase();
    connection.query_row(sql, [id], |row| row.get(0)).ok()
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
