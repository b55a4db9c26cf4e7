//! Runs many seeds on many threads. A history knows nothing of threads: each has a world of its own.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::config::Kind;
use crate::history::{self, Problem, Summary};
use crate::world::World;

/// Seeds that a thread takes at a time.
const SEEDS_AT_ONCE: u64 = 16;

/// A seed whose history is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What is wrong.
    pub problem: Problem,
}

/// What many histories came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Histories that were played.
    pub histories: u64,
    /// Those that are wrong, in the order of their seeds.
    pub failures: Vec<Failure>,
    /// Sums over all histories.
    pub total: Summary,
}

/// Plays one seed with a world that is its own, and returns its trace too.
pub fn run_one(seed: u64, kind: Kind, trace: bool) -> (Vec<String>, Result<Summary, Problem>) {
    match World::new() {
        Ok(mut world) => history::run(&mut world, seed, kind, trace),
        Err(error) => (Vec::new(), Err(error.to_string())),
    }
}

/// Plays all seeds on `jobs` threads, each as its own kind or all as one; with `stop_at_first`, until one is wrong.
#[must_use]
pub fn run_many(seeds: Range<u64>, kind: Option<Kind>, jobs: usize, stop_at_first: bool) -> Outcome {
    let (next, stopped, outcome) =
        (AtomicU64::new(seeds.start), AtomicBool::new(false), Mutex::new(Outcome::default()));
    let work = || {
        let (mut mine, mut world) = (Outcome::default(), None);
        while !stopped.load(Ordering::Relaxed) {
            let first = next.fetch_add(SEEDS_AT_ONCE, Ordering::Relaxed);
            if first >= seeds.end {
                break;
            }
            for seed in first..(first + SEEDS_AT_ONCE).min(seeds.end) {
                mine.histories += 1;
                match play(&mut world, seed, kind.unwrap_or(Kind::of(seed))) {
                    Ok(summary) => {
                        mine.total.steps += summary.steps;
                        mine.total.changes += summary.changes;
                        mine.total.pulls += summary.pulls;
                    }
                    Err(problem) => {
                        world = None; // whatever it left there is not to be trusted
                        mine.failures.push(Failure { seed, problem });
                        stopped.fetch_or(stop_at_first, Ordering::Relaxed);
                    }
                }
            }
        }
        let mut all = outcome.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.histories += mine.histories;
        all.failures.append(&mut mine.failures);
        all.total.steps += mine.total.steps;
        all.total.changes += mine.total.changes;
        all.total.pulls += mine.total.pulls;
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(work);
        }
    });
    let mut outcome = outcome.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    outcome.failures.sort();
    outcome
}

fn play(world: &mut Option<World>, seed: u64, kind: Kind) -> Result<Summary, Problem> {
    let played = catch_unwind(AssertUnwindSafe(|| {
        let world = match world {
            Some(world) => world,
            None => world.insert(World::new().map_err(|error| error.to_string())?),
        };
        world.next_history().map_err(|error| error.to_string())?;
        history::run(world, seed, kind, false).1
    }));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(format!("panicked: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("")))
    })
}
