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
    spaces::audit(&snapshot, &group.snapshot(), space, 0, usize::MAX >> 1).expect("the audit log")
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

/// Everything that is in the tables, as text: bytes as hexadecimal digits, and once more as the text that they may be.
pub fn dump(look: &Look<'_>) -> String {
    let mut text = String::new();
    match look {
        Look::File(connection) => {
            let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
            let mut tables = connection.prepare(sql).expect("the tables");
            let tables = tables.query_map([], |row| row.get::<_, String>(0)).expect("the tables");
            for table in tables.map(|name| name.expect("a name")) {
                let mut statement = connection.prepare(&format!("SELECT * FROM {table}")).expect("a table");
                let columns = statement.column_count();
                let mut rows = statement.query([]).expect("rows");
                while let Some(row) = rows.next().expect("a row") {
                    text += &table;
                    for at in 0..columns {
                        text.push(' ');
                        match row.get_ref(at).expect("a value") {
                            rusqlite::types::ValueRef::Blob(bytes) => {
                                bytes.iter().for_each(|byte| text += &format!("{byte:02x}"));
                                text.push(' ');
                                text += &String::from_utf8_lossy(bytes);
                            }
                            rusqlite::types::ValueRef::Text(bytes) => text += &String::from_utf8_lossy(bytes),
                            rusqlite::types::ValueRef::Integer(number) => text += &number.to_string(),
                            _ => {}
                        }
                    }
                    text.push('\n');
                }
            }
        }
        Look::Postgres(database) => {
            let sql =
                "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()";
            for table in database.query(sql) {
                for row in database.query(&format!("SELECT t::text FROM \"{}\" t", table[0])) {
                    text += &format!("{} {}\n", table[0], row[0]);
                }
            }
        }
    }
    text
}

/// The bytes of the file and of what belongs to it, where there is one.
pub fn bytes(server: &TestServer) -> Vec<u8> {
    let read = |name: &str| std::fs::read(server.data_dir().join(name)).unwrap_or_default();
    ["lattice.db", "lattice.db-wal", "lattice.db-shm"].map(read).concat()
}

/// Where one text or another stands in what was dumped: as it is, or as the digits of its bytes.
pub fn finds(dump: &str, text: &str) -> bool {
    let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    dump.contains(text) || dump.contains(&digits)
}
