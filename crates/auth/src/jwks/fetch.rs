//! Asking somebody else's server, as a trait: tests answer for it.

use std::sync::Arc;

use lattice_store::BoxFuture;
use openidconnect::{HttpRequest, HttpResponse};
use url::{Host, Url};

/// Sends requests to identity providers.
///
/// With [`openidconnect`], `&|request| fetch.send(request)` is an `AsyncHttpClient`.
pub trait HttpFetch: Send + Sync {
    /// Sends a request and reads the whole answer, whatever its status. Redirects are not followed.
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, FetchError>>;
}

impl<T: HttpFetch + ?Sized> HttpFetch for Arc<T> {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, FetchError>> {
        (**self).send(request)
    }
}

/// Why there is no answer. The sentences are for the log of the operator, and hold no more of an address than its host.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The address is none, or plain HTTP leads over a network.
    #[error("not an https address: {0}")]
    Address(String),
    /// The answer took too long.
    #[error("no answer in time")]
    Timeout,
    /// The answer has more bytes than anybody needs.
    #[error("the answer is too large")]
    TooLarge,
    /// The connection failed, or the answer cannot be read.
    #[error("{0}")]
    Failed(String),
    /// No TLS can be spoken here.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// Checks that what is sent to an address cannot be read or changed on the way: it is `https`, or `http` to this very machine.
///
/// # Errors
/// [`FetchError::Address`].
pub fn check_address(address: &str) -> Result<Url, FetchError> {
    let refused = |what: &str| FetchError::Address(what.to_owned());
    let url = Url::parse(address).map_err(|_| refused("it cannot be understood"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused("it holds a password"));
    }
    let is_here = match url.host() {
        None => return Err(refused("it has no host")),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_here => Ok(url),
        _ => Err(refused(url.host_str().unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::check_address;

    #[test]
    fn plain_http_stays_on_this_machine() {
        for good in [
            "https://example.com/a?b",
            "http://127.0.0.1:8080/x",
            "http://[::1]:1",
            "http://localhost:9/keys",
        ] {
            assert!(check_address(good).is_ok(), "{good}");
        }
        for bad in [
            "http://example.com",
            "http://127.0.0.1.example.com/",
            "http://localhost.example.com/",
            "http://10.0.0.1/",
            "ftp://127.0.0.1/",
            "file:///etc/passwd",
            "https://ann:secret@example.com/",
            "example.com",
            "",
        ] {
            let error = check_address(bad).expect_err(bad);
            assert!(!error.to_string().contains("secret"));
        }
    }
}
