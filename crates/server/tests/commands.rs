//! What the binary does besides serving.

mod common;

use std::process::{Command, Output, Stdio};

use common::device::{Device, converge};
use common::edit::edit;
use common::http::{get, sign_up};
use common::server::TestServer;
use lattice_testkit::Database;

fn lattice(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lattice-server"));
    command.env_clear().args(arguments).stdin(Stdio::null()).output().expect("it runs")
}

#[track_caller]
fn succeeds(arguments: &[&str]) -> String {
    let output = lattice(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// One sentence on standard error, and nothing on standard output.
#[track_caller]
fn fails(arguments: &[&str]) -> String {
    let output = lattice(arguments);
    let error = String::from_utf8(output.stderr).expect("text");
    assert!(!output.status.success() && output.stdout.is_empty(), "{error}");
    assert_eq!(error.trim().lines().count(), 1, "{error}");
    error
}

#[test]
fn a_server_grows_by_one_command_and_clients_go_on() {
    let mut server = TestServer::start(&[]);
    let account = sign_up(&server, "ann");
    let mut devices = [1, 2].map(|seed| Device::new(&format!("device {seed}"), &account, seed));
    for device in &mut devices {
        device.connect(&server);
        (0..40).for_each(|_| edit(device, "ann"));
        device.settle();
    }
    // One of them has written more when it comes back.
    devices.iter_mut().for_each(Device::disconnect);
    (0..20).for_each(|_| edit(&mut devices[0], "ann"));
    assert!(server.terminate().success());
    let file = server.data_dir().join("lattice.db");
    let from = format!("sqlite:{}", file.display());

    let database = Database::create();
    let url = database.url();
    let said = succeeds(&["copy", "--from", &from, "--to", &url]);
    assert!(said.starts_with("copied 1 spaces (0 were complete already)"), "{said}");
    let again = fails(&["copy", "--from", &from, "--to", &url]);
    assert!(again.contains("the target is not empty"), "{again}");

    let grown = TestServer::start_on(database, &[], 2);
    assert_eq!(get(&grown, "/profile", &account.token).0, 200, "the keys that sign tokens moved along");
    for device in &mut devices {
        device.connect(&grown);
    }
    let mut fresh = Device::new("a fresh device", &account, 3);
    fresh.connect(&grown);
    let [one, other] = &mut devices;
    converge(&mut [one, other, &mut fresh]);
}

#[test]
fn a_database_is_migrated_without_serving() {
    let database = Database::create();
    let url = database.url();
    let settings = ["--database-url", &url, "migrate"];
    assert_eq!(succeeds(&settings), "the schema is up to date\n");
    assert_eq!(succeeds(&settings), "the schema is up to date\n");
    database.execute("SELECT 1 FROM access_version");
}

#[test]
fn the_health_check_tells_what_the_server_does() {
    let server = TestServer::start(&[]);
    let port = server.address().port().to_string();
    assert_eq!(succeeds(&["--port", &port, "healthcheck"]), "");
    drop(server);
    assert!(fails(&["--port", &port, "healthcheck"]).contains(&port));
}

#[test]
fn what_cannot_be_copied_is_one_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
    let missing = fails(&["copy", "--from", &path("missing.db"), "--to", &path("new.db")]);
    assert!(missing.contains("there is no database at"), "{missing}");
    assert!(
        fails(&["copy", "--from", "mysql://x", "--to", &path("new.db")]).contains("it must be sqlite:PATH")
    );
    let server = TestServer::start(&[]);
    let used = format!("sqlite:{}", server.data_dir().join("lattice.db").display());
    assert!(fails(&["copy", "--from", &used, "--to", &path("new.db")]).contains("in use"));
}
