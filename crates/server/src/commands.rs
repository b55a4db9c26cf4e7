//! What the binary does besides serving.

mod copy;
mod healthcheck;
mod keys;
mod migrate;

use clap::Subcommand;

use crate::config::Config;

pub use keys::KeysCommand;

/// A command; without one the binary serves.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Brings the schema of the database up to date, and ends.
    Migrate,
    /// Copies everything from one database to another, of the same kind or not. No server may run on either. A copy that
    /// was broken off goes on where it was.
    Copy {
        /// The database to copy from: `sqlite:PATH` or `postgres://…`.
        #[arg(long, hide_env_values = true)]
        from: String,
        /// The database to copy to: a new file, or an empty database.
        #[arg(long, hide_env_values = true)]
        to: String,
    },
    /// Asks the server on this machine whether it is ready; for the health checks of containers.
    Healthcheck,
    /// Lists and rotates the keys that sign access tokens.
    Keys {
        /// What is done.
        #[command(subcommand)]
        command: KeysCommand,
    },
}

impl Command {
    /// Does it.
    ///
    /// # Errors
    /// One sentence for the operator.
    pub async fn run(&self, config: &Config) -> Result<(), String> {
        match self {
            Self::Migrate => migrate::run(config).await,
            Self::Copy { from, to } => copy::run(config, from, to).await,
            Self::Keys { command } => keys::run(config, command).await,
            Self::Healthcheck => healthcheck::run(config).await,
        }
    }
}

/// Tells the operator; a closed standard output is no reason to fail.
fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{text}");
}
