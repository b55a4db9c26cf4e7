//! The server as a process, or as several that share a database.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use lattice_testkit::{Database, redis_url};
use tempfile::TempDir;

use super::PATIENCE;

/// What a test runs on: suites are included by several test targets, and the target decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ground {
    /// One instance on a file.
    Sqlite,
    /// One instance on PostgreSQL.
    Postgres,
    /// Instances on PostgreSQL with Redis between them; whoever asks for an address is given that of the next one.
    Cluster,
}

/// What this copy of the harness runs tests on.
pub fn ground() -> Ground {
    match module_path!().split("::").next() {
        Some("postgres") => Ground::Postgres,
        Some("cluster") => Ground::Cluster,
        _ => Ground::Sqlite,
    }
}

/// Instances of a cluster where nothing else is said.
const CLUSTER_INSTANCES: usize = 3;
/// Talk to each instance in turn.
const IN_TURN: usize = usize::MAX;

/// A server on a folder or a database of its own. It is killed when this is dropped, and must not have panicked.
pub struct TestServer {
    folder: TempDir,
    settings: Vec<(String, String)>,
    /// Its instances; `None` where one has ended.
    processes: Vec<Option<Process>>,
    /// Which instance is talked to next.
    next_instance: AtomicUsize,
    /// Who alone is talked to, or [`IN_TURN`].
    chosen: AtomicUsize,
    log: Log,
    /// Dropped after the processes.
    database: Option<Database>,
    /// Started as somebody would who has read nothing: in its folder, with no setting but the port.
    plain: bool,
    /// Where clients go instead: something in between that speaks TLS for them.
    detour: Option<SocketAddr>,
}

/// What servers have written to their standard error.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

struct Process {
    pid: u32,
    address: SocketAddr,
    greeting: Arc<Mutex<String>>,
    /// In a lock only so that threads may share the server.
    ended: Mutex<Receiver<ExitStatus>>,
    readers: Vec<JoinHandle<()>>,
}

/// How a server ended that was not to run for long.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// The binary with nothing of this process's environment.
fn command(folder: &Path, settings: &[(String, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lattice-server"));
    command.env_clear().env("PORT", "0").env("LOG", "warn").env("RUST_BACKTRACE", "1");
    command.env("DATA_DIR", folder).envs(settings.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn owned(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Runs the server with these settings until it gives up.
#[track_caller]
pub fn run_to_end(folder: &Path, settings: &[(&str, &str)]) -> Ended {
    let mut child = command(folder, &owned(settings)).spawn().expect("the server's binary starts");
    let (pid, mut stdout, mut stderr) = (child.id(), child.stdout.take(), child.stderr.take());
    let (tell, ended) = channel();
    std::thread::spawn(move || {
        let mut texts = [String::new(), String::new()];
        if let (Some(stdout), Some(stderr)) = (&mut stdout, &mut stderr) {
            let _ = (stdout.read_to_string(&mut texts[0]), stderr.read_to_string(&mut texts[1]));
        }
        let _ = tell.send((child.wait().expect("a status"), texts));
    });
    let Ok((status, [stdout, stderr])) = ended.recv_timeout(PATIENCE) else {
        send_signal(pid, "KILL");
        let texts = ended.recv_timeout(PATIENCE).map(|(_, texts)| texts);
        panic!("the server was to refuse to start and runs: {texts:?}");
    };
    Ended { status, stdout, stderr }
}

fn send_signal(pid: u32, signal: &str) {
    let status = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()), "cannot send {signal} to the server, process {pid}");
}

impl TestServer {
    /// A server with nothing in it yet, with settings beyond the harness's own.
    #[track_caller]
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().expect("a folder");
        match ground() {
            Ground::Sqlite => Self::start_with(folder, owned(settings), None, 1, false),
            Ground::Postgres => Self::start_shared(settings, 1),
            Ground::Cluster => {
                let redis = redis_url();
                let redis = [("REDIS_URL", redis.as_str())];
                Self::start_shared(&[&redis, settings].concat(), CLUSTER_INSTANCES)
            }
        }
    }

    /// So many instances on one new database.
    #[track_caller]
    pub fn start_shared(settings: &[(&str, &str)], instances: usize) -> Self {
        Self::start_on(Database::create(), settings, instances)
    }

    /// So many instances on this database.
    #[track_caller]
    pub fn start_on(database: Database, settings: &[(&str, &str)], instances: usize) -> Self {
        let url = database.url();
        // Few connections: many tests share the server that databases are made on.
        let own = [("DATABASE_URL", url.as_str()), ("DATABASE_POOL", "4"), ("DATABASE_WAIT_SECONDS", "5")];
        let settings = owned(&[&own, settings].concat());
        Self::start_with(TempDir::new().expect("a folder"), settings, Some(database), instances, false)
    }

    /// A server in a new folder, with no settings but a free port.
    #[track_caller]
    pub fn start_without_settings() -> Self {
        Self::start_with(TempDir::new().expect("a folder"), Vec::new(), None, 1, true)
    }

    #[track_caller]
    fn start_with(
        folder: TempDir,
        settings: Vec<(String, String)>,
        database: Option<Database>,
        instances: usize,
        plain: bool,
    ) -> Self {
        let mut server = Self {
            folder,
            settings,
            processes: (0..instances).map(|_| None).collect(),
            next_instance: AtomicUsize::new(0),
            chosen: AtomicUsize::new(IN_TURN),
            log: Log::default(),
            database,
            plain,
            detour: None,
        };
        server.start_again();
        server
    }

    /// Starts all of it again, on the same data, after it has ended.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(self.processes.iter().all(Option::is_none), "the server is running");
        (0..self.processes.len()).for_each(|at| self.start_instance(at));
    }

    /// Starts one instance, which has ended.
    #[track_caller]
    pub fn start_instance(&mut self, at: usize) {
        assert!(self.processes[at].is_none(), "the instance is running");
        let mut command = command(&self.data_dir(), &self.settings);
        if self.plain {
            command.env_clear().env("PORT", "0").current_dir(self.folder.path());
        }
        self.processes[at] = Some(Process::start(command, &self.log));
    }

    /// Ends it in order and starts it again.
    #[track_caller]
    pub fn restart_same_folder(&mut self) {
        let status = self.terminate();
        assert!(status.success(), "the server ended with {status}");
        self.start_again();
    }

    /// From now on this instance alone is talked to.
    pub fn on(&self, at: usize) -> &Self {
        self.chosen.store(at, Ordering::SeqCst);
        self
    }

    /// From now on instances are talked to in turn.
    pub fn in_turn(&self) -> &Self {
        self.on(IN_TURN)
    }

    /// The database, where it is no file.
    pub fn database(&self) -> Option<&Database> {
        self.database.as_ref()
    }

    /// Changes a setting for the next start.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(held, _)| held != name);
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Kills it where it stands.
    #[track_caller]
    pub fn kill_9(&mut self) {
        (0..self.processes.len()).for_each(|at| self.kill_instance(at));
    }

    /// Kills one instance where it stands.
    #[track_caller]
    pub fn kill_instance(&mut self, at: usize) {
        let process = self.processes[at].take().expect("an instance that runs");
        send_signal(process.pid, "KILL");
        process.wait(PATIENCE).expect("a killed server ends");
    }

    /// Kills it where it stands, while others still hold it.
    pub fn kill_without_waiting(&self) {
        self.running().for_each(|process| send_signal(process.pid, "KILL"));
    }

    /// Asks it to end, without waiting.
    pub fn ask_to_end(&self) {
        self.running().for_each(|process| send_signal(process.pid, "TERM"));
    }

    /// Waits until it has ended by itself, for `patience` at most.
    #[track_caller]
    pub fn wait_for_end(&mut self, patience: Duration) -> ExitStatus {
        let running: Vec<usize> =
            (0..self.processes.len()).filter(|at| self.processes[*at].is_some()).collect();
        let ended: Vec<_> = running.into_iter().map(|at| self.wait_for_instance(at, patience)).collect();
        let failed = ended.iter().find(|status| !status.success());
        *failed.or(ended.first()).expect("a server that runs")
    }

    /// Waits until one instance has ended by itself.
    #[track_caller]
    pub fn wait_for_instance(&mut self, at: usize, patience: Duration) -> ExitStatus {
        let process = self.processes[at].take().expect("an instance that runs");
        let pid = process.pid;
        process.wait(patience).unwrap_or_else(|| {
            send_signal(pid, "KILL");
            panic!("the server, process {pid}, did not end within {patience:?}")
        })
    }

    /// Asks it to end and waits: an orchestrator would kill it after 10 s.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.ask_to_end();
        self.wait_for_end(Duration::from_secs(10))
    }

    /// Kills one instance where it stands, while others still hold it.
    pub fn kill_instance_without_waiting(&self, at: usize) {
        send_signal(self.processes[at].as_ref().expect("an instance that runs").pid, "KILL");
    }

    /// Asks one instance to end, without waiting.
    #[track_caller]
    pub fn ask_instance_to_end(&self, at: usize) {
        send_signal(self.processes[at].as_ref().expect("an instance that runs").pid, "TERM");
    }

    fn running(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().flatten()
    }

    /// The first instance.
    fn process(&self) -> &Process {
        self.running().next().expect("a server that runs")
    }

    /// From now on clients go there instead.
    pub fn reach_by(&mut self, detour: SocketAddr) {
        self.detour = Some(detour);
    }

    /// Where it listens itself.
    #[track_caller]
    pub fn own_address(&self) -> SocketAddr {
        self.process().address
    }

    /// Where it listens; of several instances the one that is chosen, or the next.
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        if let Some(detour) = self.detour {
            return detour;
        }
        let chosen = self.chosen.load(Ordering::SeqCst);
        if chosen != IN_TURN {
            return self.processes[chosen].as_ref().expect("an instance that runs").address;
        }
        let running: Vec<SocketAddr> = self.running().map(|process| process.address).collect();
        assert!(!running.is_empty(), "no instance runs");
        running[self.next_instance.fetch_add(1, Ordering::SeqCst) % running.len()]
    }

    /// What it said on standard output.
    pub fn greeting(&self) -> String {
        self.process().greeting.lock().expect("a greeting").clone()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process().pid
    }

    /// Its memory, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("Linux's /proc");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
    }

    /// Its data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Everything it has logged so far, over all starts.
    pub fn log(&self) -> String {
        self.log.0.lock().expect("a log").clone()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().filter_map(Option::take) {
            let _ = Command::new("kill").args(["-KILL", &process.pid.to_string()]).status();
            let _ = process.wait(PATIENCE);
        }
        let log = self.log();
        if std::thread::panicking() {
            #[expect(
                clippy::print_stderr,
                reason = "the test harness captures it with the test's own output"
            )]
            let show = |log: &str| eprintln!("-- the server's log --\n{log}--");
            show(&log);
        } else {
            assert!(!log.contains("panicked at"), "the server panicked:\n{log}");
        }
    }
}

impl Process {
    #[track_caller]
    fn start(mut command: Command, log: &Log) -> Self {
        let mut child = command.spawn().expect("the server's binary starts");
        let pid = child.id();
        let (stdout, stderr) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
        let greeting = Arc::new(Mutex::new(String::new()));
        let (tell_address, address) = channel();
        let said = Arc::clone(&greeting);
        let stdout_reader = std::thread::spawn(move || {
            let mut address = None;
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                said.lock().expect("a greeting").extend([&line, "\n"]);
                let url = line.split_once("listens on ").and_then(|(_, rest)| rest.split_once("://"));
                let url = url.map(|(_, rest)| rest);
                address = address.or_else(|| url?.split(' ').next()?.parse::<SocketAddr>().ok());
                // The greeting ends with this line; a test may look at the whole of it.
                if let Some(address) = address.filter(|_| line.ends_with("/sync")) {
                    let _ = tell_address.send(address);
                }
            }
        });
        let lines = log.clone();
        let stderr_reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.0.lock().expect("a log").extend([&line, "\n"]);
            }
        });
        let (tell_end, ended) = channel();
        std::thread::spawn(move || {
            let _ = tell_end.send(child.wait().expect("a status"));
        });
        let Ok(address) = address.recv_timeout(PATIENCE) else {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
            let _ = stderr_reader.join();
            panic!("the server did not start:\n{}", log.0.lock().expect("a log"));
        };
        Self { pid, address, greeting, ended: Mutex::new(ended), readers: vec![stdout_reader, stderr_reader] }
    }

    fn wait(self, patience: Duration) -> Option<ExitStatus> {
        let ended = self.ended.into_inner().expect("a lock");
        let status = ended.recv_timeout(patience).ok()?;
        for reader in self.readers {
            let _ = reader.join();
        }
        Some(status)
    }
}
