//! Clients that change one thing and wait for its acknowledgement before the next: many at once, or a single one.

use std::time::{Duration, Instant};

use super::SYNC;
use crate::Failure;
use crate::bare::Bare;
use crate::cli::{ClosedLoopArgs, LatencyArgs};
use crate::frames::{Ids, Operation, Single, acked};
use crate::http::accounts;
use crate::process::{Env, Process, own_cpu_seconds};
use crate::report::{Figure, Goal, Latencies, Report, each};
use crate::ws::Conn;

/// Seconds of each round of the baseline.
const BARE_SECONDS: u64 = 3;

/// A client with its connection and the frame it sends.
pub(super) struct Client {
    conn: Conn,
    single: Single,
    ids: Ids,
}

impl Client {
    pub(super) async fn connect(
        server: &Process,
        token: &str,
        operation: Operation,
    ) -> Result<Self, Failure> {
        let conn = Conn::open(server.address(), SYNC, token, 4 << 10).await?;
        let mut ids = Ids::new();
        let row = ids.row();
        let single = Single::new(operation, &row, &mut ids);
        let mut client = Self { conn, single, ids };
        if operation == Operation::Update {
            // There has to be something to update.
            let mut insert = Single::new(Operation::Insert, &row, &mut client.ids);
            let frame = insert.many(1, &mut client.ids).0;
            client.conn.send(&frame).await?;
            client.acknowledged().await?;
        }
        Ok(client)
    }

    /// Bytes of the entries that it sends.
    pub(super) fn entry_bytes(&self) -> usize {
        self.single.entry_bytes()
    }

    async fn acknowledged(&mut self) -> Result<(), Failure> {
        loop {
            let received = self.conn.next().await?;
            if acked(self.conn.payload(&received)).is_some() {
                return Ok(());
            }
        }
    }

    async fn drive(mut self, until: Instant) -> Result<(Self, Vec<Duration>), Failure> {
        let mut took = Vec::with_capacity(1 << 12);
        let mut now = Instant::now();
        while now < until {
            let began = now;
            self.conn.send(self.single.fresh(&mut self.ids)).await?;
            self.acknowledged().await?;
            now = Instant::now();
            took.push(now - began);
        }
        Ok((self, took))
    }
}

/// All clients at once, until then. Answers what each change took.
pub(super) async fn drive_all(clients: &mut Vec<Client>, until: Instant) -> Result<Vec<Duration>, Failure> {
    let running: Vec<_> =
        clients.drain(..).map(|client| tokio::task::spawn_local(client.drive(until))).collect();
    let mut all = Vec::new();
    for task in running {
        let (client, took) = task.await.map_err(|error| error.to_string())??;
        clients.push(client);
        all.extend(took);
    }
    Ok(all)
}

/// What one round says.
struct Round {
    rate: f64,
    latencies: Latencies,
    bare_rate: f64,
    bare_latencies: Latencies,
    cpu_us: f64,
    own_cpu_us: f64,
}

async fn rounds(
    env: &Env,
    users: usize,
    time: Duration,
    operation: Operation,
    rounds: usize,
) -> Result<Vec<Round>, Failure> {
    let folder = env.folder()?;
    let server = Process::server(env, &folder.path().join("server"))?;
    let tokens = accounts(server.address(), "loop", users)?;
    let mut bare = Bare::open(folder.path())?;
    let mut clients = Vec::with_capacity(users);
    for token in &tokens {
        clients.push(Client::connect(&server, token, operation).await?);
    }
    let mut ids = Ids::new();
    let content_bytes = clients.first().map_or(0, Client::entry_bytes);
    let mut done = Vec::new();
    for _ in 0..rounds {
        let (cpu, own_cpu, start) = (server.cpu_seconds(), own_cpu_seconds(), Instant::now());
        let until = start + time;
        let all = drive_all(&mut clients, until).await?;
        let (elapsed, count) = (start.elapsed().as_secs_f64(), all.len() as f64);
        let cpu_us = (server.cpu_seconds() - cpu) / count * 1e6;
        let own_cpu_us = (own_cpu_seconds() - own_cpu) / count * 1e6;
        let bare_took = bare.one_row(content_bytes, time.min(Duration::from_secs(BARE_SECONDS)), &mut ids)?;
        done.push(Round {
            rate: count / elapsed,
            latencies: Latencies::of(all),
            bare_rate: bare_took.len() as f64 / bare_took.iter().sum::<Duration>().as_secs_f64(),
            bare_latencies: Latencies::of(bare_took),
            cpu_us,
            own_cpu_us,
        });
    }
    drop(clients);
    server.stop().await?;
    Ok(done)
}

pub(crate) async fn run(
    env: &Env,
    args: &ClosedLoopArgs,
    count: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    let time = Duration::from_secs(args.seconds);
    let done = rounds(env, args.users as usize, time, args.operation, count).await?;
    let figure = |name, unit| Figure::new("closed-loop", name, unit);
    let rate = figure("changes, against 1-row commits", "1/s").machine(each(&done, |round| round.bare_rate));
    report.add(rate.server(each(&done, |round| round.rate)).with_goal(Goal::RatioAtLeast(4.0)));
    report.add(figure("p50", "ms").server(each(&done, |round| round.latencies.p50_ms)));
    let p99 = figure("p99", "ms").server(each(&done, |round| round.latencies.p99_ms));
    report.add(p99.with_goal(Goal::AtMost(15.0)));
    report.add(figure("max", "ms").server(each(&done, |round| round.latencies.max_ms)));
    report.add(figure("CPU of the server for a change", "µs").server(each(&done, |round| round.cpu_us)));
    report.add(figure("CPU of the clients for a change", "µs").server(each(&done, |round| round.own_cpu_us)));
    Ok(())
}

/// A single client.
pub(crate) async fn latency(
    env: &Env,
    args: &LatencyArgs,
    count: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    let done = rounds(env, 1, Duration::from_secs(args.seconds), Operation::Insert, count).await?;
    let figure = |name| Figure::new("latency", name, "ms");
    let p50 = figure("upload to ack, p50").server(each(&done, |round| round.latencies.p50_ms));
    report.add(p50.machine(each(&done, |round| round.bare_latencies.p50_ms)));
    let p99 = figure("upload to ack, p99").server(each(&done, |round| round.latencies.p99_ms));
    report.add(p99.machine(each(&done, |round| round.bare_latencies.p99_ms)));
    let max = figure("upload to ack, max").server(each(&done, |round| round.latencies.max_ms));
    report.add(max.machine(each(&done, |round| round.bare_latencies.max_ms)));
    Ok(())
}
