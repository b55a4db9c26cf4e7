//! An ACME directory (RFC 8555) of one test: it checks what servers say as strictly as an authority would, looks for its challenge at
//! the server's own port (RFC 8737), and signs by the tests' authority.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, head, post};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::authority::Authority;
use crate::client::provider;

/// The name of the directory itself.
const HOST: &str = "localhost";
/// `id-pe-acmeIdentifier` (RFC 8737, section 6.1) in DER.
const ACME_IDENTIFIER: &[u8] = &[0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x1f];

struct Account {
    jwk: Value,
    contact: Value,
}

#[derive(Default)]
struct Order {
    names: Vec<String>,
    /// Whether the challenge was found, for each name.
    valid: Vec<bool>,
    certificate: Option<String>,
}

#[derive(Default)]
struct World {
    nonces: HashSet<String>,
    accounts: Vec<Account>,
    orders: Vec<Order>,
    counted: HashMap<&'static str, u32>,
}

#[derive(Clone)]
struct Shared {
    url: String,
    world: Arc<Mutex<World>>,
    authority: Arc<Authority>,
    /// Where the names lead to, once that is known.
    server: watch::Receiver<Option<SocketAddr>>,
}

/// A directory that ends with the test.
pub(crate) struct Directory {
    _runtime: Runtime,
    shared: Shared,
    found: watch::Sender<Option<SocketAddr>>,
}

impl Directory {
    /// A directory whose own certificate, and all that it signs, is by this authority.
    pub(crate) fn start(authority: Arc<Authority>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let bind = || runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let (outside, inside) = (bind(), bind());
        let port = outside.local_addr().expect("an address").port();
        let (found, server) = watch::channel(None);
        let own = authority.issue(&[HOST]);
        let shared =
            Shared { url: format!("https://{HOST}:{port}"), world: Arc::default(), authority, server };
        let router = Router::new()
            .route("/directory", get(directory))
            .route("/nonce", head(nonce).get(nonce))
            .route("/account", post(new_account))
            .route("/order", post(new_order))
            .route("/order/{order}", post(order))
            .route("/authorization/{order}/{at}", post(authorization))
            .route("/challenge/{order}/{at}", post(challenge))
            .route("/finalize/{order}", post(finalize))
            .route("/certificate/{order}", post(certificate))
            .with_state(shared.clone());
        let at = inside.local_addr().expect("an address");
        runtime.spawn(async move { axum::serve(inside, router).await });
        let chain =
            CertificateDer::pem_slice_iter(own.cert.as_bytes()).collect::<Result<_, _>>().expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("a key");
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        runtime.spawn(async move {
            while let Ok((tcp, _)) = outside.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut tls = acceptor.accept(tcp).await?;
                    let mut plain = TcpStream::connect(at).await?;
                    tokio::io::copy_bidirectional(&mut tls, &mut plain).await.map(|_| ())
                });
            }
        });
        Self { _runtime: runtime, shared, found }
    }

    /// What `ACME_DIRECTORY` is set to.
    pub(crate) fn url(&self) -> String {
        format!("{}/directory", self.shared.url)
    }

    /// Where all names lead to from now on.
    pub(crate) fn lead_to(&self, server: SocketAddr) {
        self.found.send_replace(Some(server));
    }

    /// How often something was asked: `account`, `order`, `challenge`, `finalize`.
    pub(crate) fn counted(&self, what: &str) -> u32 {
        self.shared.lock().counted.get(what).copied().unwrap_or(0)
    }

    /// Whom the authority may write to.
    pub(crate) fn contact(&self) -> Value {
        self.shared.lock().accounts[0].contact.clone()
    }
}

type Refused = (StatusCode, String);
type Answer = Result<Response, Refused>;

fn malformed(detail: &str) -> Refused {
    (
        StatusCode::BAD_REQUEST,
        json!({"type": "urn:ietf:params:acme:error:malformed", "detail": detail}).to_string(),
    )
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("a lock")
    }

    fn count(&self, what: &'static str) {
        *self.lock().counted.entry(what).or_default() += 1;
    }

    fn new_nonce(&self) -> String {
        let mut bytes = [0; 16];
        lattice_store::time::Random::fill(&lattice_store::time::SystemRandom, &mut bytes);
        let nonce = URL_SAFE_NO_PAD.encode(bytes);
        self.lock().nonces.insert(nonce.clone());
        nonce
    }

    /// Checks a request (RFC 8555, section 6.2) and gives its payload, and the account that it is of.
    fn read(&self, path: &str, headers: &HeaderMap, body: &Bytes) -> Result<(Value, Value), Refused> {
        if headers.get("content-type").is_none_or(|kind| kind != "application/jose+json") {
            return Err(malformed("the content type is not application/jose+json"));
        }
        let jws: Value = serde_json::from_slice(body).map_err(|_| malformed("no JSON"))?;
        let part =
            |name: &str| jws[name].as_str().map(str::to_owned).ok_or_else(|| malformed("a part is missing"));
        let (protected, payload, signature) = (part("protected")?, part("payload")?, part("signature")?);
        let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed("no base64url"));
        let header: Value =
            serde_json::from_slice(&decoded(&protected)?).map_err(|_| malformed("no header"))?;
        if header["url"] != json!(format!("{}{path}", self.url)) || header["alg"] != json!("ES256") {
            return Err(malformed("another url, or another algorithm"));
        }
        let nonce = header["nonce"].as_str().unwrap_or_default();
        if !self.lock().nonces.remove(nonce) {
            return Err(malformed("the nonce is not ours, or was used"));
        }
        let jwk = match header["kid"].as_str() {
            None if path == "/account" => header["jwk"].clone(),
            Some(kid) => {
                let at = kid.strip_prefix(&format!("{}/account/", self.url)).and_then(|at| at.parse().ok());
                let world = self.lock();
                let account = at.and_then(|at: usize| world.accounts.get(at));
                account.ok_or_else(|| malformed("no such account"))?.jwk.clone()
            }
            None => return Err(malformed("the account is missing")),
        };
        let coordinate = |name: &str| jwk[name].as_str().unwrap_or_default().to_owned();
        let key = DecodingKey::from_ec_components(&coordinate("x"), &coordinate("y"));
        let key = key.map_err(|_| malformed("no key"))?;
        let signed = format!("{protected}.{payload}");
        let good = jsonwebtoken::crypto::verify(&signature, signed.as_bytes(), &key, Algorithm::ES256);
        if good != Ok(true) {
            return Err(malformed("the signature is wrong"));
        }
        let payload = decoded(&payload)?;
        let payload = if payload.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&payload).unwrap_or_default()
        };
        Ok((payload, jwk))
    }

    fn answer(&self, status: StatusCode, location: Option<String>, body: &Value) -> Response {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut response = (status, body).into_response();
        let nonce = HeaderValue::from_str(&self.new_nonce()).expect("a header");
        response.headers_mut().insert("replay-nonce", nonce);
        if let Some(location) = location {
            let location = HeaderValue::from_str(&format!("{}{location}", self.url)).expect("a header");
            response.headers_mut().insert("location", location);
        }
        response
    }

    fn show_order(&self, at: usize) -> Result<Value, Refused> {
        let world = self.lock();
        let order = world.orders.get(at).ok_or_else(|| malformed("no such order"))?;
        let status = match (&order.certificate, order.valid.iter().all(|valid| *valid)) {
            (Some(_), _) => "valid",
            (None, true) => "ready",
            (None, false) => "pending",
        };
        let authorizations: Vec<String> =
            (0..order.names.len()).map(|name| format!("{}/authorization/{at}/{name}", self.url)).collect();
        let mut shown = json!({
            "status": status, "authorizations": authorizations, "finalize": format!("{}/finalize/{at}", self.url),
        });
        if order.certificate.is_some() {
            shown["certificate"] = json!(format!("{}/certificate/{at}", self.url));
        }
        Ok(shown)
    }

    /// A challenge's token: one for each name of each order.
    fn token(order: usize, at: usize) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(format!("token {order} {at}")))
    }

    /// Looks for the challenge at the server that the name leads to.
    async fn look(&self, name: &str, expected: [u8; 32]) -> Result<bool, std::io::Error> {
        let mut server = self.server.clone();
        let at = *server.wait_for(Option::is_some).await.map_err(std::io::Error::other)?;
        let tcp = TcpStream::connect(at.expect("it was waited for")).await?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(std::io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
        let name = ServerName::try_from(name.to_owned()).map_err(std::io::Error::other)?;
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        let (_, connection) = tls.get_ref();
        let shown = connection.peer_certificates().unwrap_or_default().first().cloned();
        let shown = shown.map(|cert| cert.to_vec()).unwrap_or_default();
        let holds = |part: &[u8]| shown.windows(part.len()).any(|window| window == part);
        // An octet string with the hash of the key authorization.
        let hash = [&[0x04, 0x20][..], &expected].concat();
        Ok(connection.alpn_protocol() == Some(b"acme-tls/1") && holds(ACME_IDENTIFIER) && holds(&hash))
    }
}

async fn directory(State(shared): State<Shared>) -> Response {
    let url = &shared.url;
    let body = json!({
        "newNonce": format!("{url}/nonce"), "newAccount": format!("{url}/account"), "newOrder": format!("{url}/order"),
    });
    shared.answer(StatusCode::OK, None, &body)
}

async fn nonce(State(shared): State<Shared>) -> Response {
    shared.answer(StatusCode::OK, None, &Value::Null)
}

async fn new_account(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Answer {
    let (payload, jwk) = shared.read("/account", &headers, &body)?;
    if payload["termsOfServiceAgreed"] != json!(true) {
        return Err(malformed("nobody has agreed to the terms"));
    }
    shared.count("account");
    let (at, is_new) = {
        let mut world = shared.lock();
        let known = world.accounts.iter().position(|account| account.jwk == jwk);
        let at = known.unwrap_or(world.accounts.len());
        if known.is_none() {
            world.accounts.push(Account { jwk, contact: payload["contact"].clone() });
        }
        (at, known.is_none())
    };
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(shared.answer(status, Some(format!("/account/{at}")), &json!({"status": "valid"})))
}

async fn new_order(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Answer {
    let (payload, _) = shared.read("/order", &headers, &body)?;
    shared.count("order");
    let identifiers = payload["identifiers"].as_array().cloned().unwrap_or_default();
    let names = identifiers.iter().filter_map(|one| one["value"].as_str().map(str::to_owned));
    let names: Vec<String> = names.collect();
    let at = {
        let mut world = shared.lock();
        world.orders.push(Order { valid: vec![false; names.len()], names, certificate: None });
        world.orders.len() - 1
    };
    Ok(shared.answer(StatusCode::CREATED, Some(format!("/order/{at}")), &shared.show_order(at)?))
}

async fn order(
    State(shared): State<Shared>,
    Path(at): Path<usize>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    shared.read(&format!("/order/{at}"), &headers, &body)?;
    Ok(shared.answer(StatusCode::OK, None, &shared.show_order(at)?))
}

async fn authorization(
    State(shared): State<Shared>,
    Path((order, at)): Path<(usize, usize)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    shared.read(&format!("/authorization/{order}/{at}"), &headers, &body)?;
    let (name, valid) = {
        let world = shared.lock();
        let held = world.orders.get(order).ok_or_else(|| malformed("no such order"))?;
        (held.names[at].clone(), held.valid[at])
    };
    let url = &shared.url;
    let body = json!({
        "status": if valid { "valid" } else { "pending" }, "identifier": {"type": "dns", "value": name},
        "challenges": [
            {"type": "http-01", "url": format!("{url}/nowhere"), "token": "x", "status": "pending"},
            {
                "type": "tls-alpn-01", "url": format!("{url}/challenge/{order}/{at}"), "status": "pending",
                "token": Shared::token(order, at),
            },
        ],
    });
    Ok(shared.answer(StatusCode::OK, None, &body))
}

async fn challenge(
    State(shared): State<Shared>,
    Path((order, at)): Path<(usize, usize)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let (_, jwk) = shared.read(&format!("/challenge/{order}/{at}"), &headers, &body)?;
    shared.count("challenge");
    // The thumbprint of a key (RFC 7638): its members in the order of their names.
    let thumb = json!({"crv": jwk["crv"], "kty": jwk["kty"], "x": jwk["x"], "y": jwk["y"]}).to_string();
    let thumb = URL_SAFE_NO_PAD.encode(Sha256::digest(thumb));
    let expected = Sha256::digest(format!("{}.{thumb}", Shared::token(order, at))).into();
    let name = shared.lock().orders[order].names[at].clone();
    let found = shared.look(&name, expected).await.map_err(|error| malformed(&error.to_string()))?;
    shared.lock().orders[order].valid[at] |= found;
    Ok(shared.answer(StatusCode::OK, None, &json!({"status": "processing"})))
}

async fn finalize(
    State(shared): State<Shared>,
    Path(at): Path<usize>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let (payload, _) = shared.read(&format!("/finalize/{at}"), &headers, &body)?;
    shared.count("finalize");
    if shared.show_order(at)?["status"] != json!("ready") {
        return Err(malformed("the names were not checked"));
    }
    let request = URL_SAFE_NO_PAD.decode(payload["csr"].as_str().unwrap_or_default());
    let request = request.map_err(|_| malformed("no request"))?;
    let names = shared.lock().orders[at].names.clone();
    let signed =
        shared.authority.sign(&request, &names).ok_or_else(|| malformed("other names than were checked"))?;
    shared.lock().orders[at].certificate = Some(signed);
    Ok(shared.answer(StatusCode::OK, None, &shared.show_order(at)?))
}

async fn certificate(
    State(shared): State<Shared>,
    Path(at): Path<usize>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    shared.read(&format!("/certificate/{at}"), &headers, &body)?;
    let pem = shared.lock().orders.get(at).and_then(|order| order.certificate.clone());
    Ok(pem.ok_or_else(|| malformed("there is none yet"))?.into_response())
}

/// An authority looks at what is in the certificate, which nobody has signed.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
