//! Codes of authenticator apps, and recovery codes.

use std::time::UNIX_EPOCH;

use lattice_testkit::Issuer;
use serde_json::{Value, json};
use totp_rs::{Builder, Secret};

use super::common::http::{Account, PASSWORD, call, get, post, sign_up};
use super::common::server::TestServer;
use super::{answer, challenge, log_in, refused, text};

/// How long a code is of now, in seconds.
const STEP_S: u64 = 30;

/// An authenticator app.
struct App(String);

impl App {
    /// A code that is good now: of this moment, or of one before or after.
    fn code(&self, steps: i64) -> String {
        let now_s = UNIX_EPOCH.elapsed().expect("a time after 1970").as_secs();
        let at_s = now_s.checked_add_signed(steps * STEP_S.cast_signed()).expect("a time");
        let secret = Secret::try_from_base32(&self.0).expect("base32");
        Builder::new().with_secret(secret).build().expect("a secret").generate(at_s).to_string()
    }
}

/// Asks for codes at Ann's account from now on; answers the app and the recovery codes.
#[track_caller]
fn enrol(server: &TestServer, account: &Account) -> (App, Vec<String>) {
    let bearer = Some(account.token.as_str());
    let (status, offer) = post(server, "/profile/totp", bearer, &json!({}));
    assert_eq!(status, 200, "{offer}");
    let app = App(text(&offer["secret"]).to_owned());
    assert!(text(&offer["uri"]).starts_with("otpauth://totp/Lattice:"), "{offer}");
    assert!(text(&offer["uri"]).contains(&format!("secret={}", app.0)), "{offer}");
    let (status, codes) = post(server, "/profile/totp/confirm", bearer, &json!({"code": app.code(-1)}));
    assert_eq!(status, 200, "{codes}");
    let codes = codes["recoveryCodes"].as_array().expect("codes");
    (app, codes.iter().map(|code| text(code).to_owned()).collect())
}

#[test]
fn codes_are_asked_for_wherever_somebody_signs_in() {
    let issuer = Issuer::start();
    let providers =
        json!([{"name": "corp", "issuer": issuer.url(), "clientIds": ["lattice-test"]}]).to_string();
    let server = TestServer::start(&[("OIDC_PROVIDERS", &providers)]);
    let ann = sign_up(&server, "ann");
    let vouched = || issuer.mint(&lattice_testkit::IdToken::new());
    let body = json!({"provider": "corp", "idToken": vouched()});
    assert_eq!(post(&server, "/profile/identities", Some(&ann.token), &body).0, 201);
    let (app, codes) = enrol(&server, &ann);
    assert_eq!(codes.len(), 10);
    let (_, factors) = get(&server, "/profile/second-factors", &ann.token);
    assert_eq!(factors, json!({"totp": true, "passkey": false, "recoveryCodes": 10}));
    // By password.
    let half = challenge(&server, "ann");
    assert_eq!(half["methods"], json!(["totp", "recovery_code"]));
    let (status, login) = answer(&server, &half, "code", &json!(app.code(0)));
    assert_eq!((status, &login["user"]["id"]), (200, &json!(ann.user)));
    assert!(login["refreshToken"].is_string());
    // As deployed clients do: the code is one of a moment later, since each is good once.
    let device = json!({"email": "ann@example.com", "password": PASSWORD});
    let (status, half) = post(&server, "/login", None, &device);
    assert_eq!((status, &half["code"]), (403, &json!("second_factor_required")));
    let (status, login) = answer(&server, &half, "code", &json!(app.code(1)));
    assert_eq!(status, 200, "{login}");
    assert!(text(&login["token"]).starts_with("ldt_"), "of the kind that was asked for");
    let (_, sessions) = get(&server, "/auth/sessions", text(&login["token"]));
    let newest = &sessions["sessions"][0];
    assert_eq!(
        (&newest["method"], &sessions["sessions"][1]["deviceName"]),
        (&json!("password+totp"), &json!("a phone"))
    );
    // By a provider, and with a code on paper.
    let (status, half) = post(&server, "/auth/corp", None, &json!({"idToken": vouched()}));
    assert_eq!((status, &half["code"]), (403, &json!("second_factor_required")), "{half}");
    let shouted = codes[0].to_uppercase().replace('-', " ");
    assert_eq!(answer(&server, &half, "recoveryCode", &json!(shouted)).0, 200);
    let half = challenge(&server, "ann");
    refused(answer(&server, &half, "recoveryCode", &json!(codes[0])), 401, "second_factor_invalid");
    // Sessions that are there go on.
    assert_eq!(get(&server, "/profile", &ann.token).0, 200);
    assert_eq!(post(&server, "/profile/totp", Some(&ann.token), &json!({})).1["code"], json!("totp_on"));
    let (_, log) = get(&server, "/profile/access-log", &ann.token);
    for kind in ["second_factor_added", "second_factor_failed"] {
        assert!(log.to_string().contains(kind), "{kind}: {log}");
    }
    assert_eq!(call(&server, "DELETE", "/profile/totp", &ann.token, None).0, 204);
    assert_eq!(log_in(&server, "ann").0, 200);
    let (_, factors) = get(&server, "/profile/second-factors", &ann.token);
    assert_eq!(factors, json!({"totp": false, "passkey": false, "recoveryCodes": 0}));
    refused(call(&server, "DELETE", "/profile/totp", &ann.token, None), 404, "totp_off");
    let renew = post(&server, "/profile/recovery-codes", Some(&ann.token), &json!({}));
    refused(renew, 409, "no_second_factor");
}

#[test]
fn a_code_is_good_once_and_guessing_ends() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let (app, codes) = enrol(&server, &ann);
    let code = json!(app.code(0));
    let halves: Vec<Value> = (0..4).map(|_| challenge(&server, "ann")).collect();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let calls: Vec<_> =
            halves.iter().map(|half| scope.spawn(|| answer(&server, half, "code", &code).0)).collect();
        calls.into_iter().map(|call| call.join().expect("an answer")).collect()
    });
    let good = answers.iter().filter(|status| **status == 200).count();
    assert_eq!((good, answers.len()), (1, 4), "{answers:?}");
    let half = challenge(&server, "ann");
    for wrong in [json!("000000"), json!(""), json!("x"), json!("9".repeat(5_000)), code.clone()] {
        refused(answer(&server, &half, "code", &wrong), 401, "second_factor_invalid");
    }
    // Five were wrong: a sixth is not looked at, be it right.
    refused(answer(&server, &half, "recoveryCode", &json!(codes[1])), 401, "challenge_invalid");
    let half = challenge(&server, "ann");
    assert_eq!(answer(&server, &half, "recoveryCode", &json!(codes[1])).0, 200, "it was not used up");
    refused(answer(&server, &half, "recoveryCode", &json!(codes[2])), 401, "challenge_invalid");
    for (body, status, code) in [
        (json!({"challenge": "lst_x", "code": "000000"}), 401, "challenge_invalid"),
        (json!({"challenge": half["challenge"]}), 400, "bad_request"),
        (json!({"challenge": half["challenge"], "code": "1", "recoveryCode": "2"}), 400, "bad_request"),
        (json!({"code": "000000"}), 400, "bad_request"),
    ] {
        refused(post(&server, "/auth/second-factor", None, &body), status, code);
    }
    // A challenge is no other step of a sign-in, and no token.
    let half = challenge(&server, "ann");
    refused(get(&server, "/profile", text(&half["challenge"])), 401, "token_invalid");
    let body = json!({"code": half["challenge"], "codeVerifier": "x".repeat(43)});
    refused(post(&server, "/auth/token", None, &body), 401, "code_invalid");
}

#[test]
fn an_offer_alone_asks_for_nothing() {
    let server = TestServer::start(&[]);
    let ann = sign_up(&server, "ann");
    let bearer = Some(ann.token.as_str());
    refused(post(&server, "/profile/totp/confirm", bearer, &json!({"code": "000000"})), 404, "totp_off");
    let (_, first) = post(&server, "/profile/totp", bearer, &json!({}));
    let (_, second) = post(&server, "/profile/totp", bearer, &json!({}));
    assert_ne!(first["secret"], second["secret"]);
    assert_eq!(log_in(&server, "ann").0, 200);
    let old = App(text(&first["secret"]).to_owned()).code(0);
    refused(post(&server, "/profile/totp/confirm", bearer, &json!({"code": old})), 422, "code_wrong");
    assert_eq!(get(&server, "/profile", &ann.token).0, 200, "a wrong code ends no session");
    let new = App(text(&second["secret"]).to_owned()).code(0);
    assert_eq!(post(&server, "/profile/totp/confirm", bearer, &json!({"code": new})).0, 200);
    let (_, renewed) = post(&server, "/profile/recovery-codes", bearer, &json!({}));
    let half = challenge(&server, "ann");
    assert_eq!(answer(&server, &half, "recoveryCode", &renewed["recoveryCodes"][9]).0, 200);
}
