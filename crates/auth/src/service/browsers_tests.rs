//! Browsers on a clock that stands still, and a provider that answers what it is told to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use lattice_store::BoxFuture;
use lattice_store::time::Clock;
use openidconnect::{HttpRequest, HttpResponse};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;
use crate::AuthError;
use crate::jwks::{FAILURE_PAUSE_S, FetchError, HttpFetch};
use crate::openid::{ClientAuthentication, ENDPOINTS_FRESH_S, Provider, google};
use crate::testing::{Bench, signing_key};

const APP: &str = "https://app.example.com/in";
const VERIFIER: &str = "a-verifier-of-more-than-forty-three-characters";
const GOOGLE: &str = "https://accounts.google.com";

/// Google, as far as it is asked.
struct Google {
    key: EncodingKey,
    works: AtomicBool,
    asked: Mutex<Vec<String>>,
    /// What the next token says of the nonce.
    nonce: Mutex<String>,
    clock: Arc<dyn Clock>,
}

impl Google {
    fn token(&self) -> String {
        let now_s = self.clock.now_us() / SECOND_US;
        let claims = json!({
            "iss": "https://accounts.google.com", "aud": "web", "azp": "web", "sub": "1101", "iat": now_s, "exp": now_s + 3_600,
            "nonce": *self.nonce.lock().expect("a lock"), "email": "ann@example.com", "email_verified": true,
        });
        let header = Header { kid: Some("k".to_owned()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, &self.key).expect("signed")
    }

    fn answer(&self, path: &str) -> Value {
        match path {
            "/.well-known/openid-configuration" => json!({
                "issuer": GOOGLE, "jwks_uri": format!("{GOOGLE}/certs"), "token_endpoint": format!("{GOOGLE}/token"),
                "authorization_endpoint": format!("{GOOGLE}/o/oauth2/v2/auth"),
            }),
            "/certs" => {
                let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&self.key, Algorithm::EdDSA);
                let mut jwk = json!(jwk.expect("a public half"));
                jwk["kid"] = json!("k");
                json!({"keys": [jwk]})
            }
            _ => json!({"access_token": "x", "token_type": "Bearer", "id_token": self.token()}),
        }
    }

    fn count(&self, path: &str) -> usize {
        self.asked.lock().expect("a lock").iter().filter(|asked| *asked == path).count()
    }
}

impl HttpFetch for Google {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, FetchError>> {
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            self.asked.lock().expect("a lock").push(path.clone());
            if !self.works.load(Ordering::SeqCst) {
                return Err(FetchError::Timeout);
            }
            let mut answer = HttpResponse::new(self.answer(&path).to_string().into_bytes());
            let json = openidconnect::http::HeaderValue::from_static("application/json");
            answer.headers_mut().insert("content-type", json);
            Ok(answer)
        })
    }
}

fn bench() -> (Bench, Arc<Google>) {
    let bench = Bench::new();
    let clock: Arc<dyn Clock> = bench.clock.clone();
    let provider = Arc::new(Google {
        key: signing_key(),
        works: AtomicBool::new(true),
        asked: Mutex::default(),
        nonce: Mutex::default(),
        clock: Arc::clone(&clock),
    });
    let settings = google(vec!["web".to_owned()], ClientAuthentication::Secret("secret".into()));
    let providers = Providers {
        list: vec![Provider::new(settings, Arc::clone(&provider) as _, clock)],
        public_url: Some("https://sync.example.com/base/".parse().expect("an address")),
        redirect_uris: vec![APP.to_owned()],
    };
    (bench.with(|auth| auth.with_providers(providers)), provider)
}

async fn depart(bench: &Bench) -> Departure {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    bench.auth.depart("google", APP, &challenge, None).await.expect("a departure")
}

fn parameter(url: &url::Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// Comes back; what the app is sent.
async fn arrive(bench: &Bench, departure: &Departure) -> Result<(Option<String>, Option<String>), AuthError> {
    let arrival = Arrival {
        state: parameter(&departure.url, "state"),
        code: Some("4/0AX".into()),
        ..Arrival::default()
    };
    let browser = Some(departure.browser.expose_secret().to_owned());
    let (url, _) = bench.auth.arrive("google", arrival, browser).await?;
    Ok((parameter(&url, "code"), parameter(&url, "error")))
}

async fn exchange(bench: &Bench, code: &str) -> Result<(), AuthError> {
    let proof = Proof::Code { code: code.into(), verifier: SecretString::from(VERIFIER) };
    bench.auth.sign_in_by_proof(proof, TokenKind::Session, Client::default()).await.map(drop)
}

#[tokio::test]
async fn a_browser_is_sent_with_all_that_ties_it() {
    let (bench, _) = bench();
    let (one, two) = (depart(&bench).await, depart(&bench).await);
    for departure in [&one, &two] {
        let asked = |name| parameter(&departure.url, name);
        assert!(departure.url.as_str().starts_with("https://accounts.google.com/o/oauth2/v2/auth?"));
        assert_eq!(
            asked("redirect_uri").as_deref(),
            Some("https://sync.example.com/base/auth/google/callback")
        );
        assert_eq!(
            (asked("client_id").as_deref(), asked("response_type").as_deref()),
            (Some("web"), Some("code"))
        );
        assert_eq!(asked("scope").as_deref(), Some("openid email profile"));
        assert_eq!(asked("code_challenge_method").as_deref(), Some("S256"));
        // The challenge towards the provider is not the app's.
        assert_ne!(asked("code_challenge"), Some(URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER))));
        assert!(!departure.url.as_str().contains(departure.browser.expose_secret()));
    }
    for name in ["state", "nonce", "code_challenge"] {
        assert_ne!(parameter(&one.url, name), parameter(&two.url, name), "{name}");
    }
}

#[tokio::test]
async fn states_and_codes_end_in_time() {
    let (bench, provider) = bench();
    let late = depart(&bench).await;
    bench.clock.forward_s(PROVIDER_STATE_LIFE_S);
    assert_eq!(arrive(&bench, &late).await, Err(AuthError::StateInvalid));
    for (waited_s, expected) in
        [(PROVIDER_CODE_LIFE_S - 1, Ok(())), (PROVIDER_CODE_LIFE_S, Err(AuthError::CodeInvalid))]
    {
        let departure = depart(&bench).await;
        *provider.nonce.lock().expect("a lock") = parameter(&departure.url, "nonce").expect("a nonce");
        let (code, error) = arrive(&bench, &departure).await.expect("back");
        assert_eq!(error, None);
        bench.clock.forward_s(waited_s);
        assert_eq!(exchange(&bench, &code.expect("a code")).await, expected);
    }
}

#[tokio::test]
async fn another_server_s_secret_makes_other_browsers() {
    let (bench, _) = bench();
    let departure = depart(&bench).await;
    let state = parameter(&departure.url, "state").expect("a state");
    assert_eq!(bench.auth.browser_name(&state).as_ref(), Some(&departure.name));
    let other = crate::ServerSecret::from_root(b"another");
    let bench = bench.with(|auth| auth.with_secret(other));
    assert_eq!(arrive(&bench, &departure).await, Err(AuthError::StateInvalid));
}

#[tokio::test]
async fn endpoints_outlive_an_outage() {
    let (bench, provider) = bench();
    let discovered = || provider.count("/.well-known/openid-configuration");
    provider.works.store(false, Ordering::SeqCst);
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    for _ in 0..3 {
        let away = bench.auth.depart("google", APP, &challenge, None).await.map(drop);
        assert_eq!(away, Err(AuthError::ProviderUnavailable));
    }
    assert_eq!(discovered(), 1, "it is left alone for a moment");
    provider.works.store(true, Ordering::SeqCst);
    bench.clock.forward_s(FAILURE_PAUSE_S);
    depart(&bench).await;
    depart(&bench).await;
    assert_eq!(discovered(), 2, "once they are known they are not asked for");
    provider.works.store(false, Ordering::SeqCst);
    bench.clock.forward_s(ENDPOINTS_FRESH_S);
    let departure = depart(&bench).await;
    depart(&bench).await;
    assert_eq!(discovered(), 3);
    assert_eq!(arrive(&bench, &departure).await, Ok((None, Some("provider_unavailable".to_owned()))));
}
