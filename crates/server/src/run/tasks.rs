//! What runs until the server ends, and how it is told to.

use std::sync::Arc;

use lattice_auth::AuthService;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::abandonment::Abandonment;
use crate::config::Config;
use crate::spaces::Spaces;
use crate::upkeep;

/// The tasks of a server, in the two groups that end one after the other.
#[derive(Default)]
pub(super) struct Tasks {
    /// Ends what is in `tracker`: connections, requests, upkeep.
    pub(super) stop: CancellationToken,
    /// What is waited for first.
    pub(super) tracker: TaskTracker,
    /// Ends what is in `background`: what the last request still has to tell or to note.
    pub(super) stop_background: CancellationToken,
    /// What is waited for then.
    pub(super) background: TaskTracker,
}

impl Tasks {
    /// Starts what is done at intervals: keys, sessions, events, accounts, invites and spaces that have had their time.
    pub(super) fn start_upkeep(&self, config: &Config, auth: &Arc<AuthService>, spaces: &Arc<Spaces>) {
        let stop = || self.stop.clone();
        self.tracker.spawn(upkeep::pick_up_keys(Arc::clone(auth), stop()));
        self.tracker.spawn(upkeep::forget_events(Arc::clone(auth), config.access_log_days, stop()));
        self.tracker.spawn(upkeep::sweep(Arc::clone(auth), stop()));
        if config.anonymous_retention_days > 0 {
            let days = config.anonymous_retention_days;
            let retention = Abandonment::new(Arc::clone(auth), Arc::clone(spaces), days);
            self.tracker.spawn(retention.watch(stop()));
        }
        self.tracker.spawn(upkeep::forget_invites(Arc::clone(spaces), stop()));
        self.tracker.spawn(upkeep::purge(Arc::clone(spaces), stop()));
    }
}
