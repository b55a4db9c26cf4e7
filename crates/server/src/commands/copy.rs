//! `lattice-server copy`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use lattice_auth::Keys;
use lattice_store::copy::{CopySource, CopyTarget, Progress, copy};
use lattice_store::postgres::{PostgresOptions, PostgresStore};
use lattice_store::spaces::NoSink;
use lattice_store::sqlite::{SqliteOptions, SqliteStore};
use lattice_store::time::{SystemClock, SystemRandom};

use super::say;
use crate::backend::STORED_KEYS;
use crate::config::{Config, Database};

/// How often the bar moves while nothing is complete.
const TICK: Duration = Duration::from_millis(200);

/// A database that is open for the copy.
enum Opened {
    Sqlite(SqliteStore),
    Postgres(PostgresStore),
}

impl Opened {
    async fn open(config: &Config, url: &str) -> Result<Self, String> {
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        match Database::parse(url)? {
            Database::Sqlite(path) => {
                let options = SqliteOptions { for_copy: true, ..SqliteOptions::default() };
                let opened = SqliteStore::open(&path, options, Arc::new(NoSink), clock, random);
                opened.map(Self::Sqlite).map_err(|error| error.to_string())
            }
            Database::Postgres(url) => {
                let options = PostgresOptions {
                    max_start_wait: Duration::from_secs(config.database_wait_seconds),
                    tls_ca: config.database_tls_ca.clone(),
                    for_copy: true,
                    ..PostgresOptions::default()
                };
                let opened = PostgresStore::open(&url, options, Arc::new(NoSink), clock, random).await;
                opened.map(Self::Postgres).map_err(|error| error.to_string())
            }
        }
    }

    fn source(&self) -> &dyn CopySource {
        match self {
            Self::Sqlite(store) => store,
            Self::Postgres(store) => store,
        }
    }

    fn target(&self) -> &dyn CopyTarget {
        match self {
            Self::Sqlite(store) => store,
            Self::Postgres(store) => store,
        }
    }

    async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}

/// A bar of spaces, with what was copied of them. Nothing is drawn where nobody watches.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::no_length();
        let template = "{elapsed_precise} [{wide_bar}] {pos}/{len} spaces, {msg} records";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message("0");
        bar.enable_steady_tick(TICK);
        Self(bar)
    }
}

impl Progress for Bar {
    fn begins(&self, spaces: u64) {
        self.0.set_length(spaces);
    }

    fn space_done(&self) {
        self.0.inc(1);
    }

    fn records(&self, count: u64) {
        let so_far = self.0.message().parse::<u64>().unwrap_or(0);
        self.0.set_message((so_far + count).to_string());
    }
}

/// Copies everything, with the keys that sign tokens where the target keeps them in the database.
pub(super) async fn run(config: &Config, from: &str, to: &str) -> Result<(), String> {
    if let Ok(Database::Sqlite(path)) = Database::parse(from)
        && !Path::exists(&path)
    {
        return Err(format!("there is no database at {}", path.display()));
    }
    let source = Opened::open(config, from).await.map_err(|error| format!("--from: {error}"))?;
    let target = Opened::open(config, to).await.map_err(|error| format!("--to: {error}"));
    let target = match target {
        Ok(target) => target,
        Err(error) => {
            source.close().await;
            return Err(error);
        }
    };
    let bar = Bar::new();
    let copied = copy(source.source(), target.target(), &bar).await;
    bar.0.finish_and_clear();
    let keys = match &copied {
        Ok(_) => copy_keys(config, (&source, from), (&target, to)).await,
        Err(_) => Ok(()),
    };
    source.close().await;
    target.close().await;
    let report = copied.map_err(|error| error.to_string())?;
    keys?;
    say(&format!(
        "copied {} spaces ({} were complete already), {} lines of their audit logs and {} rows; checksums agree",
        report.spaces, report.known_spaces, report.lines, report.rows
    ));
    Ok(())
}

/// The keys that sign tokens: in the folder of a file, in the database where instances share it. Between databases they move
/// with its other secrets.
async fn copy_keys(config: &Config, from: (&Opened, &str), to: (&Opened, &str)) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| {
        format!("everything was copied but the keys that sign tokens: {error}")
    };
    let random = SystemRandom;
    match (from.0, to.0) {
        (Opened::Sqlite(_), Opened::Postgres(store)) => {
            for folder in folders(config, from.1) {
                if let Some(stored) = Keys::stored_in(&folder).map_err(|error| failed(&error))? {
                    store.shared_value(STORED_KEYS, &stored).await.map_err(|error| failed(&error))?;
                    break;
                }
            }
            Ok(())
        }
        (Opened::Postgres(store), Opened::Sqlite(_)) => {
            let secrets = store.secrets().await.map_err(|error| failed(&error))?;
            let stored = secrets.iter().find(|(name, _)| name == STORED_KEYS);
            match (stored, folders(config, to.1).into_iter().next()) {
                (Some((_, stored)), Some(folder)) => {
                    Keys::keep_in(&folder, stored, &random).map_err(|error| failed(&error))
                }
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Where the keys of a file may be: beside it, or in the data folder.
fn folders(config: &Config, url: &str) -> Vec<PathBuf> {
    let beside = match Database::parse(url) {
        Ok(Database::Sqlite(path)) => path.parent().map(Path::to_path_buf),
        _ => None,
    };
    beside.into_iter().chain([config.data_dir.clone()]).collect()
}
