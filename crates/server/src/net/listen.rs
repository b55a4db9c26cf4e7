//! The accept loop.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Caller, serve_http1, serve_http2};
use super::stream::Stream;
use super::tls::{Protocol, Tls};

pub use super::connection::{PeerAddress, Place};

/// Pause after the system refused a new connection, for example because no file descriptor is left.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Serves `router` until `stop` is cancelled; requests under way are finished, and counted by `tracker`. At most
/// `max_connections` are open at a time, further ones wait in the system's backlog. Handshakes of TLS are each connection's
/// own business: none waits for another.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<Arc<Tls>>,
    max_connections: usize,
    stop: CancellationToken,
    tracker: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(max_connections));
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            Some((listener.accept().await, place))
        };
        let (accepted, place) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accepted => match accepted {
                Some(accepted) => accepted,
                None => break,
            },
        };
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let _ = tcp.set_nodelay(true);
        let caller = Caller { peer, place: Place::new(place) };
        let (router, tls, stop) = (router.clone(), tls.clone(), stop.clone());
        tracker.spawn(async move {
            let Some(tls) = tls else {
                let result = serve_http1(Stream::Plain(tcp), router, caller, stop).await;
                return ended(peer, result);
            };
            // On the heap, so that connections without TLS have no room for it.
            let handshake = Box::pin(tls.accept(tcp));
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = handshake => accepted,
            };
            match accepted {
                Ok(Some((stream, Protocol::Http1))) => {
                    ended(peer, Box::pin(serve_http1(stream, router, caller, stop)).await);
                }
                Ok(Some((stream, Protocol::Http2))) => {
                    ended(peer, Box::pin(serve_http2(stream, router, caller, stop)).await);
                }
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, %peer, "no TLS came about"),
            }
        });
    }
}

fn ended(peer: std::net::SocketAddr, result: hyper::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, %peer, "connection ended");
    }
}
