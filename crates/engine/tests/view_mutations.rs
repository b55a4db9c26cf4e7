//! The histories of views have teeth. A process of its own: a rule is taken away from the whole process.
#![cfg(feature = "mutations")]

mod common;

use common::history::first_wrong;
use lattice_engine::mutation::Mutation;

/// The histories notice when a rule of views, or of rows that are merged as a whole, is missing.
#[test]
fn every_rule_of_views_and_of_whole_rows_is_needed() {
    // No history misses `UnversionedIds` and `LateEmptiness` yet.
    let rules = [
        Mutation::NoViewEcho,
        Mutation::LeakyViews,
        Mutation::KeptRows,
        Mutation::ForeignCursor,
        Mutation::ReusedTransitions,
        Mutation::RefuseAndForget,
        Mutation::RelayedWords,
        Mutation::LateWords,
        Mutation::SameSchema,
        Mutation::NoTombstones,
        Mutation::LinksStay,
        Mutation::LateEnds,
        Mutation::MixedUnions,
        Mutation::MisfitUnions,
        Mutation::PartialRows,
        Mutation::UnsharedRows,
    ];
    for rule in rules {
        Mutation::activate(Some(rule));
        let found = first_wrong(0..20_000);
        Mutation::activate(None);
        assert!(found.is_some(), "no history misses the rule {}", rule.as_str());
    }
}
