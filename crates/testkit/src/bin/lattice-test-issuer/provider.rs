//! The endpoints of OpenID Connect: Discovery 1.0, Core 1.0 (code flow), PKCE (RFC 7636), Form Post Response Mode 1.0.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::header::{self, HeaderMap};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Validation};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::world::{Grant, KeySet, Shared, World, bend, now_s, random_text};

/// How much a key set that is too large has: more than any relying party should read.
const HUGE_BYTES: usize = 32 * 1024 * 1024;
/// Longest life of a client secret that is a JWT: six months, as Apple has it, in seconds.
const MAX_SECRET_LIFE_S: i64 = 15_777_000;

/// `GET /.well-known/openid-configuration`
pub(crate) async fn discovery(State(shared): State<Shared>) -> Json<Value> {
    shared.count("discovery");
    let world = shared.lock();
    let url = &world.url;
    let document = json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "userinfo_endpoint": format!("{url}/userinfo"),
        "jwks_uri": format!("{url}/jwks"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "form_post"],
        "grant_types_supported": ["authorization_code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": ["openid", "email", "profile"],
    });
    let mut document = document.as_object().cloned().unwrap_or_default();
    bend(&mut document, &world.discovery);
    Json(Value::Object(document))
}

/// `GET /jwks`
pub(crate) async fn jwks(State(shared): State<Shared>) -> Response {
    shared.count("jwks");
    let how = shared.lock().key_set;
    match how {
        KeySet::Good => key_set(&shared.lock(), 0),
        KeySet::Fails => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        KeySet::Hangs => std::future::pending().await,
        KeySet::Garbage => ([(header::CONTENT_TYPE, "application/json")], "<html>not keys").into_response(),
        KeySet::Huge => key_set(&shared.lock(), HUGE_BYTES),
        KeySet::Redirects => (StatusCode::FOUND, [(header::LOCATION, "/jwks-elsewhere")]).into_response(),
    }
}

/// `GET /jwks-elsewhere`: where redirects lead.
pub(crate) async fn jwks_elsewhere(State(shared): State<Shared>) -> Response {
    shared.count("jwks-elsewhere");
    key_set(&shared.lock(), 0)
}

fn key_set(world: &World, space_bytes: usize) -> Response {
    let keys = world.keys.iter().filter(|key| key.published).map(crate::keys::Key::jwk);
    let keys: Vec<Value> = world.extra_keys.iter().cloned().chain(keys).collect();
    let mut body = json!({"keys": keys}).to_string();
    body.extend(std::iter::repeat_n(' ', space_bytes));
    let mut response = ([(header::CONTENT_TYPE, "application/json")], body).into_response();
    for (name, value) in &world.key_set_headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

type Parameters = HashMap<String, String>;

/// `GET /authorize`: the user approves. Requests that cannot be trusted are answered 400; all others are checked strictly too,
/// so that a relying party which leaves something out is noticed.
pub(crate) async fn authorize(State(shared): State<Shared>, Query(asked): Query<Parameters>) -> Response {
    shared.count("authorize");
    let mut world = shared.lock();
    let get = |name: &str| asked.get(name).map(String::as_str);
    let (Some(client), Some(redirect_uri)) = (get("client_id"), get("redirect_uri")) else {
        return refused("client_id or redirect_uri is missing");
    };
    if client != world.client.id || !world.client.redirect_uris.iter().any(|uri| uri == redirect_uri) {
        return refused("unknown client_id or redirect_uri");
    }
    if get("response_type") != Some("code") {
        return refused("response_type is not code");
    }
    if !get("scope").unwrap_or_default().split(' ').any(|scope| scope == "openid") {
        return refused("scope has no openid");
    }
    let challenge = get("code_challenge").filter(|challenge| challenge.len() == 43);
    let (Some(challenge), Some("S256")) = (challenge, get("code_challenge_method")) else {
        return refused("PKCE with S256 is missing");
    };
    let code = random_text();
    let mut answer: Vec<(String, String)> = vec![("code".to_owned(), code.clone())];
    answer.extend(get("state").map(|state| ("state".to_owned(), state.to_owned())));
    for (name, value) in &world.response {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        answer.retain(|(other, _)| other != name);
        answer.push((name.clone(), text));
    }
    let grant = Grant {
        client: client.to_owned(),
        redirect_uri: redirect_uri.to_owned(),
        challenge: challenge.to_owned(),
        nonce: get("nonce").map(str::to_owned),
    };
    world.codes.insert(code, grant);
    if get("response_mode") == Some("form_post") {
        return form(redirect_uri, &answer);
    }
    let separator = if redirect_uri.contains('?') { '&' } else { '?' };
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&answer).finish();
    let location = format!("{redirect_uri}{separator}{query}");
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

/// A page that posts itself.
fn form(action: &str, fields: &[(String, String)]) -> Response {
    let escape = |text: &str| text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    let inputs: String = fields
        .iter()
        .map(|(name, value)| {
            format!("<input type=\"hidden\" name=\"{}\" value=\"{}\">\n", escape(name), escape(value))
        })
        .collect();
    let action = escape(action);
    let page = format!(
        "<form method=\"post\" action=\"{action}\">\n{inputs}</form>\n<script>document.forms[0].submit()</script>\n"
    );
    Html(page).into_response()
}

fn refused(reason: &'static str) -> Response {
    (StatusCode::BAD_REQUEST, reason).into_response()
}

/// `POST /token`
pub(crate) async fn token(State(shared): State<Shared>, headers: HeaderMap, body: String) -> Response {
    shared.count("token");
    let body: Parameters = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    match exchange(&mut shared.lock(), &headers, &body) {
        Ok(answer) => ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response(),
        Err((status, error, reason)) => {
            (status, Json(json!({"error": error, "error_description": reason}))).into_response()
        }
    }
}

type Refused = (StatusCode, &'static str, String);

fn exchange(world: &mut World, headers: &HeaderMap, body: &Parameters) -> Result<Value, Refused> {
    authenticate(world, headers, body)
        .map_err(|reason| (StatusCode::UNAUTHORIZED, "invalid_client", reason.to_owned()))?;
    let bad = |error, reason: &str| (StatusCode::BAD_REQUEST, error, reason.to_owned());
    let get = |name: &str| body.get(name).map(String::as_str);
    if get("grant_type") != Some("authorization_code") {
        return Err(bad("unsupported_grant_type", "only authorization_code"));
    }
    // Taken before it is checked: a code is used once, rightly or not.
    let grant = get("code").and_then(|code| world.codes.remove(code));
    let grant = grant.ok_or_else(|| bad("invalid_grant", "the code is unknown or was used"))?;
    if grant.client != world.client.id || get("redirect_uri") != Some(&grant.redirect_uri) {
        return Err(bad("invalid_grant", "the code belongs to another client_id or redirect_uri"));
    }
    let verifier = get("code_verifier").filter(|verifier| (43..=128).contains(&verifier.len()));
    let challenge = verifier.map(|verifier| URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)));
    if challenge.as_ref() != Some(&grant.challenge) {
        return Err(bad("invalid_grant", "the code_verifier is not that of the challenge"));
    }
    let id_token = world
        .bent
        .mint(world, grant.nonce.as_deref())
        .map_err(|reason| (StatusCode::INTERNAL_SERVER_ERROR, "server_error", reason))?;
    let access_token = random_text();
    world.access_tokens.push(access_token.clone());
    Ok(
        json!({"access_token": access_token, "token_type": "Bearer", "expires_in": 3600, "id_token": id_token}),
    )
}

/// The client by `client_secret_basic`, `client_secret_post`, or by a secret that is a JWT, as Apple wants it.
fn authenticate(world: &World, headers: &HeaderMap, body: &Parameters) -> Result<(), &'static str> {
    let basic = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (id, secret) = match basic.and_then(|value| value.strip_prefix("Basic ")) {
        Some(encoded) => {
            let decoded = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let (id, secret) = decoded
                .as_deref()
                .and_then(|pair| pair.split_once(':'))
                .map(|(id, secret)| (unescaped(id), unescaped(secret)))
                .ok_or("the Authorization header is none")?;
            (id, Some(secret))
        }
        None => (body.get("client_id").cloned().unwrap_or_default(), body.get("client_secret").cloned()),
    };
    if id != world.client.id {
        return Err("unknown client");
    }
    match (&world.client.team, &world.client.secret) {
        (Some(team), _) => signed_secret(world, team, secret.as_deref().unwrap_or_default()),
        (None, Some(right)) if secret.as_ref() == Some(right) => Ok(()),
        (None, None) if secret.is_none() => Ok(()),
        (None, _) => Err("wrong client secret"),
    }
}

/// RFC 6749, section 2.3.1: both halves are form-encoded.
fn unescaped(text: &str) -> String {
    let pair = format!("x={text}");
    let found = form_urlencoded::parse(pair.as_bytes()).next();
    found.map(|(_, value)| value.into_owned()).unwrap_or_default()
}

fn signed_secret(world: &World, team: &str, secret: &str) -> Result<(), &'static str> {
    let key = world.client_key.as_ref().ok_or("no client key was made")?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_issuer(&[team]);
    validation.set_audience(&[&world.url]);
    validation.sub = Some(world.client.id.clone());
    validation.required_spec_claims = ["iss", "aud", "sub", "exp"].into_iter().map(str::to_owned).collect();
    let decoded = jsonwebtoken::decode::<Map<String, Value>>(secret, &key.verifying(), &validation)
        .map_err(|_| "the client secret is not a good JWT")?;
    if decoded.header.kid.as_deref() != Some(&key.kid) {
        return Err("the client secret names another key");
    }
    let time = |name: &str| decoded.claims.get(name).and_then(Value::as_i64);
    let (Some(issued_s), Some(expires_s)) = (time("iat"), time("exp")) else {
        return Err("the client secret has no iat");
    };
    if issued_s > now_s() + 60 || expires_s - issued_s > MAX_SECRET_LIFE_S {
        return Err("the client secret lives too long");
    }
    Ok(())
}

/// `GET /userinfo`
pub(crate) async fn userinfo(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    shared.count("userinfo");
    let world = shared.lock();
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer "));
    if token.is_some_and(|token| world.access_tokens.iter().any(|known| known == token)) {
        Json(Value::Object(world.user.clone())).into_response()
    } else {
        StatusCode::UNAUTHORIZED.into_response()
    }
}
