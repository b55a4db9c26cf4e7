//! What readers see while generations come and go, and what is left after a restart.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use bytestring::ByteString;
use lattice_engine::{PullRequest, Receipt, RowRef, Seq, Verdict, WriterId};
use lattice_protocol::value::{integer, text};
use lattice_protocol::{Change, Code, EntryId, Field, Incoming, Operation, RowId, RowKey, Spelling};
use rusqlite::{Connection, params};

use super::recent::Snapshot;
use super::{RecentLimits, SqliteOptions, SqliteStore, open, spaces};
use crate::StoreError;
use crate::spaces::{NoSink, Origin, Space, SpaceStore, Upload};
use crate::time::{SystemClock, SystemRandom, random_id};

fn open_with(path: &Path, items: usize) -> SqliteStore {
    let recent = RecentLimits { max_generation_items: items, ..RecentLimits::default() };
    let options = SqliteOptions { recent, ..SqliteOptions::default() };
    SqliteStore::open(path, options, Arc::new(NoSink), Arc::new(SystemClock), Arc::new(SystemRandom))
        .expect("it opens")
}

/// A sequence that each test begins anew.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

fn origin(user: [u8; 16]) -> Arc<Origin> {
    Arc::new(Origin {
        writer: WriterId(random_id(&SystemRandom)),
        user,
        session: [0; 16],
        address: "192.0.2.1".into(),
        user_agent: "test".into(),
        opened_us: 1,
    })
}

/// Inserts, updates, deletes and links of few rows, so that rows move and come back.
fn change(dice: &mut Dice) -> Change {
    let number = dice.below(12);
    let key = match number {
        0 => RowKey::Text("a row".into()),
        _ => RowKey::Uuid([number as u8; 16]),
    };
    let (table, fields) = match dice.below(4) {
        0 => ("_Item_list", vec![("lhs", text(&format!("{}", dice.below(3)))), ("rhs", text("b"))]),
        _ => ("Item", vec![("n", integer(dice.below(1_000) as i64)), ("m", text(&"x".repeat(40)))]),
    };
    let operation = match dice.below(5) {
        0 => Operation::Delete,
        1 | 2 if table == "Item" => Operation::Update,
        _ => Operation::Insert,
    };
    let fields = if operation == Operation::Delete { Vec::new() } else { fields };
    Change {
        id: EntryId(random_id(&SystemRandom)),
        id_spelling: Spelling(0b1010),
        table: ByteString::from(table),
        operation,
        row: RowId { key, spelling: Spelling::default() },
        fields: fields.into_iter().map(|(name, value)| Field { name: name.into(), value }).collect(),
        timestamp_us: None,
        synthesized: false,
        filter_removal: false,
        by_filter: false,
        raw: Bytes::from(format!("{{\"number\":{number}}}")),
    }
}

async fn send(store: &SqliteStore, space: &Arc<Space>, changes: Vec<Change>) -> Vec<Verdict> {
    let incoming = changes.into_iter().map(Incoming::Change).collect();
    // Here the first space is user 1's, and so on.
    let origin = origin([space.no as u8; 16]);
    let (plain, echoes, read_only) = (false, false, false);
    let upload = Upload {
        space: Arc::clone(space),
        origin,
        incoming,
        plain,
        echoes,
        read_only,
        applied: None,
        bytes: 100,
    };
    let answer = store.upload(upload).await.expect("the queue takes it");
    let outcomes = answer.await.expect("an answer").expect("it is stored");
    outcomes.iter().map(|outcome| outcome.verdict).collect()
}

/// Page, rows by key, receipts and audit lines of one snapshot must say the same. Answers its head.
fn check(connection: &Connection, recent: &Snapshot, space: u32) -> Result<Seq, StoreError> {
    let everything = PullRequest::page(0, usize::MAX, usize::MAX);
    let data = spaces::pull(connection, recent, space, &everything)?;
    assert_eq!(data.head, spaces::head(connection, recent, space)?.seq);
    assert!(data.rows.windows(2).all(|rows| rows[0].last_seq < rows[1].last_seq));
    let mut found: BTreeMap<RowRef, Seq> = BTreeMap::new();
    for row in &data.rows {
        assert!(row.last_seq <= data.head);
        assert_eq!(spaces::row(connection, recent, space, &row.reference())?.as_ref(), Some(row));
        assert_eq!(found.insert(row.reference(), row.last_seq), None, "each row is there once");
    }
    let (mut after, mut paged) = (0, Vec::new());
    loop {
        let request = PullRequest { after, max_rows: 3, ..everything.clone() };
        let page = spaces::pull(connection, recent, space, &request)?;
        paged.extend(page.rows);
        if !page.more {
            break;
        }
        after = paged.last().map_or(0, |row| row.last_seq);
    }
    assert_eq!(paged, data.rows, "small pages are the whole");
    // Tombstones of the first half are left out where that is asked for.
    let half = PullRequest { deleted_after: data.head / 2, ..everything };
    let (mut after, mut lively) = (0, Vec::new());
    loop {
        let page =
            spaces::pull(connection, recent, space, &PullRequest { after, max_rows: 3, ..half.clone() })?;
        lively.extend(page.rows);
        if !page.more {
            break;
        }
        after = lively.last().map_or(0, |row: &lattice_engine::Row| row.last_seq);
    }
    let mut wanted = data.rows.clone();
    wanted.retain(|row| half.wants(row.last_seq, row.deleted));
    assert_eq!(lively, wanted, "tombstones are left out");
    let log = spaces::audit(connection, recent, space, 0, usize::MAX >> 1)?;
    assert!(log.iter().map(|line| line.record.seq).eq(1..=data.head), "the log reaches to the head");
    for line in &log {
        let receipt = spaces::receipt(connection, recent, space, line.record.id)?;
        let refused = matches!(line.record.verdict, Verdict::Rejected(_));
        assert_eq!(receipt, Some(Receipt { seq: line.record.seq, refused }));
        assert_eq!(line.user, Some([space as u8; 16]));
    }
    if let Some(middle) = log.get(log.len() / 2) {
        let two = spaces::audit(connection, recent, space, middle.record.seq - 1, 2)?;
        assert_eq!(two[0].record, middle.record);
    }
    Ok(data.head)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn snapshots_are_whole_while_generations_come_and_go() {
    for items in [1, 7, 100] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.db");
        let store = open_with(&path, items);
        let mut made = Vec::new();
        for user in 1..=3 {
            made.push(store.private_space([user; 16]).await.expect("a space"));
        }
        let done = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = made
            .iter()
            .map(|space| {
                let (store, done, no) = (store.clone(), Arc::clone(&done), space.no);
                tokio::spawn(async move {
                    let mut last = 0;
                    while !done.load(Ordering::Relaxed) {
                        let head = store.read_spaces(move |db, recent| check(db, recent, no)).await;
                        let head = head.expect("a snapshot");
                        assert!(head >= last, "snapshots do not go back");
                        last = head;
                    }
                })
            })
            .collect();
        let (mut dice, mut sent) = (Dice(items as u64), Vec::new());
        for _ in 0..150 {
            let space = &made[dice.below(3) as usize];
            let changes: Vec<Change> = (0..=dice.below(4)).map(|_| change(&mut dice)).collect();
            sent.extend(changes.iter().map(|change| (space.no, change.clone())));
            send(&store, space, changes).await;
            // What was answered is seen by every later read.
            let (no, id) = sent.last().map(|(no, change)| (*no, change.id)).expect("one was sent");
            let receipt = store.read_spaces(move |db, recent| spaces::receipt(db, recent, no, id)).await;
            assert!(receipt.expect("a snapshot").is_some());
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.await.expect("no reader fails");
        }
        let state = read_all(&store, &made).await;
        store.close().await;
        drop(store);
        // With generations of another size, parts of what is read from the log were flushed before.
        for other in [100, 1, 7] {
            let store = open_with(&path, other);
            assert_eq!(read_all(&store, &made).await, state, "a restart changes nothing");
            for (no, change) in sent.iter().rev().take(20) {
                let space = made.iter().find(|space| space.no == *no).expect("its space");
                let again = send(&store, space, vec![change.clone()]).await;
                let known = [Verdict::Duplicate, Verdict::Rejected(Code::RefusedBefore)];
                assert!(known.contains(&again[0]), "{again:?}");
            }
            for space in &made {
                let no = space.no;
                store.read_spaces(move |db, recent| check(db, recent, no)).await.expect("a snapshot");
            }
            assert_eq!(stripped(read_all(&store, &made).await), stripped(state.clone()));
            integrity(&store).await;
            store.close().await;
        }
    }
}

/// Everything that can be read of each space.
type Everything = Vec<(Seq, Vec<lattice_engine::Row>)>;

async fn read_all(store: &SqliteStore, made: &[Arc<Space>]) -> Everything {
    let mut all = Vec::new();
    for space in made {
        let everything = PullRequest::page(0, usize::MAX, usize::MAX);
        let data = store.pull(space, &everything).await.expect("a page");
        all.push((data.head, data.rows));
    }
    all
}

/// Without what a duplicate changes: its row is shared from then on.
fn stripped(mut all: Everything) -> Everything {
    for row in all.iter_mut().flat_map(|(_, rows)| rows) {
        row.shared = false;
        row.fields.iter_mut().for_each(|field| field.shared = false);
    }
    all
}

async fn integrity(store: &SqliteStore) {
    let result =
        store.read(|db| Ok(db.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0))?));
    assert_eq!(result.await.expect("an answer"), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_many_rows_have_left_are_skipped() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    let store = open_with(&path, 1);
    let space = store.private_space([1; 16]).await.expect("a space");
    let mut dice = Dice(1);
    let mut edits = |operation, numbers: std::ops::Range<u8>| -> Vec<Change> {
        let edit = |number| Change {
            operation,
            table: ByteString::from("Item"),
            row: RowId { key: RowKey::Uuid([number; 16]), spelling: Spelling::default() },
            fields: vec![Field { name: "n".into(), value: integer(i64::from(number)) }],
            ..change(&mut dice)
        };
        numbers.map(edit).collect()
    };
    send(&store, &space, edits(Operation::Insert, 0..200)).await;
    send(&store, &space, edits(Operation::Insert, 200..255)).await;
    let flushed = |db: &Connection| Ok(db.query_row("SELECT count(*) FROM row", [], |row| row.get(0))?);
    let count: i64 = store.read(flushed).await.expect("an answer");
    assert!(count > 50, "{count} rows are flushed");
    store.close().await;
    drop(store);
    let store = open_with(&path, 1_000_000);
    send(&store, &space, edits(Operation::Update, 3..90)).await;
    send(&store, &space, edits(Operation::Update, 95..100)).await;
    let no = space.no;
    assert_eq!(store.read_spaces(move |db, recent| check(db, recent, no)).await, Ok(255 + 92));
    let everything = PullRequest::page(0, usize::MAX, usize::MAX);
    let rows = store.pull(&space, &everything).await.expect("a page").rows;
    assert_eq!(rows.len(), 255);
    assert!(rows[..3].iter().map(|row| row.last_seq).eq(1..=3) && rows[3].last_seq == 91);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_upload_takes_several_blocks() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    let store = open_with(&path, 1_000);
    let space = store.private_space([1; 16]).await.expect("a space");
    let mut dice = Dice(1);
    let changes: Vec<Change> = (0..60)
        .map(|number: u8| Change {
            operation: Operation::Insert,
            table: ByteString::from("Item"),
            row: RowId { key: RowKey::Uuid([number; 16]), spelling: Spelling::default() },
            fields: vec![Field { name: "t".into(), value: text(&"y".repeat(50_000)) }],
            raw: Bytes::from(vec![b'z'; 50_000]),
            ..change(&mut dice)
        })
        .collect();
    send(&store, &space, changes).await;
    let blocks = |db: &Connection| Ok(db.query_row("SELECT count(*) FROM block", [], |row| row.get(0))?);
    let count: i64 = store.read(blocks).await.expect("an answer");
    assert!(count >= 3, "{count} blocks");
    for _ in 0..2 {
        let no = space.no;
        let store = open_with_after_close(&store, &path).await;
        assert_eq!(store.read_spaces(move |db, recent| check(db, recent, no)).await, Ok(60));
        store.close().await;
    }
}

async fn open_with_after_close(store: &SqliteStore, path: &Path) -> SqliteStore {
    store.close().await;
    // The lock is the process's own as long as a store of it is there.
    let copy = path.with_extension("copy.db");
    std::fs::copy(path, &copy).expect("a copy");
    open_with(&copy, 10)
}

/// A checkpoint of a few bytes must not make the server read whatever others have uploaded.
#[tokio::test(flavor = "multi_thread")]
async fn the_newest_accepted_change_is_not_looked_for_in_large_uploads() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open_with(&folder.path().join("db"), 1_000);
    let space = store.private_space([1; 16]).await.expect("a space");
    let mut dice = Dice(1);
    let insert = Change { operation: Operation::Insert, ..change(&mut dice) };
    send(&store, &space, vec![insert.clone()]).await;
    let newest = async || store.newest_accepted(&space).await.expect("an answer").map(|(id, _)| id);
    assert_eq!(newest().await, Some(insert.id));
    // What cannot be packed, so that it is as large as it looks.
    let noise: Vec<u8> = (0..300 << 10).map(|_| b'a' + dice.below(26) as u8).collect();
    let raw = Bytes::from(format!("\"{}\"", String::from_utf8(noise).expect("letters")));
    send(&store, &space, vec![Change { raw, ..change(&mut dice) }]).await;
    assert_eq!(newest().await, None);
    let last = Change { operation: Operation::Insert, ..change(&mut dice) };
    send(&store, &space, vec![last.clone()]).await;
    assert_eq!(newest().await, Some(last.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_first_version_stored_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    let mut old = Connection::open(&path).expect("a database");
    old.pragma_update(None, "application_id", 0x4c61_7474).expect("its mark");
    let runner = open::migrations::migrations::runner().set_target(refinery::Target::Version(2));
    runner.run(&mut old).expect("the first schema");
    let at = |seq: i64| (1_i64 << 36) | seq;
    old.execute_batch(
        "INSERT INTO space (no, id, kind, owner, rules, head, arrival_us, created_us)
         VALUES (1, zeroblob(16), 'private', x'01010101010101010101010101010101', 'field', 2, 70, 1);
         INSERT INTO writer VALUES (x'02020202020202020202020202020202', x'03030303030303030303030303030303',
                                    zeroblob(16), '', '', 1);",
    )
    .expect("a space");
    let sql = "INSERT INTO entry VALUES (?1, 1, ?2, 5, ?3, ?4, 0, 60, ?5, x'7b7d')";
    old.execute(sql, params![at(1), [7_u8; 16], [2_u8; 16], "applied", 60]).expect("a line");
    old.execute(sql, params![at(2), [8_u8; 16], [2_u8; 16], "rejected:bad_value", 70]).expect("a line");
    drop(old);

    let store = open_with(&path, 1);
    let space = store.private_space([1; 16]).await.expect("its space");
    assert_eq!(space.no, 1);
    let receipt = |id: [u8; 16]| store.receipt(&space, EntryId(id));
    assert_eq!(receipt([7; 16]).await, Ok(Some(Receipt { seq: 1, refused: false })));
    assert_eq!(receipt([8; 16]).await, Ok(Some(Receipt { seq: 2, refused: true })));
    let known = Change { id: EntryId([7; 16]), ..change(&mut Dice(1)) };
    assert_eq!(send(&store, &space, vec![known, change(&mut Dice(2))]).await[0], Verdict::Duplicate);
    let lines = store.audit(&space, 0, 10).await.expect("the log");
    assert!(lines.iter().map(|line| line.record.seq).eq(1..=3));
    assert_eq!((lines[1].record.id, lines[1].user), (EntryId([8; 16]), Some([3; 16])));
    assert_eq!(store.audit(&space, 0, 2).await.expect("the log").len(), 2);
    assert_eq!(store.audit(&space, 1, 2).await.expect("the log")[1].record.seq, 3);
}
