//! HTTP on one connection, and its limits.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::stream::Stream;

/// How long a client may take to send the head of a request.
const MAX_HEADER_TIME: Duration = Duration::from_secs(10);
/// Bytes read ahead of a request's head and body; it is given back when a connection becomes a WebSocket.
const MAX_REQUEST_BUFFER_BYTES: usize = 64 << 10;

/// Requests that one HTTP/2 connection may have under way: what browsers make use of.
const MAX_STREAMS: u32 = 100;
/// All headers of a request over HTTP/2, uncompressed, in bytes.
const MAX_HEADER_LIST_BYTES: u32 = 16 << 10;
/// What a client may send of one request before it is read, in bytes.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// What a client may send of all requests of a connection before it is read, in bytes.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// What waits to be sent of one answer, in bytes.
const MAX_SEND_BUFFER_BYTES: usize = 64 << 10;
/// Requests that a client has taken back before we came to look at them; one more ends the connection. Whoever opens and
/// resets streams as fast as they can ("rapid reset", CVE-2023-44487) gets no further.
const MAX_PENDING_RESETS: usize = 20;
/// Streams that we had to reset because of what the client sent; one more ends the connection ("MadeYouReset", CVE-2025-8671).
const MAX_ERROR_RESETS: usize = 100;
/// Silence after which an HTTP/2 client is pinged.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long it may take to answer that.
const MAX_PING_TIME: Duration = Duration::from_secs(10);
/// An HTTP/2 connection without a request for as long as this, or up to twice that, is closed; over HTTP/1.1 the time for the
/// next head does it.
const IDLE_INTERVAL: Duration = Duration::from_secs(60);
/// How long a client may take to leave a connection that is closed because it was idle.
const MAX_LEAVE_TIME: Duration = Duration::from_secs(10);

/// Address of the peer, as an extension of each request.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub SocketAddr);

/// A connection's place among those that may be open, held as long as any clone of it lives.
#[derive(Clone)]
pub struct Place(#[expect(dead_code, reason = "held, not read")] Arc<tokio::sync::OwnedSemaphorePermit>);

impl Place {
    pub(super) fn new(permit: tokio::sync::OwnedSemaphorePermit) -> Self {
        Self(Arc::new(permit))
    }
}

/// What requests of a connection come with.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) peer: SocketAddr,
    /// An upgraded connection keeps its place.
    pub(super) place: Place,
}

impl Caller {
    async fn call(self, router: Router, mut request: Request<Incoming>) -> Result<Response, Infallible> {
        request.extensions_mut().insert(PeerAddress(self.peer));
        request.extensions_mut().insert(self.place);
        router.oneshot(request).await
    }
}

/// Serves HTTP/1.1 until the client leaves, is upgraded, or `stop` is cancelled and its request is answered.
pub(super) async fn serve_http1(
    stream: Stream,
    router: Router,
    caller: Caller,
    stop: CancellationToken,
) -> hyper::Result<()> {
    let service = service_fn(move |request| caller.clone().call(router.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(MAX_HEADER_TIME)
        .max_buf_size(MAX_REQUEST_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

/// Whether a connection is of use.
#[derive(Default)]
struct Use {
    /// Requests that are under way.
    running: AtomicUsize,
    /// There was one since this was asked last.
    used: AtomicBool,
}

/// A request that is under way.
struct Running(Arc<Use>);

impl Running {
    fn begin(usage: &Arc<Use>) -> Self {
        usage.used.store(true, Ordering::Relaxed);
        usage.running.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(usage))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Use {
    fn take_idle(&self) -> bool {
        !self.used.swap(false, Ordering::Relaxed) && self.running.load(Ordering::Relaxed) == 0
    }
}

/// Serves HTTP/2 until the client leaves, asks nothing for long, or `stop` is cancelled and its requests are answered. Sockets
/// need HTTP/1.1: extended CONNECT (RFC 8441) is not offered, so browsers open a connection of their own for them.
pub(super) async fn serve_http2(
    stream: Stream,
    router: Router,
    caller: Caller,
    stop: CancellationToken,
) -> hyper::Result<()> {
    let usage = Arc::new(Use::default());
    let counted = Arc::clone(&usage);
    let service = service_fn(move |request| {
        let (running, answer) = (Running::begin(&counted), caller.clone().call(router.clone(), request));
        async move {
            let answer = answer.await;
            drop(running);
            answer
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(MAX_SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_ERROR_RESETS)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(MAX_PING_TIME)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut idle = tokio::time::interval(IDLE_INTERVAL);
    idle.tick().await;
    loop {
        tokio::select! {
            result = connection.as_mut() => return result,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                return connection.await;
            }
            _ = idle.tick() => if usage.take_idle() {
                connection.as_mut().graceful_shutdown();
                return tokio::time::timeout(MAX_LEAVE_TIME, connection).await.unwrap_or(Ok(()));
            }
        }
    }
}
