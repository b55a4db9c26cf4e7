//! Running statements, and reading what they answer such that what cannot be read is named.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::StoreError;
use crate::accounts::UserId;

pub(super) fn execute(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> Result<u64, StoreError> {
    Ok(connection.prepare_cached(sql)?.execute(values)? as u64)
}

/// The first row, read by `read`, whose own errors are kept apart from the driver's.
pub(super) fn one<T>(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
    read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let mut select = connection.prepare_cached(sql)?;
    select.query_row(values, |row| Ok(read(row))).optional()?.transpose()
}

/// Reads columns such that what cannot be read names table, column and row.
pub(super) struct Columns<'a, 'row> {
    pub(super) table: &'static str,
    pub(super) row: &'a Row<'row>,
}

impl Columns<'_, '_> {
    fn value(&self, column: &'static str) -> Result<ValueRef<'_>, StoreError> {
        Ok(self.row.get_ref(column)?)
    }

    pub(super) fn corrupt(&self, column: &'static str) -> StoreError {
        let row = match self.row.get_ref("id") {
            Ok(ValueRef::Blob(id)) => {
                <[u8; 16]>::try_from(id).map_or_else(|_| "?".to_owned(), |id| UserId(id).to_string())
            }
            _ => "?".to_owned(),
        };
        StoreError::Corrupt { table: self.table, column, row }
    }

    pub(super) fn maybe_bytes<const N: usize>(
        &self,
        column: &'static str,
    ) -> Result<Option<[u8; N]>, StoreError> {
        match self.value(column)? {
            ValueRef::Null => Ok(None),
            ValueRef::Blob(bytes) => bytes.try_into().map(Some).map_err(|_| self.corrupt(column)),
            _ => Err(self.corrupt(column)),
        }
    }

    pub(super) fn bytes<const N: usize>(&self, column: &'static str) -> Result<[u8; N], StoreError> {
        self.maybe_bytes(column)?.ok_or_else(|| self.corrupt(column))
    }

    pub(super) fn maybe_integer(&self, column: &'static str) -> Result<Option<i64>, StoreError> {
        match self.value(column)? {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(integer) => Ok(Some(integer)),
            _ => Err(self.corrupt(column)),
        }
    }

    pub(super) fn integer(&self, column: &'static str) -> Result<i64, StoreError> {
        self.maybe_integer(column)?.ok_or_else(|| self.corrupt(column))
    }

    pub(super) fn text(&self, column: &'static str) -> Result<Option<String>, StoreError> {
        match self.value(column)? {
            ValueRef::Null => Ok(None),
            ValueRef::Text(text) => {
                String::from_utf8(text.to_vec()).map(Some).map_err(|_| self.corrupt(column))
            }
            _ => Err(self.corrupt(column)),
        }
    }
}
