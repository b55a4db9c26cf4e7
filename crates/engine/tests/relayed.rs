//! What the server has sent and a device hands back, through another channel of its own.

mod common;

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use common::Memory;
use lattice_engine::{
    Access, Batch, Context, Effects, MintKey, Minter, Permission, Policy, Role, Rule, Rules, SpaceHead,
    SpaceId, Start, Stream, TablePolicy, Verdict, View, WriterId,
};
use lattice_protocol::names::{CHECKPOINT_TABLE, is_valid_table};
use lattice_protocol::native::AckId;
use lattice_protocol::value::{from_json, integer};
use lattice_protocol::{
    Change, Code, EntryId, Field, Incoming, Operation, Outgoing, Refused, RowId, RowKey, Spelling,
};

const ANN: [u8; 16] = [1; 16];
const BOB: [u8; 16] = [2; 16];

fn change(id: u8, operation: Operation, row: u8, value: Option<i64>) -> Change {
    let field = |value| Field { name: ByteString::from_static("a"), value: integer(value) };
    Change {
        id: EntryId([id; 16]),
        id_spelling: Spelling::default(),
        table: ByteString::from_static("Doc"),
        operation,
        row: RowId { key: RowKey::Uuid([row; 16]), spelling: Spelling::default() },
        fields: value.map(field).into_iter().collect(),
        timestamp_us: None,
        synthesized: false,
        filter_removal: false,
        by_filter: false,
        raw: Bytes::new(),
    }
}

fn relayed(entry: &Outgoing) -> Change {
    Change {
        id: entry.id,
        id_spelling: entry.id_spelling,
        table: entry.table.clone(),
        operation: entry.operation,
        row: entry.row.clone(),
        fields: entry.fields.clone(),
        timestamp_us: Some(entry.time_us),
        synthesized: false,
        filter_removal: false,
        by_filter: false,
        raw: Bytes::new(),
    }
}

/// What a new stream of everything is sent.
fn sent(store: &Memory, writer: u8) -> (Stream, Vec<Outgoing>) {
    let mut stream = Stream::start(WriterId([writer; 16]), Start::default());
    let entries = pull(store, &mut stream);
    (stream, entries)
}

fn pull(store: &Memory, stream: &mut Stream) -> Vec<Outgoing> {
    let request = stream.pull_request(100, usize::MAX);
    let data = store.pull(&request);
    let delivery = stream.pulled(&request, data, &store.minter);
    delivery.entries.into_iter().chain(delivery.corrections).collect()
}

/// Uploads a relayed entry and yields what its sender is sent before the ack.
fn answers(store: &mut Memory, stream: &mut Stream, change: Change) -> Vec<Outgoing> {
    let (head, rows, id) = (store.head, store.rows.clone(), change.id);
    let effects = store.upload_as_owner(stream.writer(), vec![change]);
    assert_eq!(
        (store.head.seq, effects.log.len(), effects.visible.len()),
        (head.seq, 0, 0),
        "nothing is kept"
    );
    let values = |rows: &std::collections::BTreeMap<_, Bytes>| -> Vec<_> {
        rows.values().map(|row| lattice_engine::Row::decode(row).expect("a row").values()).collect()
    };
    assert_eq!(values(&store.rows), values(&rows), "nothing is applied");
    assert_eq!(effects.outcomes[0].verdict, Verdict::Duplicate);
    let acks = stream.outcomes(effects.outcomes);
    if !acks.is_empty() {
        assert_eq!(acks, [AckId::Uuid(id, Spelling::default())]);
        return Vec::new();
    }
    let request = stream.pull_request(100, usize::MAX);
    let data = store.pull(&request);
    let delivery = stream.pulled(&request, data, &store.minter);
    assert_eq!(delivery.acks, [AckId::Uuid(id, Spelling::default())]);
    delivery.corrections
}

/// A row in two states, and what is sent of each.
fn two_states() -> (Memory, Outgoing, Outgoing) {
    let mut store = Memory::new(Rule::Field);
    store.upload(1, vec![change(1, Operation::Insert, 1, Some(1))]);
    let old = sent(&store, 2).1.remove(0);
    store.upload(1, vec![change(2, Operation::Update, 1, Some(2))]);
    let new = sent(&store, 2).1.remove(0);
    assert!(old.id.is_minted() && new.id.is_minted() && old.id != new.id);
    (store, old, new)
}

#[test]
fn what_stands_is_acknowledged_and_not_answered() {
    let (mut store, _, new) = two_states();
    let (mut stream, _) = sent(&store, 3);
    assert_eq!(answers(&mut store, &mut stream, relayed(&new)), []);
    // A client writes what it passes on anew.
    let mut rewritten = relayed(&new);
    rewritten.fields[0].value =
        from_json(&Bytes::from_static(br#"{"value":2.0,"kind":7}"#)).expect("a value");
    rewritten.operation = Operation::Update;
    assert_eq!(answers(&mut store, &mut stream, rewritten), []);
}

#[test]
fn what_came_late_is_answered_with_what_stands() {
    let (mut store, old, new) = two_states();
    let (mut stream, _) = sent(&store, 3);
    let answer = answers(&mut store, &mut stream, relayed(&old));
    assert_eq!((answer.len(), answer[0].operation), (1, Operation::Insert));
    assert_eq!(answer[0].fields, new.fields);
    assert!(answer[0].id.is_minted() && ![old.id, new.id].contains(&answer[0].id), "under a fresh id");
    // The device hands the answer back as well; that is the end of it.
    assert_eq!(answers(&mut store, &mut stream, relayed(&answer[0])), []);
    // The row is gone by the time that the word comes back.
    store.upload(1, vec![change(3, Operation::Delete, 1, None)]);
    pull(&store, &mut stream);
    let answer = answers(&mut store, &mut stream, relayed(&new));
    assert_eq!((answer.len(), answer[0].operation), (1, Operation::Delete));
    assert_eq!(answers(&mut store, &mut stream, relayed(&answer[0])), []);
}

#[test]
fn a_row_that_was_taken_away_is_deleted_for_nobody() {
    let (mut store, ..) = two_states();
    // Bob may not read it any more; his device is sent a DELETE and hands it back by a channel that shows the row.
    let hidden = Policy {
        default: TablePolicy { read: Permission::from(Role::Owner), ..TablePolicy::default() },
        ..Policy::default()
    };
    let (mut bobs, _) = sent(&store, 3);
    let view = Arc::new(View::new(&hidden, Role::Editor, BOB, false, None));
    assert!(bobs.change_view(BOB, view, 7));
    let taken = pull(&store, &mut bobs).remove(0);
    assert_eq!((taken.operation, taken.taken_back, taken.id.is_minted()), (Operation::Delete, true, true));
    let (mut anns, _) = sent(&store, 4);
    let answer = answers(&mut store, &mut anns, relayed(&taken));
    assert_eq!((answer.len(), answer[0].operation), (1, Operation::Insert), "it is there, and comes back");
    assert_eq!(store.live().len(), 1);
    // By a channel that does not show the row nothing follows, and not a word tells whether there is one.
    let access = Access { user: BOB, role: Role::Editor, policy: &hidden, archived: false, private: false };
    for change in [relayed(&taken), relayed(&answer[0])] {
        let effects = store.upload_as(bobs.writer(), access, true, vec![change]);
        assert_eq!(
            (effects.outcomes[0].verdict, &effects.outcomes[0].correction),
            (Verdict::Duplicate, &None)
        );
    }
}

/// Two spaces hold the row with different values, and a device has both: each answers what the other one said.
#[test]
fn answers_that_are_handed_back_for_ever_come_to_an_end() {
    let mut spaces = [Memory::new(Rule::Field), Memory::new(Rule::Field)];
    spaces[1].minter = Minter::new(MintKey([9; 16]), SpaceId([9; 16]), 4, 0);
    let mut streams = Vec::new();
    for (at, store) in spaces.iter_mut().enumerate() {
        store.upload(1, vec![change(1, Operation::Insert, 1, Some(at as i64))]);
        streams.push(sent(store, 2));
    }
    let mut word = Some(streams[0].1[0].clone());
    let mut rounds = 0;
    while let Some(entry) = word {
        rounds += 1;
        assert!(rounds < 100, "they go on for ever");
        let at = rounds % 2;
        word = answers(&mut spaces[at], &mut streams[at].0, relayed(&entry)).into_iter().next();
    }
    assert!(rounds > 2);
}

#[test]
fn deletes_that_are_relayed_do_not_count_and_need_no_permission() {
    let (mut store, _, new) = two_states();
    let policy = Policy { max_deletes_per_frame: Some(1), ..Policy::default() };
    let word = |number: u8| Change {
        id: store.minter.mint(lattice_engine::Cursor::default(), [[number].as_slice()], 0),
        ..change(0, Operation::Delete, number, None)
    };
    let mut frame: Vec<Change> = (10..20).map(word).collect();
    frame.push(change(9, Operation::Delete, 1, None));
    let access = Access { user: ANN, role: Role::Owner, policy: &policy, archived: false, private: true };
    let effects = store.upload_as(WriterId([1; 16]), access, false, frame);
    assert_eq!(effects.outcomes.last().expect("an outcome").verdict, Verdict::Applied);
    assert!(effects.outcomes[..10].iter().all(|outcome| outcome.verdict == Verdict::Duplicate));
    assert_eq!((store.live().len(), effects.log.len()), (0, 1));
    // Nor does it matter that a viewer may not write, or that the space is archived.
    let access = Access { user: BOB, role: Role::Viewer, policy: &policy, archived: true, private: false };
    let effects = store.upload_as(WriterId([2; 16]), access, false, vec![relayed(&new)]);
    assert_eq!((effects.outcomes[0].verdict, effects.log.len()), (Verdict::Duplicate, 0));
}

/// With the marker of a filter removal, as servers of before wrote it.
#[test]
fn a_marked_delete_that_is_relayed_is_not_logged() {
    let (mut store, _, new) = two_states();
    let (mut stream, _) = sent(&store, 3);
    let marked =
        Change { operation: Operation::Delete, fields: Vec::new(), filter_removal: true, ..relayed(&new) };
    let answer = answers(&mut store, &mut stream, marked);
    assert_eq!(answer[0].operation, Operation::Insert, "the row that it took away is shown");
}

/// The entry that announces another view names a table that nobody may write: it comes as one that is refused.
#[test]
fn an_announcement_that_is_relayed_is_acknowledged_and_leaves_nothing() {
    let (store, ..) = two_states();
    let (mut stream, _) = sent(&store, 3);
    let policy = Policy {
        default: TablePolicy { read: Permission::from(Role::Owner), ..TablePolicy::default() },
        ..Policy::default()
    };
    assert!(stream.change_view(BOB, Arc::new(View::new(&policy, Role::Editor, BOB, false, None)), 7));
    let entry = stream.announcement(&store.minter).expect("another view is announced");
    assert_eq!((&*entry.table, entry.operation), (CHECKPOINT_TABLE, Operation::Delete));
    assert!(!entry.taken_back && entry.fields.is_empty() && !is_valid_table(&entry.table));
    let refused = Refused {
        ack: Some(entry.id.to_string().into()),
        id: Some((entry.id, entry.id_spelling)),
        target: None,
        code: Code::BadTableName,
        detail: String::new(),
        raw: Bytes::new(),
    };
    let effects = refuse(&store, refused);
    assert_eq!(effects.outcomes.len(), 1);
    assert_eq!(effects.outcomes[0].ack, Some(AckId::Uuid(entry.id, entry.id_spelling)));
    assert_eq!(effects.outcomes[0].verdict, Verdict::Duplicate);
    assert_eq!(
        (effects.log.len(), effects.rows.len(), effects.head),
        (0, 0, SpaceHead { arrival_us: effects.head.arrival_us, ..store.head })
    );
}

fn refuse(store: &Memory, refused: Refused) -> Effects {
    let rules = Rules::default();
    let context = Context {
        writer: WriterId([3; 16]),
        max_skew_us: 1_000,
        rules: &rules,
        minter: &store.minter,
        plain: false,
        echoes: false,
        read_only: false,
        applied: None,
        private: false,
    };
    let mut batch = Batch::new(context, vec![Incoming::Refused(refused)]);
    assert!(batch.needs().is_empty());
    let policy = Policy::default();
    let access = Access { user: BOB, role: Role::Editor, policy: &policy, archived: false, private: false };
    batch.finish(store.head, &access, 2_000_000).expect("the space is not full")
}
