//! Moving everything from one database to another, of whatever backend: resumable, and verified by checksum.
//!
//! What is found by key in small tables (people, sessions, spaces, members) is copied as records of [`SECTIONS`]. What spaces
//! hold is copied space by space: lines of the audit log, rows, pairs. Seqs, ids and the database's secret stay the same, so
//! clients go on with the cursors that they have. Nobody may write to either database meanwhile.

mod checksum;
mod run;
mod sections;

use std::sync::Arc;

use bytes::Bytes;
use lattice_engine::{PairKey, PairWrite, Row, Seq, SpaceHead, SpaceId, WriterId};

use crate::spaces::{AuditLine, Origin};
use crate::{BoxFuture, StoreError};

pub use run::{CopyError, Progress, Report, copy};
pub use sections::{Kind, Record, SECTIONS, Section, Value};

/// What makes a database itself: its secrets, by name.
pub type Secrets = Vec<(String, Vec<u8>)>;

/// A part of what a space holds, to be stored together.
pub struct Part {
    /// Lines of the audit log that follow one another, each with its writer.
    pub lines: Vec<AuditLine>,
    /// Who stands behind the writers of the lines.
    pub origins: Vec<Arc<Origin>>,
    /// Rows.
    pub rows: Vec<Row>,
    /// Pairs.
    pub pairs: Vec<PairWrite>,
    /// The space's counters after it.
    pub head: SpaceHead,
}

/// A database to copy from.
pub trait CopySource: Send + Sync {
    /// Its secrets.
    fn secrets(&self) -> BoxFuture<'_, Result<Secrets, StoreError>>;

    /// Records of a section after the one with this key, in the order of their keys.
    fn records<'a>(
        &'a self,
        section: &'static Section,
        after: Option<&'a Record>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>>;

    /// The counters of a space.
    fn space_head(&self, space: SpaceId) -> BoxFuture<'_, Result<SpaceHead, StoreError>>;

    /// Lines of the audit log of a space after a seq, in order. Fewer than `limit`: there are no more.
    fn lines(
        &self,
        space: SpaceId,
        after: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AuditLine>, StoreError>>;

    /// Who stands behind a writer in a space, if that is known.
    fn origin(&self, space: SpaceId, writer: WriterId) -> BoxFuture<'_, Result<Option<Origin>, StoreError>>;

    /// Rows of a space after a seq, in order, and whether there are more.
    fn rows(
        &self,
        space: SpaceId,
        after: Seq,
        max_rows: usize,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<(Vec<Row>, bool), StoreError>>;

    /// Pairs of a space after this one, in order. Fewer than `limit`: there are no more.
    fn pairs(
        &self,
        space: SpaceId,
        after: Option<PairKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<PairWrite>, StoreError>>;
}

/// A database to copy to. It is read as well, to be verified.
pub trait CopyTarget: CopySource {
    /// Takes the secrets of the source, and marks the database as unfinished: no server opens it until [`CopyTarget::finish`].
    /// On a database that an earlier copy from the same source left unfinished it goes on.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it holds anything else.
    fn begin(&self, secrets: Secrets) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Keeps records; those that are there already stay as they are.
    fn put_records(
        &self,
        section: &'static Section,
        records: Vec<Record>,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Keeps a part of a space. Rows and pairs that are there already are replaced.
    fn put_part(&self, space: SpaceId, part: Part) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Notes that a space is complete.
    fn space_done(&self, space: SpaceId) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Whether a space was noted as complete.
    fn is_space_done(&self, space: SpaceId) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Everything is there: servers may open the database from now on.
    fn finish(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// The stored form of a row.
pub(crate) fn encoded(row: &Row) -> Bytes {
    let mut state = Vec::new();
    row.encode(&mut state);
    state.into()
}
