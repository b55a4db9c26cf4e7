//! One client uploads many new rows.

use std::time::Instant;

use super::{SYNC, WINDOW, new_rows, upload};
use crate::Failure;
use crate::bare::Bare;
use crate::cli::BulkArgs;
use crate::frames::Ids;
use crate::http::accounts;
use crate::process::{Env, Process, own_cpu_seconds, own_disk_bytes};
use crate::report::{Figure, Goal, Report};
use crate::ws::Conn;

pub(crate) async fn run(
    env: &Env,
    args: &BulkArgs,
    rounds: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    let folder = env.folder()?;
    let server = Process::server(env, &folder.path().join("server"))?;
    let tokens = accounts(server.address(), "bulk", rounds)?;
    let mut bare = Bare::open(folder.path())?;
    let mut ids = Ids::new();
    let (mut rates, mut bare_rates, mut cpu_us, mut own_cpu_us) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut disk, mut bare_disk) = (Vec::new(), Vec::new());
    let count = args.rows as usize / WINDOW;
    let total = (count * WINDOW) as f64;
    for token in &tokens {
        let windows = new_rows(count, &mut ids);
        let masked: Vec<_> = windows.iter().map(|window| (window.masked(), window.entries.len())).collect();
        let mut conn = Conn::open(server.address(), SYNC, token, 64 << 10).await?;
        let written = server.disk_bytes();
        let (cpu, own_cpu, start) = (server.cpu_seconds(), own_cpu_seconds(), Instant::now());
        upload(&mut conn, &masked).await?;
        rates.push(total / start.elapsed().as_secs_f64());
        cpu_us.push((server.cpu_seconds() - cpu) / total * 1e6);
        own_cpu_us.push((own_cpu_seconds() - own_cpu) / total * 1e6);
        disk.push((server.disk_bytes() - written) / total);
        drop(conn);
        let written = own_disk_bytes();
        bare_rates.push(bare.append(&windows)?);
        bare_disk.push((own_disk_bytes() - written) / total);
    }
    let rate =
        Figure::new("bulk", "changes, against SQLite appends", "1/s").server(rates).machine(bare_rates);
    report.add(rate.with_goal(Goal::RatioAtLeast(0.5)));
    report.add(Figure::new("bulk", "CPU of the server for a change", "µs").server(cpu_us));
    report.add(Figure::new("bulk", "CPU of the client for a change", "µs").server(own_cpu_us));
    report.add(Figure::new("bulk", "bytes to the disk for a change", "B").server(disk).machine(bare_disk));
    server.stop().await
}
