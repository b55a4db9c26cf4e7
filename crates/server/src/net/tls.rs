//! HTTPS of our own: TLS 1.2 and 1.3, with a certificate from files or by ACME, and no client certificates.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::ResolvesServerCert;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::acme;
use super::certificate::FileCertificate;
use super::settings::TlsSettings;
use super::stream::Stream;
use crate::config::Config;

/// How long a client may take for the TLS handshake.
const MAX_HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long a client that does not speak TLS may take to be told so.
const MAX_REFUSAL_TIME: Duration = Duration::from_secs(2);
/// What a client that does not speak TLS is listened to while it is told so.
const MAX_REFUSED_BYTES: u64 = 64 << 10;
/// First byte of everything that TLS begins with: a handshake record (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 22;

const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// What is spoken inside TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// HTTP/1.1, which sockets need.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Where the certificate comes from.
enum Source {
    Files(Arc<FileCertificate>),
    /// The names that it is fetched for.
    Acme(Vec<String>),
}

/// TLS as this server speaks it.
pub struct Tls {
    acceptor: TlsAcceptor,
    source: Source,
}

/// What keeps the certificate up to date.
pub struct Upkeep(Kind);

enum Kind {
    /// Files are looked at.
    Files(Arc<FileCertificate>),
    /// It is fetched and renewed.
    Acme(Box<acme::State>),
}

impl Upkeep {
    /// Does it until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        match self.0 {
            Kind::Files(files) => files.watch(stop).await,
            Kind::Acme(state) => acme::keep(*state, stop).await,
        }
    }
}

/// The cryptography that everything here uses.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

impl Tls {
    /// TLS as the settings say, if they do, and what keeps the certificate up to date.
    ///
    /// # Errors
    /// What cannot be used, in a sentence.
    pub fn open(config: &Config) -> Result<Option<(Arc<Self>, Upkeep)>, String> {
        let settings = &config.tls;
        if let (Some(cert), Some(key)) = (&settings.tls_cert, &settings.tls_key) {
            let files = Arc::new(FileCertificate::load(cert, key, provider())?);
            let tls = Self::with(Arc::clone(&files) as _, Source::Files(Arc::clone(&files)), false)?;
            return Ok(Some((tls, Upkeep(Kind::Files(files)))));
        }
        if settings.acme_domains.is_empty() {
            return Ok(None);
        }
        let state = acme::state(settings, &config.data_dir, provider())?;
        let names = settings.acme_domains.iter().map(|name| name.to_ascii_lowercase()).collect();
        let tls = Self::with(state.resolver(), Source::Acme(names), true)?;
        Ok(Some((tls, Upkeep(Kind::Acme(Box::new(state))))))
    }

    fn with(
        resolver: Arc<dyn ResolvesServerCert>,
        source: Source,
        answers_challenges: bool,
    ) -> Result<Arc<Self>, String> {
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12]);
        let builder = builder.map_err(|error| error.to_string())?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
        if answers_challenges {
            // Last: only who offers nothing else is taken for the authority.
            config.alpn_protocols.push(acme::CHALLENGE.to_vec());
        }
        Ok(Arc::new(Self { acceptor: TlsAcceptor::from(Arc::new(config)), source }))
    }

    /// Whether we have, or fetch, a certificate for this host: a name, or an address without brackets.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        match &self.source {
            Source::Files(files) => ServerName::try_from(host).is_ok_and(|name| files.covers(&name)),
            Source::Acme(names) => names.contains(&host.to_ascii_lowercase()),
        }
    }

    /// Shakes hands. None when the client wanted nothing else, or does not speak TLS.
    ///
    /// # Errors
    /// When it fails, or takes longer than ten seconds.
    pub async fn accept(&self, tcp: TcpStream) -> io::Result<Option<(Stream, Protocol)>> {
        let handshake = async {
            let mut first = [0_u8; 1];
            if tcp.peek(&mut first).await? == 0 {
                return Ok(None);
            }
            if first[0] != HANDSHAKE_RECORD {
                let _ = tokio::time::timeout(MAX_REFUSAL_TIME, refuse_plain(tcp)).await;
                return Ok(None);
            }
            let mut stream = self.acceptor.accept(tcp).await?;
            let protocol = match stream.get_ref().1.alpn_protocol() {
                Some(acme::CHALLENGE) => {
                    // The certificate was the answer.
                    let _ = stream.shutdown().await;
                    return Ok(None);
                }
                Some(HTTP2) => Protocol::Http2,
                _ => Protocol::Http1,
            };
            Ok(Some((Stream::Tls(Box::new(stream)), protocol)))
        };
        let done = tokio::time::timeout(MAX_HANDSHAKE_TIME, handshake).await;
        done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Tells a client that speaks HTTP without TLS what is wrong: its own library would say something about bytes.
async fn refuse_plain(mut tcp: TcpStream) -> io::Result<()> {
    const BODY: &str = "{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,\"code\":\"https_required\",\
                        \"detail\":\"This port speaks HTTPS only: the address begins with https:// or wss://.\"}";
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
         cache-control: no-store\r\nconnection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    tcp.write_all(answer.as_bytes()).await?;
    tcp.shutdown().await?;
    // What was not read when the connection ends would take the answer with it.
    tokio::io::copy(&mut (&mut tcp).take(MAX_REFUSED_BYTES), &mut tokio::io::sink()).await?;
    Ok(())
}

/// Tells browsers with each answer to come by HTTPS only. For routers whose every connection is TLS.
pub fn strict_transport(router: Router, settings: &TlsSettings) -> Router {
    let Some(value) = settings.hsts() else { return router };
    let add = move |response| add_header(response, value.clone());
    router.layer(axum::middleware::map_response(add))
}

async fn add_header(mut response: Response, value: HeaderValue) -> Response {
    response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, value);
    response
}
