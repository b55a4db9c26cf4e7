//! A fresh client loads a space with a long history.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{SYNC, WINDOW, upload};
use crate::Failure;
use crate::cli::CatchUpArgs;
use crate::frames::{Acker, Id, Ids, Operation, Window, push_masked};
use crate::http::accounts;
use crate::process::{Env, Process};
use crate::report::{Figure, Goal, Report, each, progress};
use crate::ws::Conn;

/// Read buffer of the client, in bytes.
const BUFFER_BYTES: usize = 1 << 20;
/// How long the server's memory has to stand still before it is read.
const SETTLE: Duration = Duration::from_secs(1);

/// What one load says.
struct Load {
    first: Duration,
    rows_rate: f64,
    bytes_rate: f64,
}

/// Connects without a checkpoint and reads `rows` entries, each frame acknowledged; `keep` is given every frame.
async fn load(
    address: SocketAddr,
    path: &str,
    token: &str,
    rows: usize,
    mut keep: impl FnMut(&[u8]),
) -> Result<Load, Failure> {
    let (mut acker, mut ack) = (Acker::new(), Vec::with_capacity(64 << 10));
    let (start, mut first) = (Instant::now(), None);
    let mut conn = Conn::open(address, path, token, BUFFER_BYTES).await?;
    let (mut count, mut bytes) = (0, 0);
    while count < rows {
        let received = conn.next().await?;
        let payload = conn.payload(&received);
        ack.clear();
        let entries = acker.ack(payload, &mut ack);
        if entries > 0 {
            first.get_or_insert_with(|| start.elapsed());
            keep(payload);
        }
        count += entries;
        bytes += payload.len();
        conn.send(&ack).await?;
    }
    let seconds = start.elapsed().as_secs_f64();
    if count > rows {
        return Err(format!("{count} entries came for {rows} rows"));
    }
    let first = first.unwrap_or_default();
    Ok(Load { first, rows_rate: count as f64 / seconds, bytes_rate: bytes as f64 / seconds / 1e6 })
}

/// Makes the rows, then changes one field of all of them over and over.
async fn prepare(address: SocketAddr, token: &str, rows: usize, changes: usize) -> Result<(), Failure> {
    let mut ids = Ids::new();
    let rows: Vec<Id> = (0..rows).map(|_| ids.row()).collect();
    let mut conn = Conn::open(address, SYNC, token, 64 << 10).await?;
    let (mut done, mut operation) = (0, Operation::Insert);
    while done < changes {
        let round = &rows[..rows.len().min(changes - done)];
        let windows: Vec<_> = round
            .chunks(WINDOW)
            .map(|rows| (Window::new(operation, rows, &mut ids).masked(), rows.len()))
            .collect();
        upload(&mut conn, &windows).await?;
        done += round.len();
        operation = Operation::Update;
    }
    Ok(())
}

pub(crate) async fn run(
    env: &Env,
    args: &CatchUpArgs,
    rounds: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    let (rows, changes) = (args.rows as usize, args.changes as usize);
    if changes < rows {
        return Err("there must be at least one change for each row".into());
    }
    let folder = env.folder()?;
    let data = folder.path().join("server");
    let server = Process::server(env, &data)?;
    let token = accounts(server.address(), "catch-up", 1)?.remove(0);
    let start = Instant::now();
    prepare(server.address(), &token, rows, changes).await?;
    let prepared = changes as f64 / start.elapsed().as_secs_f64();
    progress(&format!("catch-up: prepared {changes} changes, {prepared:.0} a second"));
    // What the server sends becomes what the baseline sends.
    let mut frames = Vec::new();
    load(server.address(), SYNC, &token, rows, |payload| {
        let mut masked = Vec::with_capacity(payload.len() + 14);
        push_masked(&mut masked, 0x82, payload);
        let entries = memchr::memmem::find_iter(payload, crate::frames::ID_KEY).count();
        frames.push((masked, entries));
    })
    .await?;
    server.stop().await?;

    let machine = Process::broadcast()?;
    let mut keeper = Conn::open(machine.address(), "/keep", "none", 64 << 10).await?;
    upload(&mut keeper, &frames).await?;
    drop((keeper, frames));

    let (mut loads, mut bare, mut growth_mib) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let server = Process::server(env, &data)?;
        tokio::time::sleep(SETTLE).await;
        let before = server.memory_kib("VmRSS")?;
        server.reset_peak()?;
        loads.push(load(server.address(), SYNC, &token, rows, |_| ()).await?);
        growth_mib.push((server.memory_kib("VmHWM")? - before) / 1_024.0);
        server.stop().await?;
        bare.push(load(machine.address(), "/replay", "none", rows, |_| ()).await?);
    }
    let figure = |name, unit, value: fn(&Load) -> f64| {
        Figure::new("catch-up", name, unit).server(each(&loads, value)).machine(each(&bare, value))
    };
    report.add(
        figure("rows to a fresh client", "1/s", |load| load.rows_rate).with_goal(Goal::AtLeast(200_000.0)),
    );
    report.add(figure("bytes to a fresh client", "MB/s", |load| load.bytes_rate));
    let first = figure("connect to first entry", "ms", |load| load.first.as_secs_f64() * 1e3);
    report.add(first.with_goal(Goal::AtMost(20.0)));
    let growth = Figure::new("catch-up", "growth of memory", "MiB").server(growth_mib);
    report.add(growth.with_goal(Goal::AtMost(32.0)));
    report.add(Figure::new("catch-up", "changes while preparing", "1/s").server(vec![prepared]));
    Ok(())
}
