//! Which names may pass. Clients put table and column names into SQL unquoted, so this is what stands between a
//! hostile client and the databases of all others.

use crate::limits::MAX_NAME_BYTES;

/// Among the names of a DELETE: the row left the filter of its sender, or of its receiver, and was not deleted.
pub const FILTER_REMOVAL: &str = "__lattice_filter_removal";

/// The table of an entry that does nothing but move the checkpoint of its receiver. Every native client has it, and no row of it
/// has the id that such an entry names. Nothing else ever passes with this name.
pub const CHECKPOINT_TABLE: &str = "AuditLog";

/// Whether this is a name that may reach other clients' SQL: `[A-Za-z_][A-Za-z0-9_]*`, of
/// [`MAX_NAME_BYTES`] bytes at most.
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() <= MAX_NAME_BYTES
        && bytes.first().is_some_and(|first| !first.is_ascii_digit())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Whether this is a valid name of a column that may be synced. Every client's table has its own `id` and `globalId`, which
/// deployed clients would let a delivered entry overwrite.
#[must_use]
pub fn is_valid_column(column: &str) -> bool {
    is_valid_name(column) && !["id", "globalid"].iter().any(|own| column.eq_ignore_ascii_case(own))
}

/// Whether this is a valid name of a table that may be synced: the clients' own tables (the audit log, `_SyncControl`,
/// `_lattice…` and SQLite's `sqlite_…`, whatever their case, as SQLite ignores it) never are.
#[must_use]
pub fn is_valid_table(table: &str) -> bool {
    is_valid_name(table)
        && !["auditlog", "_synccontrol"].iter().any(|own| table.eq_ignore_ascii_case(own))
        && !["_lattice", "sqlite_"]
            .iter()
            .any(|prefix| table.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_identifiers() {
        for good in ["a", "A", "_", "_a1", "Person", "select", "__lattice_x", &"x".repeat(MAX_NAME_BYTES)] {
            assert!(is_valid_name(good), "{good}");
        }
        for bad in [
            "",
            "1a",
            "a b",
            "a-b",
            "a.b",
            "a;",
            "a\"",
            "a'",
            "a\0",
            "é",
            "a\n",
            "a)",
            "ａ",
            "a\u{301}",
            &"x".repeat(MAX_NAME_BYTES + 1),
        ] {
            assert!(!is_valid_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn clients_own_columns_are_not_synced() {
        for good in ["name", "ID_", "ident", "global_id"] {
            assert!(is_valid_column(good), "{good}");
        }
        for bad in ["id", "ID", "globalId", "GLOBALID", "a b", ""] {
            assert!(!is_valid_column(bad), "{bad}");
        }
    }

    #[test]
    fn clients_own_tables_are_not_synced() {
        for good in ["Person", "_Parent_Child_children", "AuditLogs", "_latt", "sqlite", "lattice", "Sqlite1"]
        {
            assert!(is_valid_table(good), "{good}");
        }
        for bad in [
            "AuditLog",
            "auditlog",
            "AUDITLOG",
            "_SyncControl",
            "_lattice",
            "_Lattice_meta",
            "sqlite_master",
            "SQLITE_x",
            "",
        ] {
            assert!(!is_valid_table(bad), "{bad}");
        }
    }
}
