//! Rows that earlier versions stored are read as long as they stand.

mod common;

use bytes::Bytes;
use common::Memory;
use lattice_engine::{Clock, Row, Rule, Seq, Verdict};
use lattice_protocol::value::integer;
use lattice_protocol::{Change, EntryId, Field, Operation, RowId, RowKey, Spelling};

/// A row as it was stored when entry ids broke ties: 16 bytes of id stand behind each time. It was deleted and revived at -5 s
/// by change 7, and column "b" was set at 0.3 s by change 9.
fn stored(version: u8) -> Bytes {
    const EXISTS_REVIVED_WRITER_INSERTER: u8 = 1 | 16 | 32 | 64;
    let value = integer(1);
    let mut row = vec![version, EXISTS_REVIVED_WRITER_INSERTER, 4];
    row.extend_from_slice(b"Item");
    row.push(0);
    row.extend_from_slice(&[1; 16]);
    row.extend_from_slice(&[0; 4]);
    let clock = |row: &mut Vec<u8>, time_us: i64| {
        row.extend_from_slice(&time_us.to_le_bytes());
        row.extend_from_slice(&[0xff; 16]);
    };
    row.extend_from_slice(&[7, 9]); // created_seq, last_seq
    clock(&mut row, -5_000_000);
    row.extend_from_slice(&[2; 32]); // writer, inserter
    if version == 2 {
        row.extend_from_slice(&[4; 16]); // creator
        row.push(7); // born_seq
    }
    row.push(2);
    for (time_us, seq) in [(-5_000_000, 7), (300_000, 9)] {
        clock(&mut row, time_us);
        row.push(seq);
        row.extend_from_slice(&[2; 16]);
    }
    row.push(2);
    for (name, stamp) in [(b'a', 0), (b'b', 1)] {
        row.extend_from_slice(&[1, name, stamp << 1, value.len() as u8]);
        row.extend_from_slice(&value);
    }
    row.push(0); // former
    row.into()
}

fn update(id: u8, time_us: i64, column: &'static str) -> Change {
    Change {
        id: EntryId([id; 16]),
        id_spelling: Spelling::default(),
        table: "Item".into(),
        operation: Operation::Update,
        row: RowId { key: RowKey::Uuid([1; 16]), spelling: Spelling::default() },
        fields: vec![Field { name: column.into(), value: integer(2) }],
        timestamp_us: Some(time_us),
        synthesized: false,
        filter_removal: false,
        by_filter: false,
        raw: Bytes::from_static(b"{}"),
    }
}

#[test]
fn a_row_with_ids_in_its_clocks_keeps_its_times() {
    for version in [1, 2] {
        let row = Row::decode(&stored(version)).expect("a row");
        assert_eq!(row.clock, Clock { time_us: -5_000_000, seq: 0 });
        let stamps: Vec<(i64, Seq)> =
            row.fields.iter().map(|field| (field.stamp.time_us, field.stamp.seq)).collect();
        assert_eq!(stamps, [(-5_000_000, 7), (300_000, 9)]);
        assert_eq!((row.created_seq, row.last_seq), (7, 9));
        assert_eq!((row.creator, row.born_seq), if version == 2 { (Some([4; 16]), 7) } else { (None, 0) });
        let mut again = Vec::new();
        row.encode(&mut again);
        assert_eq!(again[0], version + 2, "it is stored without ids from then on");
        assert!(again.len() < stored(version).len());
        assert_eq!(Row::decode(&again.into()), Ok(row));
        for end in 0..stored(version).len() {
            assert!(Row::decode(&stored(version).slice(..end)).is_err(), "cut at {end}");
        }
    }
}

#[test]
fn what_arrives_later_with_the_time_of_a_stored_clock_wins() {
    let mut store = Memory::new(Rule::Field);
    store.head.seq = 9;
    store.rows.insert(Memory::reference(&update(1, 0, "a")), stored(1));
    let mut verdict = |change| store.upload(1, vec![change]).outcomes[0].verdict;
    // The stored ids are the greatest there are.
    assert_eq!(verdict(update(1, -5_000_001, "a")), Verdict::Superseded);
    assert_eq!(verdict(update(2, -5_000_000, "a")), Verdict::Applied);
    assert_eq!(verdict(update(3, 299_999, "b")), Verdict::Superseded);
    assert_eq!(verdict(update(4, 300_000, "b")), Verdict::Applied);
    assert_eq!(
        verdict(Change { operation: Operation::Delete, fields: Vec::new(), ..update(5, 300_000, "a") }),
        Verdict::Applied
    );
}
