//! What an instance does to keep up with others on the same database: it takes the hints that come by the bus, and looks by
//! itself as well, since hints get lost.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lattice_engine::SpaceId;
use lattice_store::StoreError;
use lattice_store::spaces::SpaceStore;
use lattice_store::time::Random;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::backend::VersionLook;
use crate::bus::message::{InstanceId, Message};
use crate::bus::{Listener, jittered};
use crate::hub::Hub;

/// How often it is looked whether rights have changed elsewhere. With [`MAX_LOOK_TIME`] and the interval at which connections
/// look at the result it stays within the five seconds after which what was revoked must be without effect.
const VERSION_INTERVAL: Duration = Duration::from_millis(800);
/// How often it is looked whether spaces with connections here have moved on elsewhere: the latency while hints are lost.
const HEADS_INTERVAL: Duration = Duration::from_secs(2);
/// How long one look may take.
const MAX_LOOK_TIME: Duration = Duration::from_secs(2);
/// Spaces that one query asks for.
const HEADS_BATCH: usize = 1_000;
/// After this long without a look, changes made elsewhere count as not arriving.
const MAX_LOOK_AGE: Duration = Duration::from_secs(20);
/// Spaces that are known to have other rights before the look that makes it true; the others are found by their connections.
const MAX_ACCESS_HINTS: usize = 4_096;

/// When it was last looked for what others have changed.
pub struct Looks {
    version: Mutex<Instant>,
    heads: Mutex<Instant>,
}

impl Default for Looks {
    fn default() -> Self {
        let now = Instant::now();
        Self { version: Mutex::new(now), heads: Mutex::new(now) }
    }
}

impl Looks {
    /// For how long it has not been looked, if that is too long.
    #[must_use]
    pub fn overdue(&self) -> Option<Duration> {
        let age = |at: &Mutex<Instant>| at.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        Some(age(&self.version).max(age(&self.heads))).filter(|age| *age > MAX_LOOK_AGE)
    }
}

fn looked(at: &Mutex<Instant>) {
    *at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
}

/// The side of an instance that looks at others.
pub struct Instances {
    hub: Arc<Hub>,
    spaces: Arc<dyn SpaceStore>,
    version: Arc<dyn VersionLook>,
    random: Arc<dyn Random>,
    looks: Arc<Looks>,
    /// Spaces in which rights have changed by what others say.
    access: Mutex<HashSet<SpaceId>>,
    access_heard: Notify,
    heads_wanted: Notify,
}

impl Instances {
    /// Puts it together.
    #[must_use]
    pub fn new(
        hub: Arc<Hub>,
        spaces: Arc<dyn SpaceStore>,
        version: Arc<dyn VersionLook>,
        random: Arc<dyn Random>,
    ) -> Arc<Self> {
        Arc::new(Self {
            hub,
            spaces,
            version,
            random,
            looks: Arc::default(),
            access: Mutex::default(),
            access_heard: Notify::new(),
            heads_wanted: Notify::new(),
        })
    }

    /// When it was last looked.
    #[must_use]
    pub fn looks(&self) -> Arc<Looks> {
        Arc::clone(&self.looks)
    }

    /// Looks whether rights have changed, now and then and when others say so, until `stop` is cancelled.
    pub async fn watch_version(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.access_heard.notified() => {}
                () = tokio::time::sleep(jittered(VERSION_INTERVAL, &*self.random)) => {}
            }
            // Before the look: what is heard during it is looked at once more.
            let heard = std::mem::take(&mut *self.access.lock().unwrap_or_else(PoisonError::into_inner));
            if let Err(error) = within(self.version.look_at_version()).await {
                tracing::warn!(%error, "cannot look whether rights have changed; it is tried again");
                continue;
            }
            looked(&self.looks.version);
            // Connections look when the version has moved, so they are woken after it has.
            heard.into_iter().for_each(|space| self.hub.access_moved(space));
        }
    }

    /// Looks whether spaces have moved on, now and then and after hints may have been lost, until `stop` is cancelled.
    pub async fn watch_heads(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.heads_wanted.notified() => {}
                () = tokio::time::sleep(jittered(HEADS_INTERVAL, &*self.random)) => {}
            }
            self.hub.forget_silent_instances(Instant::now());
            match self.look_at_heads().await {
                Ok(()) => looked(&self.looks.heads),
                Err(error) => {
                    tracing::warn!(%error, "cannot look for changes made elsewhere; it is tried again");
                }
            }
        }
    }

    async fn look_at_heads(&self) -> Result<(), StoreError> {
        let live: Vec<SpaceId> = self.hub.live().iter().map(|space| space.id()).collect();
        for batch in live.chunks(HEADS_BATCH) {
            let heads = within(self.spaces.heads(batch)).await?;
            heads.into_iter().for_each(|(space, head)| self.hub.head_moved(space, head));
        }
        Ok(())
    }
}

async fn within<T>(look: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    match timeout(MAX_LOOK_TIME, look).await {
        Ok(result) => result,
        Err(_) => Err(StoreError::Busy),
    }
}

impl Listener for Instances {
    fn heard(&self, from: InstanceId, message: Message) {
        match message {
            Message::Alive => {}
            Message::Head(space, head) => self.hub.head_moved(space, head),
            Message::Access(space) => {
                let mut access = self.access.lock().unwrap_or_else(PoisonError::into_inner);
                if access.len() < MAX_ACCESS_HINTS {
                    access.insert(space);
                }
                drop(access);
                self.access_heard.notify_one();
            }
            Message::User(_) => self.access_heard.notify_one(),
            presence => self.hub.presence_heard(from, presence, Instant::now()),
        }
    }

    fn connected(&self) {
        self.access_heard.notify_one();
        self.heads_wanted.notify_one();
        self.hub.ask_again();
    }

    fn rosters(&self) -> Vec<Message> {
        self.hub.rosters()
    }
}
