//! The port without TLS that sends everybody to HTTPS.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::tls::Tls;
use crate::http::problem::Problem;

/// Connections to this port that may be open at the same time: each has one thing to ask.
pub const MAX_CONNECTIONS: usize = 1_024;
/// The port that `https://` means where none is named.
const HTTPS_PORT: u16 = 443;

#[derive(Clone)]
struct Target {
    tls: Arc<Tls>,
    port: u16,
}

/// Sends every request to the same address by HTTPS, on this port.
///
/// Where that is, the request itself says, and anybody can write anything there. So it is followed only to hosts that our own
/// certificate is for: whoever is sent on arrives here, whatever they were made to ask.
pub fn router(tls: Arc<Tls>, port: u16) -> Router {
    Router::new().fallback(redirect).with_state(Target { tls, port })
}

async fn redirect(State(target): State<Target>, request: Request) -> Response {
    let Some(host) = host(&request).filter(|host| target.tls.covers(unbracketed(host.host()))) else {
        return Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "unknown_host",
            "This server has no certificate for that host.",
        )
        .into_response();
    };
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let host = host.host().to_ascii_lowercase();
    let port = if target.port == HTTPS_PORT { String::new() } else { format!(":{}", target.port) };
    let location = HeaderValue::from_str(&format!("https://{host}{port}{path}"));
    match location {
        // `*` is of no host, and a tunnel is nothing that could be had elsewhere.
        Ok(location) if path.starts_with('/') && request.method() != Method::CONNECT => {
            (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, location)]).into_response()
        }
        _ => Problem::new(StatusCode::BAD_REQUEST, "bad_request", "This address cannot be redirected.")
            .into_response(),
    }
}

/// The host that a request is for: in its first line, or else in its one `Host` header (RFC 9112, section 3.2).
fn host(request: &Request) -> Option<Authority> {
    if let Some(authority) = request.uri().authority() {
        return plain(authority.clone());
    }
    let mut hosts = request.headers().get_all(header::HOST).into_iter();
    let host = hosts.next().filter(|_| hosts.next().is_none())?;
    plain(Authority::try_from(host.as_bytes()).ok()?)
}

fn plain(authority: Authority) -> Option<Authority> {
    (!authority.as_str().contains('@')).then_some(authority)
}

/// IPv6 addresses are in brackets where a port may follow.
fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}
