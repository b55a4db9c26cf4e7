//! Random deliveries to clients that fail: what they could store in the end they hold, and what they cannot is listed.

mod common;

use common::deliveries::first_wrong;
use lattice_engine::{Cursor, Delivered, Deliveries, MAX_FAILING_ROWS, MAX_WAITING_ENTRIES, RowRef};
use lattice_protocol::{EntryId, RowKey};

fn entry(number: u32) -> Delivered {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.to_le_bytes());
    Delivered { id: EntryId(id), row: RowRef { table: "Item".into(), key: RowKey::Uuid(id) }, whole: true }
}

#[test]
fn a_client_that_fails_holds_in_the_end_what_it_can() {
    if let Some((seed, problem)) = first_wrong(0..20_000) {
        panic!("history {seed}: {problem}");
    }
}

#[test]
fn a_client_that_never_answers_costs_a_bounded_part_and_is_not_taken_to_have_applied_it() {
    let (mut deliveries, start) = (Deliveries::default(), Cursor::complete(7));
    for frame in 0..100_u32 {
        let entries: Vec<_> = (0..500).map(|at| entry(frame * 500 + at)).collect();
        deliveries.sent(Cursor { position: u64::from(frame) + 7, ..start }, entries.into(), 0);
        assert!(deliveries.held().0 <= MAX_WAITING_ENTRIES);
    }
    let sent = Cursor::complete(1_000);
    assert_eq!(deliveries.applied(sent), start, "what was given up may not have been applied");
    // The last frame is answered, in part: whatever was before it has been applied or has failed.
    deliveries.acked(&[entry(99 * 500).id], 0);
    assert_eq!(deliveries.applied(sent), sent);
    assert_eq!(deliveries.held(), (0, MAX_FAILING_ROWS));
}

#[test]
fn several_acks_may_answer_one_frame() {
    let mut deliveries = Deliveries::default();
    deliveries.sent(Cursor::default(), [entry(1), entry(2), entry(3)].into(), 0);
    deliveries.acked(&[entry(2).id], 0);
    assert_eq!(deliveries.held(), (0, 2));
    deliveries.acked(&[entry(1).id, entry(3).id], 1);
    assert_eq!(deliveries.held(), (0, 0));
    assert!(deliveries.take_due(i64::MAX).is_empty());
    assert_eq!(deliveries.take_unstorable(), None);
}

/// What PROTOCOL.md says that a connection costs whose client never acknowledges anything.
#[test]
fn what_waits_for_an_ack_has_a_known_price() {
    assert!(size_of::<Delivered>() <= 96, "{} bytes", size_of::<Delivered>());
}
