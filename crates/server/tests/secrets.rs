//! No password and no token is in any log, in the access log or in the database, whatever happens to them.

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use common::caller::Caller;
use common::database;
use common::http::{make_space, post, sign_up};
use common::json_client::OFFER;
use common::server::TestServer;
use common::socket::{handshake, handshake_with};
use lattice_testkit::{IdToken, Issuer};
use serde_json::{Value, json};

/// What must be nowhere, each with what it is.
#[derive(Default)]
struct Secrets(Vec<(String, String)>);

impl Secrets {
    fn add(&mut self, what: &str, secret: &str) -> String {
        self.0.push((what.to_owned(), secret.to_owned()));
        // Parts of tokens are as good as the whole: the signature, the half of a refresh token that changes.
        let parts = secret.split(['.', '_']).filter(|part| part.len() >= 20 && part.len() < secret.len());
        self.0.extend(parts.map(|part| (format!("a part of {what}"), part.to_owned())));
        secret.to_owned()
    }

    fn add_of(&mut self, what: &str, answer: &Value, key: &str) -> String {
        self.add(what, answer[key].as_str().unwrap_or_else(|| panic!("{what}: {answer}")))
    }

    /// What of it stands in a text, in any form that logs and databases write things in, in whatever case.
    fn leaked_to(&self, text: &[u8]) -> Vec<&str> {
        let text = String::from_utf8_lossy(text);
        let lower = text.to_ascii_lowercase();
        let leaked = |secret: &str| {
            let numbers: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
            let digits: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
            let percent: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            let base64 = [STANDARD_NO_PAD.encode(secret), URL_SAFE_NO_PAD.encode(secret)];
            let forms = [secret.to_owned(), numbers.join(", "), digits, percent];
            forms.iter().any(|form| lower.contains(&form.to_ascii_lowercase()))
                || base64.iter().any(|form| text.contains(form))
        };
        self.0.iter().filter(|(_, secret)| leaked(secret)).map(|(what, _)| what.as_str()).collect()
    }
}

/// Signs up and in, refreshes, goes out, is refused, and sends all sorts of nonsense.
fn live(server: &TestServer, secrets: &mut Secrets) {
    let ann = Caller::at("127.0.0.1", "secrets/1");
    let password = secrets.add("the password", "Correct-Horse-Battery-71");
    let credentials =
        json!({"email": "ann@example.com", "password": password, "fullName": "CANARY-OF-THE-FILE"});
    let (_, made) = ann.json(server, "POST", "/auth/signup", None, &credentials);
    let access = secrets.add_of("the access token of a signup", &made, "accessToken");
    let refresh = secrets.add_of("the refresh token of a signup", &made, "refreshToken");
    ann.json(server, "POST", "/auth/signup", None, &credentials);
    let (_, device) = ann.json(server, "POST", "/login", None, &credentials);
    let device = secrets.add_of("a device token", &device, "token");
    let (_, next) = ann.json(server, "POST", "/auth/refresh", None, &json!({"refreshToken": refresh}));
    let next_access = secrets.add_of("an access token of a refresh", &next, "accessToken");
    let next_refresh = secrets.add_of("a refresh token of a refresh", &next, "refreshToken");

    // Passwords that are wrong, are no passwords, or come where none belongs.
    let wrong = secrets.add("a wrong password", "Wrong-Horse-Battery-72");
    for body in [
        json!({"email": "ann@example.com", "password": wrong}).to_string(),
        json!({"email": wrong, "password": password}).to_string(),
        json!({"email": format!("{wrong}@example.com"), "password": password}).to_string(),
        format!(r#"{{"email":"ann@example.com","password":"{wrong}"#),
        format!(r#"{{"email":"ann@example.com","password":["{wrong}"]}}"#),
        format!(r#"{{"email":"ann@example.com","password":7,"{wrong}":1}}"#),
        format!(r#"{{"email":"ann@example.com","password":"{wrong}{}"}}"#, "x".repeat(70_000)),
        format!("email=ann&password={wrong}"),
    ] {
        for path in ["/auth/login", "/login", "/auth/refresh"] {
            let (status, answer) = ann.send(server, "POST", path, None, &body);
            assert!(status >= 400 && !answer.contains(&wrong), "{path} {body}: {status} {answer}");
        }
    }
    ann.json(server, "DELETE", "/profile", Some(&access), &json!({"password": wrong}));
    ann.send(server, "GET", &format!("/profile?token={access}&password={password}"), Some(&access), "");

    // Tokens that are wrong, everywhere.
    let forged = secrets.add("a forged token", &format!("{}x", &access[..access.len() - 2]));
    let unknown =
        secrets.add("an unknown device token", "ldt_Zm9yZ2VkIHRva2VuIG9mIHRoZSB0ZXN0IG9mIHNlY3JldHM");
    let nonsense = secrets.add("a nonsensical token", "nonsense-token-of-the-test-73");
    for token in [&forged, &unknown, &nonsense] {
        assert_eq!(ann.send(server, "GET", "/profile", Some(token), "").0, 401);
        assert_eq!(ann.send(server, "POST", "/auth/logout", Some(token), "{}").0, 401);
        ann.json(server, "POST", "/auth/refresh", None, &json!({"refreshToken": token}));
        assert_eq!(handshake(server, &format!("/sync?token={token}"), None, b"").status, 401);
        assert_eq!(handshake(server, "/sync", Some(token), b"").status, 401);
        assert_eq!(ann.send(server, "POST", "/sync/changes", Some(token), "{}").0, 401);
        assert_eq!(ann.send(server, "GET", &format!("/{token}"), None, "").0, 404);
        ann.send(server, "GET", &format!("/spaces/{token}"), Some(&access), "");
    }

    // Tokens where ids of requests belong.
    for token in [&access, &device, &next_refresh, &forged, &unknown] {
        let id = format!("X-Request-Id: {token}\r\n");
        handshake_with(server, "/sync", None, &id, b"").expect("an answer").problem();
        handshake_with(server, "/sync", Some(&device), &id, b"").expect("an answer").socket().close();
        common::raw::send(server, "GET", "/profile", &[("x-request-id", token.as_str())], b"");
    }

    // Sockets of both dialects.
    handshake(server, &format!("/sync?token={device}"), None, b"").socket().close();
    handshake(server, "/sync", Some(&next_access), b"").socket().close();
    let mut json = handshake_with(server, &format!("/sync?token={next_access}"), None, OFFER, b"")
        .expect("an answer")
        .socket();
    json.send_text(r#"{"type":"hello"}"#);
    for token in [&next_access, &nonsense, &forged, &device] {
        json.send_text(&json!({"type": "auth", "token": token}).to_string());
        json.next_frame();
    }
    json.send_text(&format!(r#"{{"type":"auth","token":"{nonsense}"#));
    json.next_frame();
    json.close();
    for token in [&nonsense, &forged] {
        let path = format!("/sync?token={token}");
        handshake_with(server, &path, None, OFFER, b"").expect("an answer").socket().closed();
    }
    let mut broken = handshake(server, "/sync", Some(&device), b"").socket();
    broken.send(format!(r#"{{"kind":"auditLog","auditLog":["{nonsense}"#).into_bytes());
    broken.send_raw(&[0xFF; 64]);
    broken.closed();

    // Invites.
    let bob = sign_up(server, "bob");
    let owner = common::http::Account { token: next_access.clone(), ..bob.clone() };
    let space = make_space(server, &owner, "shared");
    let path = format!("/spaces/{space}/invites");
    let (_, invite) = post(server, &path, Some(&next_access), &json!({"role": "editor"}));
    let invite = secrets.add_of("the token of an invite", &invite, "token");
    for token in [&invite, &invite, &nonsense] {
        post(server, "/invites/accept", Some(&bob.token), &json!({"token": token}));
    }
    secrets.add("Bob's password", common::http::PASSWORD);
    secrets.add("Bob's token", &bob.token);

    // Ends.
    post(server, "/auth/logout", None, &json!({"refreshToken": next_refresh}));
    ann.json(server, "POST", "/auth/refresh", None, &json!({"refreshToken": next_refresh}));
    ann.json(server, "POST", "/auth/refresh", None, &json!({"refreshToken": refresh}));
    assert_eq!(ann.send(server, "GET", "/profile", Some(&next_access), "").0, 401);
    assert_eq!(ann.send(server, "GET", "/profile", Some(&device), "").0, 200);
    assert_eq!(ann.send(server, "GET", "/profile/export", Some(&device), "").0, 200);

    // A database that fails in the middle of it.
    rename(server, "sessions", "sessions_gone");
    for token in [&device, &nonsense, &forged] {
        ann.send(server, "GET", "/profile", Some(token), "");
    }
    assert_eq!(ann.json(server, "POST", "/auth/login", None, &credentials).0, 500);
    assert_eq!(handshake(server, &format!("/sync?token={device}"), None, b"").status, 500);
    rename(server, "sessions_gone", "sessions");
    let again = ann.json(server, "POST", "/auth/login", None, &credentials).1;
    let last = secrets.add_of("another access token", &again, "accessToken");
    secrets.add_of("another refresh token", &again, "refreshToken");
    assert_eq!(ann.send(server, "GET", "/profile", Some(&last), "").0, 200);
}

/// Signs in by a provider, with a second factor, and by a passkey, rightly and wrongly.
fn live_elsewhere(server: &TestServer, issuer: &Issuer, secrets: &mut Secrets) {
    let caller = Caller::at("127.0.0.1", "secrets/2");
    secrets.add("the client's secret", Issuer::CLIENT_SECRET);
    let cy = sign_up(server, "cy");
    let bearer = Some(cy.token.as_str());
    secrets.add("Cy's token", &cy.token);
    let nonce = secrets.add("a nonce", "nonce-of-the-test-of-secrets");
    let token = issuer.mint(&IdToken::new().claim("nonce", nonce.as_str()));
    let token = secrets.add("an ID token", &token);
    let wrong = secrets.add("a wrong ID token", &issuer.mint(&IdToken::new().claim("aud", "nobody")));
    for body in [
        json!({"idToken": wrong}),
        json!({"idToken": token}),
        json!({"idToken": [token]}),
        json!({"nonce": token}),
    ] {
        assert!(caller.json(server, "POST", "/auth/corp", None, &body).0 >= 400, "{body}");
    }
    let body = json!({"provider": "corp", "idToken": token, "nonce": nonce});
    assert_eq!(post(server, "/profile/identities", bearer, &body).0, 201);
    let query = format!("state={token}&code={nonce}&error={nonce}");
    caller.send(server, "GET", &format!("/auth/corp/callback?{query}"), None, "");
    caller.send(server, "POST", "/auth/corp/callback", None, &query);
    let challenge = "x".repeat(43);
    let path = format!("/auth/corp/start?redirect_uri=https://app.example.com/in&code_challenge={challenge}");
    assert_eq!(caller.send(server, "GET", &path, None, "").0, 303);

    let (_, offer) = post(server, "/profile/totp", bearer, &json!({}));
    let secret = secrets.add_of("the secret of codes", &offer, "secret");
    let now_s = std::time::UNIX_EPOCH.elapsed().expect("a time after 1970").as_secs();
    let app = totp_rs::Secret::try_from_base32(&secret).expect("base32");
    let app = totp_rs::Builder::new().with_secret(app).build().expect("a secret");
    let code = app.generate(now_s).to_string();
    let (status, codes) = post(server, "/profile/totp/confirm", bearer, &json!({"code": code}));
    assert_eq!(status, 200, "{codes}");
    let recovery = secrets.add("a recovery code", codes["recoveryCodes"][0].as_str().expect("a code"));
    let credentials = json!({"email": cy.email, "password": common::http::PASSWORD});
    let (_, half) = post(server, "/auth/login", None, &credentials);
    let challenge = secrets.add_of("a challenge", &half, "challenge");
    for guess in [&nonce, &secret] {
        post(server, "/auth/second-factor", None, &json!({"challenge": challenge, "code": guess}));
        post(server, "/auth/second-factor", None, &json!({"challenge": guess, "recoveryCode": recovery}));
    }
    let (_, login) =
        post(server, "/auth/second-factor", None, &json!({"challenge": challenge, "recoveryCode": recovery}));
    secrets.add_of("a token after a second factor", &login, "token");
    let (_, asked) = post(server, "/auth/passkey/start", None, &json!({}));
    let asked = secrets.add_of("a challenge of a passkey", &asked, "challenge");
    post(server, "/auth/passkey", None, &json!({"challenge": asked, "credential": {"id": asked}}));
}

fn rename(server: &TestServer, from: &str, to: &str) {
    let sql = format!("ALTER TABLE {from} RENAME TO {to}");
    match server.database() {
        Some(database) => database.execute(&sql),
        None => {
            let file = rusqlite::Connection::open(server.data_dir().join("lattice.db")).expect("the file");
            file.busy_timeout(common::PATIENCE).expect("patience");
            file.execute_batch(&sql).expect("another name");
        }
    }
}

#[test]
fn no_secret_is_in_any_log_or_in_the_database() {
    let issuer = Issuer::start();
    let provider = json!([{
        "name": "corp", "issuer": issuer.url(), "clientIds": ["lattice-test"], "clientSecret": Issuer::CLIENT_SECRET,
    }]);
    let mut server = TestServer::start(&[
        ("LOG", "trace"),
        ("OIDC_PROVIDERS", &provider.to_string()),
        ("PUBLIC_URL", "https://sync.example.com"),
        ("REDIRECT_URIS", "https://app.example.com/in"),
        ("PASSKEY_DOMAIN", "example.com"),
    ]);
    let mut secrets = Secrets::default();
    live_elsewhere(&server, &issuer, &mut secrets);
    live(&server, &mut secrets);
    assert!(secrets.0.len() > 20, "a part of each token counts");
    assert!(server.terminate().success());

    let log = server.log();
    // What is logged at every level: that a client broke the protocol, an export, and the failure of the database.
    for logged in ["DEBUG", "protocol error", "INFO", "an account was exported", "ERROR", "a request failed"]
    {
        assert!(log.contains(logged), "{logged:?} is not in the log");
    }
    assert_eq!(secrets.leaked_to(log.as_bytes()), [""; 0], "in the log");
    let held = database::dump(&database::open(&server));
    assert!(held.contains("CANARY-OF-THE-FILE") && held.contains("sign_in_failed"), "everything is dumped");
    assert_eq!(secrets.leaked_to(held.as_bytes()), [""; 0], "in the tables");
    let file = database::bytes(&server);
    let canary = Secrets(vec![("the canary".to_owned(), "CANARY-OF-THE-FILE".to_owned())]);
    if server.database().is_none() {
        assert_eq!(canary.leaked_to(&file), ["the canary"], "the file is looked through");
    }
    assert_eq!(secrets.leaked_to(&file), [""; 0], "in the file");

    // What is planted is found: as it is, and in whatever form things are written.
    let planted = |text: String| {
        let text = [log.as_bytes(), text.as_bytes()].concat();
        let leaked = secrets.leaked_to(&text);
        assert!(leaked.contains(&"the password"), "{leaked:?}");
    };
    let password = "Correct-Horse-Battery-71";
    planted(format!("GET /?password={password}"));
    planted(format!("{:?}", password.as_bytes()));
    planted(STANDARD_NO_PAD.encode(password));
    planted(password.bytes().map(|byte| format!("{byte:02x}")).collect());
}
