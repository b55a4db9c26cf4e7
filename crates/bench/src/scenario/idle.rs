//! Memory of sockets that have nothing to do.

use std::time::Duration;

use super::SYNC;
use crate::Failure;
use crate::cli::IdleArgs;
use crate::frames::{Acker, Ids, Operation, Single, push_masked};
use crate::http::accounts;
use crate::process::{Env, Process};
use crate::report::{Figure, Goal, Report};
use crate::ws::{Conn, OP_PONG};

/// How long the server's memory has to stand still before it is read.
const SETTLE: Duration = Duration::from_secs(2);

/// Sends a ping and waits for its pong; deliveries that come before it are left aside.
pub(crate) async fn ping(conn: &mut Conn) -> Result<(), Failure> {
    let mut frame = Vec::new();
    push_masked(&mut frame, 0x89, b"here");
    conn.send(&frame).await?;
    while conn.next().await?.opcode != OP_PONG {}
    Ok(())
}

pub(crate) async fn run(env: &Env, args: &IdleArgs, report: &mut Report) -> Result<(), Failure> {
    let folder = env.folder()?;
    let data = folder.path().join("server");
    let server = Process::server(env, &data)?;
    let token = accounts(server.address(), "idle", 1)?.remove(0);
    // A new process: what making the account took must not be there for the sockets.
    server.stop().await?;
    let server = Process::server(env, &data)?;
    let mut sender = Conn::open(server.address(), SYNC, &token, 1 << 10).await?;
    ping(&mut sender).await?;
    tokio::time::sleep(SETTLE).await;
    let before = server.memory_kib("VmRSS")?;

    let count = args.sockets as usize;
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let mut conn = Conn::open(server.address(), SYNC, &token, 1 << 10).await?;
        ping(&mut conn).await?;
        sockets.push(conn);
    }
    tokio::time::sleep(SETTLE).await;
    let each_kib = |kib: f64| (kib - before) / count as f64;
    let pinged = each_kib(server.memory_kib("VmRSS")?);

    // One change that everybody receives and acknowledges.
    let mut ids = Ids::new();
    let row = ids.row();
    let mut single = Single::new(Operation::Insert, &row, &mut ids);
    sender.send(single.fresh(&mut ids)).await?;
    sender.next().await?;
    let (mut acker, mut ack) = (Acker::new(), Vec::new());
    for conn in &mut sockets {
        let received = conn.next().await?;
        ack.clear();
        acker.ack(conn.payload(&received), &mut ack);
        conn.send(&ack).await?;
        ping(conn).await?;
    }
    tokio::time::sleep(SETTLE).await;
    let delivered = each_kib(server.memory_kib("VmRSS")?);
    drop(sockets);

    let figure =
        |name, value| Figure::new("idle", name, "KiB").server(vec![value]).with_goal(Goal::AtMost(10.0));
    report.add(figure("memory of a socket after a ping", pinged));
    report.add(figure("memory of a socket after a delivery", delivered));
    server.stop().await
}
