//! `lattice-server export-account`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lattice_auth::audit::{Event, Kind};
use lattice_store::accounts::UserId;
use lattice_store::spaces::NoSink;
use lattice_store::sqlite;
use lattice_store::time::{Clock, Random, SystemClock, SystemRandom, random_id};
use tokio::sync::mpsc;

use super::access_log::Source;
use crate::backend::Backend;
use crate::config::{Config, Database};
use crate::export::Exporter;

/// Pieces that wait to be written.
const MAX_WAITING_PIECES: usize = 2;

/// A copy of a file that a server is using, which goes when this is dropped.
struct Copied(PathBuf);

impl Copied {
    /// Beside the file, where there is room for it at best and where nobody looks who may not see the file itself.
    fn of(path: &Path) -> Result<Self, String> {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".export-{}", std::process::id()));
        let copied = Self(PathBuf::from(name));
        sqlite::snapshot(path, &copied.0).map_err(|error| error.to_string())?;
        Ok(copied)
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm", ".lock", ".starts"] {
            let mut name = self.0.as_os_str().to_owned();
            name.push(end);
            let _ = std::fs::remove_file(name);
        }
    }
}

/// Writes everything that is kept of a user to standard output.
pub(super) async fn run(config: &Config, named: &str) -> Result<(), String> {
    let source = Source::open(config).await?;
    let found = source.user(named).await;
    source.close().await;
    let user = found?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let copied = match config.database().map_err(|error| error.to_string())? {
        Database::Sqlite(path) => Some(Copied::of(&path)?),
        Database::Postgres(_) => None,
    };
    let mut config = config.clone();
    if let Some(copied) = &copied {
        config.database_url = Some(format!("sqlite:{}", copied.0.display()));
    }
    let backend = Backend::open(&config, Arc::new(NoSink), &clock, &random).await;
    let backend = backend.map_err(|error| error.to_string())?;
    let written = write(&backend, user, &clock).await;
    if written.is_ok() && copied.is_none() {
        let event = Event::new(Kind::AccountExported).subject(user).detail("by", "operator");
        let event = event.into_stored(clock.now_us(), random_id(&*random));
        backend.accounts.append_events(vec![event]).await.map_err(|error| error.to_string())?;
    }
    backend.close().await;
    written
}

async fn write(backend: &Backend, user: UserId, clock: &Arc<dyn Clock>) -> Result<(), String> {
    let exporter = Exporter {
        accounts: Arc::clone(&backend.accounts),
        directory: Arc::clone(&backend.directory),
        spaces: Arc::clone(&backend.spaces),
        clock: Arc::clone(clock),
    };
    let (to, mut pieces) = mpsc::channel(MAX_WAITING_PIECES);
    let writing = tokio::spawn(async move { exporter.write(user, None, to).await });
    let mut out = std::io::stdout();
    while let Some(Ok(piece)) = pieces.recv().await {
        out.write_all(&piece).map_err(|error| format!("the export cannot be written: {error}"))?;
    }
    out.flush().map_err(|error| format!("the export cannot be written: {error}"))?;
    match writing.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("the export was cut short: {error}")),
        Err(_) => Err("the export was cut short".to_owned()),
    }
}
