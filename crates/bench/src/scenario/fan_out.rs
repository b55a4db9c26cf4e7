//! One sender, many listeners.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::SYNC;
use crate::Failure;
use crate::cli::FanOutArgs;
use crate::frames::{Acker, Ids, Operation, Single};
use crate::http::accounts;
use crate::process::{Env, Process, own_cpu_seconds};
use crate::report::{Figure, Goal, Latencies, Report, each};
use crate::ws::Conn;

/// Messages prepared for each second of a run: more than 2,000,000 deliveries to 100 listeners.
const MAX_MESSAGES_PER_SECOND: usize = 25_000;
/// How long the last messages of a run may take.
const MAX_DRAIN_TIME: Duration = Duration::from_secs(20);

/// What listeners and their sender share. All of them run on one thread.
#[derive(Default)]
struct Race {
    sent_at: Vec<Instant>,
    /// Listeners that each message has not reached yet.
    missing: Vec<usize>,
    /// Messages that each listener has.
    seen: Vec<usize>,
    /// Messages that every listener has.
    completed: usize,
    took: Vec<Duration>,
    failure: Option<Failure>,
}

impl Race {
    fn delivered(&mut self, listener: usize, count: usize, now: Instant) {
        for _ in 0..count {
            let message = self.seen[listener];
            self.seen[listener] += 1;
            let Some(missing) = self.missing.get_mut(message) else { continue };
            *missing -= 1;
            if *missing == 0 {
                self.completed += 1;
                self.took.push(now - self.sent_at[message]);
            }
        }
    }
}

/// A server with its listeners connected.
struct Arena {
    process: Process,
    sender: Conn,
    race: Rc<RefCell<Race>>,
    progress: Rc<Notify>,
    single: Single,
    ids: Ids,
    listeners: usize,
}

/// What one run says.
struct Run {
    deliveries_rate: f64,
    latencies: Latencies,
    cpu_us: f64,
    own_cpu_us: f64,
}

impl Arena {
    async fn new(process: Process, token: &str, listeners: usize) -> Result<Self, Failure> {
        let address = process.address();
        let race = Rc::new(RefCell::new(Race { seen: vec![0; listeners], ..Race::default() }));
        let progress = Rc::new(Notify::new());
        for number in 0..listeners {
            let (race, progress) = (Rc::clone(&race), Rc::clone(&progress));
            let conn = connect(address, token).await?;
            tokio::task::spawn_local(async move {
                let failure = listen(conn, number, &race, &progress).await.err();
                race.borrow_mut().failure = failure;
                progress.notify_one();
            });
        }
        let sender = connect(address, token).await?;
        let mut ids = Ids::new();
        let row = ids.row();
        let single = Single::new(Operation::Insert, &row, &mut ids);
        Ok(Self { process, sender, race, progress, single, ids, listeners })
    }

    /// Keeps `window` messages in flight for a while.
    async fn run(&mut self, window: usize, time: Duration) -> Result<Run, Failure> {
        let prepared = (MAX_MESSAGES_PER_SECOND as f64 * time.as_secs_f64()) as usize;
        let (frames, length) = self.single.many(prepared, &mut self.ids);
        *self.race.borrow_mut() = Race { seen: vec![0; self.listeners], ..Race::default() };
        let (cpu, own_cpu, start) = (self.process.cpu_seconds(), own_cpu_seconds(), Instant::now());
        let mut sent = 0;
        loop {
            let free = {
                let mut race = self.race.borrow_mut();
                if let Some(failure) = race.failure.take() {
                    return Err(failure);
                }
                let ends = start.elapsed() >= time || sent == prepared;
                if ends && race.completed == sent {
                    break;
                }
                let room = window.saturating_sub(sent - race.completed).min(prepared - sent);
                let free = if ends { 0 } else { room };
                let (now, listeners) = (Instant::now(), self.listeners);
                race.sent_at.extend(std::iter::repeat_n(now, free));
                race.missing.extend(std::iter::repeat_n(listeners, free));
                free
            };
            self.sender.send(&frames[sent * length..(sent + free) * length]).await?;
            sent += free;
            tokio::select! {
                () = self.progress.notified() => {}
                // Its acks have to be read, or the server could not go on.
                received = self.sender.next() => { received?; }
                () = tokio::time::sleep(MAX_DRAIN_TIME) => {
                    let race = self.race.borrow();
                    return Err(format!("{} of {sent} messages did not reach everyone", sent - race.completed));
                }
            }
        }
        let elapsed = start.elapsed().as_secs_f64();
        let took = std::mem::take(&mut self.race.borrow_mut().took);
        let deliveries = (took.len() * self.listeners) as f64;
        Ok(Run {
            deliveries_rate: deliveries / elapsed,
            latencies: Latencies::of(took),
            cpu_us: (self.process.cpu_seconds() - cpu) / deliveries * 1e6,
            own_cpu_us: (own_cpu_seconds() - own_cpu) / deliveries * 1e6,
        })
    }
}

/// Connects and makes sure that the server is at work on the socket.
async fn connect(address: SocketAddr, token: &str) -> Result<Conn, Failure> {
    let mut conn = Conn::open(address, SYNC, token, 16 << 10).await?;
    super::idle::ping(&mut conn).await?;
    Ok(conn)
}

async fn listen(
    mut conn: Conn,
    number: usize,
    race: &RefCell<Race>,
    progress: &Notify,
) -> Result<(), Failure> {
    let (mut acker, mut acks) = (Acker::new(), Vec::new());
    loop {
        let mut received = Some(conn.next().await?);
        let (now, mut count) = (Instant::now(), 0);
        acks.clear();
        // Everything that one read brought, each frame with its own ack.
        while let Some(frame) = received {
            count += acker.ack(conn.payload(&frame), &mut acks);
            received = conn.buffered()?;
        }
        conn.send(&acks).await?;
        let mut race = race.borrow_mut();
        let before = race.completed;
        race.delivered(number, count, now);
        if race.completed > before {
            progress.notify_one();
        }
    }
}

pub(crate) async fn run(
    env: &Env,
    args: &FanOutArgs,
    rounds: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    let folder = env.folder()?;
    let server = Process::server(env, &folder.path().join("server"))?;
    let token = accounts(server.address(), "fan", 1)?.remove(0);
    let listeners = args.listeners as usize;
    let mut arena = Arena::new(server, &token, listeners).await?;
    let mut machine = Arena::new(Process::broadcast()?, "none", listeners).await?;
    let time = Duration::from_secs(args.seconds);
    let parts = [
        (
            1,
            [
                "deliveries, 1 message in flight",
                "p50 to the last, 1 in flight",
                "p99 to the last, 1 in flight",
            ],
        ),
        (
            args.in_flight as usize,
            [
                "deliveries, many in flight",
                "p50 to the last, many in flight",
                "p99 to the last, many in flight",
            ],
        ),
    ];
    // Once without counting, so that no round pays for what is only done once.
    for arena in [&mut arena, &mut machine] {
        arena.run(args.in_flight as usize, Duration::from_millis(300)).await?;
    }
    for (window, [rate, p50, p99]) in parts {
        let (mut server, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            server.push(arena.run(window, time).await?);
            bare.push(machine.run(window, time).await?);
        }
        let figure = |name, unit, value: fn(&Run) -> f64| {
            Figure::new("fan-out", name, unit).server(each(&server, value)).machine(each(&bare, value))
        };
        let goal = Goal::RatioAtLeast(0.7);
        report.add(figure(rate, "1/s", |run| run.deliveries_rate).with_goal(goal));
        report.add(figure(p50, "ms", |run| run.latencies.p50_ms));
        report.add(figure(p99, "ms", |run| run.latencies.p99_ms));
        report.add(figure("CPU of the server for a delivery", "µs", |run| run.cpu_us));
        report.add(figure("CPU of the clients for a delivery", "µs", |run| run.own_cpu_us));
    }
    arena.process.stop().await
}
