//! Compression, against a client that shares no code with the server: `tests/python/soak.py`.

mod common;

use std::path::Path;
use std::process::Command;

use common::http::sign_up;
use common::server::TestServer;

/// Messages that the soak exchanges, of 0 to 200 KB.
const MESSAGES: usize = 3_000;
const SEED: u64 = 20_261_122;

/// Runs the script and says what it printed.
#[track_caller]
fn run_script(arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/soak.py");
    let missing = "this test needs python3 with the package `websockets`: python3 -m pip install websockets";
    let probe = Command::new("python3").args(["-c", "import websockets.sync.client"]).output();
    assert!(probe.is_ok_and(|probe| probe.status.success()), "{missing}");
    let output = Command::new("python3").arg(script).args(arguments).output().expect("python3 runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}{stderr}", output.status);
    stdout.into_owned()
}

#[test]
fn thousands_of_compressed_messages_arrive_as_they_were_sent() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let url = format!("ws://{}/sync", server.address());
    let said = run_script(&["soak", &url, &ann.token, &SEED.to_string(), &MESSAGES.to_string()]);
    println!("{said}");
}

#[test]
fn a_frame_that_is_too_large_when_inflated_is_refused() {
    let server = TestServer::start(&[("MAX_FRAME_BYTES", "65536")]);
    let ann = sign_up(&server, "ann");
    let before = server.resident_kib();
    let url = format!("ws://{}/sync", server.address());
    run_script(&["bomb", &url, &ann.token, "65536"]);
    let growth = server.resident_kib().saturating_sub(before);
    assert!(growth < 16 << 10, "inflating up to the limit cost {growth} KiB");
}
