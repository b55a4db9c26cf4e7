//! The byte stream under a WebSocket.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Most bytes taken from the socket by one read. The buffer behind it may be as large as a frame, and is cleared first.
const MAX_READ_BYTES: usize = 64 << 10;
/// How long a socket that was told to close is still read from, so that the reason reaches a client that is writing:
/// closing with unread bytes would reset the connection and discard what was sent.
const MAX_LINGER: Duration = Duration::from_secs(5);

/// A TCP stream that can be closed gently after the WebSocket layer has let go of it.
#[derive(Clone)]
pub struct SocketIo {
    shared: Arc<Shared>,
    /// What the client sent right behind its handshake.
    early: Bytes,
}

struct Shared {
    tcp: TcpStream,
    /// Something was read since this was asked last.
    active: AtomicBool,
}

impl SocketIo {
    /// A stream that begins with `early`.
    #[must_use]
    pub fn new(tcp: TcpStream, early: Bytes) -> Self {
        Self { shared: Arc::new(Shared { tcp, active: AtomicBool::new(true) }), early }
    }

    /// A second handle, for [`SocketIo::linger`].
    #[must_use]
    pub fn handle(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), early: Bytes::new() }
    }

    /// Whether anything was read since this was called last.
    #[must_use]
    pub fn take_activity(&self) -> bool {
        self.shared.active.swap(false, Ordering::Relaxed)
    }

    /// Says that nothing more will be sent, and discards what comes until the peer closes or [`MAX_LINGER`] is over.
    pub async fn linger(&self) {
        if socket2::SockRef::from(&self.shared.tcp).shutdown(std::net::Shutdown::Write).is_err() {
            return;
        }
        let mut discarded = [0_u8; 4_096];
        let drain = async {
            while self.shared.tcp.readable().await.is_ok() {
                match self.shared.tcp.try_read(&mut discarded) {
                    Ok(0) => break,
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => break,
                    _ => {}
                }
            }
        };
        let _ = tokio::time::timeout(MAX_LINGER, drain).await;
    }
}

impl AsyncRead for SocketIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let count = self.early.len().min(buffer.remaining());
            buffer.put_slice(&self.early[..count]);
            self.early.advance(count);
            return Poll::Ready(Ok(()));
        }
        let wanted = buffer.remaining().min(MAX_READ_BYTES);
        loop {
            ready!(self.shared.tcp.poll_read_ready(cx))?;
            match self.shared.tcp.try_read(buffer.initialize_unfilled_to(wanted)) {
                Ok(count) => {
                    buffer.advance(count);
                    self.shared.active.store(true, Ordering::Relaxed);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for SocketIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.shared.tcp.poll_write_ready(cx))?;
            match self.shared.tcp.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(socket2::SockRef::from(&self.shared.tcp).shutdown(std::net::Shutdown::Write))
    }
}
