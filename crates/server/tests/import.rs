//! Accounts of another server: imported by command, signed in to over real sockets. The hashes were made by libxcrypt, which shares no
//! code with this server.

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::http::{PASSWORD, post, sign_up};
use common::server::TestServer;
use lattice_testkit::Database;
use serde_json::{Value, json};

/// Of [`PASSWORD`].
const CHEAP: &str = "$2a$05$abcdefghijklmnopqrstuuD3mHdCr44zlIZ.VZCaYRpfQhXMYnEo.";
const COSTLY: &str = "$2y$08$abcdefghijklmnopqrstuuwezlW09AGl.Qc8oiYvHEzrpumH/GaSu";
/// Of eighty times `x`, and of 72 times as well.
const LONG: &str = "$2b$05$abcdefghijklmnopqrstuujf8SX2ahXLwp9w/B.Y5XdysS6yR576q";
const ID: &str = "5f0c3ab4-4f9b-4f0e-8a65-0d5b3a5f2a11";

fn import(database_url: &str, file: &Path, input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lattice-server"));
    command.env_clear().args(["--database-url", database_url, "import-users"]).arg(file);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let mut stdin = child.stdin.take().expect("an input");
    // It may have given up before it reads.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

/// What it says when everything was imported.
#[track_caller]
fn imported(output: &Output) -> &str {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn people() -> String {
    [
        json!({"id": ID, "email": "Ann@example.com", "passwordHash": CHEAP, "fullName": "Ann", "createdAt": 1_600_000_000}),
        json!({"email": "bob@example.com", "passwordHash": COSTLY, "emailVerified": true}),
        json!({"email": "cy@example.com", "passwordHash": LONG}),
        json!({"email": "dee@example.com"}),
    ]
    .map(|line| line.to_string() + "\n")
    .concat()
}

fn log_in(server: &TestServer, name: &str, password: &str) -> (u16, Value) {
    let body = json!({"email": format!("{name}@example.com"), "password": password});
    post(server, "/auth/login", None, &body)
}

fn sqlite_of(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("lattice.db").display())
}

#[test]
fn people_of_another_server_sign_in_with_what_they_know() {
    let mut server = TestServer::start(&[]);
    let (folder, url) = (server.data_dir(), sqlite_of(&server.data_dir()));
    let file = folder.join("people.ndjson");
    std::fs::write(&file, people()).expect("written");
    let busy = import(&url, &file, "");
    assert!(!busy.status.success() && busy.stdout.is_empty(), "a server is using it");
    assert!(text(&busy.stderr).contains("in use"), "{}", text(&busy.stderr));
    assert!(server.terminate().success());
    let said = "imported 4 accounts; 0 were there already; 0 lines were skipped\n";
    assert_eq!(imported(&import(&url, &file, "")), said);
    let said = "imported 0 accounts; 4 were there already; 0 lines were skipped\n";
    assert_eq!(imported(&import(&url, Path::new("-"), &people())), said);
    server.start_again();

    for name in ["ann", "bob", "cy", "dee"] {
        assert_eq!(log_in(&server, name, "wrong horse").1["code"], "invalid_credentials", "{name}");
    }
    for _ in 0..2 {
        let (status, ann) = log_in(&server, "ann", PASSWORD);
        let user = &ann["user"];
        assert_eq!((status, &user["id"], &user["fullName"]), (200, &json!(ID), &json!("Ann")), "{ann}");
        let (status, bob) = log_in(&server, "bob", PASSWORD);
        assert_eq!((status, &bob["user"]["emailVerified"]), (200, &json!(true)), "{bob}");
        assert_eq!(log_in(&server, "cy", &"x".repeat(80)).0, 200);
    }
    assert_eq!(log_in(&server, "cy", &"x".repeat(72)).0, 401, "by now all of it counts");
    assert!(server.terminate().success());
    let said = "imported 0 accounts; 4 were there already; 0 lines were skipped\n";
    assert_eq!(imported(&import(&url, &file, "")), said);
    server.start_again();
    assert_eq!(log_in(&server, "cy", &"x".repeat(72)).0, 401, "an import never takes anything back");
}

#[test]
fn instances_on_postgres_serve_meanwhile() {
    let database = Database::create();
    let url = database.url();
    let server = TestServer::start_on(database, &[], 2);
    sign_up(&server, "bob");
    let output = import(&url, Path::new("-"), &people());
    assert!(!output.status.success());
    let said = "line 2 was skipped: another account has its e-mail address\n\
                imported 3 accounts; 0 were there already; 1 lines were skipped\n";
    assert_eq!(
        (text(&output.stdout), text(&output.stderr)),
        (said, "lattice-server: 1 lines were skipped\n")
    );
    for _ in 0..2 {
        assert_eq!(log_in(&server, "ann", PASSWORD).1["user"]["id"], json!(ID));
    }
}

#[test]
fn lines_that_cannot_be_taken_are_named_and_the_others_are_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = sqlite_of(folder.path());
    let lines = [
        json!({"email": "ann@example.com", "passwordHash": CHEAP}).to_string(),
        String::new(),
        "{".to_owned(),
        json!({"email": "bob@example.com", "passwordHash": CHEAP.replacen("$05$", "$31$", 1)}).to_string(),
        json!({"email": "bob@example.com", "password": "hunter2"}).to_string(),
        json!({"email": "ANN@example.com", "passwordHash": COSTLY}).to_string(),
        json!({"email": "x".repeat(70_000)}).to_string(),
        json!({"email": "cy@example.com"}).to_string(),
    ];
    let output = import(&url, Path::new("-"), &lines.join("\n"));
    let said = text(&output.stdout);
    let skipped: Vec<_> = said.lines().filter_map(|line| line.split_once(" was skipped: ")).collect();
    let numbers: Vec<_> = skipped.iter().map(|(line, _)| *line).collect();
    assert_eq!(numbers, ["line 3", "line 4", "line 5", "line 7"], "{said}");
    assert!(skipped[1].1.contains("its cost is 31; 4 to 14 are taken"), "{said}");
    assert!(said.ends_with("imported 2 accounts; 1 were there already; 4 lines were skipped\n"), "{said}");
    assert_eq!(text(&output.stderr), "lattice-server: 4 lines were skipped\n");
    assert!(!said.contains("hunter2") && !said.contains("$2"), "{said}");
    let missing = PathBuf::from("missing.ndjson");
    let output = import(&url, &missing, "");
    assert!(text(&output.stderr).contains("cannot read missing.ndjson"), "{}", text(&output.stderr));
}

/// Without equal work, the account with the costly hash would be answered three times as late as any other.
#[test]
fn a_login_takes_as_long_whatever_hash_an_account_has() {
    let server = TestServer::start_on(Database::create(), &[], 1);
    let url = server.database().expect("a database").url();
    sign_up(&server, "eve");
    // It takes several times as long as a hash of our own.
    let costly = "$2b$11$abcdefghijklmnopqrstuuwezlW09AGl.Qc8oiYvHEzrpumH/GaSu";
    let lines = people() + &json!({"email": "fay@example.com", "passwordHash": costly}).to_string();
    imported(&import(&url, Path::new("-"), &lines));
    let time = |name: &str| {
        let before = Instant::now();
        assert_eq!(log_in(&server, name, "wrong horse").0, 401);
        before.elapsed()
    };
    let names = ["ann", "bob", "dee", "eve", "fay", "nobody"];
    time("nobody");
    // In turn, so that whatever else the machine does meets all.
    let rounds: Vec<[Duration; 6]> = (0..9).map(|_| names.map(time)).collect();
    let medians: Vec<_> = (0..names.len())
        .map(|at| {
            let mut times: Vec<_> = rounds.iter().map(|round| round[at]).collect();
            times.sort();
            times[times.len() / 2]
        })
        .collect();
    let (least, most) = (medians.iter().min().expect("six"), medians.iter().max().expect("six"));
    assert!(*most < *least * 2, "{:?}", names.iter().zip(&medians).collect::<Vec<_>>());
}
