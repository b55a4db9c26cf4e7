//! `lattice-sim --seeds FIRST..END [--kind KIND] [--jobs N] [--mutation NAME] [--first]`, or `lattice-sim --seed N --trace`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use lattice_engine::mutation::Mutation;
use lattice_sim::config::Kind;
use lattice_sim::runner::{run_many, run_one};

const USAGE: &str = "lattice-sim --seeds FIRST..END [--kind KIND] [--jobs N] [--mutation NAME] [--first]
lattice-sim --seed N [--kind KIND] [--trace] [--mutation NAME]

  --seeds     plays these histories and lists the seeds of those that are wrong
  --first     stops at the first wrong one
  --seed      plays one history; --trace prints every step of it
  --kind      single, shared, mixed or shared-mixed (with all generations of clients); default: by the seed
  --jobs      threads (default: one for each processor)
  --mutation  takes one rule away, to see that it is missed: ";

/// Failing seeds that are printed with what is wrong.
const MAX_PRINTED: usize = 20;

#[derive(Default)]
struct Arguments {
    seeds: Option<std::ops::Range<u64>>,
    seed: Option<u64>,
    trace: bool,
    first: bool,
    kind: Option<Kind>,
    jobs: Option<usize>,
    mutation: Option<Mutation>,
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
    let mut arguments = Arguments::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--trace" => arguments.trace = true,
            "--first" => arguments.first = true,
            "--seed" => arguments.seed = Some(words.next()?.parse().ok()?),
            "--kind" => {
                arguments.kind = Some(match words.next()?.as_str() {
                    "single" => Kind::Single,
                    "shared" => Kind::Shared,
                    "mixed" => Kind::Mixed,
                    "shared-mixed" => Kind::SharedMixed,
                    _ => return None,
                });
            }
            "--jobs" => arguments.jobs = Some(words.next()?.parse().ok()?),
            "--seeds" => {
                let range = words.next()?;
                let (first, end) = range.split_once("..")?;
                arguments.seeds = Some(first.parse().ok()?..end.parse().ok()?);
            }
            "--mutation" => {
                let name = words.next()?;
                arguments.mutation = Some(*Mutation::ALL.iter().find(|mutation| mutation.as_str() == name)?);
            }
            _ => return None,
        }
    }
    (arguments.seed.is_some() != arguments.seeds.is_some()).then_some(arguments)
}

fn main() -> ExitCode {
    let mut out = std::io::stdout().lock();
    let Some(arguments) = parse(std::env::args().skip(1)) else {
        let names: Vec<_> = Mutation::ALL.iter().map(|mutation| mutation.as_str()).collect();
        let _ = writeln!(out, "{USAGE}{}", names.join(" "));
        return ExitCode::from(2);
    };
    Mutation::activate(arguments.mutation);
    let failed = match (arguments.seed, arguments.seeds.clone()) {
        (Some(seed), _) => one(&mut out, seed, &arguments),
        (None, seeds) => many(&mut out, seeds.unwrap_or_default(), &arguments),
    };
    ExitCode::from(u8::from(failed.unwrap_or(true)))
}

fn one(out: &mut impl Write, seed: u64, arguments: &Arguments) -> std::io::Result<bool> {
    let (lines, result) = run_one(seed, arguments.kind.unwrap_or(Kind::of(seed)), arguments.trace);
    for line in lines {
        writeln!(out, "{line}")?;
    }
    match &result {
        Ok(summary) => writeln!(out, "seed {seed}: converged, {summary:?}")?,
        Err(problem) => writeln!(out, "seed {seed}: {problem}")?,
    }
    Ok(result.is_err())
}

fn many(out: &mut impl Write, seeds: std::ops::Range<u64>, arguments: &Arguments) -> std::io::Result<bool> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // A panic is a result here; its text comes with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let started = Instant::now();
    let outcome = run_many(seeds, arguments.kind, arguments.jobs.unwrap_or(processors), arguments.first);
    let seconds = started.elapsed().as_secs_f64();
    for failure in outcome.failures.iter().take(MAX_PRINTED) {
        writeln!(out, "seed {}: {}", failure.seed, failure.problem)?;
    }
    let rest: Vec<_> = outcome.failures.iter().skip(MAX_PRINTED).map(|failure| failure.seed).collect();
    if !rest.is_empty() {
        writeln!(out, "also {rest:?}")?;
    }
    writeln!(out, "{} histories, {} diverged", outcome.histories, outcome.failures.len())?;
    let per_history = |sum: u64| sum as f64 / outcome.histories.max(1) as f64;
    writeln!(
        out,
        "{:.0} histories/s in {seconds:.1} s; each {:.0} steps, {:.0} changes, {:.0} pulls",
        outcome.histories as f64 / seconds,
        per_history(outcome.total.steps),
        per_history(outcome.total.changes),
        per_history(outcome.total.pulls),
    )?;
    Ok(!outcome.failures.is_empty())
}
