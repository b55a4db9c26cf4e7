//! The `lattice-server` binary.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use lattice_server::commands::Command;
use lattice_server::config::{Config, Database};
use lattice_server::run::Server;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long threads may go on that wait for the system, once all is closed.
const MAX_REST_TIME: Duration = Duration::from_millis(100);

/// The sync server for Lattice apps.
#[derive(Parser)]
#[command(name = "lattice-server", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    config: Config,
}

fn main() -> ExitCode {
    let Cli { command, config } = Cli::parse();
    let result = start_logging(&config).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
        let result = runtime.block_on(run(command.as_ref(), &config));
        // By now everything is stored. A look-up of a name that nobody answers would hold up the end.
        runtime.shutdown_timeout(MAX_REST_TIME);
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            let _ = writeln!(std::io::stderr(), "lattice-server: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Option<&Command>, config: &Config) -> Result<(), String> {
    if let Some(command) = command {
        return command.run(config).await;
    }
    let fail = |error: std::io::Error| format!("cannot listen for signals: {error}");
    let mut terminate = signal(SignalKind::terminate()).map_err(fail)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fail)?;
    let server = Server::start(config).await.map_err(|error| error.to_string())?;
    greet(config, &server);
    let ended = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        why = server.failed() => Err(why),
    };
    tracing::info!("closing; a second signal ends at once");
    tokio::select! {
        () = server.shut_down() => ended,
        _ = terminate.recv() => Err("ended before clients were told".into()),
        _ = interrupt.recv() => Err("ended before clients were told".into()),
    }
}

fn greet(config: &Config, server: &Server) {
    let address = server.address();
    let is_tls = config.tls.is_on();
    if !is_tls && !address.ip().is_loopback() {
        tracing::warn!(
            "plain HTTP on {address}: put a proxy that speaks TLS in front or set TLS_CERT, or tokens travel in the open"
        );
    }
    let http = if is_tls { "https" } else { "http" };
    let way_in = if config.external.local_sign_in {
        format!(
            "Make the first account:\n  \
             curl -s {http}://{address}/register -H 'content-type: application/json' \\\n    \
             -d '{{\"email\":\"you@example.com\",\"password\":\"choose-a-long-one\"}}'"
        )
    } else {
        format!("People sign in at {}.", config.external.issuer.as_deref().unwrap_or_default())
    };
    let text = format!(
        "lattice-server {version} listens on {http}://{address} (data in {data})\n{redirect}{way_in}\n\
         Then point a client at {ws}://{address}/sync\n",
        redirect = server
            .redirect_address()
            .map_or_else(String::new, |address| format!("http://{address} sends clients there\n")),
        ws = if is_tls { "wss" } else { "ws" },
        version = env!("CARGO_PKG_VERSION"),
        data = match config.database() {
            Ok(Database::Postgres(_)) => "PostgreSQL".to_owned(),
            _ => config.data_dir.display().to_string(),
        },
    );
    // A closed standard output is no reason to stop serving.
    let _ = std::io::stdout().write_all(text.as_bytes());
    let _ = std::io::stdout().flush();
}

fn start_logging(config: &Config) -> Result<(), String> {
    let filter = EnvFilter::try_new(&config.log).map_err(|error| format!("LOG cannot be read: {error}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if config.log_json { builder.json().try_init() } else { builder.try_init() };
    started.map_err(|error| format!("cannot log: {error}"))
}
