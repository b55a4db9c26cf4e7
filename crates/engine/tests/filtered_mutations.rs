//! The histories of filtered clients have teeth. A process of its own: a rule is taken away from the whole process.
#![cfg(feature = "mutations")]

mod common;

use common::filtered::first_wrong;
use lattice_engine::mutation::Mutation;

#[test]
fn every_rule_of_filtered_clients_is_needed() {
    for rule in [Mutation::DeletesByFilter, Mutation::StaleEdits] {
        Mutation::activate(Some(rule));
        let found = first_wrong(0..1_000);
        Mutation::activate(None);
        assert!(found.is_some(), "no history misses the rule {}", rule.as_str());
    }
}
