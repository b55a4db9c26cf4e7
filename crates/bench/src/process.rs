//! The processes that are measured: starting, stopping, and what the system says of them.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::Failure;

const MAX_START_TIME: Duration = Duration::from_secs(20);
/// The server promises to end within 10 s.
const MAX_STOP_TIME: Duration = Duration::from_secs(15);
/// Clock ticks of `/proc/PID/stat`, fixed on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Where scenarios find what they need.
pub(crate) struct Env {
    /// The server's binary.
    pub(crate) server: PathBuf,
    /// Folder in which data folders are made.
    pub(crate) data: PathBuf,
}

impl Env {
    /// A fresh folder, removed when it is dropped.
    pub(crate) fn folder(&self) -> Result<tempfile::TempDir, Failure> {
        let made = tempfile::Builder::new().prefix("lattice-bench-").tempdir_in(&self.data);
        made.map_err(|error| format!("cannot make a folder in {}: {error}", self.data.display()))
    }
}

/// Whether a folder's files are kept in memory, where flushing costs nothing.
pub(crate) fn in_memory(folder: &Path) -> bool {
    let Ok(folder) = folder.canonicalize() else { return false };
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((Path::new(words.next()?), words.next()?))
    });
    let mount =
        mounts.filter(|(path, _)| folder.starts_with(path)).max_by_key(|(path, _)| path.as_os_str().len());
    mount.is_some_and(|(_, kind)| matches!(kind, "tmpfs" | "ramfs"))
}

/// A child that listens on loopback. Dropping it ends it.
pub(crate) struct Process {
    child: Child,
    address: SocketAddr,
    /// Its end tells a broadcast server that we are gone.
    _stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts the server on a data folder.
    pub(crate) fn server(env: &Env, data: &Path) -> Result<Self, Failure> {
        Self::server_with(env, data, &[])
    }

    /// Starts the server on a data folder, with settings.
    pub(crate) fn server_with(env: &Env, data: &Path, settings: &[(&str, String)]) -> Result<Self, Failure> {
        let mut command = Command::new(&env.server);
        // Nothing of the surroundings may decide what is measured.
        for name in [
            "HOST",
            "DATABASE_URL",
            "REDIS_URL",
            "JWT_SECRET",
            "JWT_SECRET_PREVIOUS",
            "MAX_FRAME_BYTES",
            "MAX_CONNECTIONS",
        ] {
            command.env_remove(name);
        }
        command.env("PORT", "0").env("DATA_DIR", data).env("LOG", "warn").stdin(Stdio::null());
        command.envs(settings.iter().map(|(name, value)| (name, value)));
        Self::start(command, &env.server)
    }

    /// Starts this binary as the server without storage.
    pub(crate) fn broadcast() -> Result<Self, Failure> {
        let path = std::env::current_exe().map_err(|error| format!("cannot find this binary: {error}"))?;
        let mut command = Command::new(&path);
        command.arg("broadcast-server").stdin(Stdio::piped());
        Self::start(command, &path)
    }

    fn start(mut command: Command, path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let started = command.stdout(Stdio::piped()).spawn();
        let mut child = started.map_err(|error| {
            format!("cannot start {shown}: {error}; build it with `cargo build --release -p lattice-server`")
        })?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        let mut process = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), _stdin: stdin };
        let (found, wait) = mpsc::channel();
        std::thread::spawn(move || {
            let lines =
                stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines().map_while(Result::ok));
            for line in lines {
                if let Some(address) = listening_address(&line) {
                    let _ = found.send(address);
                }
            }
        });
        match wait.recv_timeout(MAX_START_TIME) {
            Ok(address) => process.address = address,
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let status =
                    process.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
                return Err(format!(
                    "{shown} ended before it listened ({status}); what it said stands above"
                ));
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                return Err(format!("{shown} did not say where it listens within {MAX_START_TIME:?}"));
            }
        }
        if !process.address.ip().is_loopback() {
            return Err(format!("{shown} listens on {}, not on loopback", process.address));
        }
        Ok(process)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// CPU time that it has used, in seconds.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        cpu_seconds(&self.child.id().to_string())
    }

    /// Bytes that it has sent to the disk.
    pub(crate) fn disk_bytes(&self) -> f64 {
        disk_bytes(&self.child.id().to_string())
    }

    /// A memory figure of `/proc/PID/status`, in KiB: `VmRSS` or `VmHWM`.
    pub(crate) fn memory_kib(&self, name: &str) -> Result<f64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let value = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        value.ok_or_else(|| format!("the system does not tell the server's {name}"))
    }

    /// Sets `VmHWM` back to `VmRSS`.
    pub(crate) fn reset_peak(&self) -> Result<(), Failure> {
        let path = format!("/proc/{}/clear_refs", self.child.id());
        std::fs::write(path, "5")
            .map_err(|error| format!("cannot reset the server's peak of memory: {error}"))
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        let asked = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        asked.map_err(|error| format!("cannot run kill: {error}"))?;
        let ended = async {
            while matches!(self.child.try_wait(), Ok(None)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let ended = tokio::time::timeout(MAX_STOP_TIME, ended).await;
        ended.map_err(|_| format!("the server did not end within {MAX_STOP_TIME:?} of SIGTERM"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of this process, in seconds.
pub(crate) fn own_cpu_seconds() -> f64 {
    cpu_seconds("self")
}

/// Bytes that this process has sent to the disk.
pub(crate) fn own_disk_bytes() -> f64 {
    disk_bytes("self")
}

fn disk_bytes(process: &str) -> f64 {
    let io = std::fs::read_to_string(format!("/proc/{process}/io")).unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or_default()
}

fn cpu_seconds(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name may hold spaces; what follows its parenthesis is numbers. User and system time are fields 14 and 15.
    let numbers = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().skip(11).take(2);
    numbers.filter_map(|number| number.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

/// `NAME X listens on http://ADDR (…)`.
fn listening_address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(" listens on http://")?;
    rest.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found() {
        let line = "lattice-server 0.1.0 listens on http://127.0.0.1:4711 (data in data)";
        assert_eq!(listening_address(line), Some(SocketAddr::from(([127, 0, 0, 1], 4_711))));
        assert_eq!(listening_address("Then point a client at ws://127.0.0.1:1/sync"), None);
    }

    #[test]
    fn a_missing_server_is_one_sentence() {
        let env = Env { server: "/nowhere/lattice-server".into(), data: std::env::temp_dir() };
        let failure = Process::server(&env, &env.data).err().unwrap_or_default();
        assert!(failure.starts_with("cannot start /nowhere/lattice-server: "), "{failure}");
        let env = Env { server: "/bin/false".into(), ..env };
        let failure = Process::server(&env, &env.data).err().unwrap_or_default();
        assert!(failure.contains("ended before it listened"), "{failure}");
    }

    #[test]
    fn cpu_time_and_memory_are_read() {
        assert!(own_cpu_seconds() >= 0.0);
        assert!(!in_memory(Path::new("/proc")) || in_memory(Path::new("/dev/shm")));
    }
}
