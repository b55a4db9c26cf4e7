//! What was measured, as a table and as JSON.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Failure;

/// What is wanted of a figure.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    RatioAtLeast(f64),
    AtLeast(f64),
    AtMost(f64),
}

/// One figure: a value for each round, beside what the machine did in the same round.
pub(crate) struct Figure {
    pub(crate) scenario: &'static str,
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) server: Vec<f64>,
    /// Empty when there is nothing to compare with.
    pub(crate) machine: Vec<f64>,
    pub(crate) goal: Option<Goal>,
}

impl Figure {
    pub(crate) fn new(scenario: &'static str, name: &'static str, unit: &'static str) -> Self {
        Self { scenario, name, unit, server: Vec::new(), machine: Vec::new(), goal: None }
    }

    pub(crate) fn with_goal(self, goal: Goal) -> Self {
        Self { goal: Some(goal), ..self }
    }

    pub(crate) fn server(mut self, values: Vec<f64>) -> Self {
        self.server = values;
        self
    }

    pub(crate) fn machine(mut self, values: Vec<f64>) -> Self {
        self.machine = values;
        self
    }

    /// Server by machine: the median over the rounds, each with its own neighbour, so that a slow minute counts for both.
    fn ratio(&self) -> Option<f64> {
        let ratios = self.server.iter().zip(&self.machine).map(|(server, machine)| server / machine);
        (!self.machine.is_empty()).then(|| median(ratios.collect()))
    }

    fn is_met(&self) -> Option<bool> {
        let value = median(self.server.clone());
        Some(match self.goal? {
            Goal::RatioAtLeast(goal) => self.ratio().is_some_and(|ratio| ratio >= goal),
            Goal::AtLeast(goal) => value >= goal,
            Goal::AtMost(goal) => value <= goal,
        })
    }

    fn goal_text(&self) -> String {
        let met = if self.is_met() == Some(true) { "met" } else { "MISSED" };
        match self.goal {
            None => String::new(),
            Some(Goal::RatioAtLeast(goal)) => format!("ratio >= {goal}: {met}"),
            Some(Goal::AtLeast(goal)) => format!(">= {}: {met}", shown(goal)),
            Some(Goal::AtMost(goal)) => format!("<= {}: {met}", shown(goal)),
        }
    }

    fn json(&self) -> Value {
        json!({
            "scenario": self.scenario, "name": self.name, "unit": self.unit,
            "server": median(self.server.clone()), "server_rounds": self.server,
            "machine": (!self.machine.is_empty()).then(|| median(self.machine.clone())),
            "machine_rounds": self.machine, "ratio": self.ratio(),
            "goal": self.goal.map(|_| self.goal_text()), "met": self.is_met(),
        })
    }
}

/// All figures of a run.
#[derive(Default)]
pub(crate) struct Report {
    figures: Vec<Figure>,
}

impl Report {
    pub(crate) fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Writes the table, and the JSON file when one is wanted.
    pub(crate) fn write(&self, json: Option<&Path>) -> Result<(), Failure> {
        let mut out = String::new();
        let row = |cells: [&str; 7]| {
            let [scenario, name, unit, server, machine, ratio, goal] = cells;
            let line =
                format!("{scenario:<13}{name:<37}{unit:<6}{server:>11}{machine:>11}{ratio:>8}  {goal}");
            format!("{}\n", line.trim_end())
        };
        out += &row(["scenario", "figure (median of rounds)", "unit", "server", "machine", "ratio", "goal"]);
        for figure in &self.figures {
            let machine =
                if figure.machine.is_empty() { String::new() } else { shown(median(figure.machine.clone())) };
            let ratio = figure.ratio().map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let server = shown(median(figure.server.clone()));
            out += &row([
                figure.scenario,
                figure.name,
                figure.unit,
                &server,
                &machine,
                &ratio,
                &figure.goal_text(),
            ]);
        }
        // A closed standard output is no reason to lose the file.
        let _ = std::io::stdout().write_all(out.as_bytes());
        let Some(path) = json else { return Ok(()) };
        let all = json!({ "figures": self.figures.iter().map(Figure::json).collect::<Vec<_>>() });
        let written = std::fs::write(path, format!("{all:#}\n"));
        written.map_err(|error| format!("cannot write {}: {error}", path.display()))
    }
}

/// Says what is going on.
pub(crate) fn progress(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Three digits that count.
fn shown(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The middle value; 0 of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        len if len % 2 == 1 => values[len / 2],
        len => (values[len / 2 - 1] + values[len / 2]) / 2.0,
    }
}

/// Latencies of one round.
pub(crate) struct Latencies {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

impl Latencies {
    pub(crate) fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        let at = |part: f64| {
            let index = ((all.len() as f64 * part) as usize).min(all.len().saturating_sub(1));
            all.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e3)
        };
        Self { p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0) }
    }
}

/// One value of each round.
pub(crate) fn each<T>(rounds: &[T], value: impl Fn(&T) -> f64) -> Vec<f64> {
    rounds.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        let figure = Figure::new("s", "n", "u").server(vec![1.0, 4.0, 9.0]).machine(vec![2.0, 4.0, 6.0]);
        assert_eq!(figure.ratio(), Some(1.0));
        assert_eq!(figure.with_goal(Goal::RatioAtLeast(1.1)).is_met(), Some(false));
    }

    #[test]
    fn percentiles() {
        let latencies = Latencies::of((1..=100).rev().map(Duration::from_millis).collect());
        assert_eq!((latencies.p50_ms, latencies.p99_ms, latencies.max_ms), (51.0, 100.0, 100.0));
        assert_eq!(Latencies::of(Vec::new()).p99_ms, 0.0);
    }
}
