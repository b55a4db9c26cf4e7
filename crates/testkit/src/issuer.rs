//! An OpenID provider of one test.

mod binary;
mod token;

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use url::Url;

pub use token::{IdToken, Signature};

/// How long the provider may take to answer.
const MAX_ANSWER_TIME: Duration = Duration::from_secs(20);

/// What a key signs with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyKind {
    /// RSA with 2,048 bits.
    Rs256,
    /// P-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

/// What becomes of the keys before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OldKeys {
    /// They stay in the key set.
    Keep,
    /// They leave it.
    Drop,
}

/// How the key set is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeySet {
    /// As it is.
    Good,
    /// 500.
    Fails,
    /// Never.
    Hangs,
    /// 200, and no JSON.
    Garbage,
    /// The key set, and 32 MiB of space behind it.
    Huge,
    /// 302, to an address that has the key set.
    Redirects,
}

/// Where the browser of a user who has approved is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redirect {
    /// The address. With `response_mode=query` it holds the parameters.
    pub url: String,
    /// Whether the parameters are posted there as a form (`response_mode=form_post`).
    pub posted: bool,
    /// The parameters: `code`, `state`, and what [`Issuer::set_response`] has added.
    pub parameters: Vec<(String, String)>,
}

impl Redirect {
    /// The parameter of that name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// An OpenID provider: a process that speaks plain HTTP on a free port of 127.0.0.1. It ends with this, and with the process
/// that has started it.
///
/// It has discovery, a key set, the code flow with PKCE, and a user who approves everything. It starts with one key of
/// [`KeyKind::Rs256`].
pub struct Issuer {
    url: String,
    process: Child,
    /// The process ends when this is closed.
    _lifeline: ChildStdin,
    agent: ureq::Agent,
}

impl Issuer {
    /// The client that it knows unless [`set_client`](Self::set_client) says otherwise.
    pub const CLIENT_ID: &str = "lattice-test";
    /// That client's secret.
    pub const CLIENT_SECRET: &str = "test-client-secret";

    /// Starts one.
    ///
    /// # Panics
    /// When its program cannot be built or does not start.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        let mut command = Command::new(binary::path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut process = command.spawn().expect("the test issuer starts");
        let lifeline = process.stdin.take().expect("a pipe");
        let mut url = String::new();
        BufReader::new(process.stdout.take().expect("a pipe")).read_line(&mut url).expect("a line");
        let url = url.trim_end().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "the test issuer said {url:?}");
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(MAX_ANSWER_TIME));
        Self { url, process, _lifeline: lifeline, agent: config.build().into() }
    }

    /// Its address, without a slash at the end; the `iss` of its tokens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where its key set is.
    #[must_use]
    pub fn jwks_url(&self) -> String {
        format!("{}/jwks", self.url)
    }

    /// Registers the one client it knows. With a `team`, its secrets are JWTs by that issuer, as Apple's are, signed by
    /// [`make_client_key`](Self::make_client_key). Without either it is a public client.
    #[track_caller]
    pub fn set_client(&self, id: &str, secret: Option<&str>, team: Option<&str>, redirect_uris: &[&str]) {
        let client = json!({"id": id, "secret": secret, "team": team, "redirect_uris": redirect_uris});
        self.control("client", &client);
    }

    /// Lets the client of the constants come back to these addresses.
    #[track_caller]
    pub fn allow_redirects(&self, redirect_uris: &[&str]) {
        self.set_client(Self::CLIENT_ID, Some(Self::CLIENT_SECRET), None, redirect_uris);
    }

    /// Makes the key that signs client secrets: its name and its private half, P-256, in PEM of PKCS #8, which is Apple's
    /// `.p8`.
    #[must_use]
    #[track_caller]
    pub fn make_client_key(&self) -> (String, String) {
        let made = self.control("client-key", &Value::Null);
        (text(&made["kid"]), text(&made["pem"]))
    }

    /// Sets the user who approves, by claims. At the start: `sub` `user-1`, `email` `ann@example.com`, `email_verified` true,
    /// `name` `Ann Example`.
    #[track_caller]
    pub fn set_user(&self, claims: &Value) {
        self.control("user", claims);
    }

    /// Adds parameters to what the client is sent with the code: Apple's `user`, or another `state`.
    #[track_caller]
    pub fn set_response(&self, parameters: &Value) {
        self.control("response", parameters);
    }

    /// Puts members over those of the discovery document; null takes one away.
    #[track_caller]
    pub fn set_discovery(&self, members: &Value) {
        self.control("discovery", members);
    }

    /// Makes a key that signs from now on, and says its name.
    #[track_caller]
    pub fn rotate(&self, kind: KeyKind, old: OldKeys) -> String {
        self.new_key(kind, old == OldKeys::Keep, true)
    }

    /// Makes a key that is not in the key set, and says its name: tokens signed by it name a key that nobody knows.
    #[must_use]
    #[track_caller]
    pub fn secret_key(&self, kind: KeyKind) -> String {
        self.new_key(kind, true, false)
    }

    #[track_caller]
    fn new_key(&self, kind: KeyKind, keep: bool, publish: bool) -> String {
        let algorithm = match kind {
            KeyKind::Rs256 => "RS256",
            KeyKind::Es256 => "ES256",
            KeyKind::EdDsa => "EdDSA",
        };
        text(&self.control("rotate", &json!({"algorithm": algorithm, "keep": keep, "publish": publish})))
    }

    /// Sets how the key set is answered, with these headers (`Cache-Control`, `Expires`).
    #[track_caller]
    pub fn set_key_set(&self, how: KeySet, headers: &[(&str, &str)]) {
        self.set_keys(how, headers, &[]);
    }

    /// As [`set_key_set`](Self::set_key_set), with keys at its beginning that are taken as they are.
    #[track_caller]
    pub fn set_keys(&self, how: KeySet, headers: &[(&str, &str)], extra_keys: &[Value]) {
        let how = match how {
            KeySet::Good => "good",
            KeySet::Fails => "fails",
            KeySet::Hangs => "hangs",
            KeySet::Garbage => "garbage",
            KeySet::Huge => "huge",
            KeySet::Redirects => "redirects",
        };
        let headers: serde_json::Map<_, _> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        self.control("key-set", &json!({"how": how, "headers": headers, "extra_keys": extra_keys}));
    }

    /// A token for the user and the client.
    #[must_use]
    #[track_caller]
    pub fn mint(&self, token: &IdToken) -> String {
        text(&self.control("mint", &token.to_json()))
    }

    /// Bends the ID tokens that the token endpoint gives out from now on.
    #[track_caller]
    pub fn bend(&self, token: &IdToken) {
        self.control("bend", &token.to_json());
    }

    /// How often an endpoint was asked: `discovery`, `jwks`, `jwks-elsewhere`, `authorize`, `token`, `userinfo`.
    #[must_use]
    #[track_caller]
    pub fn requests(&self, endpoint: &str) -> u64 {
        self.control("requests", &Value::Null)[endpoint].as_u64().unwrap_or(0)
    }

    /// Goes to an address of the authorization endpoint as a browser would, and says where it leads.
    ///
    /// # Errors
    /// What the provider says when it refuses.
    ///
    /// # Panics
    /// When the address is not the provider's.
    #[track_caller]
    pub fn approve(&self, authorization_url: &str) -> Result<Redirect, String> {
        assert!(authorization_url.starts_with(&self.url), "{authorization_url} is not at {}", self.url);
        let mut answer = self.agent.get(authorization_url).call().expect("an answer");
        let status = answer.status().as_u16();
        if status == 303 {
            let location = answer.headers().get("location").and_then(|value| value.to_str().ok());
            let url = location.expect("a location").to_owned();
            let parameters = Url::parse(&url).expect("an address").query_pairs().into_owned().collect();
            return Ok(Redirect { url, posted: false, parameters });
        }
        let page = answer.body_mut().read_to_string().expect("text");
        if status == 200 { Ok(posted_form(&page)) } else { Err(page) }
    }

    #[track_caller]
    fn control(&self, what: &str, body: &Value) -> Value {
        let asked = self
            .agent
            .post(format!("{}/control/{what}", self.url))
            .header("content-type", "application/json");
        let mut answer = asked.send(body.to_string()).expect("the test issuer answers");
        let body = answer.body_mut().read_to_string().expect("text");
        assert_eq!(answer.status().as_u16(), 200, "the test issuer refused {what}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads the page of `response_mode=form_post`, which is the test issuer's own: a line for each element.
fn posted_form(page: &str) -> Redirect {
    let attribute = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!(" {name}=\""))?;
        let (value, _) = rest.split_once('"')?;
        Some(value.replace("&lt;", "<").replace("&quot;", "\"").replace("&amp;", "&"))
    };
    let inputs = page.lines().filter(|line| line.starts_with("<input"));
    Redirect {
        url: page.lines().find_map(|line| attribute(line, "action")).expect("a form"),
        posted: true,
        parameters: inputs
            .filter_map(|line| Some((attribute(line, "name")?, attribute(line, "value")?)))
            .collect(),
    }
}

#[track_caller]
fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}
