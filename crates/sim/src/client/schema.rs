//! A client's tables and what they hold rows to.

use bytes::Bytes;
use bytestring::ByteString;
use lattice_protocol::{RowId, value};

/// The column of a union table that names its case, as it stands on the wire.
pub const CASE: &str = "\"case\"";

/// A table of a client's schema.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name; tables of relations, unions and lists start with `_`.
    pub name: ByteString,
    /// Its columns.
    pub columns: Vec<ByteString>,
    not_null: Vec<usize>,
    unique: Vec<usize>,
    /// The cases of a union, each with its columns.
    cases: Vec<(ByteString, Vec<usize>)>,
    /// The library made it by itself: the app knows nothing of it.
    is_made_up: bool,
    /// Columns that an upgrade of the app added, with what rows have that do not name them.
    defaults: Vec<(usize, Bytes)>,
}

/// A client's tables.
pub type Schema = Vec<Table>;

/// One row of a replica: a value for each column, `None` for null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalRow {
    /// Its id.
    pub id: RowId,
    /// In the order of the table's columns.
    pub values: Vec<Option<Bytes>>,
}

impl Table {
    /// A table with these columns. One row of a link table has the same ends.
    #[must_use]
    pub fn new(name: &'static str, columns: &[&'static str]) -> Self {
        Self::of(ByteString::from_static(name), columns)
    }

    fn of(name: ByteString, columns: &[&'static str]) -> Self {
        let columns = columns.iter().map(|column| ByteString::from_static(column)).collect();
        let mut table = Self {
            name,
            columns,
            not_null: Vec::new(),
            unique: Vec::new(),
            cases: Vec::new(),
            is_made_up: false,
            defaults: Vec::new(),
        };
        table.not_null.extend(table.column(CASE));
        table
    }

    /// What a client makes of a table of relations that it does not know, for the names of the first entry about it.
    pub(super) fn unknown_link(name: &ByteString, has_type: bool) -> Self {
        let columns: &[&str] = if has_type { &["lhs", "rhs", "rhs_type"] } else { &["lhs", "rhs"] };
        Self { is_made_up: true, ..Self::of(name.clone(), columns) }
    }

    /// The same table, with columns that may not be null.
    #[must_use]
    pub fn not_null(mut self, columns: &[&str]) -> Self {
        let places: Vec<usize> = columns.iter().filter_map(|column| self.column(column)).collect();
        self.not_null.extend(places);
        self
    }

    /// The same table, with columns whose values, unless they are null, one row has.
    #[must_use]
    pub fn unique(mut self, columns: &[&str]) -> Self {
        let places: Vec<usize> = columns.iter().filter_map(|column| self.column(column)).collect();
        self.unique.extend(places);
        self
    }

    /// The same union table, with a case whose columns are these.
    #[must_use]
    pub fn case(mut self, name: &'static str, columns: &[&str]) -> Self {
        let columns = columns.iter().filter_map(|column| self.column(column)).collect();
        self.cases.push((ByteString::from_static(name), columns));
        self
    }

    /// Whether its rows are links.
    #[must_use]
    pub fn is_link(&self) -> bool {
        self.name.starts_with('_') && self.column("lhs").is_some() && self.column("rhs").is_some()
    }

    /// Whether its rows are values of an enumeration with associated values.
    #[must_use]
    pub fn is_union(&self) -> bool {
        self.column(CASE).is_some()
    }

    /// Whether its rows are bounds that belong to a row of a model. They are made and deleted, and never changed.
    #[must_use]
    pub fn is_list(&self) -> bool {
        !Self::is_model(&self.name) && !self.is_link() && !self.is_union()
    }

    /// Whether it is one of the app's own models. Clients leave out what they do not know of these alone.
    pub(super) fn is_model(name: &str) -> bool {
        !name.starts_with('_')
    }

    /// Whether the library made it by itself, for entries of a table that the app does not have.
    #[must_use]
    pub fn is_made_up(&self) -> bool {
        self.is_made_up
    }

    /// Where a column stands.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| *column == name)
    }

    /// The cases of a union, each with the places of its columns.
    #[must_use]
    pub fn cases(&self) -> &[(ByteString, Vec<usize>)] {
        &self.cases
    }

    /// Columns that may not be null.
    #[must_use]
    pub fn required(&self) -> &[usize] {
        &self.not_null
    }

    /// What a row has that names no column.
    #[must_use]
    pub fn blank(&self) -> Vec<Option<Bytes>> {
        let mut values = vec![None; self.columns.len()];
        for (column, value) in &self.defaults {
            values[*column] = Some(value.clone());
        }
        values
    }

    /// Whether it takes a row with these values, whatever others it holds.
    pub(super) fn admits(&self, values: &[Option<Bytes>]) -> bool {
        self.not_null.iter().all(|column| values[*column].is_some()) && self.is_a_case(values)
    }

    fn is_a_case(&self, values: &[Option<Bytes>]) -> bool {
        let Some(case) = self.column(CASE) else { return true };
        let Some(named) = values[case].as_deref().and_then(value::string_value) else { return false };
        let Some((_, own)) = self.cases.iter().find(|(name, _)| *name == named) else { return false };
        (0..values.len()).all(|column| column == case || values[column].is_some() == own.contains(&column))
    }

    /// Whether two of its rows cannot be there at the same time.
    pub(super) fn clash(&self, one: &[Option<Bytes>], other: &[Option<Bytes>]) -> bool {
        let same = |column: &usize| one[*column].is_some() && one[*column] == other[*column];
        self.unique.iter().any(same) || (self.is_link() && (0..one.len()).all(|column| same(&column)))
    }

    /// The table after an upgrade of the app from `older`. SQLite adds columns that may not be null as ones with a default, and
    /// lets them be null after all.
    pub(super) fn upgraded_from(&self, older: &Self) -> Self {
        let mut table = self.clone();
        let added = |column: &usize| older.column(&self.columns[*column]).is_none();
        let zero = || value::integer(0);
        table.defaults = older
            .defaults
            .iter()
            .filter_map(|(column, value)| Some((self.column(&older.columns[*column])?, value.clone())))
            .collect();
        table
            .defaults
            .extend(self.not_null.iter().filter(|column| added(column)).map(|column| (*column, zero())));
        if !self.is_union() {
            let relaxed: Vec<usize> = table.defaults.iter().map(|(column, _)| *column).collect();
            table.not_null.retain(|column| !relaxed.contains(column));
        }
        table
    }
}
