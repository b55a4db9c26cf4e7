//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::Failure;
use crate::frames::Operation;
use crate::process::{Env, in_memory};
use crate::report::{Report, progress};
use crate::scenario::{bulk, catch_up, closed_loop, fan_out, idle, postgres};

/// Whatever happens, one scenario ends after this.
const MAX_SCENARIO_TIME: Duration = Duration::from_secs(900);

/// Measures `lattice-server` beside the limit of the machine it runs on.
#[derive(Parser, Debug)]
#[command(name = "lattice-bench", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Binary of the server.
    #[arg(long, global = true, default_value = "target/release/lattice-server")]
    server: PathBuf,
    /// Folder for the data, on a real disk; by default the system's folder for temporary files, or `target` when that is
    /// kept in memory.
    #[arg(long, global = true)]
    data_dir: Option<PathBuf>,
    /// File for the figures as JSON.
    #[arg(long, global = true)]
    json: Option<PathBuf>,
    /// How often each measurement is made, in turns with its baseline.
    #[arg(long, global = true, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// One client uploads many new rows in frames of 1,000, two in flight; beside bare SQLite appends.
    Bulk(BulkArgs),
    /// Many users change one thing at a time; beside bare one-row transactions.
    ClosedLoop(ClosedLoopArgs),
    /// One sender, many listeners of one account; beside a broadcast server that stores nothing.
    FanOut(FanOutArgs),
    /// A fresh client loads a space with a long history; beside the same bytes from a server that stores nothing.
    CatchUp(CatchUpArgs),
    /// Memory of sockets that have nothing to do.
    Idle(IdleArgs),
    /// One client, one change at a time; beside bare one-row transactions.
    Latency(LatencyArgs),
    /// Uploads to a server on PostgreSQL, beside the same inserts by a bare program; and the way of a change to a listener on
    /// another instance, beside one on the same.
    Postgres(PostgresArgs),
    /// Everything that needs no other server, with the defaults.
    All,
    /// The server that stores nothing; scenarios start it themselves.
    #[command(hide = true)]
    BroadcastServer,
}

/// Settings of `bulk`.
#[derive(Args, Debug)]
pub(crate) struct BulkArgs {
    /// Rows to upload in each round.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    pub(crate) rows: u32,
}

/// Settings of `closed-loop`.
#[derive(Args, Debug)]
pub(crate) struct ClosedLoopArgs {
    /// Users, each with one client.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    pub(crate) users: u32,
    /// Seconds of each round.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) seconds: u64,
    /// What the changes do.
    #[arg(long, value_enum, default_value = "insert")]
    pub(crate) operation: Operation,
}

/// Settings of `fan-out`.
#[derive(Args, Debug)]
pub(crate) struct FanOutArgs {
    /// Clients that listen.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    pub(crate) listeners: u32,
    /// Seconds of each round, for each number of messages in flight.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) seconds: u64,
    /// Messages in flight in the second part.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(2..=512))]
    pub(crate) in_flight: u32,
}

/// Settings of `catch-up`.
#[derive(Args, Debug)]
pub(crate) struct CatchUpArgs {
    /// Rows of the space.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    pub(crate) rows: u32,
    /// Changes that made them.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    pub(crate) changes: u32,
}

/// Settings of `idle`.
#[derive(Args, Debug)]
pub(crate) struct IdleArgs {
    /// Sockets.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=18_000))]
    pub(crate) sockets: u32,
}

/// Settings of `postgres`.
#[derive(Args, Debug)]
pub(crate) struct PostgresArgs {
    /// A database on the server on which databases may be made.
    #[arg(long, default_value = "postgres://postgres@127.0.0.1:5432/postgres")]
    pub(crate) url: String,
    /// Redis by which instances tell one another; without it only `NOTIFY` is measured.
    #[arg(long)]
    pub(crate) redis: Option<String>,
    /// Rows to upload in each round.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    pub(crate) rows: u32,
    /// Users, each with one client.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    pub(crate) users: u32,
    /// Seconds of each round.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) seconds: u64,
}

/// Settings of `latency`.
#[derive(Args, Debug)]
pub(crate) struct LatencyArgs {
    /// Seconds of each round.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) seconds: u64,
}

/// The defaults of a command, which clap alone knows.
fn defaults<T: clap::FromArgMatches + Args>() -> Result<T, Failure> {
    let command = T::augment_args(clap::Command::new("defaults"));
    T::from_arg_matches(&command.get_matches_from(["defaults"])).map_err(|error| error.to_string())
}

/// Does what the command line says.
///
/// # Errors
/// One sentence for the operator.
pub fn run(cli: Cli) -> Result<(), String> {
    let start = |error: std::io::Error| format!("cannot start: {error}");
    if matches!(cli.command, Command::BroadcastServer) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(start)?;
        return runtime.block_on(crate::broadcast::serve());
    }
    let env = environment(&cli)?;
    let mut report = Report::default();
    // One thread for all clients: the other core is the server's.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(start)?;
    let result = tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            result = scenarios(&cli, &env, &mut report) => result,
            _ = tokio::signal::ctrl_c() => Err("interrupted".to_owned()),
        }
    });
    // Whatever was measured before a failure is worth showing.
    report.write(cli.json.as_deref())?;
    result
}

fn environment(cli: &Cli) -> Result<Env, Failure> {
    let data = match &cli.data_dir {
        Some(folder) => folder.clone(),
        None => {
            Some(std::env::temp_dir()).filter(|folder| !in_memory(folder)).unwrap_or_else(|| "target".into())
        }
    };
    if in_memory(&data) {
        let shown = data.display();
        return Err(format!(
            "{shown} is kept in memory, where flushing costs nothing: choose another --data-dir"
        ));
    }
    if !cli.server.is_file() {
        let shown = cli.server.display();
        return Err(format!(
            "there is no server at {shown}: build it with `cargo build --release -p lattice-server`, or name it with --server"
        ));
    }
    Ok(Env { server: cli.server.clone(), data })
}

async fn scenarios(cli: &Cli, env: &Env, report: &mut Report) -> Result<(), Failure> {
    let rounds = cli.rounds as usize;
    match &cli.command {
        Command::Bulk(args) => bounded("bulk", bulk::run(env, args, rounds, report)).await,
        Command::ClosedLoop(args) => {
            bounded("closed-loop", closed_loop::run(env, args, rounds, report)).await
        }
        Command::FanOut(args) => bounded("fan-out", fan_out::run(env, args, rounds, report)).await,
        Command::CatchUp(args) => bounded("catch-up", catch_up::run(env, args, rounds, report)).await,
        Command::Idle(args) => bounded("idle", idle::run(env, args, report)).await,
        Command::Latency(args) => bounded("latency", closed_loop::latency(env, args, rounds, report)).await,
        Command::Postgres(args) => bounded("postgres", postgres::run(env, args, rounds, report)).await,
        Command::All => {
            bounded("latency", closed_loop::latency(env, &defaults()?, rounds, report)).await?;
            bounded("bulk", bulk::run(env, &defaults()?, rounds, report)).await?;
            bounded("closed-loop", closed_loop::run(env, &defaults()?, rounds, report)).await?;
            bounded("fan-out", fan_out::run(env, &defaults()?, rounds, report)).await?;
            bounded("idle", idle::run(env, &defaults()?, report)).await?;
            bounded("catch-up", catch_up::run(env, &defaults()?, rounds, report)).await
        }
        Command::BroadcastServer => Ok(()),
    }
}

async fn bounded(name: &str, scenario: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    progress(&format!("{name} …"));
    let result = tokio::time::timeout(MAX_SCENARIO_TIME, scenario).await;
    let result = result.unwrap_or_else(|_| Err(format!("it did not end within {MAX_SCENARIO_TIME:?}")));
    result.map_err(|failure| format!("{name}: {failure}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        assert_eq!(defaults::<BulkArgs>().map(|args| args.rows), Ok(100_000));
    }
}
