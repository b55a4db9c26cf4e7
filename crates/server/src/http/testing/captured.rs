//! What is logged in tests, by the id of the request that it belongs to.

use std::collections::HashMap;
use std::io::{Result, Write};
use std::sync::{Mutex, OnceLock};

use serde_json::Value;

static LINES: Mutex<Option<HashMap<String, Vec<Value>>>> = Mutex::new(None);

struct Lines;

impl Write for Lines {
    /// The formatter writes whole lines.
    fn write(&mut self, line: &[u8]) -> Result<usize> {
        let json: Value = serde_json::from_slice(line)?;
        if let Some(id) = json["span"]["id"].as_str() {
            let mut lines = LINES.lock().expect("a lock");
            lines.get_or_insert_default().entry(id.to_owned()).or_default().push(json);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// From here on everything is logged, and kept. There is one log for all tests of a process.
pub(in crate::http) fn start() {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        let builder = tracing_subscriber::fmt().json().with_max_level(tracing::Level::DEBUG);
        builder.with_writer(|| Lines).init();
    });
}

/// What was logged of a request.
pub(in crate::http) fn take(id: &str) -> Vec<Value> {
    LINES.lock().expect("a lock").as_mut().and_then(|lines| lines.remove(id)).unwrap_or_default()
}
