//! Tokens on a connection that lives longer than they do.

use std::time::{Duration, Instant, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::common::http::{Account, device_token, log_out, sign_up};
use crate::common::json_client::JsonClient;
use crate::common::server::TestServer;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Life of a short-lived token. Long enough to connect with on a loaded machine.
const SHORT_LIFE_S: i64 = 6;

/// The same token with another end.
fn ending_in(token: &str, seconds: i64) -> String {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let payload = engine.decode(token.split('.').nth(1).expect("a payload")).expect("base64url");
    let mut claims: Value = serde_json::from_slice(&payload).expect("claims");
    let now = UNIX_EPOCH.elapsed().expect("a time after 1970").as_secs() as i64;
    claims["exp"] = json!(now + seconds);
    let header = Header {
        kid: jsonwebtoken::decode_header(token).expect("a header").kid,
        ..Header::new(Algorithm::HS256)
    };
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("a token")
}

fn short_lived(account: &Account) -> Account {
    Account { token: ending_in(&account.token, SHORT_LIFE_S), ..account.clone() }
}

#[test]
fn a_new_token_keeps_the_connection_open() {
    let server = TestServer::start(&[("JWT_SECRET", SECRET)]);
    let ann = sign_up(&server, "ann");
    let mut renewed = JsonClient::in_space(&server, "renewed", &short_lived(&ann), "me");
    let mut idle = JsonClient::in_space(&server, "idle", &short_lived(&ann), "me");
    renewed.send(&json!({"type": "auth", "token": ann.token}));
    let life_s = renewed.event("auth")["expiresIn"].as_i64().expect("seconds");
    assert!((SHORT_LIFE_S..=900).contains(&life_s), "{life_s}");
    // The one that was not renewed ends when its token does; its twin was told the same end, and lives.
    let (code, reason) = idle.closed();
    assert_eq!((code, reason.split(':').next()), (1008, Some("token_expired")));
    let ends = Instant::now() + Duration::from_secs(1);
    while Instant::now() < ends {
        renewed.ping();
    }
    // From a device token on it lasts until that is revoked.
    let device = device_token(&server, &ann);
    renewed.send(&json!({"type": "auth", "token": device}));
    assert_eq!(renewed.event("auth")["expiresIn"], json!(null), "until its session ends");
    log_out(&server, &ann.token);
    renewed.ping();
    log_out(&server, &device);
    let (code, reason) = renewed.closed();
    assert_eq!((code, reason.split(':').next()), (1008, Some("session_revoked")));
}

#[test]
fn a_bad_token_changes_nothing() {
    let server = TestServer::start(&[("JWT_SECRET", SECRET)]);
    let (ann, bob) = (sign_up(&server, "ann"), sign_up(&server, "bob"));
    let mut client = JsonClient::in_space(&server, "ann", &ann, "me");
    let ended = device_token(&server, &ann);
    log_out(&server, &ended);
    for (token, code) in [
        ("nonsense".to_owned(), "token_invalid"),
        (format!("{}x", ann.token), "token_invalid"),
        (bob.token.clone(), "token_invalid"),
        (device_token(&server, &bob), "token_invalid"),
        (ended, "session_revoked"),
        ("x".repeat((16 << 10) + 1), "bad_frame"),
    ] {
        client.send(&json!({"type": "auth", "token": token}));
        assert_eq!(client.error(), code);
        client.ping();
    }
    // One that has ended.
    client.send(&json!({"type": "auth", "token": ending_in(&ann.token, -60)}));
    assert_eq!(client.error(), "token_expired");
    client.ping();
}
