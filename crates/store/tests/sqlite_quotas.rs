//! The SQLite backend: quotas, and that what is held is counted right whatever was flushed when.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use lattice_engine::WriterId;
use lattice_protocol::{Change, EntryId, Incoming, Operation, RowId, RowKey, Spelling};
use lattice_store::accounts::UserId;
use lattice_store::conformance::{self, RecordingSink};
use lattice_store::quotas::{Limit, LimitsChange, Quota, QuotaStore, Quotas, Subject, Usage};
use lattice_store::spaces::{Origin, Space, SpaceStore, Upload};
use lattice_store::sqlite::{QuotaFile, RecentLimits, SqliteOptions, SqliteStore};
use lattice_store::time::{SystemClock, SystemRandom, random_id};
use lattice_store::{BoxFuture, StoreError};

fn open(path: &Path, options: SqliteOptions) -> SqliteStore {
    let (sink, clock) = (Arc::new(RecordingSink::default()), Arc::new(SystemClock));
    SqliteStore::open(path, options, sink, clock, Arc::new(SystemRandom)).expect("it opens")
}

/// Little is kept in memory, so that all of it is flushed all the time.
fn small() -> SqliteOptions {
    let recent =
        RecentLimits { max_generation_items: 7, max_generation_bytes: 1 << 20, max_generation_moves: 3 };
    SqliteOptions { recent, ..SqliteOptions::default() }
}

fn upload<'a>(
    store: &'a SqliteStore,
    space: &'a Arc<Space>,
    user: UserId,
    raw: &'static [u8],
) -> BoxFuture<'a, Result<(), StoreError>> {
    let id = || random_id(&SystemRandom);
    let change = Change {
        id: EntryId(id()),
        id_spelling: Spelling::default(),
        table: "Item".into(),
        operation: Operation::Insert,
        row: RowId { key: RowKey::Uuid(id()), spelling: Spelling::default() },
        fields: Vec::new(),
        timestamp_us: None,
        synthesized: false,
        filter_removal: false,
        by_filter: false,
        raw: Bytes::from_static(raw),
    };
    let origin = Origin {
        writer: WriterId(id()),
        user: user.0,
        session: id(),
        address: String::new(),
        user_agent: String::new(),
        opened_us: 1,
    };
    let upload = Upload {
        space: Arc::clone(space),
        origin: Arc::new(origin),
        incoming: vec![Incoming::Change(change)],
        plain: false,
        echoes: false,
        read_only: false,
        applied: None,
        bytes: raw.len(),
    };
    Box::pin(async move { store.upload(upload).await?.await.expect("an answer").map(|_| ()) })
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_passes_the_conformance_suite_of_quotas() {
    let folder = tempfile::tempdir().expect("a folder");
    for options in [SqliteOptions::default(), small()] {
        let store = open(&folder.path().join("a.db"), options);
        conformance::quotas(&store).await;
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_counted_over_every_restart_and_once_where_it_was_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    let ann = UserId([1; 16]);
    let mut expected = Usage::default();
    for round in 0..12 {
        if round == 8 {
            // As a database from before counting is.
            let connection = rusqlite::Connection::open(&path).expect("the file");
            let sql = "UPDATE space SET bytes = 0; UPDATE settled SET bytes_counted = 0";
            connection.execute_batch(sql).expect("written");
        }
        let store = open(&path, small());
        let space = store.private_space(ann.0).await.expect("a space");
        for _ in 0..round {
            upload(&store, &space, ann, b"0123456789").await.expect("stored");
            expected = expected.plus(Usage { bytes: 10, changes: 1 });
        }
        let account = store.quota_account(Subject::Space(space.id)).await.expect("an answer");
        assert_eq!(account.expect("a space").usage, expected, "round {round}");
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_another_process_sets_holds_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    let quotas = Quotas { space: Quota { changes: Some(2), bytes: None }, user: Quota::default() };
    let store = open(&path, SqliteOptions { quotas, ..SqliteOptions::default() });
    let ann = UserId([1; 16]);
    let space = store.private_space(ann.0).await.expect("a space");
    for _ in 0..2 {
        upload(&store, &space, ann, b"12345").await.expect("stored");
    }
    assert_eq!(upload(&store, &space, ann, b"12345").await, Err(StoreError::QuotaExceeded));
    let subject = Subject::Space(space.id);
    let mut file = QuotaFile::open(&path, &SystemRandom).expect("while the store is open");
    let account = file.quota_account(&subject).expect("an answer").expect("a space");
    assert_eq!(account.usage, Usage { bytes: 10, changes: 2 }, "with what is not flushed yet");
    let change = LimitsChange { changes: Some(Limit::Most(3)), ..LimitsChange::default() };
    file.change_limits(&subject, change).expect("an answer").expect("a space");
    upload(&store, &space, ann, b"12345").await.expect("stored");
    assert_eq!(upload(&store, &space, ann, b"12345").await, Err(StoreError::QuotaExceeded));
    store.close().await;
    let account = file.quota_account(&subject).expect("an answer").expect("a space");
    assert_eq!(account.usage.changes, 3);
}
