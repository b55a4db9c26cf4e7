//! The HTTP API against its own OpenAPI document, by schemathesis, which shares no code with the server: it makes requests
//! from the document, good ones and bad ones, and holds every answer against it.

mod common;

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use common::http::{Account, device_token, get, post, sign_up};
use common::server::TestServer;
use serde_json::{Value, json};

/// Requests beyond the systematic ones, for each operation.
const EXAMPLES: &str = "3";
const SEED: &str = "20261125";
/// How long all requests may take together: they take half a minute on a quiet machine. Only a hang gets there.
const PATIENCE: Duration = Duration::from_secs(480);
/// What is held against every answer.
const CHECKS: &str =
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

/// Ids that exist, so that requests get beyond "not found". What deletes a space has one of its own to delete.
struct Ids {
    session: String,
    space: String,
    doomed: String,
    user: String,
    invite: String,
}

#[track_caller]
fn made(server: &TestServer, account: &Account, path: &str, body: &serde_json::Value) -> String {
    let (status, answer) = post(server, path, Some(&account.token), body);
    assert_eq!(status, 201, "{answer}");
    answer["id"].as_str().expect("an id").to_owned()
}

#[track_caller]
fn make_things(server: &TestServer, ann: &Account, bob: &Account) -> Ids {
    let space = |kind| made(server, ann, "/spaces", &json!({"name": "Trips", "kind": kind}));
    let (space, doomed, bobs) = (
        space("shared"),
        space("public"),
        made(server, bob, "/spaces", &json!({"name": "Bob's", "kind": "shared"})),
    );
    let link = json!({"role": "editor"});
    let (status, invite) = post(server, &format!("/spaces/{space}/invites"), Some(&ann.token), &link);
    assert_eq!(status, 201, "{invite}");
    let (status, answer) =
        post(server, "/invites/accept", Some(&bob.token), &json!({"token": invite["token"]}));
    assert_eq!(status, 200, "{answer}");
    let for_ann = json!({"role": "viewer", "email": ann.email});
    let invite = made(server, bob, &format!("/spaces/{bobs}/invites"), &for_ann);
    device_token(server, ann);
    let (_, sessions) = get(server, "/auth/sessions", &ann.token);
    let other =
        sessions["sessions"].as_array().and_then(|all| all.iter().find(|one| one["current"] == false));
    let session = other.and_then(|other| other["id"].as_str()).expect("another session").to_owned();
    Ids { session, space, doomed, user: bob.user.clone(), invite }
}

/// Settings in the tool's own form.
fn settings(ids: &Ids) -> String {
    let Ids { session, space, doomed, user, invite } = ids;
    format!(
        "[parameters]\n\
         \"path.session\" = \"{session}\"\n\
         \"path.space\" = \"{space}\"\n\
         \"path.user\" = \"{user}\"\n\
         \"path.invite\" = \"{invite}\"\n\
         [[operations]]\n\
         include-operation-id = \"delete_space\"\n\
         parameters = {{ \"path.space\" = \"{doomed}\" }}\n"
    )
}

/// Runs the tool and says what was asked and answered: method, address and status.
#[track_caller]
fn run(server: &TestServer, token: &str, settings: &str, selection: &[&str]) -> Vec<(String, u64)> {
    let missing =
        "this test needs python3 with the package `schemathesis`: python3 -m pip install schemathesis";
    let probe = Command::new("python3").args(["-c", "import schemathesis.cli"]).output();
    assert!(probe.is_ok_and(|probe| probe.status.success()), "{missing}");
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("schemathesis.toml");
    std::fs::File::create(&config).and_then(|mut file| file.write_all(settings.as_bytes())).expect("written");
    let mut command = Command::new("python3");
    command.args(["-m", "schemathesis.cli", "--config-file"]).arg(&config).arg("run");
    command.arg(format!("http://{}/openapi.json", server.address()));
    command.args(["--header", &format!("Authorization: Bearer {token}"), "--checks", CHECKS]);
    command.args(["--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES, "--seed", SEED]);
    command.args(["--generation-deterministic", "--workers", "1"]);
    command.args([
        "--request-timeout",
        "60",
        "--suppress-health-check",
        "all",
        "--warnings",
        "off",
        "--no-color",
    ]);
    command.args(["--report", "har", "--report-har-path", "report.har"]);
    command.args(selection).current_dir(folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("python3 runs");
    let pid = child.id();
    let (tell, ended) = channel();
    std::thread::spawn(move || {
        let _ = tell.send(child.wait_with_output().expect("an output"));
    });
    let output = ended.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        panic!("schemathesis did not end within {PATIENCE:?}")
    });
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}", output.status);
    let report = std::fs::read(folder.path().join("report.har")).expect("a report");
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    let entries = report["log"]["entries"].as_array().expect("requests").iter().map(|entry| {
        let url = entry["request"]["url"].as_str().unwrap_or_default();
        let address = url.split('?').next().and_then(|url| url.splitn(4, '/').nth(3)).unwrap_or_default();
        let method = entry["request"]["method"].as_str().unwrap_or_default();
        (format!("{method} /{address}"), entry["response"]["status"].as_u64().unwrap_or_default())
    });
    entries.collect()
}

/// Requests that are granted at least once.
const GRANTED: &[&str] = &[
    "GET /profile",
    "POST /spaces",
    "GET /spaces",
    "GET /spaces/public",
    "GET /spaces/{space}",
    "PATCH /spaces/{space}",
    "DELETE /spaces/{space}",
    "GET /spaces/{space}/members",
    "GET /spaces/{space}/invites",
    "POST /spaces/{space}/invites",
    "GET /spaces/{space}/policy",
    "PUT /spaces/{space}/policy",
    "GET /spaces/{space}/refusals",
    "PATCH /spaces/{space}/members/{user}",
    "GET /invites",
    "POST /invites/{invite}/accept",
    "GET /refusals",
    "POST /auth/logout",
    "POST /auth/anonymous",
    "GET /auth/sessions",
    "DELETE /auth/sessions",
    "DELETE /auth/sessions/others",
    "DELETE /auth/sessions/{session}",
    "GET /.well-known/jwks.json",
    "GET /healthz",
    "GET /readyz",
];

#[test]
fn every_answer_is_one_that_the_document_tells_of() {
    let server = TestServer::start(&[("ANONYMOUS_ACCOUNTS", "true")]);
    let (ann, bob, cy) = (sign_up(&server, "ann"), sign_up(&server, "bob"), sign_up(&server, "cy"));
    let ids = make_things(&server, &ann, &bob);
    // A socket is not an answer to a request. Who has given a space away, or has logged out, is refused everything after
    // it: that is asked for last, or of somebody else.
    let (transfer, logout) = ("/spaces/{space}/transfer", "/auth/logout");
    let (sessions, others, upgrade) = ("/auth/sessions", "/auth/sessions/others", "/auth/upgrade");
    let excluded: Vec<_> = ["/sync", "/sync/{space}", transfer, logout, sessions, others, upgrade]
        .into_iter()
        .flat_map(|path| ["--exclude-path", path])
        .collect();
    let mut answers = run(&server, &ann.token, &settings(&ids), &excluded);
    answers.extend(run(&server, &ann.token, &settings(&ids), &["--include-path", transfer]));
    answers.extend(run(&server, &ann.token, &settings(&ids), &["--include-path", logout]));
    answers.extend(run(&server, &cy.token, &settings(&ids), &["--include-path", others]));
    answers.extend(run(&server, &cy.token, &settings(&ids), &["--include-path", sessions]));
    let (_, somebody) = post(&server, "/auth/anonymous", None, &json!({}));
    let token = somebody["token"].as_str().expect("a token");
    answers.extend(run(&server, token, &settings(&ids), &["--include-path", upgrade]));
    let good: BTreeSet<String> = answers
        .iter()
        .filter(|(_, status)| (200..300).contains(status))
        .map(|(request, _)| {
            let named = request.replace(&ids.space, "{space}").replace(&ids.doomed, "{space}");
            let named = named.replace(&ids.user, "{user}").replace(&ids.invite, "{invite}");
            named.replace(&ids.session, "{session}")
        })
        .collect();
    // Requests that were all refused would say little about what is answered otherwise.
    for request in GRANTED {
        assert!(good.contains(*request), "{request} was never granted: {good:#?}");
    }
    let log = server.log();
    assert!(
        !log.contains("lit_") && !log.contains("ldt_") && !log.contains("lrt_"),
        "a token was logged\n{log}"
    );
}
