//! How values are written as parameters, and read back.

use lattice_engine::{Receipt, Seq, SpaceId};
use tokio_postgres::Row;
use uuid::Uuid;

use super::error::PgError;
use crate::StoreError;

/// An id as a parameter.
pub(super) const fn uuid(id: [u8; 16]) -> Uuid {
    Uuid::from_bytes(id)
}

/// An id in a row.
pub(super) fn id(row: &Row, at: usize) -> Result<[u8; 16], PgError> {
    Ok(row.try_get::<_, Uuid>(at)?.into_bytes())
}

/// The id of a space in a row.
pub(super) fn space(row: &Row, at: usize) -> Result<SpaceId, PgError> {
    id(row, at).map(SpaceId)
}

/// A seq in a row.
pub(super) fn seq(row: &Row, at: usize) -> Result<Seq, PgError> {
    Ok(row.try_get::<_, i64>(at)?.cast_unsigned())
}

/// What is remembered of an entry, from its seq and its verdict.
pub(super) fn receipt(row: &Row, seq_at: usize, refused_at: usize) -> Result<Receipt, PgError> {
    Ok(Receipt { seq: seq(row, seq_at)?, refused: row.try_get(refused_at)? })
}

/// A stored row that cannot be read.
pub(super) fn corrupt(table: &'static str, column: &'static str, row: impl ToString) -> PgError {
    PgError::Store(StoreError::Corrupt { table, column, row: row.to_string() })
}
