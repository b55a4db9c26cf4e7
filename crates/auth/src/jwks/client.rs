//! Requests over the network.

use std::time::Duration;

use lattice_store::BoxFuture;
use openidconnect::{HttpRequest, HttpResponse};
use reqwest::redirect::Policy;

use super::fetch::{FetchError, HttpFetch, check_address};

/// How long a connection may take: providers are close to everywhere, and somebody waits.
pub const MAX_CONNECT_TIME: Duration = Duration::from_secs(3);
/// How long an exchange may take, connection and body included.
pub const MAX_EXCHANGE_TIME: Duration = Duration::from_secs(5);
/// Largest answer that is read, in bytes. Key sets and tokens have a few thousand.
pub const MAX_RESPONSE_BYTES: usize = 256 * 1024;
/// How long a connection is kept for the next request.
const MAX_IDLE_TIME: Duration = Duration::from_secs(30);

/// Asks over the network: TLS 1.2 or later against the certificate authorities of the system, plain HTTP to this machine only, no
/// redirects, no proxies, and limits on time and size. Clones are cheap and share their connections.
#[derive(Clone, Debug)]
pub struct HttpClient {
    inner: reqwest::Client,
}

impl HttpClient {
    /// Sets it up. Without certificate authorities no `https` address can be reached; that is logged.
    ///
    /// # Errors
    /// [`FetchError::Tls`].
    pub fn new() -> Result<Self, FetchError> {
        let refused = |error: &dyn std::fmt::Display| FetchError::Tls(error.to_string());
        let found = rustls_native_certs::load_native_certs();
        let mut roots = rustls::RootCertStore::empty();
        let (taken, left) = roots.add_parsable_certificates(found.certs);
        if taken == 0 {
            let reason = found.errors.first().map(ToString::to_string).unwrap_or_default();
            tracing::warn!(
                left,
                reason,
                "the system has no certificate authorities; no identity provider can be reached"
            );
        }
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| refused(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let inner = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(MAX_CONNECT_TIME)
            .timeout(MAX_EXCHANGE_TIME)
            .pool_idle_timeout(MAX_IDLE_TIME)
            .user_agent(concat!("lattice-server/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| refused(&error))?;
        Ok(Self { inner })
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, FetchError> {
        check_address(&request.uri().to_string())?;
        let request = reqwest::Request::try_from(request).map_err(described)?;
        let mut answer = self.inner.execute(request).await.map_err(described)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(described)? {
            if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
                return Err(FetchError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        let mut response = HttpResponse::new(body);
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }
}

impl HttpFetch for HttpClient {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, FetchError>> {
        Box::pin(self.exchange(request))
    }
}

/// The innermost cause says what happened; addresses may hold what is not to be logged.
fn described(error: reqwest::Error) -> FetchError {
    if error.is_timeout() {
        return FetchError::Timeout;
    }
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    FetchError::Failed(cause.to_string())
}
