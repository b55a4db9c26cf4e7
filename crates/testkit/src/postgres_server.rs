//! A PostgreSQL server of one test.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::database::{Database, can_connect};
use crate::process::{family, free_port, signal, wait_until};

/// The account that the server runs as where tests run as root, which PostgreSQL refuses to run as.
const SERVICE_USER: &str = "postgres";
/// Files of TLS, in the folder of the data.
const CERTIFICATE: &str = "server.crt";
const KEY: &str = "server.key";

/// A server on a free port of 127.0.0.1. It ends with this.
pub struct PostgresServer {
    folder: TempDir,
    port: u16,
    speaks_tls: bool,
    process: Option<Child>,
}

impl PostgresServer {
    /// Starts one.
    ///
    /// # Panics
    /// When PostgreSQL's programs are not there, or do not run.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(false)
    }

    /// Starts one that speaks TLS, under the name `localhost`.
    ///
    /// # Panics
    /// When PostgreSQL's programs are not there, or do not run.
    #[must_use]
    #[track_caller]
    pub fn start_with_tls() -> Self {
        Self::start_with(true)
    }

    #[track_caller]
    fn start_with(speaks_tls: bool) -> Self {
        let folder = TempDir::new().expect("a folder");
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).expect("permissions");
        let data = folder.path().join("data");
        let mut initdb = program("initdb");
        initdb.args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync", "-D"]).arg(&data);
        let made = initdb.output().expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        if speaks_tls {
            write_certificate(&data);
        }
        let mut server = Self { folder, port: free_port(), speaks_tls, process: None };
        server.start_again();
        server
    }

    /// The certificate of its authority, as a PEM file: its own.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("data").join(CERTIFICATE)
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts it on the same data and port, after it has ended.
    ///
    /// # Panics
    /// When it runs, or does not start.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let mut command = program("postgres");
        command.arg("-D").arg(self.folder.path().join("data")).arg("-p").arg(self.port.to_string());
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200"] {
            command.args(["-c", setting]);
        }
        if self.speaks_tls {
            command.args(["-c", "ssl=on", "-c", &format!("ssl_cert_file={CERTIFICATE}")]);
            command.args(["-c", &format!("ssl_key_file={KEY}")]);
        }
        let log = std::fs::File::create(self.folder.path().join("log")).expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn().expect("PostgreSQL starts");
        let url = self.url();
        wait_until("PostgreSQL", &mut child, || can_connect(&url));
        self.process = Some(child);
    }

    fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// A new database on it.
    #[must_use]
    #[track_caller]
    pub fn database(&self) -> Database {
        Database::create_on(&self.url())
    }

    /// Ends it as a fast shutdown does: connections are cut, everything that was committed is kept.
    #[track_caller]
    pub fn stop(&mut self) {
        self.end("INT");
    }

    /// Ends it, and lets it come up as a standby that takes over: on the same data and port, and on another timeline.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn promote(&mut self) {
        self.stop();
        let data = self.folder.path().join("data");
        let owner = std::fs::metadata(&data).expect("the data");
        let marker = data.join("standby.signal");
        std::fs::write(&marker, "").expect("it is written");
        std::os::unix::fs::chown(&marker, Some(owner.uid()), Some(owner.gid())).expect("an owner");
        self.start_again();
        crate::database::execute(&self.url(), "SELECT pg_promote()");
    }

    /// Kills all its processes where they stand.
    #[track_caller]
    pub fn kill(&mut self) {
        self.end("KILL");
        // The next start would take the lock of a process that is gone for one that lives, were its number in use again.
        let _ = std::fs::remove_file(self.folder.path().join("data").join("postmaster.pid"));
    }

    fn end(&mut self, name: &str) {
        let mut process = self.process.take().expect("it runs");
        let all = if name == "KILL" { family(process.id()) } else { postmaster(process.id()) };
        signal(&all, name);
        process.wait().expect("an end");
    }

    /// Stops all its processes in their tracks: connections stay open and nothing is answered.
    #[track_caller]
    pub fn pause(&self) {
        signal(&self.processes(), "STOP");
    }

    /// Lets it go on.
    #[track_caller]
    pub fn resume(&self) {
        signal(&self.processes(), "CONT");
    }

    fn processes(&self) -> Vec<u32> {
        family(self.process.as_ref().expect("it runs").id())
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            signal(&family(process.id()), "KILL");
            let _ = process.wait();
        }
    }
}

/// A certificate for `localhost`, signed by itself, with its key, which has to be the server's own.
fn write_certificate(data: &Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let owner = std::fs::metadata(data).expect("the data");
    for (name, text) in [(CERTIFICATE, made.cert.pem()), (KEY, made.signing_key.serialize_pem())] {
        let path = data.join(name);
        std::fs::write(&path, text).expect("it is written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("permissions");
        std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid())).expect("an owner");
    }
}

/// The server itself, below the program that changed to another account for it.
fn postmaster(pid: u32) -> Vec<u32> {
    let name = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    family(pid).into_iter().find(|pid| name(pid).trim().starts_with("postgres")).into_iter().collect()
}

/// One of PostgreSQL's programs, as an account that it agrees to run as.
fn program(name: &str) -> Command {
    let path = find(name).unwrap_or_else(|| {
        panic!("tests need PostgreSQL's `{name}` (Debian: apt-get install postgresql), in PATH or /usr/lib/postgresql")
    });
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !root {
        return Command::new(path);
    }
    // It takes the place of itself by what it runs, so the process that is started is the server.
    let mut command = Command::new("setpriv");
    command.args([
        &format!("--reuid={SERVICE_USER}"),
        &format!("--regid={SERVICE_USER}"),
        "--clear-groups",
        "--",
    ]);
    command.arg(path).current_dir("/");
    command
}

/// Debian keeps the programs of each version in a folder of its own; the newest is taken.
fn find(name: &str) -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin").join(name))
        .filter(|path| path.exists())
        .collect();
    versions.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path =
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| Path::exists(path));
    versions.pop().or(in_path)
}
