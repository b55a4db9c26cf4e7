//! Properties of merging: what must not depend on the order in which changes arrive, or on how they are cut into uploads.

mod common;

use bytes::Bytes;
use bytestring::ByteString;
use common::Memory;
use lattice_engine::{Cursor, Row, Rule, Stream, Verdict, WriterId};
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

    /// In whatever order they arrive, the one with the latest time holds, and of equal times the one that came last.
    #[test]
    fn of_updates_of_a_field_the_latest_time_holds_and_the_last_arrival_among_equal_ones(
        list in changes(), seed: u64, offset_us in prop::sample::select(vec![0, -3, -1_000_000_000_000])
    ) {
        let mut updates: Vec<_> = list.into_iter().filter(|(_, c)| c.operation == Operation::Update).collect();
        updates.sort_by_key(|(_, change)| (u64::from(change.id.0[0]).wrapping_mul(seed | 1)).rotate_left(17));
        let mut store = Memory::new(Rule::Field);
        for row in 1..3 {
            let fields = ["a", "b", "c"].map(|name| (name, integer(0)));
            let before_all = offset_us - 1;
            store.upload(9, vec![change(200 + row, Operation::Insert, "Item", row, before_all, &fields)]);
        }
        let mut expected = store.live();
        let mut latest = std::collections::BTreeMap::new();
        for (writer, mut change) in updates {
            let time_us = change.timestamp_us.unwrap_or(0) + offset_us;
            change.timestamp_us = Some(time_us);
            let (row, field) = (Memory::reference(&change), change.fields[0].clone());
            store.upload(writer, vec![change]);
            let held = latest.entry((row.clone(), field.name.clone())).or_insert(i64::MIN);
            if time_us >= *held {
                *held = time_us;
                expected.get_mut(&row).expect("the row").insert(field.name.to_string(), field.value);
            }
        }
        prop_assert_eq!(store.live(), expected);
    }

    /// One person's edits, made on one device or several, whose times never go back: also where most of them tie, and
    /// whatever their ids, the server ends with what a database holds that runs them one after the other.
    #[test]
    fn edits_whose_times_never_go_back_end_as_they_were_made(
        list in changes(), rule in prop::sample::select(vec![Rule::Field, Rule::Row]),
        first_us in prop::sample::select(vec![0_i64, -1, -4, -1_000_000_000_000]), in_one_upload: bool
    ) {
        let mut made: Vec<(u8, Change)> = Vec::new();
        let mut rows: std::collections::BTreeMap<_, std::collections::BTreeMap<String, Bytes>> = Default::default();
        let mut time_us = first_us;
        for (writer, mut change) in list {
            let row = Memory::reference(&change);
            if change.operation != Operation::Insert && !rows.contains_key(&row) {
                continue; // nobody edits what is not there
            }
            // Three of four edits are made in the same microsecond as the one before.
            time_us += i64::from(change.timestamp_us.unwrap_or(0) == 0);
            change.timestamp_us = Some(time_us);
            let values = change.fields.iter().map(|field| (field.name.to_string(), field.value.clone()));
            match change.operation {
                Operation::Delete => drop(rows.remove(&row)),
                Operation::Insert | Operation::Update => rows.entry(row).or_default().extend(values),
            }
            made.push((writer, change));
        }
        let mut store = Memory::new(rule);
        if in_one_upload {
            store.upload(1, made.into_iter().map(|(_, change)| change).collect());
        } else {
            made.into_iter().for_each(|(writer, change)| drop(store.upload(writer, vec![change])));
        }
        prop_assert_eq!(store.live(), rows);
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
fn the_later_arrival_wins_a_tie_under_both_rules() {
    for (rule, time_us) in [(Rule::Field, 5), (Rule::Row, 5), (Rule::Field, -5), (Rule::Row, -5)] {
        let mut store = Memory::new(rule);
        store.upload(1, vec![change(1, Operation::Insert, "Item", 1, time_us, &[("a", integer(0))])]);
        let write =
            |id: u8| change(id, Operation::Update, "Item", 1, time_us, &[("a", integer(i64::from(id)))]);
        for (writer, id) in [(1, 8), (2, 7), (2, 9), (1, 2)] {
            let effects = store.upload(writer, vec![write(id)]);
            assert_eq!(effects.outcomes[0].verdict, Verdict::Applied, "{rule:?}, id {id}");
            assert_eq!(
                store.live().into_values().next().expect("a row")["a"],
                integer(i64::from(id)),
                "{rule:?}"
            );
        }
    }
}

#[test]
fn a_row_that_is_replaced_within_a_microsecond_is_there() {
    let insert = |id: u8, value| change(id, Operation::Insert, "Item", 1, 5, &[("a", integer(value))]);
    for (id, other) in [(2, 3), (3, 2)] {
        let mut store = Memory::new(Rule::Field);
        store.upload(
            1,
            vec![insert(1, 1), change(id, Operation::Delete, "Item", 1, 5, &[]), insert(other, 2)],
        );
        assert_eq!(store.live().into_values().next().expect("a row")["a"], integer(2), "ids {id}, {other}");
        store.upload(1, vec![change(4, Operation::Delete, "Item", 1, 5, &[])]);
        assert!(store.live().is_empty(), "ids {id}, {other}");
    }
}

#[test]
fn times_before_1970_keep_their_order_and_are_told_as_they_are() {
    let mut store = Memory::new(Rule::Field);
    let write = |id: u8, time_us, value| {
        change(id, Operation::Update, "Item", 1, time_us, &[("a", integer(value)), ("b", integer(value))])
    };
    let insert = change(1, Operation::Insert, "Item", 1, -9_000_000, &[("a", integer(0))]);
    store.upload(1, vec![insert]);
    assert_eq!(store.upload(2, vec![write(2, -5_000_000, 1)]).outcomes[0].verdict, Verdict::Applied);
    assert_eq!(store.upload(1, vec![write(3, -7_000_000, 2)]).outcomes[0].verdict, Verdict::Superseded);
    assert_eq!(store.live().into_values().next().expect("a row")["a"], integer(1));
    let sent = |store: &Memory, cursor| {
        let mut stream = Stream::new(WriterId([9; 16]), cursor);
        let request = stream.pull_request(10, 1 << 20);
        let entries = stream.pulled(&request, store.pull(&request), &store.minter).entries;
        entries.iter().map(|entry| (entry.operation, entry.time_us)).collect::<Vec<_>>()
    };
    assert_eq!(sent(&store, Cursor::default()), [(Operation::Insert, -5_000_000)]);
    store.upload(1, vec![change(4, Operation::Delete, "Item", 1, -4_000_000, &[])]);
    assert_eq!(sent(&store, Cursor::complete(2)), [(Operation::Delete, -4_000_000)]);
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
