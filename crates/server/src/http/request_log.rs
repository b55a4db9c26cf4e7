//! What the log says of requests: an id for each, and one line for each that is refused.
//!
//! The id is the client's or proxy's `X-Request-Id` where that is short and plain, else one of ours, and goes back with every
//! answer. It stands in a span together with method, route, user, session and space, so every line of the request has them. No
//! address, query, header or body is in any of them: those hold tokens.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state, map_request};
use axum::response::Response;
use lattice_auth::Identity;
use lattice_store::time::{Random, random_id};
use tokio::time::Instant;
use tower_http::request_id::{MakeRequestId, PropagateRequestIdLayer, RequestId, SetRequestIdLayer};
use tracing::field::{Empty, display};
use tracing::{Instrument, Span};

use super::page::uuid;
use super::problem::Refused;
use crate::net::listen::PeerAddress;
use crate::refusal_log::{Cause, RefusalLog, log_refusal};

/// The header of the id, both ways.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken from a client: a UUID has 36 characters.
const MAX_REQUEST_ID_BYTES: usize = 64;
/// Where lines of refusals come from.
#[cfg(test)]
pub(super) const TARGET: &str = module_path!();
/// What stands for a route where there is none at the address, and for a code where an answer has none.
const NONE: &str = "none";

/// Gives every request its id, and logs what is refused. Nothing that refuses may stand around it.
pub fn watch(router: Router, random: Arc<dyn Random>, refusals: Arc<RefusalLog>) -> Router {
    router
        .layer(from_fn_with_state(refusals, log))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(NewIds(random)))
        .layer(map_request(drop_odd_id))
}

#[derive(Clone)]
struct NewIds(Arc<dyn Random>);

impl MakeRequestId for NewIds {
    fn make_request_id<B>(&mut self, _: &axum::http::Request<B>) -> Option<RequestId> {
        HeaderValue::try_from(uuid(&random_id(&*self.0))).ok().map(RequestId::new)
    }
}

async fn drop_odd_id(mut request: Request) -> Request {
    let ids: Vec<&HeaderValue> = request.headers().get_all(X_REQUEST_ID).into_iter().collect();
    if !matches!(ids[..], [id] if is_plain(id.as_bytes())) {
        request.headers_mut().remove(X_REQUEST_ID);
    }
    request
}

/// Whether an id may stand in our log: it is none of our tokens, which all have a `_` or a `.`.
fn is_plain(id: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.iter().all(plain)
}

async fn log(State(refusals): State<Arc<RefusalLog>>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let span = span_of(&request);
    let address = request.extensions().get::<PeerAddress>().map(|peer| peer.0.ip());
    // For sockets, which are refused things when their request is long answered.
    request.extensions_mut().insert(Arc::clone(&refusals));
    let response = next.run(request).instrument(span.clone()).await;
    let refuses = response.status().is_client_error() || response.status().is_server_error();
    // A socket is refused by a close code, after an answer that grants it.
    if refuses || response.extensions().get::<Refused>().is_some() {
        span.in_scope(|| refused(&refusals, &response, address, begun));
    }
    response
}

/// The span of a request. It is of the level `error`, so that it is there wherever any line is.
fn span_of(request: &Request) -> Span {
    let id = request.extensions().get::<RequestId>();
    let id = id.and_then(|id| id.header_value().to_str().ok()).unwrap_or_default();
    let route = request.extensions().get::<MatchedPath>().map_or(NONE, MatchedPath::as_str);
    let method = method_name(request.method());
    tracing::error_span!("request", id, method, route, user = Empty, session = Empty, space = Empty)
}

/// Anything can be a method.
fn method_name(method: &Method) -> &'static str {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    let names = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    known.iter().position(|one| one == method).map_or("other", |at| names[at])
}

/// From here on the lines of this request say whose it is.
pub(crate) fn note_identity(identity: &Identity) {
    let span = Span::current();
    span.record("user", display(identity.user)).record("session", display(identity.session));
}

/// From here on the lines of this request say which space it is about.
pub(crate) fn note_space(space: impl std::fmt::Display) {
    Span::current().record("space", display(space));
}

fn cause_of(status: StatusCode, code: &str) -> Cause {
    match (status.as_u16(), code) {
        (400..=499, _) | (_, "closing") => Cause::Client,
        (503 | 507, code) if code != "database_unavailable" => Cause::Load,
        _ => Cause::Failure,
    }
}

fn refused(refusals: &RefusalLog, response: &Response, address: Option<IpAddr>, begun: Instant) {
    let refused = response.extensions().get::<Refused>();
    let status = refused.map_or(response.status(), |refused| refused.status);
    let code = refused.map_or(NONE, |refused| refused.code);
    let reason = refused.and_then(|refused| refused.reason.as_deref());
    let cause = cause_of(status, code);
    let (status, duration_ms) = (status.as_u16(), begun.elapsed().as_millis() as u64);
    match cause {
        Cause::Failure => {
            log_refusal!(refusals, cause, code, address, status, duration_ms, reason, "a request failed");
        }
        Cause::Client | Cause::Load => {
            log_refusal!(
                refusals,
                cause,
                code,
                address,
                status,
                duration_ms,
                reason,
                "a request was refused"
            );
        }
    }
}

#[cfg(test)]
mod tests;
