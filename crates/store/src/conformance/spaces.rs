//! Spaces: uploads, pages, receipts, the audit log, and what the sink is told.
//!
//! The suite makes its own users, so it may run on a store that holds others.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use bytestring::ByteString;
use lattice_engine::{Cursor, PullRequest, Receipt, RowRef, Seq, SpaceId, Stream, Verdict, WriterId};
use lattice_protocol::native::AckId;
use lattice_protocol::value::{integer, text};
use lattice_protocol::{Change, Code, EntryId, Field, Incoming, Operation, Refused, RowId, RowKey, Spelling};

use crate::StoreError;
use crate::spaces::{CommitSink, Committed, Origin, Space, SpaceStore, Upload};
use crate::time::{SystemRandom, random_id};

/// Keeps what a store tells its sink, for the suite to look at.
#[derive(Default)]
pub struct RecordingSink {
    commits: Mutex<Vec<Committed>>,
}

impl CommitSink for RecordingSink {
    fn committed(&self, commit: Committed) {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner).push(commit);
    }
}

impl RecordingSink {
    fn of(&self, space: &Space) -> Vec<(Seq, Seq, usize)> {
        let commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = commits.iter().filter(|commit| commit.space == space.id);
        ours.map(|commit| (commit.before, commit.head, commit.visible.len())).collect()
    }
}

/// Calls every method of the store, deletes and concurrency included.
///
/// # Panics
/// When the store breaks a promise.
pub async fn spaces(store: Arc<dyn SpaceStore>, sink: &RecordingSink) {
    one_private_space_for_each_user(&*store).await;
    uploads_get_seqs_and_verdicts(&*store, sink).await;
    entries_are_known_by_space(&*store).await;
    pages_follow_the_order_of_changes(&*store).await;
    deletes_leave_tombstones(&*store).await;
    pages_leave_out_tombstones_up_to_a_seq(&*store).await;
    equal_times_are_decided_by_arrival(&*store).await;
    pairs_of_links_are_kept(&*store).await;
    refused_changes_are_logged(&*store).await;
    read_only_tokens_change_nothing(&*store).await;
    the_newest_accepted_change_is_found(&*store).await;
    corrections_are_read_with_the_page(&*store).await;
    values_and_ids_come_back_byte_for_byte(&*store).await;
    heads_of_many_spaces_are_read_at_once(&*store).await;
    concurrent_uploads_lose_nothing(store).await;
}

/// One connection of one user.
pub(super) struct Device {
    space: Arc<Space>,
    origin: Arc<Origin>,
    /// Its token may only read.
    read_only: bool,
    /// What it is known to have applied.
    applied: Option<Cursor>,
}

impl Device {
    async fn new(store: &dyn SpaceStore) -> Self {
        let user = random_id(&SystemRandom);
        Self::of(store.private_space(user).await.expect("a space"), user)
    }

    pub(super) fn of(space: Arc<Space>, user: [u8; 16]) -> Self {
        let origin = Origin {
            writer: WriterId(random_id(&SystemRandom)),
            user,
            session: random_id(&SystemRandom),
            address: "192.0.2.1".into(),
            user_agent: "conformance".into(),
            opened_us: 1,
        };
        Self { space, origin: Arc::new(origin), read_only: false, applied: None }
    }

    pub(super) async fn send(&self, store: &dyn SpaceStore, incoming: Vec<Incoming>) -> Vec<Verdict> {
        self.try_send(store, incoming).await.expect("it is stored")
    }

    pub(super) async fn try_send(
        &self,
        store: &dyn SpaceStore,
        incoming: Vec<Incoming>,
    ) -> Result<Vec<Verdict>, StoreError> {
        let upload = Upload {
            space: Arc::clone(&self.space),
            origin: Arc::clone(&self.origin),
            incoming,
            plain: false,
            echoes: false,
            read_only: self.read_only,
            applied: self.applied,
            bytes: 100,
        };
        let answer = store.upload(upload).await.expect("the queue takes it");
        let outcomes = answer.await.expect("an answer")?;
        Ok(outcomes.iter().map(|outcome| outcome.verdict).collect())
    }

    async fn pull(&self, store: &dyn SpaceStore, after: Seq, max_rows: usize) -> (Vec<Seq>, bool, Seq) {
        let request = PullRequest::page(after, max_rows, 1 << 20);
        let data = store.pull(&self.space, &request).await.expect("a page");
        (data.rows.iter().map(|row| row.last_seq).collect(), data.more, data.head)
    }
}

fn entry_id() -> EntryId {
    EntryId(random_id(&SystemRandom))
}

pub(super) fn uuid_row() -> RowId {
    RowId { key: RowKey::Uuid(random_id(&SystemRandom)), spelling: Spelling::default() }
}

pub(super) fn change(operation: Operation, table: &str, row: &RowId, fields: &[(&str, Bytes)]) -> Change {
    let field = |(name, value): &(&str, Bytes)| Field { name: ByteString::from(*name), value: value.clone() };
    Change {
        id: entry_id(),
        id_spelling: Spelling(0b1010),
        table: ByteString::from(table),
        operation,
        row: row.clone(),
        fields: fields.iter().map(field).collect(),
        timestamp_us: None,
        synthesized: false,
        filter_removal: false,
        by_filter: false,
        raw: Bytes::from_static(b"{\"as\":\"received\"}"),
    }
}

pub(super) fn insert(row: &RowId, value: i64) -> Incoming {
    Incoming::Change(change(Operation::Insert, "Item", row, &[("n", integer(value))]))
}

async fn one_private_space_for_each_user(store: &dyn SpaceStore) {
    let (one, other) = (random_id(&SystemRandom), random_id(&SystemRandom));
    let spaces = [
        store.private_space(one),
        store.private_space(one),
        store.private_space(other),
        store.private_space(one),
    ];
    let [a, b, c, d] = spaces;
    let (a, b, c, d) = tokio::join!(a, b, c, d);
    let (a, b, c, d) = (a.expect("a"), b.expect("b"), c.expect("c"), d.expect("d"));
    assert!(a.id == b.id && a.id == d.id, "racing calls make one space");
    assert!(a.id != c.id);
    assert_eq!(store.head(&a).await.expect("a head").seq, 0);
}

async fn uploads_get_seqs_and_verdicts(store: &dyn SpaceStore, sink: &RecordingSink) {
    let device = Device::new(store).await;
    let row = uuid_row();
    assert_eq!(
        device.send(store, vec![insert(&row, 1), insert(&uuid_row(), 2)]).await,
        [Verdict::Applied; 2]
    );
    let update = change(Operation::Update, "Item", &row, &[("n", integer(3))]);
    assert_eq!(device.send(store, vec![Incoming::Change(update.clone())]).await, [Verdict::Applied]);
    let mut late = change(Operation::Update, "Item", &row, &[("n", integer(4)), ("m", integer(5))]);
    late.timestamp_us = Some(7);
    let again = vec![Incoming::Change(update.clone()), Incoming::Change(late)];
    assert_eq!(device.send(store, again).await, [Verdict::Duplicate, Verdict::Merged]);
    let head = store.head(&device.space).await.expect("a head");
    assert_eq!(head.seq, 4, "a duplicate takes no seq");
    assert!(head.arrival_us > 0);

    assert_eq!(sink.of(&device.space), [(0, 2, 2), (2, 3, 1), (3, 4, 1)]);
    let lines = store.audit(&device.space, 0, 100).await.expect("the log");
    let verdicts: Vec<_> = lines.iter().map(|line| (line.record.seq, line.record.verdict)).collect();
    use Verdict::{Applied, Merged};
    assert_eq!(verdicts, [(1, Applied), (2, Applied), (3, Applied), (4, Merged)]);
    let line = &lines[2];
    assert_eq!((line.record.id, line.record.id_spelling), (update.id, update.id_spelling));
    assert_eq!((line.writer, line.user), (device.origin.writer, Some(device.origin.user)));
    assert_eq!(line.record.raw, update.raw);
    assert!(lines.windows(2).all(|pair| pair[0].record.arrived_us < pair[1].record.arrived_us));
    assert_eq!(store.audit(&device.space, 1, 2).await.expect("the log").len(), 2);
}

async fn entries_are_known_by_space(store: &dyn SpaceStore) {
    let (one, other) = (Device::new(store).await, Device::new(store).await);
    let entry = insert(&uuid_row(), 1);
    let Incoming::Change(Change { id, .. }) = entry else { unreachable!("it is a change") };
    assert_eq!(one.send(store, vec![entry.clone()]).await, [Verdict::Applied]);
    assert_eq!(store.receipt(&other.space, id).await.expect("an answer"), None);
    assert_eq!(
        other.send(store, vec![entry.clone()]).await,
        [Verdict::Applied],
        "another space, another entry"
    );
    assert_eq!(one.send(store, vec![entry]).await, [Verdict::Duplicate]);
    let receipt = store.receipt(&one.space, id).await.expect("an answer");
    assert_eq!(receipt, Some(Receipt { seq: 1, refused: false }));
    assert_eq!(store.receipt(&one.space, entry_id()).await.expect("an answer"), None);
}

async fn pages_follow_the_order_of_changes(store: &dyn SpaceStore) {
    let (device, other) = (Device::new(store).await, Device::new(store).await);
    let rows: Vec<RowId> = (0..5).map(|_| uuid_row()).collect();
    device.send(store, rows.iter().map(|row| insert(row, 1)).collect()).await;
    other.send(store, vec![insert(&uuid_row(), 1)]).await;
    assert_eq!(device.pull(store, 0, 2).await, (vec![1, 2], true, 5));
    assert_eq!(device.pull(store, 2, 3).await, (vec![3, 4, 5], false, 5));
    assert_eq!(device.pull(store, 5, 3).await, (vec![], false, 5));
    let moved = change(Operation::Update, "Item", &rows[1], &[("n", integer(2))]);
    device.send(store, vec![Incoming::Change(moved)]).await;
    assert_eq!(
        device.pull(store, 0, 10).await,
        (vec![1, 3, 4, 5, 6], false, 6),
        "a changed row moves to the end"
    );
    let small = PullRequest::page(0, 10, 1);
    let data = store.pull(&device.space, &small).await.expect("a page");
    assert_eq!((data.rows.len(), data.more), (1, true), "one row fits always");
}

async fn deletes_leave_tombstones(store: &dyn SpaceStore) {
    let device = Device::new(store).await;
    let row = uuid_row();
    device.send(store, vec![insert(&row, 1)]).await;
    let delete = || Incoming::Change(change(Operation::Delete, "Item", &row, &[]));
    assert_eq!(device.send(store, vec![delete()]).await, [Verdict::Applied]);
    let request = PullRequest::page(0, 9, 1 << 20);
    let data = store.pull(&device.space, &request).await.expect("a page");
    let [tombstone] = &data.rows[..] else { panic!("one row, not {}", data.rows.len()) };
    assert!(tombstone.deleted && tombstone.fields.is_empty() && tombstone.last_seq == 2);
    assert_eq!(device.send(store, vec![delete()]).await, [Verdict::Applied]);
    assert_eq!(device.pull(store, 0, 9).await.0, [2], "a tombstone keeps its place");
    assert_eq!(device.send(store, vec![insert(&row, 2)]).await, [Verdict::Applied], "a later insert revives");
    let data = store.pull(&device.space, &request).await.expect("a page");
    assert!(data.rows[0].is_live() && data.rows[0].revived && data.rows[0].created_seq == 4);
}

async fn pages_leave_out_tombstones_up_to_a_seq(store: &dyn SpaceStore) {
    let device = Device::new(store).await;
    let rows: Vec<RowId> = (0..6).map(|_| uuid_row()).collect();
    device.send(store, rows.iter().map(|row| insert(row, 1)).collect()).await;
    let delete = |row: &RowId| Incoming::Change(change(Operation::Delete, "Item", row, &[]));
    // Tombstones at 7, 8 and 9, live rows at 4, 5 and 10.
    device.send(store, rows[..3].iter().map(delete).collect()).await;
    let moved = change(Operation::Update, "Item", &rows[5], &[("n", integer(2))]);
    device.send(store, vec![Incoming::Change(moved)]).await;
    let page = |after, deleted_after, max_rows| {
        let request = PullRequest { deleted_after, ..PullRequest::page(after, max_rows, 1 << 20) };
        let space = Arc::clone(&device.space);
        async move {
            let data = store.pull(&space, &request).await.expect("a page");
            (data.rows.iter().map(|row| row.last_seq).collect::<Vec<_>>(), data.more, data.head)
        }
    };
    assert_eq!(page(0, 0, 9).await, (vec![4, 5, 7, 8, 9, 10], false, 10));
    assert_eq!(page(0, 10, 9).await, (vec![4, 5, 10], false, 10));
    assert_eq!(page(0, 8, 9).await, (vec![4, 5, 9, 10], false, 10));
    // They take no place in a page, and nothing is said to follow where only they do.
    assert_eq!(page(0, 10, 2).await, (vec![4, 5], true, 10));
    assert_eq!(page(5, 10, 1).await, (vec![10], false, 10));
    device.send(store, vec![delete(&rows[5])]).await;
    assert_eq!(page(5, 11, 1).await, (vec![], false, 11));
}

/// Also before 1970, and whatever the ids: within an upload, and from one to the next.
async fn equal_times_are_decided_by_arrival(store: &dyn SpaceStore) {
    use Verdict::{Applied, Superseded};
    for time_us in [1_000_000, 0, -1, -9_000_000_000_000_000] {
        let device = Device::new(store).await;
        let row = uuid_row();
        let at = |time_us, operation, value| {
            let fields = [("n", integer(value))];
            let fields = if operation == Operation::Delete { &fields[..0] } else { &fields[..] };
            let made = change(operation, "Item", &row, fields);
            Incoming::Change(Change { timestamp_us: Some(time_us), ..made })
        };
        let (insert, update, delete) = (Operation::Insert, Operation::Update, Operation::Delete);
        for value in 0..8 {
            assert_eq!(device.send(store, vec![at(time_us, insert, value)]).await, [Applied]);
        }
        let many = (8..16).map(|value| at(time_us, update, value)).collect();
        assert_eq!(device.send(store, many).await, [Applied; 8]);
        let request = PullRequest::page(0, 9, 1 << 20);
        let data = store.pull(&device.space, &request).await.expect("a page");
        assert_eq!(
            (data.rows[0].fields[0].value.clone(), data.rows[0].fields[0].stamp.time_us),
            (integer(15), time_us)
        );
        let replaced = vec![at(time_us, delete, 0), at(time_us, insert, 16)];
        assert_eq!(device.send(store, replaced).await, [Applied; 2]);
        assert_eq!(device.send(store, vec![at(time_us - 1, update, 17)]).await, [Superseded]);
        let data = store.pull(&device.space, &request).await.expect("a page");
        assert_eq!(data.rows[0].fields[0].value, integer(16));
        assert_eq!(device.send(store, vec![at(time_us, delete, 0)]).await, [Applied]);
        let lines = store.audit(&device.space, 0, 100).await.expect("the log");
        assert!(lines.iter().all(|line| line.record.time_us == time_us || line.record.verdict == Superseded));
    }
}

async fn pairs_of_links_are_kept(store: &dyn SpaceStore) {
    let device = Device::new(store).await;
    let link = |row: &RowId| {
        let ends = [("lhs", text("a")), ("rhs", text("b"))];
        Incoming::Change(change(Operation::Insert, "_Item_list", row, &ends))
    };
    let (first, second, third) = (uuid_row(), uuid_row(), uuid_row());
    assert_eq!(device.send(store, vec![link(&first)]).await, [Verdict::Applied]);
    assert_eq!(device.send(store, vec![link(&second)]).await, [Verdict::Superseded]);
    let corrections = vec![RowRef { table: ByteString::from("_Item_list"), key: second.key.clone() }];
    let request = PullRequest { corrections, ..PullRequest::page(2, 9, 1 << 20) };
    let data = store.pull(&device.space, &request).await.expect("a page");
    assert!(data.corrected[0].row.as_ref().is_some_and(|row| row.deleted && row.hidden));
    assert!(
        data.corrected[0].keeper.as_ref().is_some_and(|row| row.id == first),
        "the surviving link comes along"
    );
    let delete = change(Operation::Delete, "_Item_list", &first, &[]);
    device.send(store, vec![Incoming::Change(delete)]).await;
    assert_eq!(device.send(store, vec![link(&third)]).await, [Verdict::Applied], "the pair is free again");
}

async fn refused_changes_are_logged(store: &dyn SpaceStore) {
    let device = Device::new(store).await;
    let id = entry_id();
    let refused = || {
        Incoming::Refused(Refused {
            ack: Some(ByteString::from("x")),
            id: Some((id, Spelling::default())),
            target: Some((ByteString::from("Item"), uuid_row())),
            code: Code::BadValue,
            detail: "a test".into(),
            raw: Bytes::from_static(b"{}"),
        })
    };
    let verdict = Verdict::Rejected(Code::BadValue);
    assert_eq!(
        device.send(store, vec![refused(), insert(&uuid_row(), 1)]).await,
        [verdict, Verdict::Applied]
    );
    assert_eq!(device.send(store, vec![refused()]).await, [verdict]);
    let receipt = store.receipt(&device.space, id).await.expect("an answer");
    assert_eq!(receipt, Some(Receipt { seq: 1, refused: true }));
    let lines = store.audit(&device.space, 0, 9).await.expect("the log");
    assert_eq!(lines.iter().map(|line| line.record.verdict).collect::<Vec<_>>(), [verdict, Verdict::Applied]);
}

async fn read_only_tokens_change_nothing(store: &dyn SpaceStore) {
    let device = Device::new(store).await;
    let row = uuid_row();
    device.send(store, vec![insert(&row, 1)]).await;
    let reader = Device { read_only: true, ..Device::of(Arc::clone(&device.space), device.origin.user) };
    let changes = [
        change(Operation::Insert, "Item", &uuid_row(), &[("n", integer(2))]),
        change(Operation::Update, "Item", &row, &[("n", integer(2))]),
        change(Operation::Delete, "Item", &row, &[]),
    ];
    let refused = Verdict::Rejected(Code::PermissionDenied);
    assert_eq!(reader.send(store, changes.into_iter().map(Incoming::Change).collect()).await, [refused; 3]);
    let lines = store.audit(&device.space, 1, 100).await.expect("the log");
    let verdicts: Vec<_> = lines.iter().map(|line| (line.record.verdict, line.user)).collect();
    assert_eq!(verdicts, [(refused, Some(device.origin.user)); 3]);
    assert_eq!(device.pull(store, 0, 9).await.0[0], 1, "the row is as it was");
}

async fn the_newest_accepted_change_is_found(store: &dyn SpaceStore) {
    let device = Device::new(store).await;
    let newest = || async { store.newest_accepted(&device.space).await.expect("an answer") };
    assert_eq!(newest().await, None);
    let row = uuid_row();
    let insert = change(Operation::Insert, "Item", &row, &[("n", integer(1)), ("m", integer(1))]);
    let update = change(Operation::Update, "Item", &row, &[("n", integer(2))]);
    let mut merged = change(Operation::Update, "Item", &row, &[("n", integer(0)), ("o", integer(0))]);
    merged.timestamp_us = Some(1);
    let lost = Change { id: entry_id(), fields: merged.fields[..1].to_vec(), ..merged.clone() };
    device.send(store, vec![Incoming::Change(insert), Incoming::Change(update.clone())]).await;
    assert_eq!(newest().await, Some((update.id, update.id_spelling)));
    let both = vec![Incoming::Change(merged.clone()), Incoming::Change(lost)];
    assert_eq!(device.send(store, both).await, [Verdict::Merged, Verdict::Superseded]);
    assert_eq!(newest().await, Some((merged.id, merged.id_spelling)), "what lost is not meant");
    let reader = Device { read_only: true, ..Device::of(Arc::clone(&device.space), device.origin.user) };
    for number in 0..40 {
        reader.send(store, vec![self::insert(&row, number)]).await;
    }
    assert_eq!(newest().await, Some((merged.id, merged.id_spelling)), "nor what was refused");
}

async fn corrections_are_read_with_the_page(store: &dyn SpaceStore) {
    let device = Device::new(store).await;
    let other = Device::of(Arc::clone(&device.space), device.origin.user);
    let row = uuid_row();
    device.send(store, vec![insert(&row, 1)]).await;
    let update = change(Operation::Update, "Item", &row, &[("n", integer(2))]);
    let upload = Upload {
        space: Arc::clone(&other.space),
        origin: Arc::clone(&other.origin),
        incoming: vec![Incoming::Change(update.clone())],
        plain: false,
        echoes: false,
        read_only: false,
        applied: None,
        bytes: 1,
    };
    let answer = store.upload(upload).await.expect("the queue takes it").await;
    let outcomes = answer.expect("an answer").expect("it is stored");
    let mut stream = Stream::new(other.origin.writer, Cursor::default());
    assert!(stream.outcomes(outcomes).is_empty(), "a write to a shared field waits for its echo");
    let request = stream.pull_request(9, 1 << 20);
    let data = store.pull(&other.space, &request).await.expect("a page");
    let delivery = stream.pulled(&request, data, &other.space.minter);
    assert_eq!(delivery.acks, [AckId::Uuid(update.id, update.id_spelling)]);
    let echo = delivery.corrections.last().expect("an echo");
    assert_eq!(echo.fields, update.fields);
    assert_eq!(other.space.minter.verify(echo.id), Some(Cursor::complete(2)));
}

async fn values_and_ids_come_back_byte_for_byte(store: &dyn SpaceStore) {
    let device = Device::new(store).await;
    let mixed = RowId::parse("0E87cd17-7a1f-4aA3-Ad56-905de90042c3").expect("a row id");
    let short = RowId::parse("r1").expect("a row id");
    let sixteen = RowId::parse("exactly16bytes!!").expect("a row id");
    let large = text(&"é😀\u{0}\\\"".repeat(100_000));
    let upload = [&mixed, &short, &sixteen].map(|row| {
        Incoming::Change(change(
            Operation::Insert,
            "Item",
            row,
            &[("n", integer(i64::MIN)), ("t", large.clone())],
        ))
    });
    device.send(store, upload.into()).await;
    let request = PullRequest::page(0, 9, 64 << 20);
    let rows = store.pull(&device.space, &request).await.expect("a page").rows;
    assert_eq!(
        rows.iter().map(|row| row.id.to_text()).collect::<Vec<_>>(),
        [mixed, short, sixteen].map(|r| r.to_text())
    );
    assert!(rows.iter().all(|row| row.fields[1].value == large && row.fields[0].value == integer(i64::MIN)));
}

async fn heads_of_many_spaces_are_read_at_once(store: &dyn SpaceStore) {
    let (empty, used) = (Device::new(store).await, Device::new(store).await);
    used.send(store, vec![insert(&uuid_row(), 1), insert(&uuid_row(), 2)]).await;
    let unknown = SpaceId(random_id(&SystemRandom));
    let asked = [used.space.id, unknown, empty.space.id];
    let mut heads = store.heads(&asked).await.expect("heads");
    heads.sort_by_key(|(_, head)| *head);
    assert_eq!(heads, [(empty.space.id, 0), (used.space.id, 2)]);
    assert_eq!(store.heads(&[]).await.expect("heads"), []);
}

async fn concurrent_uploads_lose_nothing(store: Arc<dyn SpaceStore>) {
    const DEVICES: u64 = 8;
    const UPLOADS: u64 = 25;
    let first = Device::new(&*store).await;
    let (shared, user) = (Arc::clone(&first.space), first.origin.user);
    let tasks = (0..DEVICES).map(|_| {
        let (store, space) = (Arc::clone(&store), Arc::clone(&shared));
        tokio::spawn(async move {
            let alone = Device::new(&*store).await;
            let together = Device::of(space, user);
            for n in 0..UPLOADS {
                together.send(&*store, vec![insert(&uuid_row(), n.cast_signed())]).await;
                alone.send(&*store, vec![insert(&uuid_row(), n.cast_signed())]).await;
            }
            let (rows, more, head) = alone.pull(&*store, 0, 1_000).await;
            assert_eq!((rows.len() as u64, more, head), (UPLOADS, false, UPLOADS));
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("no device fails");
    }
    let lines = store.audit(&shared, 0, 10_000).await.expect("the log");
    let seqs: Vec<Seq> = lines.iter().map(|line| line.record.seq).collect();
    assert_eq!(seqs, (1..=DEVICES * UPLOADS).collect::<Vec<_>>(), "seqs have no gap");
    assert!(lines.windows(2).all(|pair| pair[0].record.arrived_us < pair[1].record.arrived_us));
}

/// A store that was closed says so, and forgets nothing.
///
/// # Panics
/// When it does not.
pub async fn closed(store: &dyn SpaceStore) {
    let result = store.private_space(random_id(&SystemRandom)).await;
    assert!(matches!(result, Err(StoreError::Closed)), "a closed store answers that it is closed");
}
