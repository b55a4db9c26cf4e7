//! The byte stream under a WebSocket.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::Stream;

/// How long a socket that was told to close is still read from, so that the reason reaches a client that is writing:
/// closing with unread bytes would reset the connection and discard what was sent.
const MAX_LINGER: Duration = Duration::from_secs(5);

/// A stream that can be closed gently after the WebSocket layer has let go of it.
#[derive(Clone)]
pub struct SocketIo {
    shared: Arc<Shared>,
    /// What the client sent right behind its handshake.
    early: Bytes,
}

struct Shared {
    /// Never contended: the WebSocket layer has let go when [`SocketIo::linger`] takes it.
    stream: Mutex<Stream>,
    /// Something was read, or the peer took what it was slow to take, since this was asked last.
    active: AtomicBool,
    /// The system took no more bytes: until the peer takes some.
    full: AtomicBool,
}

impl SocketIo {
    /// A stream that begins with `early`.
    #[must_use]
    pub fn new(stream: Stream, early: Bytes) -> Self {
        let (active, full) = (AtomicBool::new(true), AtomicBool::new(false));
        let shared = Shared { stream: Mutex::new(stream), active, full };
        // An empty slice would keep the whole buffer of the request.
        let early = if early.is_empty() { Bytes::new() } else { early };
        Self { shared: Arc::new(shared), early }
    }

    /// A second handle, for [`SocketIo::linger`].
    #[must_use]
    pub fn handle(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), early: Bytes::new() }
    }

    /// Whether the peer has shown since this was called last that it lives: it has sent something, or made room for more
    /// when there was none. A large frame may take a slow client minutes, in which it has nothing to say.
    #[must_use]
    pub fn take_activity(&self) -> bool {
        self.shared.active.swap(false, Ordering::Relaxed)
    }

    /// Says that nothing more will be sent, and discards what comes until the peer closes or five seconds are over.
    pub async fn linger(&self) {
        // TLS has a word of its own to say, which a peer that takes nothing may hold up.
        let shutdown = poll_fn(|cx| Pin::new(&mut *self.stream()).poll_shutdown(cx));
        if !matches!(tokio::time::timeout(MAX_LINGER, shutdown).await, Ok(Ok(()))) {
            return;
        }
        // On the heap: the buffer would be part of every socket's task, from its first moment.
        let mut discarded = vec![0_u8; 4_096];
        let drain = async {
            loop {
                let mut buffer = ReadBuf::new(&mut discarded);
                let read = poll_fn(|cx| Pin::new(&mut *self.stream()).poll_read(cx, &mut buffer)).await;
                if read.is_err() || buffer.filled().is_empty() {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(MAX_LINGER, drain).await;
    }

    fn stream(&self) -> MutexGuard<'_, Stream> {
        self.shared.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what the result of a write says of the peer. Writing alone says nothing: the system takes bytes for a dead
    /// one as well, until it has no more room.
    fn note_write<T>(&self, result: &Poll<io::Result<T>>) {
        match result {
            Poll::Pending => self.shared.full.store(true, Ordering::Relaxed),
            Poll::Ready(Ok(_)) if self.shared.full.swap(false, Ordering::Relaxed) => {
                self.shared.active.store(true, Ordering::Relaxed);
            }
            Poll::Ready(_) => {}
        }
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
            if self.early.is_empty() {
                self.early = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        let result = Pin::new(&mut *self.stream()).poll_read(cx, buffer);
        if result.is_ready() {
            self.shared.active.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl AsyncWrite for SocketIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut *self.stream()).poll_write(cx, bytes);
        self.note_write(&result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut *self.stream()).poll_write_vectored(cx, slices);
        self.note_write(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS may hold what it has encrypted and the system did not take.
        let result = Pin::new(&mut *self.stream()).poll_flush(cx);
        self.note_write(&result);
        result
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream()).poll_shutdown(cx)
    }
}
