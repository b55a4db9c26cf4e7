//! What the binary does besides serving.

mod access_log;
mod archive;
mod backup;
mod copy;
mod export_account;
mod healthcheck;
mod import_users;
mod keys;
mod migrate;
mod quota;

use std::path::PathBuf;

use clap::Subcommand;

use crate::config::Config;

pub use quota::QuotaCommand;

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
    /// Writes a backup of the database to a new file, which only its owner may read, and reads it back. Servers may run meanwhile. On
    /// PostgreSQL it is an archive of pg_dump's. It holds everything that was acknowledged before the command began. The keys that
    /// sign tokens are in it on PostgreSQL; with a file they stand in the data folder, and are to be kept with it.
    Backup {
        /// The file; there must be none of that name.
        file: PathBuf,
        /// The folder with pg_dump and pg_restore. By default those in PATH, or Debian's, which are as new as the server.
        #[arg(long, env = "PG_BIN")]
        pg_bin: Option<PathBuf>,
    },
    /// Puts a backup in the place of the database. No server may run on it. Clients are told to start over, and to send again what they
    /// still have of the changes that the backup lacks.
    Restore {
        /// The backup.
        file: PathBuf,
        /// Also where the database is not empty. What it held is kept: as a file beside it, or in a schema of its own on PostgreSQL.
        #[arg(long)]
        replace: bool,
        /// The folder with pg_dump and pg_restore. By default those in PATH, or Debian's, which are as new as the server.
        #[arg(long, env = "PG_BIN")]
        pg_bin: Option<PathBuf>,
    },
    /// Tells or sets what a user or a space may hold, also while a server runs.
    Quota {
        /// What to do.
        #[command(subcommand)]
        command: QuotaCommand,
    },
    /// Makes accounts from a file of another server's: a JSON object in each line, `{id?, email, passwordHash?, fullName?,
    /// createdAt?, emailVerified?}`, with bcrypt hashes. Accounts that are there already stay as they are.
    ImportUsers {
        /// The file; `-` for the standard input.
        file: PathBuf,
    },
    /// Lists what happened with accounts and rights, the last event first. A server may run meanwhile.
    AccessLog(access_log::Filter),
    /// Writes everything that is kept of one user to standard output, one JSON object a line. A server may run meanwhile.
    ExportAccount {
        /// The id or the e-mail address of the user.
        #[arg(long)]
        user: String,
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
            Self::Backup { file, pg_bin } => backup::back_up(config, file, pg_bin.as_deref()).await,
            Self::Restore { file, replace, pg_bin } => {
                backup::restore(config, file, *replace, pg_bin.as_deref()).await
            }
            Self::Quota { command } => quota::run(config, command).await,
            Self::ImportUsers { file } => import_users::run(config, file).await,
            Self::AccessLog(filter) => access_log::run(config, filter).await,
            Self::ExportAccount { user } => export_account::run(config, user).await,
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
