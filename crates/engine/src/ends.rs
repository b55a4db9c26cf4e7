//! What a link says of the rows that it names.

use alloc::vec::Vec;

use lattice_protocol::change::LINK_COLUMNS;
use lattice_protocol::names::{is_valid_table, linked_tables};
use lattice_protocol::value::string_value;
use lattice_protocol::{Field, RowId};

use crate::rows::{End, Row, RowRef};

/// The rows that a link may name, for each end, those that come first in question first.
pub(crate) fn candidates<'a>(
    table: &str,
    fields: impl Iterator<Item = &'a Field> + Clone,
) -> [Vec<RowRef>; 2] {
    let [parents, children] = linked_tables(table);
    let value = |column: &str| string_value(&fields.clone().find(|field| field.name == column)?.value);
    let rows = |column: &str, tables: &[&str]| -> Vec<RowRef> {
        let Some(row) = value(column).and_then(|text| RowId::parse(&text)) else { return Vec::new() };
        tables.iter().map(|table| RowRef { table: (*table).into(), key: row.key.clone() }).collect()
    };
    let typed = value(LINK_COLUMNS[2]);
    let rhs = match &typed {
        Some(table) if is_valid_table(table) => rows(LINK_COLUMNS[1], &[table]),
        Some(_) => Vec::new(),
        None => rows(LINK_COLUMNS[1], &children),
    };
    [rows(LINK_COLUMNS[0], &parents), rhs]
}

impl Row {
    /// What is known of the row as an end of links, once it was created.
    #[must_use]
    pub fn as_end(&self) -> Option<End> {
        let born = self.creator.is_some() || self.created_seq > 0;
        born.then(|| End { table: self.table.clone(), creator: self.creator })
    }

    /// The rows that a link may name of which nothing is known. Links that were stored before ends were kept know none, and it costs
    /// little to look. In private spaces, where no creators are kept, nothing is ever known.
    #[must_use]
    pub fn unknown_ends(&self) -> Vec<RowRef> {
        if !self.is_live() || self.pair.is_none() || self.creator.is_none() {
            return Vec::new();
        }
        let values = self.values();
        let ends = candidates(&self.table, values.iter()).into_iter().zip(&self.ends().rows);
        ends.filter(|(_, known)| known.is_none()).flat_map(|(candidates, _)| candidates).collect()
    }

    /// Notes what a look has found of these.
    pub fn know_ends(&mut self, find: impl Fn(&RowRef) -> Option<End>) {
        let values = self.values();
        let mut rows = self.ends().rows.clone();
        for (end, candidates) in rows.iter_mut().zip(candidates(&self.table, values.iter())) {
            if end.is_none() {
                *end = candidates.iter().find_map(&find);
            }
        }
        if rows != self.ends().rows {
            self.ends_mut().rows = rows;
        }
    }
}

impl crate::PullData {
    /// All rows that were read.
    pub fn rows_mut(&mut self) -> impl Iterator<Item = &mut Row> {
        let corrected = self.corrected.iter_mut();
        self.rows.iter_mut().chain(corrected.flat_map(|it| it.row.iter_mut().chain(&mut it.keeper)))
    }
}
