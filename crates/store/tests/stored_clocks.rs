//! Rows whose clocks hold entry ids, as they were stored before the order of arrival decided ties: on both backends, and after
//! a copy.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use lattice_engine::{PullRequest, Row, Verdict, WriterId};
use lattice_protocol::value::integer;
use lattice_protocol::{Change, EntryId, Field, Incoming, Operation, RowId, RowKey, Spelling};
use lattice_store::conformance::RecordingSink;
use lattice_store::copy::{Progress, copy};
use lattice_store::postgres::{PostgresOptions, PostgresStore};
use lattice_store::spaces::{Origin, SpaceStore, Upload};
use lattice_store::sqlite::{SqliteOptions, SqliteStore};
use lattice_store::time::{SystemClock, SystemRandom, random_id};
use lattice_testkit::Database;

const USER: [u8; 16] = [1; 16];
const ROW: [u8; 16] = [7; 16];
const TIME_US: i64 = -5_000_000;
/// The migrations since which ids break no ties.
const SQLITE_MIGRATION: &str = "DELETE FROM refinery_schema_history WHERE version = 13";
const POSTGRES_MIGRATION: &str = "DELETE FROM refinery_schema_history WHERE version = 10";

/// `{n: 1}` in the table Item, set by the first change of a space at `TIME_US` under the greatest id there is.
fn stored() -> Vec<u8> {
    const EXISTS_WRITER_INSERTER: u8 = 1 | 32 | 64;
    let value = integer(1);
    let mut row = vec![1, EXISTS_WRITER_INSERTER, 4];
    row.extend_from_slice(b"Item\0");
    row.extend_from_slice(&ROW);
    row.extend_from_slice(&[0; 4]);
    row.extend_from_slice(&[1, 1]);
    row.extend_from_slice(&i64::MIN.to_le_bytes());
    row.extend_from_slice(&[0; 16]);
    row.extend_from_slice(&[2; 32]);
    row.push(1);
    row.extend_from_slice(&TIME_US.to_le_bytes());
    row.extend_from_slice(&[0xff; 16]);
    row.push(1);
    row.extend_from_slice(&[2; 16]);
    row.extend_from_slice(&[1, 1, b'n', 0, value.len() as u8]);
    row.extend_from_slice(&value);
    row.push(0);
    row
}

fn sqlite(path: &Path, for_copy: bool) -> SqliteStore {
    let options = SqliteOptions { for_copy, ..SqliteOptions::default() };
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let opened = SqliteStore::open(path, options, Arc::new(RecordingSink::default()), clock, random);
    opened.expect("it opens")
}

async fn postgres(database: &Database, for_copy: bool) -> PostgresStore {
    let options = PostgresOptions { for_copy, ..PostgresOptions::default() };
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let sink = Arc::new(RecordingSink::default());
    PostgresStore::open(&database.url(), options, sink, clock, random).await.expect("it opens")
}

/// A file as the version before left it.
async fn old_file(path: &Path) {
    let store = sqlite(path, false);
    let space = store.private_space(USER).await.expect("a space");
    store.close().await;
    drop(store);
    let db = rusqlite::Connection::open(path).expect("the file");
    let place = i64::from(space.no) << 36 | 1;
    db.execute("UPDATE space SET head = 1, arrival_us = 1", []).expect("a head");
    db.execute("INSERT INTO row (place, state) VALUES (?1, ?2)", (place, stored())).expect("a row");
    let key = "INSERT INTO row_key (space, key, name, place) VALUES (?1, ?2, 'Item', ?3)";
    db.execute(key, (space.no, ROW, place)).expect("its key");
    assert_eq!(db.execute(SQLITE_MIGRATION, []), Ok(1));
}

async fn rows(store: &dyn SpaceStore) -> Vec<Row> {
    let space = store.private_space(USER).await.expect("the space");
    let request = PullRequest::page(0, 9, 1 << 20);
    store.pull(&space, &request).await.expect("a page").rows
}

async fn update(store: &dyn SpaceStore, time_us: i64, value: i64) -> Verdict {
    let change = Change {
        id: EntryId([0x10; 16].map(|byte: u8| byte + value as u8)),
        id_spelling: Spelling::default(),
        table: "Item".into(),
        operation: Operation::Update,
        row: RowId { key: RowKey::Uuid(ROW), spelling: Spelling::default() },
        fields: vec![Field { name: "n".into(), value: integer(value) }],
        timestamp_us: Some(time_us),
        synthesized: false,
        filter_removal: false,
        by_filter: false,
        raw: Bytes::from_static(b"{}"),
    };
    let origin = Origin {
        writer: WriterId(random_id(&SystemRandom)),
        user: USER,
        session: [9; 16],
        address: "192.0.2.1".into(),
        user_agent: "tests".into(),
        opened_us: 1,
    };
    let (space, origin) = (store.private_space(USER).await.expect("the space"), Arc::new(origin));
    let incoming = vec![Incoming::Change(change)];
    let upload = Upload {
        space,
        origin,
        incoming,
        plain: false,
        echoes: false,
        read_only: false,
        applied: None,
        bytes: 1,
    };
    let answer = store.upload(upload).await.expect("it is taken").await.expect("an answer");
    answer.expect("it is stored")[0].verdict
}

/// The time of an old row holds, its id breaks no tie, and it is stored in the new form once it has changed.
async fn old_row_merges(store: &dyn SpaceStore) {
    let held = rows(store).await;
    assert_eq!((held[0].fields[0].stamp.time_us, held[0].fields[0].stamp.seq), (TIME_US, 1));
    assert_eq!(update(store, TIME_US - 1, 2).await, Verdict::Superseded);
    assert_eq!(update(store, TIME_US, 3).await, Verdict::Applied);
    assert_eq!(update(store, TIME_US, 4).await, Verdict::Applied);
    assert_eq!(rows(store).await[0].fields[0].value, integer(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_the_times_of_old_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    old_file(&path).await;
    for _ in 0..2 {
        let store = sqlite(&path, false);
        assert_eq!(rows(&store).await.len(), 1, "it is read as it stands");
        store.close().await;
    }
    let store = sqlite(&path, false);
    old_row_merges(&store).await;
    let before = rows(&store).await;
    store.close().await;
    drop(store);
    let store = sqlite(&path, false);
    assert_eq!(rows(&store).await, before);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_the_times_of_old_rows() {
    let database = Database::create();
    let store = postgres(&database, false).await;
    store.private_space(USER).await.expect("a space");
    store.close().await;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    database.execute("UPDATE space_head SET head = 1");
    database.execute(&format!(
        "INSERT INTO row_state SELECT space_id, '\\x{}', 'Item', 1, '\\x{}' FROM space",
        hex(&ROW),
        hex(&stored())
    ));
    database.execute(POSTGRES_MIGRATION);
    let store = postgres(&database, false).await;
    old_row_merges(&store).await;
    store.close().await;
}

struct Quiet;

impl Progress for Quiet {
    fn begins(&self, _: u64) {}
    fn space_done(&self) {}
    fn records(&self, _: u64) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_keeps_the_times_of_old_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    old_file(&path).await;
    let (source, database) = (sqlite(&path, false), Database::create());
    let target = postgres(&database, true).await;
    assert_eq!(copy(&source, &target, &Quiet).await.expect("copied").rows, 1);
    target.close().await;
    let target = postgres(&database, false).await;
    assert_eq!(rows(&target).await, rows(&source).await);
    old_row_merges(&target).await;
    target.close().await;
    source.close().await;
}
