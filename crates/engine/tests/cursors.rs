//! Cursors of clients that keep them apart from the entries.

mod common;

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use common::Memory;
use lattice_engine::{Checkpoint, Resume, Rule, Shown, Start, Stream, View, WriterId};
use lattice_protocol::plain::Filter;
use lattice_protocol::value::integer;
use lattice_protocol::{Change, EntryId, Field, Operation, RowId, RowKey, Spelling};

const USER: [u8; 16] = [9; 16];

/// A space with three rows.
fn space() -> Memory {
    let mut store = Memory::new(Rule::Field);
    let insert = |number: u8| Change {
        id: EntryId([number; 16]),
        id_spelling: Spelling::default(),
        table: ByteString::from_static("Doc"),
        operation: Operation::Insert,
        row: RowId { key: RowKey::Uuid([number; 16]), spelling: Spelling::default() },
        fields: vec![Field { name: ByteString::from_static("a"), value: integer(i64::from(number)) }],
        timestamp_us: None,
        synthesized: false,
        filter_removal: false,
        by_filter: false,
        raw: Bytes::new(),
    };
    store.upload(1, (1..=3).map(insert).collect());
    store
}

fn view(filter: &'static str) -> Arc<View> {
    let filter = Filter::parse(&Bytes::from_static(filter.as_bytes())).expect("a filter");
    let policy = lattice_engine::Policy::default();
    Arc::new(View::new(&policy, lattice_engine::Role::Viewer, USER, false, Some(Arc::new(filter))))
}

fn pull(store: &Memory, stream: &mut Stream, max_rows: usize) -> Vec<EntryId> {
    let request = stream.pull_request(max_rows, usize::MAX);
    let data = store.pull(&request);
    stream.pulled(&request, data, &store.minter).entries.iter().map(|entry| entry.id).collect()
}

/// Where a client starts that comes with this id.
fn resume(store: &Memory, view: &Arc<View>, remembered: &[Arc<View>], id: EntryId) -> (Start, bool) {
    let remembered: Vec<Shown> = remembered
        .iter()
        .map(|view| Shown { view: Arc::clone(view), from: 0, until: store.head.seq })
        .collect();
    let resume = Resume {
        minter: &store.minter,
        head: store.head.seq,
        view: Arc::clone(view),
        user: USER,
        remembered: &remembered,
        nonce: 7,
    };
    resume.start(Checkpoint::Id { id, seq: None })
}

/// A cursor claims what was sent, no more and no less, and never is the id of an entry.
#[test]
fn a_cursor_claims_what_was_sent() {
    let store = space();
    for view in [Arc::new(View::everything()), view(r#"{"tables":["Doc"]}"#)] {
        let start = Start { view: Arc::clone(&view), ..Start::default() };
        let mut stream = Stream::start(WriterId([2; 16]), start);
        for _ in 0..4 {
            let cursor = stream.cursor_id(&store.minter);
            let (start, lost) = resume(&store, &view, &[], cursor);
            assert_eq!((start.cursor, start.prior, lost), (stream.cursor(), None, false));
            assert!(!pull(&store, &mut stream, 1).contains(&cursor));
        }
        assert_eq!(stream.cursor(), lattice_engine::Cursor::complete(3));
    }
}

/// On the way to another view it claims a part of that way, which goes on where it stopped.
#[test]
fn a_cursor_of_a_transition_goes_on_where_that_stopped() {
    let store = space();
    let (few, all) = (view(r#"{"where":{"Doc":{"a":2}}}"#), Arc::new(View::everything()));
    let start = Start { view: Arc::clone(&few), ..Start::default() };
    let mut stream = Stream::start(WriterId([2; 16]), start);
    pull(&store, &mut stream, 100);
    assert!(stream.change_view(USER, Arc::clone(&all), 1));
    assert_eq!(pull(&store, &mut stream, 1).len(), 1, "the first row becomes visible");
    assert!(stream.is_in_transition());
    let cursor = stream.cursor_id(&store.minter);
    let remembered = [few, Arc::clone(&all)];
    let (start, lost) = resume(&store, &all, &remembered, cursor);
    assert_eq!((start.cursor, lost), (stream.cursor(), false));
    assert!(start.prior.is_some(), "the way is not at its end");
    let mut again = Stream::start(WriterId([3; 16]), start);
    assert_eq!(pull(&store, &mut again, 100).len(), 1, "the third row; the second was known");
    assert_eq!(again.cursor_id(&store.minter), {
        pull(&store, &mut stream, 100);
        stream.cursor_id(&store.minter)
    });
    let (start, lost) = resume(&store, &all, &remembered, again.cursor_id(&store.minter));
    assert_eq!((start.cursor, start.prior, lost), (again.cursor(), None, false));
}
