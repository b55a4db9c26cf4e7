//! `lattice-server migrate`.

use std::sync::Arc;

use lattice_store::spaces::NoSink;
use lattice_store::time::{Clock, Random, SystemClock, SystemRandom};

use super::say;
use crate::backend::Backend;
use crate::config::Config;

/// Opens the database, which brings its schema up to date, and closes it.
pub(super) async fn run(config: &Config) -> Result<(), String> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let opened = Backend::open(config, Arc::new(NoSink), &clock, &random).await;
    opened.map_err(|error| error.to_string())?.close().await;
    say("the schema is up to date");
    Ok(())
}
