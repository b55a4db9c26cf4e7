//! The histories of deliveries have teeth. A process of its own: a rule is taken away from the whole process.
#![cfg(feature = "mutations")]

mod common;

use common::deliveries::first_wrong;
use lattice_engine::mutation::Mutation;

#[test]
fn acks_are_read() {
    Mutation::activate(Some(Mutation::UnreadAcks));
    let found = first_wrong(0..1_000);
    Mutation::activate(None);
    assert!(found.is_some(), "no history misses the rule");
}
