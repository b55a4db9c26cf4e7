//! Browsers that go to a provider and come back.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lattice_testkit::{IdToken, Issuer, Redirect};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

use super::common::http::{post, sign_up};
use super::common::server::TestServer;
use super::{APP, PUBLIC_URL, refused, start, start_with, text, ways_in};

const VERIFIER: &str = "a-verifier-of-more-than-forty-three-characters";

/// A browser: it keeps cookies and shows where it is sent.
struct Browser<'a> {
    server: &'a TestServer,
    agent: ureq::Agent,
    cookies: Vec<(String, String)>,
}

struct Page {
    status: u16,
    location: Option<Url>,
    body: String,
    set_cookie: Vec<String>,
}

impl<'a> Browser<'a> {
    fn new(server: &'a TestServer) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false);
        Self { server, agent: config.build().into(), cookies: Vec::new() }
    }

    fn at(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address())
    }

    fn cookie(&self) -> String {
        let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("; ")
    }

    #[track_caller]
    fn take(&mut self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Page {
        let mut answer = answer.expect("an answer");
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let location = header("location").map(|url| Url::parse(url).expect("an address"));
        let set_cookie: Vec<String> = answer
            .headers()
            .get_all("set-cookie")
            .iter()
            .map(|value| value.to_str().expect("text").to_owned())
            .collect();
        for cookie in &set_cookie {
            let (name, value) =
                cookie.split(';').next().and_then(|pair| pair.split_once('=')).expect("a cookie");
            self.cookies.retain(|(known, _)| known != name);
            if !cookie.contains("Max-Age=0") {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        let body = answer.body_mut().read_to_string().expect("text");
        Page { status: answer.status().as_u16(), location, body, set_cookie }
    }

    #[track_caller]
    fn get(&mut self, path: &str) -> Page {
        let answer = self
            .agent
            .get(self.at(path))
            .header("cookie", self.cookie())
            .header("accept", "text/html")
            .call();
        self.take(answer)
    }

    /// Leaves for the provider, and is approved there.
    #[track_caller]
    fn approved(&mut self, issuer: &Issuer) -> Redirect {
        let left = self.get(&start_path(APP, Some("app state")));
        assert_eq!(left.status, 303, "{}", left.body);
        let url = left.location.expect("an address");
        issuer.approve(url.as_str()).expect("approved")
    }

    /// Comes back from the provider.
    #[track_caller]
    fn comes_back(&mut self, redirect: &Redirect) -> Page {
        let url = redirect.url.strip_prefix(PUBLIC_URL).expect("back to the server").to_owned();
        if !redirect.posted {
            return self.get(&url);
        }
        let form = redirect.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let answer = self.agent.post(self.at(&url)).header("cookie", self.cookie()).send_form(form);
        self.take(answer)
    }
}

fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

fn start_path(redirect_uri: &str, state: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("redirect_uri", redirect_uri).append_pair("code_challenge", &challenge(VERIFIER));
    if let Some(state) = state {
        query.append_pair("state", state);
    }
    format!("/auth/corp/start?{}", query.finish())
}

/// What the app is sent.
#[track_caller]
fn parameter(page: &Page, name: &str) -> Option<String> {
    let url = page.location.as_ref().unwrap_or_else(|| panic!("{} {}", page.status, page.body));
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[track_caller]
fn exchange(server: &TestServer, code: &str, verifier: &str) -> (u16, Value) {
    post(server, "/auth/token", None, &json!({"code": code, "codeVerifier": verifier}))
}

fn ready(issuer: &Issuer) -> TestServer {
    issuer.allow_redirects(&["http://127.0.0.1:1/auth/corp/callback"]);
    start(issuer)
}

#[test]
fn a_browser_signs_in() {
    let issuer = Issuer::start();
    let server = ready(&issuer);
    let mut browser = Browser::new(&server);
    let approved = browser.approved(&issuer);
    let back = browser.comes_back(&approved);
    assert_eq!(back.status, 303, "{}", back.body);
    let url = back.location.clone().expect("an address");
    assert!(url.as_str().starts_with(APP), "{url}");
    assert_eq!(parameter(&back, "state").as_deref(), Some("app state"));
    assert!(browser.cookies.is_empty(), "what it was given is taken back");
    let code = parameter(&back, "code").expect("a code");
    // Whoever catches the code has not what its challenge was made of.
    let (status, login) = exchange(&server, &code, VERIFIER);
    assert_eq!(status, 200, "{login}");
    assert_eq!(login["user"]["email"], json!("ann@example.com"));
    assert!(login["refreshToken"].is_string(), "tokens that are renewed");
    assert_eq!(ways_in(&server, text(&login["token"])), json!(["corp"]));
    refused(exchange(&server, &code, VERIFIER), 401, "code_invalid");
    let approved = browser.approved(&issuer);
    let code = parameter(&browser.comes_back(&approved), "code").expect("a code");
    refused(exchange(&server, &code, &VERIFIER.replace('a', "b")), 401, "code_invalid");
    refused(exchange(&server, &code, VERIFIER), 401, "code_invalid");
    for bad in ["", "lst_x", &"x".repeat(5_000)] {
        refused(exchange(&server, bad, VERIFIER), 401, "code_invalid");
    }
}

#[test]
fn nobody_comes_back_who_has_not_left() {
    let issuer = Issuer::start();
    let server = ready(&issuer);
    let (mut victim, mut attacker) = (Browser::new(&server), Browser::new(&server));
    // The attacker's own sign-in in the victim's browser: the victim would work in the attacker's account.
    let of_attacker = attacker.approved(&issuer);
    let page = victim.comes_back(&of_attacker);
    assert_eq!((page.status, page.location.is_none()), (400, true), "{}", page.body);
    assert!(page.body.contains("was not begun here"), "{}", page.body);
    assert_eq!(issuer.requests("token"), 0, "the code was not used");
    // The victim's, caught on the way, in the attacker's browser.
    let of_victim = victim.approved(&issuer);
    assert_eq!(attacker.comes_back(&of_victim).status, 400);
    // Neither has ended what the other has begun. Once.
    assert_eq!(victim.comes_back(&of_victim).status, 303);
    assert_eq!(victim.comes_back(&of_victim).status, 400);
    let cookies = attacker.cookies.clone();
    assert_eq!(attacker.comes_back(&of_attacker).status, 303);
    attacker.cookies = cookies;
    assert_eq!(attacker.comes_back(&of_attacker).status, 400, "the state was used");
    for path in [
        "/auth/corp/callback",
        "/auth/corp/callback?state=&code=x",
        "/auth/corp/callback?state=lst_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA&code=x",
        "/auth/nobody/callback?state=x",
    ] {
        assert!([400, 404].contains(&victim.get(path).status), "{path}");
    }
}

#[test]
fn several_may_be_under_way_in_one_browser() {
    let issuer = Issuer::start();
    let server = ready(&issuer);
    let mut browser = Browser::new(&server);
    let (one, two) = (browser.approved(&issuer), browser.approved(&issuer));
    for approved in [one, two] {
        assert!(parameter(&browser.comes_back(&approved), "code").is_some());
    }
}

#[test]
fn browsers_are_sent_to_named_addresses_alone() {
    let issuer = Issuer::start();
    let server = ready(&issuer);
    let mut browser = Browser::new(&server);
    for uri in [
        "https://evil.example/in",
        "https://app.example.com/in/",
        "https://app.example.com/in?next=https://evil.example",
        "https://app.example.com/in@evil.example",
        "https://app.example.com.evil.example/in",
        "HTTPS://app.example.com/in",
        "//evil.example",
        "javascript:alert(1)",
        "",
    ] {
        let page = browser.get(&start_path(uri, None));
        assert_eq!((page.status, page.location.is_none()), (400, true), "{uri}");
        assert!(page.body.contains("redirect_not_allowed"), "{}", page.body);
    }
    let page = browser.get(&start_path(APP, None).replace("code_challenge", "other"));
    assert!(page.status == 400 && page.body.contains("bad_code_challenge"), "{}", page.body);
    let page = browser.get(&start_path(APP, Some(&"x".repeat(513))));
    assert!(page.status == 400 && page.body.contains("state_invalid"), "{}", page.body);
    assert_eq!(issuer.requests("authorize"), 0);
    // An app's own, with a query that stays.
    let left = browser.get(&start_path("trips://in?a=b", None));
    let approved = issuer.approve(left.location.expect("an address").as_str()).expect("approved");
    let back = browser.comes_back(&approved);
    let url = back.location.expect("an address");
    assert!(url.as_str().starts_with("trips://in?a=b&code=lst_"), "{url}");
}

#[test]
fn what_a_provider_says_wrongly_leads_back_with_an_error() {
    let issuer = Issuer::start();
    let server = ready(&issuer);
    let mut browser = Browser::new(&server);
    for (bent, error) in [
        (IdToken::new().claim("nonce", "another"), "nonce_mismatch"),
        (IdToken::new().without("nonce"), "nonce_mismatch"),
        (IdToken::new().claim("aud", "nobody"), "id_token_invalid"),
        (IdToken::new().claim("iss", "https://other.example"), "id_token_invalid"),
    ] {
        issuer.bend(&bent);
        let approved = browser.approved(&issuer);
        let back = browser.comes_back(&approved);
        assert_eq!(parameter(&back, "error").as_deref(), Some(error));
        assert_eq!(
            (parameter(&back, "code"), parameter(&back, "state").as_deref()),
            (None, Some("app state"))
        );
    }
    issuer.bend(&IdToken::new());
    // Somebody says no, or the provider knows why not.
    for (said, error) in [("access_denied", "access_denied"), ("<script>", "provider_refused")] {
        let mut approved = browser.approved(&issuer);
        let state = approved.parameter("state").expect("a state").to_owned();
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("state", state.as_str()), ("error", said)])
            .finish();
        approved.url = format!("{PUBLIC_URL}/auth/corp/callback?{query}");
        assert_eq!(parameter(&browser.comes_back(&approved), "error").as_deref(), Some(error));
    }
    // Another code than the provider's.
    let mut approved = browser.approved(&issuer);
    approved.url = approved.url.replace("code=", "code=x");
    assert_eq!(parameter(&browser.comes_back(&approved), "error").as_deref(), Some("provider_refused"));
}

#[test]
fn a_provider_like_apple_comes_back_by_a_form() {
    let issuer = Issuer::start();
    let callback = "http://127.0.0.1:1/auth/corp/callback";
    let (key_id, private_key) = issuer.make_client_key();
    issuer.set_client("lattice-test", None, Some("TEAM"), &[callback]);
    let provider = json!({
        "clientSecret": null, "scopes": ["name", "email"], "formPost": true,
        "signedSecret": {"teamId": "TEAM", "keyId": key_id, "privateKey": private_key},
    });
    let server = start_with(&issuer, &provider, &[]);
    issuer.set_user(
        &json!({"sub": "001.a.1", "email": "ann@example.com", "email_verified": "true", "name": null}),
    );
    issuer.set_response(&json!({
        "user": r#"{"name":{"firstName":"Ann","lastName":"Example"},"email":"evil@example.com"}"#,
    }));
    let mut browser = Browser::new(&server);
    let approved = browser.approved(&issuer);
    assert!(approved.posted);
    // Another site's form, in a browser that has not left.
    assert_eq!(Browser::new(&server).comes_back(&approved).status, 400);
    let back = browser.comes_back(&approved);
    let code = parameter(&back, "code").unwrap_or_else(|| panic!("{:?}", back.location));
    let (status, login) = exchange(&server, &code, VERIFIER);
    assert_eq!(status, 200, "{login}");
    let user = &login["user"];
    // Of what nobody has signed the name alone is taken.
    assert_eq!((&user["email"], &user["fullName"]), (&json!("ann@example.com"), &json!("Ann Example")));
}

#[test]
fn a_code_links_what_it_could_not_sign_in() {
    let issuer = Issuer::start();
    let server = ready(&issuer);
    let ann = sign_up(&server, "ann");
    let mut browser = Browser::new(&server);
    let approved = browser.approved(&issuer);
    let code = parameter(&browser.comes_back(&approved), "code").expect("a code");
    refused(exchange(&server, &code, VERIFIER), 409, "account_exists");
    let body = json!({"code": code, "codeVerifier": VERIFIER});
    let (status, linked) = post(&server, "/profile/identities", Some(&ann.token), &body);
    assert_eq!(status, 201, "{linked}");
    let approved = browser.approved(&issuer);
    let code = parameter(&browser.comes_back(&approved), "code").expect("a code");
    let (status, login) = exchange(&server, &code, VERIFIER);
    assert_eq!((status, &login["user"]["id"]), (200, &json!(ann.user)));
}

#[test]
fn cookies_are_strict() {
    let issuer = Issuer::start();
    issuer.allow_redirects(&["https://sync.example.com/auth/corp/callback"]);
    let server =
        start_with(&issuer, &json!({"formPost": true}), &[("PUBLIC_URL", "https://sync.example.com")]);
    let page = Browser::new(&server).get(&start_path(APP, None));
    let [cookie] = &page.set_cookie[..] else { panic!("one cookie, not {:?}", page.set_cookie) };
    assert!(cookie.starts_with("__Host-lattice-sign-in-"), "{cookie}");
    for attribute in ["; Path=/;", "; HttpOnly", "; Secure", "; SameSite=None", "; Max-Age=600"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
}
