//! Writing the access log in the background, so that nobody who signs in waits for it.
//!
//! What is noted waits in a queue with a limit and is written in batches, a fifth of a second later at most. A clean stop writes
//! what still waits; a crash loses what was noted in that fifth of a second. While the database fails the queue fills: what says
//! that all is as usual is dropped first, at half of the limit, the rest at the whole of it. How many were dropped is logged, and
//! stands in the access log itself.

mod throttle;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lattice_auth::audit::{AccessAudit, Event, Kind};
use lattice_store::BoxFuture;
use lattice_store::access_log::{AccessEvent, AccessLog};
use lattice_store::time::{Clock, Random, random_id};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use throttle::Throttled;

/// Events that may wait to be written: some MiB, which last for a minute of failing database with a hundred sign-ins a second.
const MAX_WAITING_EVENTS: usize = 8_192;
/// How many of them may be of those that say that all is as usual.
const MAX_ROUTINE_EVENTS: usize = MAX_WAITING_EVENTS / 2;
/// Events of one write: some milliseconds of the writer.
const MAX_BATCH: usize = 256;
/// How long an event waits for others to be written with it.
const COLLECTING_TIME: Duration = Duration::from_millis(200);
/// Pause after a write that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How long whoever asks for the log waits for what was noted before.
const MAX_FLUSH_TIME: Duration = Duration::from_secs(1);

/// Keeps events until they are written.
pub struct Recorder {
    log: Arc<dyn AccessLog>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    queue: Mutex<Queue>,
    /// There is something to write, or somebody waits for it.
    wake: Notify,
    /// How many were written, of all that were taken.
    written: watch::Sender<u64>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<AccessEvent>,
    throttled: Throttled,
    /// How many were taken so far.
    taken: u64,
    /// How many were dropped since that was told last.
    dropped: u64,
    /// Somebody waits for what is in it.
    hurry: bool,
}

impl Recorder {
    /// Keeps what it is told until [`run`](Self::run) writes it to `log`.
    #[must_use]
    pub fn new(log: Arc<dyn AccessLog>, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Arc<Self> {
        let (queue, wake, written) = (Mutex::default(), Notify::new(), watch::Sender::new(0));
        Arc::new(Self { log, clock, random, queue, wake, written })
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what it is told until `stop` is cancelled, and then what still waits.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let (none, hurry) = {
                let queue = self.queue();
                (queue.waiting.is_empty(), queue.hurry || queue.waiting.len() >= MAX_BATCH)
            };
            let stopping = stop.is_cancelled();
            if none {
                if stopping {
                    return;
                }
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = stop.cancelled() => {}
                }
                continue;
            }
            if !hurry && !stopping {
                tokio::select! {
                    () = tokio::time::sleep(COLLECTING_TIME) => {}
                    () = self.hurried() => {}
                    () = stop.cancelled() => {}
                }
            }
            self.write_batch(&stop).await;
        }
    }

    /// Waits until there is a reason not to wait.
    async fn hurried(&self) {
        loop {
            self.wake.notified().await;
            let queue = self.queue();
            if queue.hurry || queue.waiting.len() >= MAX_BATCH {
                return;
            }
        }
    }

    /// Writes the oldest of what waits, again and again until that succeeds. They leave the queue only then.
    async fn write_batch(&self, stop: &CancellationToken) {
        let (batch, dropped) = {
            let mut queue = self.queue();
            let batch: Vec<AccessEvent> = queue.waiting.iter().take(MAX_BATCH).cloned().collect();
            (batch, std::mem::take(&mut queue.dropped))
        };
        let count = batch.len();
        let mut events = batch;
        if dropped > 0 {
            tracing::warn!(events = dropped, "the access log could not keep up; events were dropped");
            let event = Event::new(Kind::EventsDropped).detail("events", dropped);
            events.push(event.into_stored(self.clock.now_us(), random_id(&*self.random)));
        }
        loop {
            match self.log.append_events(events.clone()).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::warn!(%error, events = events.len(), "the access log cannot be written; it is tried again");
                    tokio::select! {
                        () = tokio::time::sleep(RETRY_PAUSE) => {}
                        // Once more, and then it is for whoever stops the server to decide.
                        () = stop.cancelled() => tokio::time::sleep(RETRY_PAUSE / 10).await,
                    }
                }
            }
        }
        let mut queue = self.queue();
        queue.waiting.drain(..count);
        let written = queue.taken - queue.waiting.len() as u64;
        queue.hurry &= !queue.waiting.is_empty();
        drop(queue);
        self.written.send_replace(written);
    }
}

impl AccessAudit for Recorder {
    fn record(&self, event: Event) {
        let now_us = self.clock.now_us();
        let kind = event.kind();
        let mut queue = self.queue();
        let event = match event.throttle() {
            None => event,
            Some((interval_s, alike)) => match queue.throttled.pass(alike, now_us, interval_s) {
                None => return,
                Some(0) => event,
                Some(suppressed) => event.detail("suppressed", suppressed),
            },
        };
        let most = if kind.is_routine() { MAX_ROUTINE_EVENTS } else { MAX_WAITING_EVENTS };
        if queue.waiting.len() >= most {
            queue.dropped += 1;
            return;
        }
        queue.waiting.push_back(event.into_stored(now_us, random_id(&*self.random)));
        queue.taken += 1;
        let wakes = queue.waiting.len() == 1 || queue.waiting.len() == MAX_BATCH;
        drop(queue);
        if wakes {
            self.wake.notify_one();
        }
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let mut written = self.written.subscribe();
            let wanted = {
                let mut queue = self.queue();
                if queue.waiting.is_empty() {
                    return;
                }
                queue.hurry = true;
                queue.taken
            };
            self.wake.notify_one();
            let _ =
                tokio::time::timeout(MAX_FLUSH_TIME, written.wait_for(|written| *written >= wanted)).await;
        })
    }
}

#[cfg(test)]
mod tests;
