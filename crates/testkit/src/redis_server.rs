//! A Redis server of one test.

use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::process::{free_port, listens, signal, wait_until};

/// A server on a free port of 127.0.0.1. It ends with this.
pub struct RedisServer {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl RedisServer {
    /// Starts one.
    ///
    /// # Panics
    /// When there is no `redis-server`.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut server = Self { folder, port: free_port(), process: None };
        server.start_again();
        server
    }

    /// Starts it on the same port, after it was killed.
    ///
    /// # Panics
    /// When it runs, or does not start.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &self.port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.arg("--dir").arg(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("tests need redis-server (Debian: apt-get install redis-server): {error}")
        });
        wait_until("Redis", &mut child, || listens(self.port));
        self.process = Some(child);
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills it where it stands.
    ///
    /// # Panics
    /// When it does not run.
    #[track_caller]
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        signal(&[process.id()], "KILL");
        process.wait().expect("an end");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            signal(&[process.id()], "KILL");
            let _ = process.wait();
        }
    }
}
