//! Servers that a test starts for itself, and ends with itself.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to start.
const MAX_START_TIME: Duration = Duration::from_secs(60);
/// Between two looks whether it has.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A port that nobody listens on at the moment.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Sends a signal to processes; those that are gone do not matter.
pub(crate) fn signal(pids: &[u32], name: &str) {
    let pids = pids.iter().map(u32::to_string);
    let _ = Command::new("kill").arg(format!("-{name}")).args(pids).stderr(Stdio::null()).status();
}

/// A process and all that it has started, itself first.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut at = 0;
    while at < family.len() {
        family.extend(children(family[at]));
        at += 1;
    }
    family
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// Waits until `ready` says so, while the process lives.
#[expect(
    clippy::disallowed_methods,
    reason = "a process that starts is asked again, not trusted after a pause"
)]
pub(crate) fn wait_until(what: &str, child: &mut Child, ready: impl Fn() -> bool) {
    let began = Instant::now();
    while !ready() {
        if let Ok(Some(status)) = child.try_wait() {
            panic!("{what} ended with {status} before it was ready");
        }
        assert!(began.elapsed() < MAX_START_TIME, "{what} was not ready within {MAX_START_TIME:?}");
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// Whether somebody listens.
pub(crate) fn listens(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok()
}
