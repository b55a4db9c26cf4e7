//! Every rule is needed: with any one of them taken away, some history goes wrong.
//!
//! This file holds one test, because a rule is taken away from the whole process.

use lattice_engine::mutation::Mutation;
use lattice_sim::config::Kind;
use lattice_sim::runner::run_many;

/// Histories after which a rule counts as not needed.
const MOST_HISTORIES: u64 = 20_000;

/// The first seed that misses each rule, from where the search starts.
const FIRST_SEEDS: &[(&str, u64)] = &[
    ("no-echo", 0),
    ("echo-forgets", 57),
    ("position-only", 557),
    ("own-fields", 22),
    ("ack-first", 468),
    ("no-dedup", 0),
    ("two-links", 0),
    ("moving-tombstones", 1_240),
    ("vanishing-rows", 659),
    ("refuse-and-forget", 23),
    ("late-fields", 15),
    ("frame-arrival", 0),
    ("unreachable-head", 4),
    ("reused-writers", 29),
    ("dedup-across-spaces", 10),
    ("claims-more", 70),
    ("pair-forgets", 590),
    ("starts-live", 1_407),
    ("no-savepoint", 64),
    ("revived-in-place", 202),
    ("snapshots-win", 7),
    ("stale-verdicts", 87),
    ("absent-fields", 119),
    ("kept-fields", 4_718),
    ("named-pairs", 119),
    ("failed-links", 22_951),
    ("rebuilt-twice", 72_382),
];

/// The same for rules that matter only where people share, and for histories in which they do.
const SHARED: &[(&str, u64)] = &[
    ("no-policy", 0),
    ("no-view-echo", 0),
    ("leaky-views", 0),
    ("kept-rows", 0),
    ("foreign-cursor", 240),
    ("reused-transitions", 752),
    ("saved-first", 752),
    ("cached-access", 0),
    ("stale-views", 0),
    ("stale-pages", 0),
    ("late-views", 7_680),
    ("ended-views", 9_120),
    ("resumed-twice", 2_320),
    ("hasty-subscribe", 0),
    ("hasty-view", 2_600),
    ("overtaken-uploads", 291_360),
];

/// The same for rules that matter only to clients that exist.
const MIXED: &[(&str, u64)] = &[("same-schema", 0), ("unversioned-ids", 0)];

#[test]
fn every_rule_is_missed_when_it_is_taken_away() {
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::panic::set_hook(Box::new(|_| {})); // a panic of a broken engine is a failure of its seed
    let mut not_missed = Vec::new();
    for mutation in Mutation::ALL {
        let name = mutation.as_str();
        let shared = SHARED.iter().find(|(known, _)| *known == name);
        let mixed = MIXED.iter().find(|(known, _)| *known == name);
        let kind = match (shared, mixed) {
            (Some(_), _) => Kind::Shared,
            (None, Some(_)) => Kind::Mixed,
            (None, None) => Kind::Single,
        };
        let known = shared.or(mixed).or(FIRST_SEEDS.iter().find(|(known, _)| *known == name));
        let first = known.map_or(0, |(_, seed)| *seed);
        Mutation::activate(Some(*mutation));
        let failures = run_many(first..first + MOST_HISTORIES, Some(kind), jobs, true).failures;
        Mutation::activate(None);
        match failures.first() {
            Some(failure) => println!("{name}: seed {}: {}", failure.seed, failure.problem),
            None => not_missed.push(name),
        }
    }
    let _ = std::panic::take_hook();
    assert!(not_missed.is_empty(), "no history of {MOST_HISTORIES} misses {not_missed:?}");
    assert_eq!(run_many(0..64, None, jobs, true).failures, [], "with all rules in place nothing fails");
}
