//! Links by e-mail, from the request to the mail server and back.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use common::PATIENCE;
use common::http::{PASSWORD, call, get, join, make_space, sign_up};
use common::raw::{Answer, ask, post, send};
use common::server::{TestServer, run_to_end};
use common::socket::Socket;
use serde_json::{Value, json};

const NEXT: &str = "battery staple horse";

/// A mail server that takes everything.
struct PostOffice {
    address: SocketAddr,
    letters: Receiver<Received>,
}

/// A letter as it arrived.
struct Received {
    from: String,
    to: Vec<String>,
    /// Head and body, with the lines of quoted-printable joined.
    text: String,
}

impl PostOffice {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (tell, letters) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let tell = tell.clone();
                std::thread::spawn(move || {
                    let _ = serve(stream, &tell);
                });
            }
        });
        Self { address, letters }
    }

    /// The next letter.
    #[track_caller]
    fn letter(&self) -> Received {
        self.letters.recv_timeout(PATIENCE).expect("a letter")
    }
}

/// Speaks SMTP (RFC 5321) as far as a client needs.
fn serve(stream: TcpStream, tell: &Sender<Received>) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    let mut say = |text: &str| out.write_all(format!("{text}\r\n").as_bytes());
    say("220 localhost")?;
    let (mut from, mut to) = (String::new(), Vec::new());
    while let Some(line) = lines.next().transpose()? {
        let command = line.to_ascii_uppercase();
        match command.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" | "HELO" => say("250 localhost")?,
            "MAIL" => {
                from = line;
                say("250 OK")?;
            }
            "RCPT" => {
                to.push(line);
                say("250 OK")?;
            }
            "DATA" => {
                say("354 go on")?;
                let mut text = String::new();
                for line in lines.by_ref().map_while(Result::ok).take_while(|line| line != ".") {
                    text.push_str(&line);
                    text.push_str("\r\n");
                }
                let text = text.replace("=\r\n", "").replace("=3D", "=");
                let _ = tell.send(Received {
                    from: std::mem::take(&mut from),
                    to: std::mem::take(&mut to),
                    text,
                });
                say("250 OK")?;
            }
            "QUIT" => return say("221 bye"),
            _ => say("250 OK")?,
        }
    }
    Ok(())
}

impl Received {
    /// The token of the link in it.
    #[track_caller]
    fn token(&self) -> String {
        let start = self.text.find("llt_").unwrap_or_else(|| panic!("no link in {}", self.text));
        self.text[start..].chars().take_while(|c| c.is_ascii_alphanumeric() || "_-".contains(*c)).collect()
    }

    #[track_caller]
    fn is_to(&self, address: &str) -> &Self {
        assert_eq!(self.to, [format!("RCPT TO:<{address}>")]);
        self
    }
}

fn start(office: &PostOffice, more: &[(&str, &str)]) -> TestServer {
    let url = format!("smtp://{}", office.address);
    let own = [
        ("SMTP_URL", url.as_str()),
        ("MAIL_FROM", "Trips <no-reply@example.com>"),
        ("APP_NAME", "Trips"),
        ("PUBLIC_URL", "https://sync.example.com"),
    ];
    TestServer::start(&[&own, more].concat())
}

fn login(server: &TestServer, email: &str, password: &str) -> Answer {
    post(server, "/auth/login", None, &json!({"email": email, "password": password}))
}

#[test]
fn an_address_is_verified_by_the_link_that_was_sent_to_it() {
    let office = PostOffice::open();
    let server = start(&office, &[]);
    let ann = sign_up(&server, "ann");
    let letter = office.letter();
    letter.is_to("ann@example.com");
    assert!(letter.from.starts_with("MAIL FROM:<no-reply@example.com>"));
    assert!(letter.text.contains("Subject: Verify your e-mail address for Trips"));
    let token = letter.token();
    assert!(letter.text.contains(&format!("https://sync.example.com/auth/email/verify?token={token}")));
    assert_eq!(get(&server, "/profile", &ann.token).1["emailVerified"], false);
    // Scanners open links: that changes nothing.
    let path = format!("/auth/email/verify?token={token}");
    for _ in 0..2 {
        let page = send(&server, "GET", &path, &[], b"");
        assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
        assert!(
            page.body.contains(&token)
                && page.body.contains("method=\"post\"")
                && !page.body.contains("<script")
        );
        let policy = page.header("content-security-policy").expect("a policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
        assert_eq!(
            (page.header("referrer-policy"), page.header("cache-control")),
            (Some("no-referrer"), Some("no-store"))
        );
    }
    assert_eq!(get(&server, "/profile", &ann.token).1["emailVerified"], false);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let done = send(&server, "POST", "/auth/email/verify", &form, format!("token={token}").as_bytes());
    assert_eq!(done.status, 200, "{}", done.body);
    assert!(done.body.contains("is verified"));
    assert_eq!(get(&server, "/profile", &ann.token).1["emailVerified"], true);
    let again = post(&server, "/auth/email/verify", None, &json!({"token": token}));
    assert_eq!((again.status, again.code().as_str()), (422, "link_invalid"));
    assert!(!server.log().contains("llt_"));
}

#[test]
fn a_forgotten_password_is_set_anew_and_everything_else_is_signed_out() {
    let office = PostOffice::open();
    let server = start(&office, &[]);
    let ann = sign_up(&server, "ann");
    let verify = office.letter().token();
    let mut socket = Socket::open(&server, &ann.token, None);
    let forgotten = |email: &str| post(&server, "/auth/password/reset/send", None, &json!({"email": email}));
    let known = forgotten("ANN@example.com");
    for email in ["nobody@example.com", "not an address"] {
        let unknown = forgotten(email);
        let without_date = |answer: &Answer| {
            let headers: Vec<_> = answer
                .headers
                .iter()
                .filter(|(name, _)| !matches!(&**name, "date" | "x-request-id"))
                .cloned()
                .collect();
            (answer.status, headers, answer.body.clone())
        };
        assert_eq!(without_date(&unknown), without_date(&known), "{email}");
    }
    let letter = office.letter();
    let token = letter.is_to("ann@example.com").token();
    let take = |path: &str, token: &str, password: &str| {
        post(&server, path, None, &json!({"token": token, "password": password}))
    };
    assert_eq!(take("/auth/password/reset", &verify, NEXT).code(), "link_invalid", "another purpose");
    assert_eq!(take("/auth/email/verify", &token, NEXT).code(), "link_invalid");
    assert_eq!(take("/auth/password/reset", &token, "short").code(), "weak_password");
    assert_eq!(take("/auth/password/reset", &token, NEXT).status, 204);
    let (code, reason) = socket.closed();
    assert_eq!((code, reason.split(':').next()), (1008, Some("session_revoked")));
    assert_eq!(get(&server, "/profile", &ann.token).0, 401);
    assert_eq!(login(&server, &ann.email, PASSWORD).status, 401);
    assert_eq!(login(&server, &ann.email, NEXT).json()["user"]["emailVerified"], true);
    assert_eq!(take("/auth/password/reset", &token, PASSWORD).code(), "link_invalid", "good once");
    let notice = office.letter();
    assert!(notice.is_to("ann@example.com").text.contains("was changed") && !notice.text.contains("llt_"));
}

#[test]
fn an_account_moves_to_another_address_once_that_answers() {
    let office = PostOffice::open();
    let server = start(&office, &[]);
    let ann = sign_up(&server, "ann");
    office.letter();
    let mut elsewhere = {
        let token =
            login(&server, &ann.email, PASSWORD).json()["token"].as_str().expect("a token").to_owned();
        Socket::open(&server, &token, None)
    };
    let body = json!({"password": PASSWORD, "email": "new@example.com"});
    assert_eq!(ask(&server, "POST", "/auth/email", Some(&ann.token), &body).status, 202);
    let token = office.letter().is_to("new@example.com").token();
    assert_eq!(login(&server, &ann.email, PASSWORD).status, 200, "nothing has changed yet");
    assert_eq!(post(&server, "/auth/email/change", None, &json!({"token": token})).status, 204);
    assert_eq!(elsewhere.closed().0, 1008);
    office.letter().is_to("ann@example.com");
    let (status, profile) = get(&server, "/profile", &ann.token);
    assert_eq!((status, &profile["email"]), (200, &json!("new@example.com")), "who asked for it goes on");
    assert_eq!(login(&server, &ann.email, PASSWORD).status, 401);
    assert_eq!(login(&server, "new@example.com", PASSWORD).status, 200);
}

#[test]
fn what_is_meant_for_an_address_is_for_nobody_who_merely_says_that_it_is_theirs() {
    let office = PostOffice::open();
    let server = start(&office, &[]);
    let (ann, mallory) = (sign_up(&server, "ann"), sign_up(&server, "bob"));
    let tokens = [office.letter(), office.letter()];
    let space = make_space(&server, &ann, "shared");
    let body = json!({"role": "editor", "email": "bob@example.com"});
    let (_, invite) = call(&server, "POST", &format!("/spaces/{space}/invites"), &ann.token, Some(&body));
    let accept = format!("/invites/{}/accept", invite["id"].as_str().expect("an id"));
    for (method, path) in [("GET", "/invites"), ("POST", accept.as_str())] {
        let answer = ask(&server, method, path, Some(&mallory.token), &Value::Null);
        assert_eq!((answer.status, answer.code().as_str()), (403, "email_unverified"), "{path}");
    }
    let bobs = tokens.iter().find(|letter| letter.to[0].contains("bob")).expect("a letter to Bob");
    assert_eq!(post(&server, "/auth/email/verify", None, &json!({"token": bobs.token()})).status, 204);
    assert_eq!(ask(&server, "POST", &accept, Some(&mallory.token), &Value::Null).status, 200);
    // A link is for whoever has it.
    let other = make_space(&server, &ann, "shared");
    join(&server, &other, &ann, &mallory, "viewer");
}

#[test]
fn where_it_is_required_nobody_comes_in_before() {
    let office = PostOffice::open();
    let server = start(&office, &[("REQUIRE_VERIFIED_EMAIL", "true")]);
    let body = json!({"email": "ann@example.com", "password": PASSWORD});
    for path in ["/auth/signup", "/auth/login", "/login"] {
        let answer = post(&server, path, None, &body);
        assert_eq!((answer.status, answer.code().as_str()), (403, "email_unverified"), "{path}");
    }
    let tokens: Vec<_> = (0..3).map(|_| office.letter().token()).collect();
    let taken =
        tokens.iter().map(|token| post(&server, "/auth/email/verify", None, &json!({"token": token})).status);
    assert_eq!(taken.filter(|status| *status == 204).count(), 1, "the latest");
    assert_eq!(login(&server, "ann@example.com", PASSWORD).status, 200);
}

#[test]
fn a_mail_server_that_is_away_holds_up_nobody() {
    // Bound and never listened to: connections are refused.
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let url = format!("smtp://{closed}");
    let settings = [
        ("SMTP_URL", url.as_str()),
        ("MAIL_FROM", "a@example.com"),
        ("PUBLIC_URL", "https://sync.example.com"),
    ];
    let mut server = TestServer::start(&settings);
    let ann = sign_up(&server, "ann");
    assert_eq!(post(&server, "/auth/password/reset/send", None, &json!({"email": ann.email})).status, 202);
    assert_eq!(get(&server, "/profile", &ann.token).0, 200);
    assert!(server.terminate().success());
    assert!(!server.log().contains("llt_") && !server.log().contains(&ann.email), "{}", server.log());
}

#[test]
fn settings_that_do_not_fit_together_are_one_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    for (settings, text) in [
        (&[("SMTP_URL", "smtp://user:hunter2@localhost")][..], "SMTP_URL needs MAIL_FROM"),
        (&[("MAIL_TO_LOG", "true")], "PUBLIC_URL"),
        (&[("REQUIRE_VERIFIED_EMAIL", "true")], "needs SMTP_URL"),
    ] {
        let ended = run_to_end(folder.path(), settings);
        assert!(!ended.status.success() && ended.stderr.contains(text), "{}", ended.stderr);
        assert!(
            !ended.stderr.contains("hunter2") && ended.stderr.trim().lines().count() == 1,
            "{}",
            ended.stderr
        );
    }
}
