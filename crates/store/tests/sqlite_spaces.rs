//! The SQLite backend: the conformance suite of spaces, and what is particular to a file.

use std::path::Path;
use std::sync::Arc;

use lattice_store::conformance::{self, RecordingSink};
use lattice_store::spaces::SpaceStore;
use lattice_store::sqlite::{OpenError, RecentLimits, SqliteOptions, SqliteStore};
use lattice_store::time::{SystemClock, SystemRandom};

fn open(path: &Path, sink: &Arc<RecordingSink>) -> Result<SqliteStore, OpenError> {
    let sink = Arc::clone(sink);
    SqliteStore::open(path, SqliteOptions::default(), sink, Arc::new(SystemClock), Arc::new(SystemRandom))
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_passes_the_conformance_suite_of_spaces() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = Arc::new(RecordingSink::default());
    let store = open(&folder.path().join("a.db"), &sink).expect("it opens");
    conformance::spaces(Arc::new(store.clone()), &sink).await;
    store.close().await;
    conformance::closed(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_passes_with_small_generations_as_well() {
    for max_generation_items in [1, 7, 100] {
        let folder = tempfile::tempdir().expect("a folder");
        let sink = Arc::new(RecordingSink::default());
        let recent = RecentLimits { max_generation_items, ..RecentLimits::default() };
        let options = SqliteOptions { recent, ..SqliteOptions::default() };
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        let path = folder.path().join("a.db");
        let store = SqliteStore::open(&path, options, Arc::clone(&sink) as _, clock, random);
        let store = store.expect("it opens");
        conformance::spaces(Arc::new(store.clone()), &sink).await;
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_keeps_its_spaces_and_its_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    let sink = Arc::new(RecordingSink::default());
    let first = open(&path, &sink).expect("it opens");
    let space = first.private_space([1; 16]).await.expect("a space");
    let key = first.mint_key().0;
    first.close().await;
    drop(first);
    let second = open(&path, &sink).expect("it opens again");
    assert_eq!(second.private_space([1; 16]).await.expect("a space").id, space.id);
    assert_eq!(second.mint_key().0, key);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_belongs_to_one_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    let sink = Arc::new(RecordingSink::default());
    let first = open(&path, &sink).expect("it opens");
    assert!(matches!(open(&path, &sink), Err(OpenError::InUse(_))));
    first.close().await;
    drop(first);
    open(&path, &sink).expect("it is free again");
}

#[test]
fn files_that_are_not_ours_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = Arc::new(RecordingSink::default());
    let text = folder.path().join("text");
    std::fs::write(&text, "this is no database, and long enough to be looked at as one".repeat(30))
        .expect("written");
    assert!(matches!(open(&text, &sink), Err(OpenError::Foreign(_))), "a text file");

    let foreign = folder.path().join("foreign.db");
    let other = rusqlite::Connection::open(&foreign).expect("a database");
    other.execute_batch("CREATE TABLE theirs (x)").expect("a table");
    drop(other);
    assert!(matches!(open(&foreign, &sink), Err(OpenError::Foreign(_))), "another program's");
    let other = rusqlite::Connection::open(&foreign).expect("a database");
    let mode: String = other.query_row("PRAGMA journal_mode", [], |row| row.get(0)).expect("a mode");
    assert_eq!(mode, "delete", "and it was left as it was");

    assert!(matches!(open(folder.path(), &sink), Err(OpenError::Unusable { .. })), "a folder");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_file_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    let sink = Arc::new(RecordingSink::default());
    open(&path, &sink).expect("it opens").close().await;
    let future = rusqlite::Connection::open(&path).expect("a database");
    let sql = "INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
               SELECT 9999, 'future', applied_on, '1' FROM refinery_schema_history LIMIT 1";
    assert_eq!(future.execute(sql, []).expect("a migration from the future"), 1);
    drop(future);
    assert!(matches!(open(&path, &sink), Err(OpenError::Newer(_))));
}
