//! Which names may pass. Clients put table and column names into SQL unquoted, so this is what stands between a
//! hostile client and the databases of all others.

use alloc::vec::Vec;

use crate::limits::MAX_NAME_BYTES;

/// Among the names of a DELETE: the row left the filter of its sender, or of its receiver, and was not deleted.
pub const FILTER_REMOVAL: &str = "__lattice_filter_removal";

/// The table of an entry that does nothing but move the checkpoint of its receiver. Every native client has it, and no row of it
/// has the id that such an entry names. Nothing else ever passes with this name.
pub const CHECKPOINT_TABLE: &str = "AuditLog";

/// The column of union tables that says which case a row is: its name on the wire has the quotes. Clients put it into SQL as it
/// is, where it is the column `case`.
pub const UNION_CASE: &str = "\"case\"";

/// Whether this is a name that may reach other clients' SQL: `[A-Za-z_][A-Za-z0-9_]*`, of
/// [`MAX_NAME_BYTES`] bytes at most.
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() <= MAX_NAME_BYTES
        && bytes.first().is_some_and(|first| !first.is_ascii_digit())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Whether this is a valid name of a column that may be synced: a name, or [`UNION_CASE`], the only one with quotes. Every client's table has its own `id` and `globalId`, which
/// deployed clients would let a delivered entry overwrite.
#[must_use]
pub fn is_valid_column(column: &str) -> bool {
    column == UNION_CASE
        || is_valid_name(column) && !["id", "globalid"].iter().any(|own| column.eq_ignore_ascii_case(own))
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

/// A link table whose name falls into more parts says nothing about the tables that it links.
pub const MAX_LINK_NAME_PARTS: usize = 8;

/// The tables that may hold an end of the rows of a link table, by its name, `_Parent_Child_property`: for `lhs` and for `rhs`,
/// shorter names first. Where a name itself has an underscore there are several.
#[must_use]
pub fn linked_tables(table: &str) -> [Vec<&str>; 2] {
    let (mut parents, mut children) = (Vec::new(), Vec::new());
    let Some(name) = table.strip_prefix('_') else { return [parents, children] };
    let cuts: Vec<usize> = name.match_indices('_').map(|(at, _)| at).collect();
    if cuts.len() >= MAX_LINK_NAME_PARTS {
        return [parents, children];
    }
    for (at, first) in cuts.iter().enumerate() {
        for second in &cuts[at + 1..] {
            let (parent, child, property) = (&name[..*first], &name[first + 1..*second], &name[second + 1..]);
            if is_valid_table(parent) && is_valid_table(child) && !property.is_empty() {
                parents.push(parent);
                children.push(child);
            }
        }
    }
    parents.dedup();
    children.sort_unstable_by_key(|child| (child.len(), *child));
    children.dedup();
    [parents, children]
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn a_link_table_names_the_tables_that_it_links() {
        assert_eq!(linked_tables("_Parent_Child_children"), [vec!["Parent"], vec!["Child"]]);
        assert_eq!(linked_tables("_A_B_c_d"), [vec!["A", "A_B"], vec!["B", "c", "B_c"]]);
        for silent in ["Parent", "_links", "_Feed_text", "__A_b", "_1_2_x", "_A_B_", "_a_b_c_d_e_f_g_h_i"] {
            assert_eq!(linked_tables(silent), [Vec::<&str>::new(), Vec::new()], "{silent}");
        }
    }

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
        for good in ["name", "ID_", "ident", "global_id", "case", "\"case\""] {
            assert!(is_valid_column(good), "{good}");
        }
        for bad in [
            "id",
            "ID",
            "globalId",
            "GLOBALID",
            "a b",
            "",
            "\"",
            "\"\"",
            "\"CASE\"",
            "\"Case\"",
            "\"case",
            "case\"",
            "\"case\" ",
            " \"case\"",
            "\"case\"\"",
            "\"\"case\"\"",
            "\"case\",\"a\"",
            "\"case\" = 1; --",
            "\"id\"",
            "\"name\"",
            "'case'",
            "`case`",
            "[case]",
        ] {
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
            "\"case\"",
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
