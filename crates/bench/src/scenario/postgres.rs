//! On PostgreSQL: uploads beside the same inserts by a program that does nothing else, and what a second instance adds to the
//! way of a change.

use std::time::{Duration, Instant};

use lattice_testkit::Database;

use super::closed_loop::{Client, drive_all};
use super::{SYNC, WINDOW, new_rows, upload};
use crate::Failure;
use crate::bare_postgres::BarePostgres;
use crate::cli::PostgresArgs;
use crate::frames::{Acker, Ids, Operation, Single};
use crate::http::accounts;
use crate::process::{Env, Process, own_cpu_seconds};
use crate::report::{Figure, Latencies, Report};
use crate::ws::Conn;

/// Connections of the baseline: as many as the server opens.
const CONNECTIONS: usize = 16;
/// How long a change may take to reach a listener.
const MAX_DELIVERY_TIME: Duration = Duration::from_secs(10);
/// Pause between two changes whose way is measured: each finds everybody at rest.
const PAUSE: Duration = Duration::from_millis(5);

pub(crate) async fn run(
    env: &Env,
    args: &PostgresArgs,
    rounds: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    let (database, bare) = (Database::create_on(&args.url), Database::create_on(&args.url));
    let folder = env.folder()?;
    let start = |name: &str, redis: Option<&str>| {
        let mut settings = vec![("DATABASE_URL", database.url())];
        settings.extend(redis.map(|url| ("REDIS_URL", url.to_owned())));
        Process::server_with(env, &folder.path().join(name), &settings)
    };
    let first = start("first", None)?;
    bulk(&first, args, rounds, &bare.url(), report).await?;
    closed_loop(&first, args, rounds, &bare.url(), report).await?;
    first.stop().await?;
    for (redis, names) in [
        (
            None,
            [
                "p50 to a listener, same server",
                "p50, another instance, by NOTIFY",
                "p99, another instance, by NOTIFY",
            ],
        ),
        (
            args.redis.as_deref(),
            [
                "p50 to a listener, same server",
                "p50, another instance, by Redis",
                "p99, another instance, by Redis",
            ],
        ),
    ] {
        if redis.is_none() && names[1].ends_with("Redis") {
            continue;
        }
        let (one, other) = (start("one", redis)?, start("other", redis)?);
        let prefix = if redis.is_some() { "redis" } else { "notify" };
        across(&one, &other, args, (prefix, names), report).await?;
        one.stop().await?;
        other.stop().await?;
    }
    Ok(())
}

async fn bulk(
    server: &Process,
    args: &PostgresArgs,
    rounds: usize,
    bare: &str,
    report: &mut Report,
) -> Result<(), Failure> {
    let tokens = accounts(server.address(), "bulk", rounds)?;
    let mut bare = BarePostgres::connect(bare).await?;
    let mut ids = Ids::new();
    let (mut rates, mut bare_rates, mut cpu_us) = (Vec::new(), Vec::new(), Vec::new());
    let count = args.rows as usize / WINDOW;
    let total = (count * WINDOW) as f64;
    for token in &tokens {
        let windows = new_rows(count, &mut ids);
        let masked: Vec<_> = windows.iter().map(|window| (window.masked(), window.entries.len())).collect();
        let mut conn = Conn::open(server.address(), SYNC, token, 64 << 10).await?;
        let (cpu, start) = (server.cpu_seconds(), Instant::now());
        upload(&mut conn, &masked).await?;
        rates.push(total / start.elapsed().as_secs_f64());
        cpu_us.push((server.cpu_seconds() - cpu) / total * 1e6);
        bare_rates.push(bare.windows(&windows).await?);
    }
    let name = "bulk, against the same inserts";
    report.add(Figure::new("postgres", name, "1/s").server(rates).machine(bare_rates));
    report.add(Figure::new("postgres", "bulk, CPU of the server", "µs").server(cpu_us));
    Ok(())
}

async fn closed_loop(
    server: &Process,
    args: &PostgresArgs,
    rounds: usize,
    bare: &str,
    report: &mut Report,
) -> Result<(), Failure> {
    let time = Duration::from_secs(args.seconds);
    let tokens = accounts(server.address(), "loop", args.users as usize)?;
    let mut clients = Vec::new();
    for token in &tokens {
        clients.push(Client::connect(server, token, Operation::Insert).await?);
    }
    let content_bytes = clients.first().map_or(0, Client::entry_bytes);
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(BarePostgres::connect(bare).await?);
    }
    let (mut rates, mut bare_rates, mut p50, mut p99) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut cpu_us, mut own_cpu_us) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (cpu, own_cpu, start) = (server.cpu_seconds(), own_cpu_seconds(), Instant::now());
        let until = start + time;
        let all = drive_all(&mut clients, until).await?;
        let count = all.len() as f64;
        rates.push(count / start.elapsed().as_secs_f64());
        cpu_us.push((server.cpu_seconds() - cpu) / count * 1e6);
        own_cpu_us.push((own_cpu_seconds() - own_cpu) / count * 1e6);
        let latencies = Latencies::of(all);
        p50.push(latencies.p50_ms);
        p99.push(latencies.p99_ms);

        let start = Instant::now();
        let running: Vec<_> = connections
            .drain(..)
            .map(|connection| tokio::spawn(connection.singles(content_bytes, time)))
            .collect();
        let mut count = 0;
        for task in running {
            let (connection, done) = task.await.map_err(|error| error.to_string())??;
            connections.push(connection);
            count += done;
        }
        bare_rates.push(count as f64 / start.elapsed().as_secs_f64());
    }
    let figure = |name, unit| Figure::new("postgres", name, unit);
    let rate = figure("many clients, against 1-row ones", "1/s");
    report.add(rate.server(rates).machine(bare_rates));
    report.add(figure("p50 of many clients", "ms").server(p50));
    report.add(figure("p99 of many clients", "ms").server(p99));
    report.add(figure("CPU of the server for a change", "µs").server(cpu_us));
    report.add(figure("CPU of the clients for a change", "µs").server(own_cpu_us));
    Ok(())
}

/// A listener that acknowledges what it gets.
struct Listener {
    conn: Conn,
    acker: Acker,
    acks: Vec<u8>,
}

impl Listener {
    async fn connect(server: &Process, token: &str) -> Result<Self, Failure> {
        let mut conn = Conn::open(server.address(), SYNC, token, 16 << 10).await?;
        super::idle::ping(&mut conn).await?;
        Ok(Self { conn, acker: Acker::new(), acks: Vec::new() })
    }

    /// Waits for so many changes.
    async fn receive(&mut self, mut count: usize) -> Result<(), Failure> {
        while count > 0 {
            let received = tokio::time::timeout(MAX_DELIVERY_TIME, self.conn.next()).await;
            let received = received.map_err(|_| "a change did not reach a listener".to_owned())??;
            self.acks.clear();
            let got = self.acker.ack(self.conn.payload(&received), &mut self.acks);
            self.conn.send(&self.acks).await?;
            count = count.saturating_sub(got);
        }
        Ok(())
    }
}

async fn across(
    one: &Process,
    other: &Process,
    args: &PostgresArgs,
    (prefix, names): (&str, [&'static str; 3]),
    report: &mut Report,
) -> Result<(), Failure> {
    // Both buses are measured on one database.
    let token = accounts(one.address(), prefix, 1)?.remove(0);
    let (mut near, mut far) =
        (Listener::connect(one, &token).await?, Listener::connect(other, &token).await?);
    let mut sender = Conn::open(one.address(), SYNC, &token, 16 << 10).await?;
    super::idle::ping(&mut sender).await?;
    let mut ids = Ids::new();
    let row = ids.row();
    let mut single = Single::new(Operation::Insert, &row, &mut ids);
    let (mut near_took, mut far_took) = (Vec::new(), Vec::new());
    let until = Instant::now() + Duration::from_secs(args.seconds);
    while Instant::now() < until {
        let frame = single.many(1, &mut ids).0;
        let began = Instant::now();
        sender.send(&frame).await?;
        let near = async {
            near.receive(1).await?;
            Ok::<_, Failure>(began.elapsed())
        };
        let far = async {
            far.receive(1).await?;
            Ok::<_, Failure>(began.elapsed())
        };
        let (near, far) = tokio::try_join!(near, far)?;
        near_took.push(near);
        far_took.push(far);
        while sender.buffered()?.is_some() {}
        // Its own acknowledgement.
        sender.next().await?;
        tokio::time::sleep(PAUSE).await;
    }
    let (near, far) = (Latencies::of(near_took), Latencies::of(far_took));
    let figure = |name| Figure::new("postgres", name, "ms");
    report.add(figure(names[0]).server(vec![near.p50_ms]));
    report.add(figure(names[1]).server(vec![far.p50_ms]).machine(vec![near.p50_ms]));
    report.add(figure(names[2]).server(vec![far.p99_ms]).machine(vec![near.p99_ms]));
    Ok(())
}
