//! Everything that is kept of a user, as they are given it themselves, and as an operator is.

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use common::caller::Caller;
use common::entry::{Entry, new_row};
use common::http::{Account, PASSWORD, call_raw, get, join, log_out, make_space, post, set_policy, sign_up};
use common::server::TestServer;
use common::socket::{Socket, handshake};
use serde_json::{Value, json};

/// The lines of an export by their kinds, which must be whole.
#[track_caller]
fn lines(text: &str) -> BTreeMap<String, Vec<Value>> {
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let (first, last) = (lines.first().expect("a line"), lines.last().expect("a line"));
    assert_eq!((&first["kind"], &first["version"]), (&json!("export"), &json!(1)));
    assert_eq!(last, &json!({"kind": "end", "lines": lines.len()}));
    let mut kinds: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in lines {
        kinds.entry(line["kind"].as_str().expect("a kind").to_owned()).or_default().push(line);
    }
    kinds
}

#[track_caller]
fn export(server: &TestServer, account: &Account) -> BTreeMap<String, Vec<Value>> {
    let (status, text) = call_raw(server, "GET", "/profile/export", &account.token, None);
    assert_eq!(status, 200, "{text}");
    lines(&text)
}

/// The same by command, while the server runs.
#[track_caller]
fn exported_by_command(server: &TestServer, user: &str) -> BTreeMap<String, Vec<Value>> {
    let output = command(server, user);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    lines(std::str::from_utf8(&output.stdout).expect("text"))
}

fn command(server: &TestServer, user: &str) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lattice-server"));
    command.env_clear().env("DATA_DIR", server.data_dir()).stdin(Stdio::null());
    if let Some(database) = server.database() {
        command.env("DATABASE_URL", database.url()).env("DATABASE_POOL", "2");
    }
    command.args(["export-account", "--user", user]).output().expect("it runs")
}

struct Cast {
    server: TestServer,
    ann: Account,
    bob: Account,
    /// Ann's, with Bob in it.
    own: String,
    /// Bob's, with Ann in it.
    other: String,
}

/// Ann has rows of her own, shares them, writes elsewhere, and was refused something.
fn cast() -> Cast {
    let server = TestServer::start(&[]);
    let (ann, bob) = (sign_up(&server, "ann"), sign_up(&server, "bob"));
    let (own, other) = (make_space(&server, &ann, "shared"), make_space(&server, &bob, "shared"));
    join(&server, &own, &ann, &bob, "editor");
    join(&server, &other, &bob, &ann, "editor");
    let path = format!("/spaces/{own}/invites");
    assert_eq!(post(&server, &path, Some(&ann.token), &json!({"role": "viewer"})).0, 201);
    let mut home = Socket::open(&server, &ann.token, None);
    let (kept, gone) = (new_row(), new_row());
    let kept_entry = Entry::insert("Trip", &kept).text("name", "Zoë's \"trip\"").integer("days", 10);
    home.store(&[&kept_entry, &Entry::insert("Trip", &gone).text("name", "gone")]);
    home.store(&[&Entry::delete("Trip", &gone), &Entry::update("Trip", &kept).integer("days", 12)]);
    home.close();
    let space = |account: &Account, space: &str| {
        handshake(&server, &format!("/sync/{space}"), Some(&account.token), b"").socket()
    };
    space(&ann, &own).store(&[&Entry::insert("Item", &new_row()).text("name", "of Ann")]);
    space(&bob, &own).store(&[&Entry::insert("Item", &new_row()).text("name", "of Bob")]);
    space(&ann, &other).store(&[&Entry::insert("Item", &new_row()).text("name", "of Ann elsewhere")]);
    space(&bob, &other).store(&[&Entry::insert("Item", &new_row()).text("name", "of Bob at home")]);
    let policy = json!({"tables": {"Item": {"insert": "owner"}}});
    set_policy(&server, &other, &bob, &policy, &Value::Null);
    space(&ann, &other).store(&[&Entry::insert("Item", &new_row()).text("name", "refused")]);
    Cast { server, ann, bob, own, other }
}

fn of_space<'a>(lines: &'a [Value], space: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["spaceId"] == *space).collect()
}

#[test]
fn an_export_has_what_is_one_s_own_and_nothing_else() {
    let Cast { server, ann, bob, own, other } = cast();
    let (_, offer) = post(&server, "/profile/totp", Some(&ann.token), &json!({}));
    let found = export(&server, &ann);
    assert_eq!(found["secondFactors"][0]["totp"], json!(false), "it is not confirmed");
    assert!(!format!("{found:?}").contains(offer["secret"].as_str().expect("a secret")));
    assert_eq!(found["export"][0]["userId"], json!(ann.user));
    let profile = &found["profile"][0];
    assert_eq!((&profile["email"], &profile["hasPassword"]), (&json!(ann.email), &json!(true)));
    assert_eq!(found["session"].len(), 1);
    assert_eq!(
        (&found["session"][0]["sessionKind"], &found["session"][0]["address"]),
        (&json!("access"), &json!("127.0.0.1"))
    );
    let roles: Vec<_> = found["space"].iter().map(|space| (&space["spaceKind"], &space["role"])).collect();
    assert_eq!(roles.len(), 3, "{roles:?}");
    assert_eq!(roles[0], (&json!("private"), &json!("owner")));
    let home = found["space"][0]["id"].as_str().expect("an id");
    assert_eq!(found["invite"].len(), 1);

    let rows = &found["row"];
    let at_home = of_space(rows, home);
    assert_eq!(at_home.len(), 1, "a deleted row is none");
    assert_eq!(at_home[0]["fields"], json!({"name": "Zoë's \"trip\"", "days": 12}));
    assert_eq!((&at_home[0]["table"], &at_home[0]["spaceId"]), (&json!("Trip"), &json!(home)));
    assert_eq!(of_space(rows, &own).len(), 2, "of others as well: the space is hers");
    assert_eq!(of_space(rows, &other).len(), 0);

    let changes = &found["change"];
    assert_eq!(of_space(changes, home).len(), 4);
    for space in [&own, &other] {
        assert!(of_space(changes, space).iter().all(|change| change["userId"] == json!(ann.user)));
    }
    assert_eq!((of_space(changes, &own).len(), of_space(changes, &other).len()), (1, 2));
    let entry = of_space(changes, home)[0]["entry"].as_str().expect("an entry");
    let entry: Value = serde_json::from_str(entry).expect("as it was received");
    assert_eq!(entry["operation"], "INSERT");
    assert_eq!(found["refusal"].len(), 1);
    assert_eq!(found["refusal"][0]["code"], "forbidden");
    let kinds: Vec<&str> = found["event"].iter().filter_map(|line| line["event"]["kind"].as_str()).collect();
    for kind in ["sign_up", "sign_in", "account_exported", "invite_accepted", "socket_opened"] {
        assert!(kinds.contains(&kind), "{kind} of {kinds:?}");
    }
    let text = json!(found).to_string();
    for not_hers in ["of Bob at home", "argon2", &bob.email, &ann.token, PASSWORD] {
        assert!(!text.contains(not_hers), "{not_hers}");
    }

    // An operator is given the same while the server runs.
    for named in [&ann.user, &ann.email] {
        let mut by_command = exported_by_command(&server, named);
        let mut by_herself = export(&server, &ann);
        for found in [&mut by_command, &mut by_herself] {
            // What is noted of the exports themselves, and when they were made.
            ["event", "export", "end"].into_iter().for_each(|kind| drop(found.remove(kind)));
        }
        assert_eq!(by_command, by_herself);
    }
    let left: Vec<_> = std::fs::read_dir(server.data_dir()).into_iter().flatten().flatten().collect();
    assert!(!left.iter().any(|file| file.file_name().to_string_lossy().contains("export")), "{left:?}");
    let unknown = command(&server, "nobody@example.com");
    assert!(!unknown.status.success() && unknown.stdout.is_empty());
}

#[test]
fn nobody_is_given_one_without_a_token_that_lives() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    assert_eq!(get(&server, "/profile/export", "nonsense").0, 401);
    log_out(&server, &ann.token);
    let (status, problem) = get(&server, "/profile/export", &ann.token);
    assert_eq!((status, &problem["code"]), (401, &json!("session_revoked")));
}

/// So many rows of so many bytes.
fn fill(server: &TestServer, ann: &Account, rows: usize, bytes: usize) {
    let mut socket = Socket::open(server, &ann.token, None);
    let text = "x".repeat(bytes);
    for chunk in (0..rows).collect::<Vec<_>>().chunks(50) {
        let entries: Vec<Entry> =
            chunk.iter().map(|_| Entry::insert("Item", &new_row()).text("name", &text)).collect();
        socket.store(&entries.iter().collect::<Vec<_>>());
    }
    socket.close();
}

#[test]
fn a_large_one_comes_whole_and_takes_little_memory() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let (rows, bytes) = (400, 60_000);
    fill(&server, &ann, rows, bytes);
    let mut stream = ask(&server, &ann);
    let (mut before, mut head) = (None, [0; 64 << 10]);
    let (mut length, mut peak) = (0, 0);
    loop {
        let count = stream.read(&mut head).expect("more of it");
        if count == 0 {
            break;
        }
        length += count;
        let now = server.resident_kib();
        before.get_or_insert(now);
        peak = peak.max(now);
    }
    // The rows, and the changes that made them.
    assert!(length > 2 * rows * bytes, "{length}");
    let grown_kib = peak - before.expect("a start");
    assert!(grown_kib < 24 << 10, "{grown_kib} KiB for an export of {length} bytes");
    let found = export(&server, &ann);
    assert_eq!((found["row"].len(), found["change"].len()), (rows, rows));
}

/// Asks for an export, and reads nothing of it.
fn ask(server: &TestServer, account: &Account) -> std::net::TcpStream {
    let mut stream = Caller::at("127.0.0.1", "x").connect(server);
    let request = format!(
        "GET /profile/export HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
        account.token
    );
    stream.write_all(request.as_bytes()).expect("a request");
    stream
}

#[test]
fn whoever_goes_in_the_middle_of_it_leaves_nothing_behind() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    fill(&server, &ann, 300, 60_000);
    // More than there are places.
    for _ in 0..3 {
        let mut taken: Vec<_> = (0..4).map(|_| ask(&server, &ann)).collect();
        for stream in &mut taken {
            stream.read_exact(&mut [0; 1_024]).expect("it has begun");
        }
        let (status, problem) = get(&server, "/profile/export", &ann.token);
        assert_eq!((status, &problem["code"]), (503, &json!("overloaded")));
        drop(taken);
        // The places are given back once the server has noticed.
        let deadline = Instant::now() + common::PATIENCE;
        while call_raw(&server, "GET", "/profile/export", &ann.token, None).0 == 503 {
            assert!(Instant::now() < deadline, "no place is given back");
        }
    }
    assert_eq!(export(&server, &ann)["row"].len(), 300);
}

#[test]
fn an_export_ends_with_the_session_that_asked_for_it() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    fill(&server, &ann, 300, 60_000);
    let mut stream = ask(&server, &ann);
    stream.read_exact(&mut [0; 1_024]).expect("it has begun");
    log_out(&server, &ann.token);
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains(r#"{"kind":"end""#), "it is cut short");
}
