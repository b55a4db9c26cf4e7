//! Properties of merging: what must not depend on the order in which changes arrive, or on how they are cut into uploads.

mod common;

use bytes::Bytes;
use bytestring::ByteString;
use common::Memory;
use lattice_engine::{Row, Rule, Verdict};
use lattice_protocol::value::{integer, text};
use lattice_protocol::{Change, EntryId, Field, Operation, RowId, RowKey, Spelling};
use proptest::prelude::*;

fn change(
    id: u8,
    operation: Operation,
    table: &str,
    row: u8,
    time_us: i64,
    fields: &[(&str, Bytes)],
) -> Change {
    let field = |(name, value): &(&str, Bytes)| Field { name: ByteString::from(*name), value: value.clone() };
    Change {
        id: EntryId([id; 16]),
        id_spelling: Spelling::default(),
        table: ByteString::from(table),
        operation,
        row: RowId { key: RowKey::Uuid([row; 16]), spelling: Spelling::default() },
        fields: fields.iter().map(field).collect(),
        timestamp_us: Some(time_us),
        synthesized: false,
        filter_removal: false,
        by_filter: false,
        raw: Bytes::from_static(b"{}"),
    }
}

/// Changes of two rows with times that tie often.
fn changes() -> impl Strategy<Value = Vec<(u8, Change)>> {
    let one = (0..4_u8, 0..10_u8, 1..3_u8, 0..6_i64, 0..3_usize, any::<i64>());
    prop::collection::vec(one, 1..14).prop_map(|drawn| {
        let make =
            |(at, (writer, kind, row, time_us, column, value)): (usize, (u8, u8, u8, i64, usize, i64))| {
                let id = u8::try_from(at).unwrap_or(0) + 1;
                let field = [(["a", "b", "c"][column], integer(value))];
                let all = ["a", "b", "c"].map(|name| (name, integer(value)));
                let change = match kind {
                    0 => change(id, Operation::Delete, "Item", row, time_us, &[]),
                    1..=3 => change(id, Operation::Insert, "Item", row, time_us, &all),
                    _ => change(id, Operation::Update, "Item", row, time_us, &field),
                };
                (writer, change)
            };
        drawn.into_iter().enumerate().map(make).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_row_survives_being_stored(list in changes()) {
        let mut store = Memory::new(Rule::Field);
        for (writer, change) in list {
            for write in store.upload(writer, vec![change]).rows {
                let mut stored = Vec::new();
                write.row.encode(&mut stored);
                prop_assert_eq!(Row::decode(&stored.clone().into()), Ok(write.row));
                for end in 0..stored.len() {
                    prop_assert!(Row::decode(&Bytes::copy_from_slice(&stored[..end])).is_err(), "cut at {}", end);
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_row_and_no_panic(bytes: Vec<u8>) {
        let _ = Row::decode(&bytes.into());
    }

    #[test]
    fn updates_of_a_row_commute(list in changes(), seed: u64) {
        let updates: Vec<_> = list.into_iter().filter(|(_, c)| c.operation == Operation::Update).collect();
        let base = |store: &mut Memory| for row in 1..3 {
            let fields = ["a", "b", "c"].map(|name| (name, integer(0)));
            store.upload(9, vec![change(200 + row, Operation::Insert, "Item", row, -1, &fields)]);
        };
        let (mut one, mut other) = (Memory::new(Rule::Field), Memory::new(Rule::Field));
        base(&mut one);
        base(&mut other);
        let mut shuffled = updates.clone();
        shuffled.sort_by_key(|(_, change)| (u64::from(change.id.0[0]).wrapping_mul(seed | 1)).rotate_left(17));
        for (writer, change) in updates { one.upload(writer, vec![change]); }
        for (writer, change) in shuffled { other.upload(writer, vec![change]); }
        prop_assert_eq!(one.live(), other.live());
    }

    #[test]
    fn how_changes_are_cut_into_uploads_changes_nothing(list in changes(), rule in prop::sample::select(vec![Rule::Field, Rule::Row])) {
        let list: Vec<Change> = list.into_iter().map(|(_, change)| change).collect();
        let (mut single, mut whole) = (Memory::new(rule), Memory::new(rule));
        let mut verdicts = Vec::new();
        for change in &list { verdicts.extend(single.upload(1, vec![change.clone()]).outcomes); }
        let effects = whole.upload(1, list);
        prop_assert_eq!(verdicts, effects.outcomes);
        prop_assert_eq!(single.live(), whole.live());
        prop_assert_eq!(single.head.seq, whole.head.seq);
        prop_assert_eq!(single.rows, whole.rows);
    }

    #[test]
    fn a_repeated_upload_changes_nothing(list in changes()) {
        let mut store = Memory::new(Rule::Field);
        for (writer, change) in &list { store.upload(*writer, vec![change.clone()]); }
        let (head, live) = (store.head.seq, store.live());
        for (writer, change) in list.into_iter().rev() {
            let effects = store.upload(writer.wrapping_add(1), vec![change]);
            prop_assert!(effects.log.is_empty() && effects.visible.is_empty());
            prop_assert_eq!(effects.outcomes[0].verdict, Verdict::Duplicate);
        }
        prop_assert_eq!(store.head.seq, head);
        prop_assert_eq!(store.live(), live);
    }
}

#[test]
fn the_greater_entry_id_wins_a_tie_under_both_rules() {
    for rule in [Rule::Field, Rule::Row] {
        let mut store = Memory::new(rule);
        store.upload(1, vec![change(1, Operation::Insert, "Item", 1, 0, &[("a", integer(0))])]);
        let write = |id: u8| change(id, Operation::Update, "Item", 1, 5, &[("a", integer(i64::from(id)))]);
        assert_eq!(store.upload(1, vec![write(8)]).outcomes[0].verdict, Verdict::Applied);
        assert_eq!(store.upload(2, vec![write(7)]).outcomes[0].verdict, Verdict::Superseded);
        assert_eq!(store.upload(2, vec![write(9)]).outcomes[0].verdict, Verdict::Applied);
        assert_eq!(store.live().into_values().next().expect("a row")["a"], integer(9));
    }
}

#[test]
fn rule_row_takes_or_leaves_a_change_as_a_whole() {
    let mut store = Memory::new(Rule::Row);
    store
        .upload(1, vec![change(1, Operation::Insert, "Item", 1, 5, &[("a", integer(0)), ("b", integer(0))])]);
    store.upload(1, vec![change(2, Operation::Update, "Item", 1, 9, &[("a", integer(1))])]);
    let late = change(3, Operation::Update, "Item", 1, 7, &[("b", integer(2))]);
    assert_eq!(store.upload(2, vec![late]).outcomes[0].verdict, Verdict::Superseded);
    assert_eq!(store.live().into_values().next().expect("a row")["b"], integer(0));
}

#[test]
fn a_clock_too_far_ahead_counts_as_arrival() {
    let mut store = Memory::new(Rule::Field);
    store.upload(1, vec![change(1, Operation::Insert, "Item", 1, 0, &[("a", integer(0))])]);
    let ahead = store.upload(1, vec![change(2, Operation::Update, "Item", 1, 1 << 50, &[("a", integer(1))])]);
    assert!(ahead.log[0].clamped && ahead.log[0].time_us <= 1_000_010);
    let mut now = change(3, Operation::Update, "Item", 1, 0, &[("a", integer(2))]);
    now.timestamp_us = None;
    assert_eq!(
        store.upload(2, vec![now]).outcomes[0].verdict,
        Verdict::Applied,
        "nobody is locked out by a bad clock"
    );
}

#[test]
fn links_deleted_with_a_row_that_stays_come_back_with_it() {
    let (parent, child) = ("01010101-0101-0101-0101-010101010101", "02020202-0202-0202-0202-020202020202");
    let mut store = Memory::new(Rule::Field);
    store.upload(
        1,
        vec![
            change(1, Operation::Insert, "Child", 2, 1, &[("a", integer(0))]),
            change(2, Operation::Insert, "_P_C_list", 3, 1, &[("lhs", text(parent)), ("rhs", text(child))]),
            change(3, Operation::Update, "Child", 2, 9, &[("a", integer(1))]),
        ],
    );
    let effects = store.upload(
        2,
        vec![
            change(4, Operation::Delete, "Child", 2, 5, &[]),
            change(5, Operation::Delete, "_P_C_list", 3, 5, &[("lhs", text(parent)), ("rhs", text(child))]),
        ],
    );
    assert!(effects.outcomes.iter().all(|outcome| outcome.verdict == Verdict::Superseded));
    assert!(effects.outcomes.iter().all(|outcome| outcome.correction.is_some()));
    assert_eq!(store.live().len(), 2);
}
