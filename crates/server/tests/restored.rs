//! The database goes back to an older state: by hand, behind the server's back, and by `backup` and `restore`. Clients come with what
//! they hold of the time that is lost.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use common::device::Device;
use common::entry::{Entry, new_row};
use common::http::{self, Account, device_token, sign_up};
use common::json_client::{JsonClient, Poller, change};
use common::replica::{Rows, plain_rows};
use common::server::{Ground, TestServer, ground};
use common::socket::Socket;
use lattice_testkit::Database;
use serde_json::{Value, json};

/// A copy of the server's database, made by the means of the machine while no server uses it.
enum Copy {
    File(PathBuf),
    Database(Database),
}

impl Copy {
    fn take(server: &TestServer) -> Self {
        match server.database() {
            Some(database) => Self::Database(database.copy()),
            None => {
                let copy = server.data_dir().join("copy.db");
                std::fs::copy(server.data_dir().join("lattice.db"), &copy).expect("a copy");
                Self::File(copy)
            }
        }
    }

    /// Puts it in the place of the database. A file is written over, so that it stays the same file.
    fn put_back(&self, server: &mut TestServer) {
        match self {
            Self::File(copy) => {
                std::fs::copy(copy, server.data_dir().join("lattice.db")).expect("it is put back");
            }
            Self::Database(copy) => server.set("DATABASE_URL", &copy.url()),
        }
    }
}

/// What a client that is new is sent.
fn truth(server: &TestServer, account: &Account) -> Rows {
    let mut fresh = Poller::new(account, "me");
    fresh.catch_up(server);
    fresh.replica.rows
}

fn item(row: &str, name: &str) -> Value {
    change("insert", "Item", row, json!({"name": name}))
}

/// Writes rows as a client that keeps nothing.
#[track_caller]
fn write(server: &TestServer, account: &Account, rows: &[String], name: &str) {
    let changes: Vec<Value> = rows.iter().map(|row| item(row, name)).collect();
    let results = Poller::new(account, "me").store(server, &changes);
    assert!(results.iter().all(|result| result["status"] == "applied"), "{results:?}");
}

fn rows(count: usize) -> Vec<String> {
    (0..count).map(|_| new_row().to_ascii_lowercase()).collect()
}

#[track_caller]
fn until_rows(device: &mut Device, rows: &[String]) {
    while !rows.iter().all(|row| plain_rows(device).contains_key(&("Item".to_owned(), row.clone()))) {
        device.step().expect("a connection");
    }
}

/// Whether a device holds everything as the server does. What the server has never heard of it may hold besides.
fn holds(device: &Device, truth: &Rows) -> bool {
    let held = plain_rows(device);
    truth.iter().all(|(key, columns)| held.get(key) == Some(columns))
}

/// Clients of both dialects hold cursors from the time that is lost, and the database has become longer than it was then.
#[test]
fn clients_from_the_lost_time_equal_a_fresh_one_after_a_rollback() {
    let mut server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let before = rows(10);
    write(&server, &ann, &before, "before");
    assert!(server.terminate().success());
    let copy = Copy::take(&server);
    server.start_again();

    let mut device = Device::new("device", &ann, 1);
    device.connect(&server);
    until_rows(&mut device, &before);
    let mut client = JsonClient::in_space(&server, "client", &ann, "me");
    let mut poller = Poller::new(&ann, "me");
    let lost = rows(10);
    write(&server, &ann, &lost, "lost");
    // It reaches the device as it was accepted, under its own id, and is sent again later.
    let edit = json!({"id": "5f0c9a52-1d7e-4c86-9b1e-2f6a4e5d7c80", "operation": "update", "tableName": "Item",
        "globalRowId": before[0], "changedFields": {"name": "edited"}});
    assert_eq!(client.store("me", vec![edit.clone()])[0]["status"], "applied");
    let edited = |device: &Device| {
        plain_rows(device)[&("Item".to_owned(), before[0].clone())].get("name").map(String::as_str)
            == Some("\"edited\"")
    };
    until_rows(&mut device, &lost);
    while !edited(&device) {
        device.step().expect("a connection");
    }
    client.until_row("me", "Item", &lost[9]);
    poller.catch_up(&server);
    assert_eq!(poller.replica.rows.len(), 20);
    device.disconnect();
    client.disconnect();
    assert!(server.terminate().success());

    copy.put_back(&mut server);
    server.start_again();
    let account = Account { token: device_token(&server, &ann), ..ann };
    write(&server, &account, &rows(25), "after");

    // Over HTTP.
    let path = format!("/sync/changes?cursor={}", poller.replica.cursor.clone().expect("a cursor"));
    let (status, text) = http::call_raw(&server, "GET", &path, &account.token, None);
    let page: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((status, &page["reset"]), (200, &json!("restored")), "{text}");
    let since = page["since"].as_f64().expect("a time");
    let arrived = page["changes"][0]["timestamp"].as_f64().expect("a time");
    assert!(
        since >= arrived && since < arrived + 60.0,
        "{since} is when the last change before it arrived: {arrived}"
    );
    poller.token.clone_from(&account.token);
    poller.catch_up(&server);
    assert_eq!(poller.replica.rows, truth(&server, &account));
    // On a socket; then it sends again what was lost, under the same id.
    client.token.clone_from(&account.token);
    client.connect(&server);
    client.until_complete("me");
    assert_eq!(client.space("me").resets.last().map(String::as_str), Some("restored"));
    assert_eq!(client.space("me").rows, truth(&server, &account));
    device.token.clone_from(&account.token);
    device.connect(&server);
    while !holds(&device, &truth(&server, &account)) {
        device.step().expect("a connection");
    }
    assert!(!edited(&device));
    assert_eq!(client.store("me", vec![edit])[0]["status"], "applied");
    while !edited(&device) {
        device.step().expect("a connection");
    }
    assert!(holds(&device, &truth(&server, &account)));
    // From here on nothing starts over.
    let resets = client.space("me").resets.len();
    client.disconnect();
    device.disconnect();
    server.restart_same_folder();
    client.connect(&server);
    client.until_complete("me");
    assert_eq!(client.space("me").resets.len(), resets);
}

/// The id that a native client comes with was accepted in the lost time, and again after it, at another place.
#[test]
fn an_id_that_was_accepted_twice_is_no_checkpoint() {
    let mut server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let mut reader = Device::new("reader", &ann, 1);
    reader.connect(&server);
    write(&server, &ann, &rows(1), "before");
    while plain_rows(&reader).is_empty() {
        reader.step().expect("a connection");
    }
    reader.disconnect();
    assert!(server.terminate().success());
    let copy = Copy::take(&server);
    server.start_again();
    reader.connect(&server);
    let lost = new_row().to_ascii_lowercase();
    let entry = Entry::insert("Item", &lost).text("name", "lost");
    Socket::open(&server, &ann.token, None).store(&[&entry]);
    until_rows(&mut reader, std::slice::from_ref(&lost));
    reader.disconnect();
    assert!(server.terminate().success());

    copy.put_back(&mut server);
    server.start_again();
    let account = Account { token: device_token(&server, &ann), ..ann };
    let between = rows(3);
    write(&server, &account, &between, "between");
    Socket::open(&server, &account.token, None).store(&[&entry]);
    reader.token.clone_from(&account.token);
    reader.connect(&server);
    until_rows(&mut reader, &between);
    assert!(holds(&reader, &truth(&server, &account)));
}

/// The binary with the settings of a server, on `folder`.
fn lattice(server: &TestServer, folder: &Path, url: Option<&str>, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lattice-server"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("DATA_DIR", folder);
    if let Some(url) = url.map(str::to_owned).or_else(|| server.database().map(Database::url)) {
        command.env("DATABASE_URL", url);
    }
    command.args(arguments).stdin(Stdio::null()).output().expect("it runs")
}

#[track_caller]
fn succeeds(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// One sentence on standard error, and nothing on standard output.
#[track_caller]
fn fails(output: Output, words: &str) {
    let error = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(output.stdout.is_empty());
    assert_eq!(error.trim().lines().count(), 1, "{error}");
    assert!(error.contains(words), "{words:?} is not in {error}");
}

/// Whoever is acknowledged before a backup begins is in it, though others upload all the while.
#[test]
fn a_backup_under_uploads_holds_what_was_acknowledged_and_is_put_back() {
    use std::os::unix::fs::PermissionsExt;

    let mut server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("backup");
    let name = file.to_str().expect("text");
    let data = server.data_dir();
    let (acked, stop) = (Mutex::new(BTreeSet::new()), AtomicBool::new(false));
    let mut client = JsonClient::in_space(&server, "client", &ann, "me");
    let known = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let new = rows(20);
                write(&server, &ann, &new, "x");
                acked.lock().expect("a set").extend(new);
            }
        });
        while acked.lock().expect("a set").len() < 100 {
            client.step();
        }
        let known = acked.lock().expect("a set").clone();
        let said = lattice(&server, &data, None, &["backup", name]);
        stop.store(true, Ordering::SeqCst);
        let said = succeeds(said);
        assert!(said.contains("holds 1 accounts and 1 spaces"), "{said}");
        known
    });
    let mode = std::fs::metadata(&file).expect("the backup").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fails(lattice(&server, &data, None, &["backup", name]), "exists already");
    let all = truth(&server, &ann);
    while client.space("me").rows.len() < all.len() {
        client.step();
    }
    client.disconnect();

    fails(lattice(&server, &data, None, &["restore", name]), "is in use");
    assert!(server.terminate().success());
    fails(lattice(&server, &data, None, &["restore", name]), "is not empty");
    let bad = folder.path().join("bad");
    std::fs::write(&bad, "nothing of the kind").expect("a file");
    fails(
        lattice(&server, &data, None, &["restore", "--replace", bad.to_str().expect("text")]),
        "is not a backup",
    );
    fails(lattice(&server, &data, None, &["restore", "--replace", "/nowhere/at/all"]), "there is no file");
    let said = succeeds(lattice(&server, &data, None, &["restore", "--replace", name]));
    assert!(said.contains("restored 1 accounts") && said.contains("is kept as"), "{said}");

    server.start_again();
    let account = Account { token: device_token(&server, &ann), ..ann };
    let held: BTreeSet<String> = truth(&server, &account).into_keys().map(|(_, row)| row).collect();
    assert!(known.is_subset(&held), "{} of {} are there", held.intersection(&known).count(), known.len());
    write(&server, &account, &rows(1_000), "after");
    client.token.clone_from(&account.token);
    client.connect(&server);
    client.until_complete("me");
    assert_eq!(client.space("me").resets.last().map(String::as_str), Some("restored"));
    assert_eq!(client.space("me").rows, truth(&server, &account));
    assert!(!server.log().contains("older copy"), "{}", server.log());

    // Twice from one backup: what was given out after the first time means nothing after the second.
    client.disconnect();
    assert!(server.terminate().success());
    succeeds(lattice(&server, &data, None, &["restore", "--replace", name]));
    server.start_again();
    let account = Account { token: device_token(&server, &account), ..account };
    write(&server, &account, &rows(1_001), "again");
    client.token.clone_from(&account.token);
    client.connect(&server);
    client.until_complete("me");
    assert_eq!(client.space("me").resets.iter().filter(|reason| *reason == "restored").count(), 2);
    assert_eq!(client.space("me").rows, truth(&server, &account));

    // What is put aside is kept, however many restores one second has.
    client.disconnect();
    assert!(server.terminate().success());
    let restore = || succeeds(lattice(&server, &data, None, &["restore", "--replace", name]));
    let kept: BTreeSet<String> = (0..3).map(|_| restore()).map(|said| kept_as(&said).to_owned()).collect();
    assert_eq!(kept.len(), 3, "{kept:?}");
    if ground() == Ground::Sqlite {
        assert!(kept.iter().all(|file| Path::new(file).exists()), "{kept:?}");
    }
}

/// The name that a restore gave to what it put aside.
fn kept_as(said: &str) -> &str {
    let (_, name) = said.split_once("is kept as ").expect("it says where");
    name.split(';').next().expect("a name").trim()
}

/// A backup that is put in place without the command counts as an older copy all the same.
#[test]
fn a_backup_that_is_put_in_place_by_hand_is_noticed() {
    if ground() != Ground::Sqlite {
        return;
    }
    let mut server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    write(&server, &ann, &rows(3), "x");
    let (data, file) = (server.data_dir(), server.data_dir().join("backup.db"));
    succeeds(lattice(&server, &data, None, &["backup", file.to_str().expect("text")]));
    let mut poller = Poller::new(&ann, "me");
    write(&server, &ann, &rows(3), "lost");
    poller.catch_up(&server);
    assert!(server.terminate().success());
    // As long as what it replaces, into the same file, and it was never started since.
    std::fs::copy(&file, data.join("lattice.db")).expect("it is put back");
    server.start_again();
    assert!(server.log().contains("older copy"), "{}", server.log());
    poller.token = device_token(&server, &ann);
    poller.poll(&server, "");
    assert_eq!(poller.replica.resets.last().map(String::as_str), Some("restored"));
}

/// A copy of the whole folder, with all that stands beside the file, is another file.
#[test]
fn a_copied_folder_is_noticed_and_a_restart_is_not() {
    if ground() != Ground::Sqlite {
        return;
    }
    let mut server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    write(&server, &ann, &rows(3), "x");
    server.restart_same_folder();
    server.kill_9();
    server.start_again();
    assert!(!server.log().contains("older copy"), "{}", server.log());
    let folder = tempfile::tempdir().expect("a folder");
    assert!(server.terminate().success());
    for entry in std::fs::read_dir(server.data_dir()).expect("the folder").flatten() {
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("a copy");
    }
    server.set("DATA_DIR", folder.path().to_str().expect("text"));
    server.start_again();
    assert!(server.log().contains("it is another file"), "{}", server.log());
}

/// A crash after a copy was taken within the same run: the copy lacks what was stored since.
#[test]
fn a_copy_of_the_same_run_is_noticed() {
    if ground() != Ground::Sqlite {
        return;
    }
    let mut server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    write(&server, &ann, &rows(3), "x");
    let file = server.data_dir().join("lattice.db");
    let hot = server.data_dir().join("hot.db");
    let source = rusqlite::Connection::open(&file).expect("the database");
    source.execute("VACUUM INTO ?1", [hot.to_str().expect("text")]).expect("a copy");
    drop(source);
    write(&server, &ann, &rows(1), "lost");
    server.kill_9();
    for end in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(server.data_dir().join(format!("lattice.db{end}")));
    }
    std::fs::copy(&hot, &file).expect("it is put back");
    server.start_again();
    assert!(server.log().contains("it lacks changes that were stored"), "{}", server.log());
}
