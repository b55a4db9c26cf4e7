//! Links and the rows that they name: how that is stored, and in which views links are shown.

mod common;

use bytes::Bytes;
use common::Memory;
use lattice_engine::{
    Access, Batch, Context, End, Ends, MAX_WAITING_LINKS, Needs, Permission, Policy, Role, Row, RowRef, Rule,
    Rules, Seq, TablePolicy, View, WriterId,
};
use lattice_protocol::value::{integer, text};
use lattice_protocol::{Change, EntryId, Field, Incoming, Operation, RowId, RowKey, Spelling};

const ANN: [u8; 16] = [1; 16];
const BOB: [u8; 16] = [2; 16];

fn row_id(number: u8) -> RowId {
    RowId { key: RowKey::Uuid([number; 16]), spelling: Spelling::default() }
}

fn insert(table: &'static str, number: u8, fields: &[(&'static str, Bytes)]) -> Change {
    let field = |(name, value): &(&'static str, Bytes)| Field { name: (*name).into(), value: value.clone() };
    let mut id = [number; 16];
    id[..8].copy_from_slice(&(table.len() as u64).to_le_bytes());
    Change {
        id: EntryId(id),
        id_spelling: Spelling::default(),
        table: table.into(),
        operation: Operation::Insert,
        row: row_id(number),
        fields: fields.iter().map(field).collect(),
        timestamp_us: None,
        synthesized: false,
        filter_removal: false,
        by_filter: false,
        raw: Bytes::from_static(b"{}"),
    }
}

fn end(number: u8) -> Bytes {
    text(&row_id(number).to_text())
}

fn upload(store: &mut Memory, user: [u8; 16], changes: Vec<Change>) {
    let policy = Policy::default();
    let access = Access { user, role: Role::Owner, policy: &policy, archived: false, private: false };
    store.upload_as(WriterId(user), access, false, changes);
}

fn row(store: &Memory, table: &'static str, number: u8) -> Row {
    let reference = RowRef { table: table.into(), key: row_id(number).key };
    Row::decode(&store.rows[&reference]).expect("what was encoded")
}

/// What somebody sees who may read `table` as far as `read` says, and all else.
fn view(user: [u8; 16], table: &str, read: Permission) -> View {
    let tables = [(table.to_owned(), TablePolicy { read, ..TablePolicy::default() })].into();
    View::new(&Policy { tables, ..Policy::default() }, Role::Viewer, user, false, None)
}

/// What an upload of somebody who may not insert looks for: entries, rows and pairs.
fn looked_up_when_refused(store: &Memory, change: Change) -> usize {
    let rules = Rules::default();
    let context = Context {
        writer: WriterId(BOB),
        max_skew_us: 1_000,
        rules: &rules,
        minter: &store.minter,
        plain: false,
        echoes: false,
        read_only: true,
        applied: None,
        private: false,
    };
    let mut batch = Batch::new(context, vec![Incoming::Change(change)]);
    let mut looked_up = 0;
    loop {
        let Needs { entries, rows, pairs } = batch.needs();
        if entries.is_empty() && rows.is_empty() && pairs.is_empty() {
            return looked_up;
        }
        looked_up += entries.len() + rows.len() + pairs.len();
        for stored in rows.iter().filter_map(|row| store.rows.get(row)) {
            batch.supply_row(Row::decode(stored).expect("what was encoded"));
        }
        for pair in pairs {
            if let Some(keeper) = store.pairs.get(&pair) {
                batch.supply_pair(pair, keeper.clone());
            }
        }
    }
}

/// A few bytes that do nothing must not make the writer look for whatever others have stored.
#[test]
fn what_an_insert_looks_for_is_bounded() {
    let mut store = Memory::new(Rule::Field);
    let link = |number: u32| {
        let mut id = [7; 16];
        id[..4].copy_from_slice(&number.to_le_bytes());
        let lhs = RowId { key: RowKey::Uuid(id), spelling: Spelling::default() };
        let change = insert("_Doc_Note_notes", 9, &[("lhs", text(&lhs.to_text())), ("rhs", end(2))]);
        Change { id: EntryId(id), row: lhs, ..change }
    };
    let most = u32::try_from(MAX_WAITING_LINKS).expect("a small number");
    upload(&mut store, ANN, (0..most * 3).map(link).collect());
    let looked_up = looked_up_when_refused(&store, insert("Note", 2, &[]));
    // The place of each link, the link, and its pair; and the next place.
    assert!(looked_up <= 3 * MAX_WAITING_LINKS + 8, "{looked_up} look-ups");
    assert!(looked_up >= MAX_WAITING_LINKS, "it is the case that costs most: {looked_up}");
}

const OWN: Permission = Permission { any: None, own: Some(Role::Viewer) };

#[test]
fn what_is_known_of_ends_is_stored() {
    let mut store = Memory::new(Rule::Field);
    let link = insert("_Doc_Note_notes", 9, &[("lhs", end(1)), ("rhs", end(2))]);
    upload(&mut store, ANN, vec![insert("Doc", 1, &[("a", integer(1))]), link]);
    let link = row(&store, "_Doc_Note_notes", 9);
    let mut stored = Vec::new();
    link.encode(&mut stored);
    assert_eq!(stored[0], 6, "a form of its own: forms of before are read as they were");
    for cut in 0..stored.len() {
        assert!(Row::decode(&Bytes::copy_from_slice(&stored[..cut])).is_err(), "cut at {cut}");
    }
    let known = |table: &'static str, creator| Some(End { table: table.into(), creator });
    for rows in [[None, known("Note", Some(BOB))], [known("Doc", None), known("Note", None)]] {
        for creator in [None, Some(ANN)] {
            let born_seq = creator.map_or(0, |_| link.born_seq);
            let row = Row {
                ends: Some(Box::new(Ends { rows: rows.clone(), since: [0, 0] })),
                creator,
                born_seq,
                ..link.clone()
            };
            let mut stored = Vec::new();
            row.encode(&mut stored);
            assert_eq!(Row::decode(&stored.into()), Ok(row));
        }
    }
}

#[test]
fn a_link_is_shown_with_both_of_its_ends() {
    let mut store = Memory::new(Rule::Field);
    let link = |number, rhs| insert("_Doc_Note_notes", number, &[("lhs", end(1)), ("rhs", end(rhs))]);
    let typed = insert("_Doc_Any_all", 8, &[("lhs", end(1)), ("rhs", end(3)), ("rhs_type", text("Note"))]);
    upload(&mut store, ANN, vec![insert("Doc", 1, &[]), link(5, 2), link(6, 3), link(7, 4), typed]);
    upload(&mut store, ANN, vec![insert("Note", 2, &[])]);
    // Of another table, and so not what the links name.
    upload(&mut store, ANN, vec![insert("Other", 3, &[]), insert("Any", 3, &[])]);
    upload(&mut store, BOB, vec![insert("Note", 3, &[])]);
    let shown = |view: &View| -> Vec<u8> {
        let links = (5..8).map(|number| ("_Doc_Note_notes", number)).chain([("_Doc_Any_all", 8)]);
        links
            .filter(|(table, number)| view.shows(&row(&store, table, *number)))
            .map(|(_, number)| number)
            .collect()
    };
    assert_eq!(shown(&view(ANN, "Note", OWN)), [5, 7], "nobody has made the fourth note yet");
    assert_eq!(shown(&view(BOB, "Note", OWN)), [6, 7, 8]);
    let none: [u8; 0] = [];
    assert_eq!(shown(&view(BOB, "Doc", OWN)), none);
    assert_eq!(
        shown(&view(BOB, "Note", Permission::NOBODY)),
        none,
        "its table is hidden, whoever will make it"
    );
    assert_eq!(shown(&view(BOB, "Any", Permission::NOBODY)), [5, 6, 7, 8]);
    let moved: Vec<[Seq; 2]> =
        (5..7).map(|number| row(&store, "_Doc_Note_notes", number).ends().since).collect();
    let places = (5..7).map(|number| [0, row(&store, "_Doc_Note_notes", number).last_seq]);
    assert_eq!(moved, places.collect::<Vec<_>>(), "they took new places when their ends came");
}

#[test]
fn views_of_before_keep_their_number_and_what_they_showed() {
    let now = view(ANN, "Note", Permission::NOBODY);
    let before = View::parse("a,Note=n||").expect("a definition");
    assert_eq!(now.definition(), ">a,Note=n||");
    assert_eq!(View::parse(">a,Note=n||").as_ref(), Some(&now));
    assert_eq!(before.definition(), "a,Note=n||");
    assert!(
        before.id() != now.id() && !before.shows_same_rows(&now),
        "from the one to the other leads a way"
    );
    let mut store = Memory::new(Rule::Field);
    let link = insert("_Doc_Note_notes", 9, &[("lhs", end(1)), ("rhs", end(2))]);
    upload(&mut store, ANN, vec![insert("Doc", 1, &[]), insert("Note", 2, &[]), link]);
    let link = row(&store, "_Doc_Note_notes", 9);
    assert!(before.shows(&link) && !now.shows(&link));
    // Nothing is hidden, and nothing changes for whoever sees everything or asks for less by a filter.
    assert_eq!(View::everything().id(), 0);
    assert_eq!(View::parse(">a||"), Some(View::everything()));
}
