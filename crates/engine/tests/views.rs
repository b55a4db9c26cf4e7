//! Random memberships, policies, filters and operations: every delivery was permitted when it was made, every permitted one
//! arrived, and every replica equals what its user may see and asked for.

mod common;

use common::history::{History, first_wrong};

/// Histories that are always played; `VIEW_HISTORIES` plays more, `VIEW_SEED` shows one.
const HISTORIES: u64 = 10_000;

#[test]
fn everybody_sees_what_they_may_and_asked_for() {
    let histories = std::env::var("VIEW_HISTORIES").ok().and_then(|text| text.parse().ok());
    if let Some(seed) = std::env::var("VIEW_SEED").ok().and_then(|text| text.parse().ok()) {
        let mut history = History::new(seed, true);
        let result = history.run();
        history.trace.iter().for_each(|line| println!("{line}"));
        result.expect("the history converges");
        return;
    }
    if let Some((seed, problem)) = first_wrong(0..histories.unwrap_or(HISTORIES)) {
        panic!("history {seed} (VIEW_SEED={seed} shows it): {problem}");
    }
}
