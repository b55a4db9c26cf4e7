//! `lattice-server keys`: the keys that sign access tokens.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use clap::Subcommand;
use lattice_auth::{FileKeys, KeyState, KeyStore, Keys, Rotation, rotate_keys};
use lattice_store::spaces::NoSink;
use lattice_store::time::{Clock, Random, SystemClock, SystemRandom};

use super::say;
use crate::backend::Backend;
use crate::config::{Config, Database};

/// What is done with the keys that sign access tokens. It may be done while servers run; they notice within seconds.
#[derive(Subcommand, Clone, Debug)]
pub enum KeysCommand {
    /// Lists them, and what each is used for.
    List,
    /// Adds a key. It signs ten minutes later, once everybody knows it; tokens of the keys before it stay good until they
    /// expire.
    Rotate {
        /// Sign with the new key at once.
        #[arg(long)]
        now: bool,
        /// Void every token of the keys before it, because one has leaked. Clients refresh theirs by themselves.
        #[arg(long, requires = "now")]
        revoke_old: bool,
    },
}

/// Does it.
pub(super) async fn run(config: &Config, command: &KeysCommand) -> Result<(), String> {
    config.check().map_err(|error| error.to_string())?;
    if config.jwt_secret.is_some() {
        return Err(
            "access tokens are signed with JWT_SECRET, so there are no keys here. To rotate it, restart every server with \
             JWT_SECRET_PREVIOUS set to the secret of now and JWT_SECRET to a new one, and 15 minutes later without \
             JWT_SECRET_PREVIOUS; a secret that has leaked must not be the previous one"
                .to_owned(),
        );
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    if let Database::Sqlite(_) = config.database().map_err(|error| error.to_string())? {
        // The database is not opened: it belongs to the server that runs.
        let store = FileKeys::new(&config.data_dir, Arc::clone(&random));
        return perform(&store, command, &*clock, &*random).await;
    }
    let opened = Backend::open(config, Arc::new(NoSink), &clock, &random).await;
    let backend = opened.map_err(|error| error.to_string())?;
    let done = perform(&*backend.key_store(config, &random), command, &*clock, &*random).await;
    backend.close().await;
    done
}

async fn perform(
    store: &dyn KeyStore,
    command: &KeysCommand,
    clock: &dyn Clock,
    random: &dyn Random,
) -> Result<(), String> {
    match *command {
        KeysCommand::List => list(store, clock).await,
        KeysCommand::Rotate { now, revoke_old } => {
            let rotation = match (now, revoke_old) {
                (_, true) => Rotation::Revoking,
                (true, false) => Rotation::Immediate,
                (false, false) => Rotation::Announced,
            };
            let rotated = rotate_keys(store, rotation, clock, random).await;
            let rotated = rotated.map_err(|error| error.to_string())?;
            let begins = match rotation {
                Rotation::Announced => format!("signs from {} on", date(rotated.signs_from_s)),
                Rotation::Immediate => "signs from now on".to_owned(),
                Rotation::Revoking => "signs from now on; tokens of all other keys are void".to_owned(),
            };
            say(&format!("{} {begins}", rotated.kid));
            if rotated.dropped > 0 {
                say(&format!("keys removed: {}", rotated.dropped));
            }
            Ok(())
        }
    }
}

async fn list(store: &dyn KeyStore, clock: &dyn Clock) -> Result<(), String> {
    let stored = store.read().await.map_err(|error| error.to_string())?;
    let keys = Keys::from_stored(&stored).map_err(|error| error.to_string())?;
    for key in keys.list(clock.now_us().div_euclid(1_000_000)) {
        let state = match key.state {
            KeyState::Signs => "signs".to_owned(),
            KeyState::Announced(from_s) => format!("will sign from {} on", date(from_s)),
            KeyState::Retired(Some(until_s)) => format!("verifies until {}", date(until_s)),
            KeyState::Retired(None) => "verifies".to_owned(),
            KeyState::Expired => "is not used any more; the next rotation removes it".to_owned(),
        };
        let made = key.created_s.map_or_else(|| "at the first start".to_owned(), date);
        say(&format!("{}  made {made}  {state}", key.kid));
    }
    Ok(())
}

/// A time as people read it.
fn date(time_s: i64) -> String {
    let since = Duration::from_secs(u64::try_from(time_s).unwrap_or_default());
    UNIX_EPOCH.checked_add(since).map_or_else(|| time_s.to_string(), httpdate::fmt_http_date)
}
