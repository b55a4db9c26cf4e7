use clap::Parser;
use lattice_testkit::Issuer;

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    providers: ProviderConfig,
}

fn config(arguments: &[&str]) -> Result<ProviderConfig, String> {
    let all = std::iter::once("lattice-server").chain(arguments.iter().copied());
    Cli::try_parse_from(all).map(|cli| cli.providers).map_err(|error| error.to_string())
}

fn problem(arguments: &[&str]) -> Option<String> {
    let public = Url::parse("https://sync.example.com").expect("an address");
    config(arguments).expect("arguments").problem(Some(&public))
}

#[test]
fn what_can_be_used_is() {
    let corp = r#"[{"name": "corp", "issuer": "https://id.example", "clientIds": ["sync"]}]"#;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), corp).expect("written");
    let path = file.path().to_str().expect("text");
    assert!(config(&[]).expect("nothing").is_empty());
    for arguments in [
        &[][..],
        &["--google-client-id", "a.apps.googleusercontent.com, b", "--google-client-secret", "s"],
        &["--apple-client-id", "com.example.trips"],
        &["--oidc-providers", corp],
        &["--oidc-providers", path, "--redirect-uris", "https://app.example.com/in,trips://in"],
    ] {
        assert_eq!(problem(arguments), None, "{arguments:?}");
    }
    let both = config(&["--google-client-id", "a, b", "--oidc-providers", corp]).expect("arguments");
    let settings = both.settings().expect("settings");
    assert_eq!(settings[0].client_ids, ["a", "b"]);
    assert_eq!(
        (settings[1].name.as_str(), &settings[1].scopes[..]),
        ("corp", &["email".into(), "profile".into()][..])
    );
}

#[test]
fn what_cannot_be_used_is_a_sentence_without_secrets() {
    let corp = |more: &str| {
        format!(r#"[{{"name": "corp", "issuer": "https://id.example", "clientIds": ["sync"]{more}}}]"#)
    };
    let twice = format!("{},{}", corp("").trim_end_matches(']'), corp("").trim_start_matches('['));
    for (arguments, expected) in [
        (vec!["--google-client-secret", "hunter2"], "GOOGLE_CLIENT_ID"),
        (vec!["--apple-private-key", "-----BEGIN hunter2"], "APPLE_CLIENT_ID"),
        (vec!["--apple-client-id", "a", "--apple-private-key", "-----BEGIN hunter2"], "private key"),
        (vec!["--apple-client-id", "a", "--apple-private-key", "/nowhere/hunter2"], "APPLE_PRIVATE_KEY"),
        (vec!["--oidc-providers", "/nowhere/hunter2"], "OIDC_PROVIDERS"),
        (vec!["--oidc-providers", "[{\"hunter2\": 1}]"], "line 1"),
        (vec!["--oidc-providers", &corp(", \"hunter2\": 1")], "OIDC_PROVIDERS"),
        (vec!["--oidc-providers", &corp("").replace("corp", "login")], "login"),
        (vec!["--oidc-providers", &corp("").replace("https", "http")], "https"),
        (vec!["--oidc-providers", &corp("").replace("\"sync\"", "")], "client id"),
        (vec!["--oidc-providers", &twice], "two"),
    ] {
        let problem = problem(&arguments).unwrap_or_else(|| panic!("{arguments:?}"));
        assert!(problem.contains(expected) && !problem.contains("hunter2"), "{problem}");
    }
    let redirects = config(&["--redirect-uris", "https://app.example.com/in"]).expect("arguments");
    assert!(redirects.problem(None).is_some_and(|problem| problem.contains("PUBLIC_URL")));
}

#[test]
fn browsers_are_sent_to_plain_addresses() {
    for good in ["https://app.example.com/in?a=b", "http://127.0.0.1:5173/in", "com.example.trips:/in"] {
        assert!(config(&["--redirect-uris", good]).is_ok(), "{good}");
    }
    for bad in [
        "http://app.example.com/in",
        "https://app.example.com/#in",
        "https://ann:secret@app.example.com/",
        "javascript:alert(1)",
        "data:text/html,x",
        "/in",
    ] {
        assert!(config(&["--redirect-uris", bad]).is_err(), "{bad}");
    }
}

#[test]
fn a_key_that_signs_is_taken() {
    let issuer = Issuer::start();
    let (key_id, pem) = issuer.make_client_key();
    let apple = ["--apple-client-id", "a", "--apple-team-id", "T", "--apple-key-id", &key_id];
    assert_eq!(problem(&[&apple[..], &["--apple-private-key", &pem]].concat()), None);
    let without = ["--apple-client-id", "a", "--apple-private-key", &pem];
    assert!(problem(&without).is_some_and(|problem| problem.contains("team")));
}
