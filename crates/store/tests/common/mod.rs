//! What tests of the PostgreSQL backend share.

mod spread;

use std::sync::Arc;
use std::time::Duration;

use lattice_store::conformance::RecordingSink;
use lattice_store::postgres::{OpenError, PostgresOptions, PostgresStore};
use lattice_store::time::{SystemClock, SystemRandom};
use lattice_testkit::Database;

pub(crate) use spread::Spread;

/// An instance on a database that is there already.
pub(crate) async fn open(url: &str, sink: &Arc<RecordingSink>) -> Result<PostgresStore, OpenError> {
    let options = PostgresOptions { max_start_wait: Duration::ZERO, ..PostgresOptions::default() };
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    PostgresStore::open(url, options, Arc::clone(sink) as _, clock, random).await
}

/// Two instances on one database.
pub(crate) async fn open_two(database: &Database) -> [PostgresStore; 2] {
    let sink = Arc::new(RecordingSink::default());
    let (one, other) = (open(&database.url(), &sink).await, open(&database.url(), &sink).await);
    [one.expect("it opens"), other.expect("it opens")]
}
