//! Random histories of a device that uploads a part of its rows only: what its user edited arrives, what they did not touch
//! stays as others set it, and what left its filter lives on.

mod common;

use bytes::Bytes;
use bytestring::ByteString;
use common::Memory;
use common::filtered::first_wrong;
use lattice_engine::{Cursor, Rule, Verdict};
use lattice_protocol::value::integer;
use lattice_protocol::{Change, EntryId, Field, Operation, RowId, RowKey, Spelling};

#[test]
fn an_edit_of_a_filtered_client_is_what_its_user_changed() {
    if let Some((seed, problem)) = first_wrong(0..20_000) {
        panic!("history {seed}: {problem}");
    }
}

fn change(id: u8, operation: Operation, fields: &[(&'static str, i64)]) -> Change {
    let field = |(name, value): &(&'static str, i64)| Field {
        name: ByteString::from_static(name),
        value: integer(*value),
    };
    Change {
        id: EntryId([id; 16]),
        id_spelling: Spelling::default(),
        table: ByteString::from_static("Item"),
        operation,
        row: RowId { key: RowKey::Uuid([7; 16]), spelling: Spelling::default() },
        fields: fields.iter().map(field).collect(),
        timestamp_us: None,
        synthesized: false,
        filter_removal: false,
        by_filter: false,
        raw: Bytes::from_static(b"{}"),
    }
}

#[test]
fn a_delete_without_columns_of_a_row_without_columns_is_real() {
    let mut store = Memory::new(Rule::Field);
    store.upload(1, vec![change(1, Operation::Insert, &[])]);
    let delete = Change { by_filter: true, ..change(2, Operation::Delete, &[]) };
    assert_eq!(store.upload(1, vec![delete]).outcomes[0].verdict, Verdict::Applied);
    assert!(store.live().is_empty());
}

#[test]
fn a_filtered_client_of_which_nothing_is_known_overwrites_nothing() {
    let mut store = Memory::new(Rule::Field);
    store.upload(1, vec![change(1, Operation::Insert, &[("a", 1), ("b", 1)])]);
    store.applied = Some(Cursor::default());
    let resent = Change {
        synthesized: true,
        by_filter: true,
        timestamp_us: Some(999_000),
        ..change(2, Operation::Insert, &[("a", 1), ("b", 2)])
    };
    let effects = store.upload(2, vec![resent]);
    assert_eq!(effects.outcomes[0].verdict, Verdict::Ignored);
    assert!(effects.outcomes[0].correction.is_some(), "it is told what is there");
}
