//! `lattice-server backup` and `lattice-server restore`.

use std::path::Path;

use lattice_store::backup::{BackupError, Contents, Restored};
use lattice_store::postgres::BackupConnection;
use lattice_store::sqlite;
use lattice_store::time::{Clock, SystemClock, SystemRandom};

use super::archive::{Archive, Tools};
use super::say;
use crate::config::{Config, Database};

/// Writes a backup to a new file. Servers may use the database meanwhile.
pub(super) async fn back_up(config: &Config, to: &Path, pg_bin: Option<&Path>) -> Result<(), String> {
    let now_us = SystemClock.now_us();
    let contents = match config.database().map_err(|error| error.to_string())? {
        Database::Sqlite(path) => {
            let file = to.to_path_buf();
            let made = tokio::task::spawn_blocking(move || sqlite::backup(&path, &file, now_us)).await;
            made.map_err(|error| error.to_string())?
        }
        Database::Postgres(url) => {
            let connection = connect(config, &url).await?;
            let tools = Tools::find(pg_bin, &connection)?;
            dump(&connection, &tools, to, now_us).await
        }
    };
    let Contents { users, spaces } = contents.map_err(|error| error.to_string())?;
    say(&format!("{} holds {users} accounts and {spaces} spaces; it was read back", to.display()));
    Ok(())
}

/// Puts a backup in the place of the database, which no server may use.
pub(super) async fn restore(
    config: &Config,
    from: &Path,
    replace: bool,
    pg_bin: Option<&Path>,
) -> Result<(), String> {
    let now_us = SystemClock.now_us();
    let restored = match config.database().map_err(|error| error.to_string())? {
        Database::Sqlite(path) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            if let Some(folder) = folder {
                std::fs::create_dir_all(folder)
                    .map_err(|error| format!("cannot use the folder {}: {error}", folder.display()))?;
            }
            let file = from.to_path_buf();
            let restore = move || sqlite::restore(&file, &path, replace, &SystemRandom, now_us);
            tokio::task::spawn_blocking(restore).await.map_err(|error| error.to_string())?
        }
        Database::Postgres(url) => {
            if !from.is_file() {
                return Err(BackupError::NoFile(from.to_path_buf()).to_string());
            }
            let connection = connect(config, &url).await?;
            let tools = Tools::find(pg_bin, &connection)?;
            put_back(&connection, &tools, from, replace, now_us).await
        }
    };
    let Restored { contents: Contents { users, spaces }, since_us, kept } =
        restored.map_err(|error| error.to_string())?;
    let since = httpdate::fmt_http_date(
        std::time::UNIX_EPOCH + std::time::Duration::from_micros(since_us.max(0).unsigned_abs()),
    );
    say(&format!(
        "restored {users} accounts and {spaces} spaces; clients start over, and are told that changes since {since} may be lost"
    ));
    if let Some(kept) = kept {
        say(&format!("what was there before is kept as {kept}; remove it when it is not needed any more"));
    }
    Ok(())
}

async fn connect(config: &Config, url: &str) -> Result<BackupConnection, String> {
    let opened = BackupConnection::open(url, config.database_tls_ca.as_deref()).await;
    opened.map_err(|error| error.to_string())
}

async fn dump(
    connection: &BackupConnection,
    tools: &Tools,
    to: &Path,
    now_us: i64,
) -> Result<Contents, BackupError> {
    let partial = tools.begin_dump(to)?;
    let contents = connection.begin_backup(now_us).await?;
    let tables = connection.tables().await?;
    tools.dump(connection, partial.path())?;
    let archive = Archive::read(tools, partial.path())?;
    archive.must_have(connection.schema(), &tables)?;
    partial.publish(to)?;
    Ok(contents)
}

async fn put_back(
    connection: &BackupConnection,
    tools: &Tools,
    from: &Path,
    replace: bool,
    now_us: i64,
) -> Result<Restored, BackupError> {
    // All of it is looked at before anything is touched.
    let archive = Archive::read(tools, from)?;
    archive.must_have(connection.schema(), &["meta", "users", "space", "space_head"].map(str::to_owned))?;
    let put_aside = connection.begin_restore(replace, now_us).await?;
    let restored = match archive.restore(tools, connection) {
        Ok(()) => connection.finish_restore(from, &put_aside, &SystemRandom).await,
        Err(error) => Err(error),
    };
    match restored {
        Ok(restored) => Ok(restored),
        Err(error) => match connection.undo_restore(&put_aside).await {
            Ok(()) => Err(error),
            Err(second) => Err(BackupError::Unusable(format!(
                "{error}; and what was there before could not be brought back: {second}"
            ))),
        },
    }
}
