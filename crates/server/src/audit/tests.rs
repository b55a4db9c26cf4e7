//! Nothing is lost that may not be, and what is lost is counted.

use std::sync::atomic::{AtomicBool, Ordering};

use lattice_store::StoreError;
use lattice_store::access_log::{EventCursor, EventQuery};
use lattice_store::accounts::UserId;
use lattice_store::directory::Page;
use lattice_store::time::{SystemClock, SystemRandom};

use super::*;

/// A log that fails when it is told to.
#[derive(Default)]
struct Log {
    kept: Mutex<Vec<AccessEvent>>,
    fails: AtomicBool,
}

impl Log {
    fn kinds(&self) -> Vec<String> {
        self.kept.lock().expect("a lock").iter().map(|event| event.kind.clone()).collect()
    }
}

impl AccessLog for Log {
    fn append_events(&self, events: Vec<AccessEvent>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            assert!(events.len() <= MAX_BATCH + 1);
            if self.fails.load(Ordering::SeqCst) {
                return Err(StoreError::Busy);
            }
            self.kept.lock().expect("a lock").extend(events);
            Ok(())
        })
    }

    fn events(&self, _: EventQuery) -> BoxFuture<'_, Result<Page<AccessEvent, EventCursor>, StoreError>> {
        Box::pin(async { Err(StoreError::Busy) })
    }

    fn delete_events(&self, _: i64, _: u32) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async { Err(StoreError::Busy) })
    }
}

struct Bench {
    log: Arc<Log>,
    recorder: Arc<Recorder>,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl Bench {
    fn start(fails: bool) -> Self {
        let log = Arc::new(Log { fails: AtomicBool::new(fails), ..Log::default() });
        let recorder = Recorder::new(Arc::clone(&log) as _, Arc::new(SystemClock), Arc::new(SystemRandom));
        let stop = CancellationToken::new();
        let running = tokio::spawn(Arc::clone(&recorder).run(stop.clone()));
        Self { log, recorder, stop, running }
    }

    async fn end(self) -> Arc<Log> {
        self.stop.cancel();
        self.running.await.expect("it ends");
        self.log
    }
}

fn sign_in() -> Event {
    Event::new(Kind::SignIn)
}

#[tokio::test(start_paused = true)]
async fn a_clean_stop_loses_nothing() {
    let bench = Bench::start(false);
    for _ in 0..2_000 {
        bench.recorder.record(sign_in());
    }
    assert_eq!(bench.end().await.kinds().len(), 2_000);
}

#[tokio::test(start_paused = true)]
async fn what_was_noted_is_there_for_whoever_waits_for_it() {
    let bench = Bench::start(false);
    for count in 1..=3 {
        bench.recorder.record(sign_in());
        bench.recorder.flush().await;
        assert_eq!(bench.log.kinds().len(), count);
    }
    bench.recorder.flush().await;
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn events_are_collected() {
    let bench = Bench::start(false);
    bench.recorder.record(sign_in());
    tokio::time::sleep(COLLECTING_TIME / 2).await;
    assert_eq!(bench.log.kinds().len(), 0);
    bench.recorder.record(sign_in());
    tokio::time::sleep(COLLECTING_TIME).await;
    assert_eq!(bench.log.kinds().len(), 2);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_says_least_is_dropped_first_and_counted() {
    let bench = Bench::start(true);
    for n in 0..2 * MAX_ROUTINE_EVENTS {
        let user = UserId((n as u128).to_be_bytes());
        bench.recorder.record(Event::new(Kind::TokenUsed).actor(user).at_most_every(60));
    }
    for _ in 0..MAX_WAITING_EVENTS {
        bench.recorder.record(sign_in());
    }
    // A failing log keeps nobody waiting for long.
    bench.recorder.flush().await;
    bench.log.fails.store(false, Ordering::SeqCst);
    let kept = bench.end().await;
    let kinds = kept.kinds();
    let count = |kind: Kind| kinds.iter().filter(|name| *name == kind.as_str()).count();
    assert_eq!(count(Kind::TokenUsed), MAX_ROUTINE_EVENTS);
    assert_eq!(count(Kind::SignIn), MAX_WAITING_EVENTS - MAX_ROUTINE_EVENTS);
    assert_eq!(count(Kind::EventsDropped), 1);
    let told = kept.kept.lock().expect("a lock").iter().find_map(|event| event.detail.clone());
    let dropped = MAX_ROUTINE_EVENTS + MAX_ROUTINE_EVENTS;
    assert_eq!(told, Some(format!(r#"{{"events":{dropped}}}"#)));
}

#[tokio::test(start_paused = true)]
async fn what_happens_all_the_time_is_noted_once() {
    let bench = Bench::start(false);
    for _ in 0..50 {
        bench.recorder.record(Event::new(Kind::TokenUsed).actor(UserId([1; 16])).at_most_every(60));
        bench.recorder.record(Event::new(Kind::TokenUsed).actor(UserId([2; 16])).at_most_every(60));
    }
    assert_eq!(bench.end().await.kinds(), ["token_used", "token_used"]);
}
