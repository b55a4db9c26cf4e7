//! What is done now and then: forgetting and erasing what nobody will ask for again.

use std::sync::Arc;
use std::time::Duration;

use lattice_auth::audit::{Event, Kind};
use lattice_auth::{AuthService, KEY_PICKUP_INTERVAL_S};
use tokio_util::sync::CancellationToken;

use crate::spaces::Spaces;

/// How often ended sessions and invites are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3_600);
/// How often deleted spaces are looked for.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);

/// How often it is looked whether the keys that sign tokens have changed.
const KEY_PICKUP_INTERVAL: Duration = Duration::from_secs(KEY_PICKUP_INTERVAL_S as u64);

/// Takes keys into use that somebody has added, until `stop` is cancelled.
pub(crate) async fn pick_up_keys(auth: Arc<AuthService>, stop: CancellationToken) {
    let keys = auth.keyring();
    let mut due = tokio::time::interval(KEY_PICKUP_INTERVAL);
    let mut failing = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = due.tick() => {}
        }
        let looked = tokio::select! {
            () = stop.cancelled() => return,
            looked = keys.pick_up() => looked,
        };
        match looked {
            Ok(changed) => {
                failing = false;
                if changed {
                    auth.audit().record(Event::new(Kind::KeysRotated));
                }
            }
            // Said once: the next looks will find the same.
            Err(error) if !failing => {
                failing = true;
                tracing::error!(%error, "cannot look for changed keys; those in use stay");
            }
            Err(_) => {}
        }
    }
}

/// Forgets sessions that ended long ago, until `stop` is cancelled.
pub(crate) async fn sweep(auth: Arc<AuthService>, stop: CancellationToken) {
    let mut due = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = due.tick() => {}
        }
        match auth.sweep().await {
            Ok(0) => {}
            Ok(sessions) => tracing::info!(sessions, "forgot sessions that ended long ago"),
            Err(error) => tracing::warn!(%error, "cannot forget old sessions; it is tried again later"),
        }
    }
}

/// Forgets what the access log holds that is older than so many days, until `stop` is cancelled; 0 keeps it for ever.
pub(crate) async fn forget_events(auth: Arc<AuthService>, days: u32, stop: CancellationToken) {
    if days == 0 {
        return;
    }
    let mut due = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = due.tick() => {}
        }
        let forgotten = tokio::select! {
            () = stop.cancelled() => return,
            forgotten = auth.forget_events(days) => forgotten,
        };
        match forgotten {
            Ok(0) => {}
            Ok(events) => tracing::info!(events, "forgot old events of the access log"),
            Err(error) => tracing::warn!(%error, "cannot forget old events; it is tried again later"),
        }
    }
}

/// Forgets invites that expired long ago, until `stop` is cancelled.
pub(crate) async fn forget_invites(spaces: Arc<Spaces>, stop: CancellationToken) {
    let mut due = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = due.tick() => {}
        }
        if let Err(error) = spaces.forget_invites().await {
            tracing::warn!(%error, "cannot forget expired invites; it is tried again later");
        }
    }
}

/// Erases what deleted spaces held, until `stop` is cancelled: whatever is left then is erased after the next start.
pub(crate) async fn purge(spaces: Arc<Spaces>, stop: CancellationToken) {
    let mut due = tokio::time::interval(PURGE_INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = due.tick() => {}
        }
        let purged = tokio::select! {
            () = stop.cancelled() => return,
            purged = spaces.purge() => purged,
        };
        match purged {
            Ok(0) => {}
            Ok(records) => tracing::info!(records, "erased what deleted spaces held"),
            Err(error) => tracing::warn!(%error, "cannot erase deleted spaces; it is tried again later"),
        }
    }
}
