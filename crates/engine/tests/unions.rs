//! Rows of unions: whatever devices that know nothing of one another make of them, the server's row is one that clients store.

mod common;

use bytes::Bytes;
use common::Memory;
use common::draw::Rng;
use common::history::Values;
use common::unions::{check, edit};
use lattice_engine::{Correction, Rule, Verdict, Wanted};
use lattice_protocol::names::UNION_CASE;
use lattice_protocol::value::{integer, null, text};
use lattice_protocol::{Change, EntryId, Field, Operation, RowId, RowKey, Spelling};
use proptest::prelude::*;

fn change(id: [u8; 16], operation: Operation, time_us: i64, fields: Vec<(&'static str, Bytes)>) -> Change {
    Change {
        id: EntryId(id),
        id_spelling: Spelling::default(),
        table: "_Item".into(),
        operation,
        row: RowId { key: RowKey::Uuid([1; 16]), spelling: Spelling::default() },
        fields: fields.into_iter().map(|(name, value)| Field { name: name.into(), value }).collect(),
        timestamp_us: Some(time_us),
        synthesized: false,
        filter_removal: false,
        by_filter: false,
        raw: Bytes::from_static(b"{}"),
    }
}

fn held(store: &Memory) -> Option<Values> {
    let row = store.rows().into_iter().next().filter(|row| row.is_live())?;
    Some(row.fields.into_iter().map(|field| (field.name, field.value)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    /// Devices edit copies of their own and are told nothing; uploads come late and in any order between devices.
    #[test]
    fn clients_store_what_the_server_makes_of_a_row(seed: u64, rule in prop::sample::select(vec![Rule::Field, Rule::Row])) {
        let mut rng = Rng(seed);
        let mut store = Memory::new(rule);
        let first = edit(&mut rng, None);
        let mut copies: Vec<Values> = Vec::new();
        let mut queues: Vec<Vec<Change>> = vec![Vec::new(); 3];
        let id = rng.uuid();
        store.upload(0, vec![change(id, first.0, 0, first.1.clone())]);
        for _ in 0..3 {
            copies.push(first.1.iter().map(|(name, value)| ((*name).into(), value.clone())).collect());
        }
        for _ in 0..20 {
            let at = rng.below(3);
            if rng.chance(60) {
                let (operation, fields) = edit(&mut rng, Some(&copies[at]));
                if operation == Operation::Update && fields.is_empty() {
                    continue;
                }
                let (operation, fields) = match operation {
                    // Deleted and made again, so that tombstones and revivals come in.
                    Operation::Delete if rng.chance(70) => edit(&mut rng, None),
                    _ => (operation, fields),
                };
                copies[at].extend(fields.iter().map(|(name, value)| ((*name).into(), value.clone())));
                let (id, time_us) = (rng.uuid(), rng.below(20) as i64);
                queues[at].push(change(id, operation, time_us, fields));
            } else if !queues[at].is_empty() {
                let change = queues[at].remove(0);
                let effects = store.upload(at as u8 + 1, vec![change]);
                if let Some(values) = held(&store) {
                    prop_assert!(check(&values), "{:?}", values);
                }
                for (_, entry) in &effects.visible {
                    let values: Values = entry.fields.iter().map(|f| (f.name.clone(), f.value.clone())).collect();
                    prop_assert!(entry.operation == Operation::Delete || check(&values), "{:?}", entry);
                }
            }
        }
    }
}

#[test]
fn a_value_of_a_case_that_the_row_has_no_more_is_superseded_and_its_author_is_sent_the_row() {
    let mut store = Memory::new(Rule::Field);
    let first = vec![
        (UNION_CASE, text("text")),
        ("text", integer(1)),
        ("photo__width", null()),
        ("photo__height", null()),
    ];
    store.upload(1, vec![change([1; 16], Operation::Insert, 1, first)]);
    let photo = vec![
        (UNION_CASE, text("photo")),
        ("text", null()),
        ("photo__width", integer(2)),
        ("photo__height", integer(3)),
    ];
    store.upload(1, vec![change([2; 16], Operation::Update, 5, photo)]);
    let before = held(&store);
    let effects = store.upload(2, vec![change([3; 16], Operation::Update, 9, vec![("text", integer(4))])]);
    assert_eq!(effects.outcomes[0].verdict, Verdict::Superseded);
    assert!(matches!(&effects.outcomes[0].correction, Some(Correction { wanted: Wanted::Fields(_), .. })));
    assert!(effects.visible.is_empty());
    assert_eq!(held(&store), before);
    // What it still lacks is a newer value of its own case.
    let effects =
        store.upload(2, vec![change([4; 16], Operation::Update, 9, vec![("photo__width", integer(7))])]);
    assert_eq!(effects.outcomes[0].verdict, Verdict::Applied);
    assert_eq!(effects.visible[0].1.fields.len(), 4, "others are told all of the row");
}

#[test]
fn columns_of_a_third_case_become_null() {
    let mut store = Memory::new(Rule::Field);
    let first = vec![
        (UNION_CASE, text("text")),
        ("text", integer(1)),
        ("photo__width", null()),
        ("photo__height", null()),
    ];
    store.upload(1, vec![change([1; 16], Operation::Insert, 1, first)]);
    let photo = vec![
        (UNION_CASE, text("photo")),
        ("text", null()),
        ("photo__width", integer(2)),
        ("photo__height", integer(3)),
    ];
    store.upload(1, vec![change([2; 16], Operation::Update, 5, photo)]);
    // Made from the text: its author knows nothing of a photo.
    let none = vec![(UNION_CASE, text("none")), ("text", null())];
    let effects = store.upload(2, vec![change([3; 16], Operation::Update, 9, none)]);
    assert_eq!(effects.outcomes[0].verdict, Verdict::Applied);
    assert!(held(&store).is_some_and(|values| check(&values)));
}
