//! Frames on their way to the socket.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Sink, SinkExt};
use yawc::{Frame, WebSocketError};

/// Frames that may wait while more of the client is read: a page of deliveries and many answers. A client that sends
/// without reading its answers is not read either.
const MAX_WAITING_FRAMES: usize = 1_024;
/// Pongs that the codec may have waiting while more of the client is read.
const MAX_WAITING_PONGS: usize = 64;

/// Frames that wait for the socket. Deliveries are added only when it is empty, answers only while it has room.
#[derive(Default)]
pub(super) struct Outbox {
    frames: VecDeque<Frame>,
    /// Frames are text: clients of the JSON dialect need not look into bytes.
    text: bool,
    unflushed: bool,
    /// Pings whose answers wait in the codec.
    pongs: usize,
}

impl Outbox {
    /// From now on frames are text.
    pub(super) fn write_text(&mut self) {
        self.text = true;
    }

    pub(super) fn push(&mut self, frame: Bytes) {
        self.frames.push_back(if self.text { Frame::text(frame) } else { Frame::binary(frame) });
    }

    pub(super) fn push_ping(&mut self) {
        self.frames.push_back(Frame::ping(Bytes::new()));
    }

    /// The codec has a pong waiting.
    pub(super) fn expect_pong(&mut self) {
        self.pongs += 1;
        self.unflushed = true;
    }

    /// Whether everything has been handed to the system.
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty() && !self.unflushed
    }

    /// Whether what the client sends may be answered.
    pub(super) fn has_room(&self) -> bool {
        self.frames.len() < MAX_WAITING_FRAMES && self.pongs < MAX_WAITING_PONGS
    }

    /// Moves frames into the socket until it takes no more. Ready once the outbox is empty.
    pub(super) fn poll_send(
        &mut self,
        socket: &mut (impl Sink<Frame, Error = WebSocketError> + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), WebSocketError>> {
        while !self.frames.is_empty() {
            ready!(socket.poll_ready_unpin(cx))?;
            if let Some(frame) = self.frames.pop_front() {
                socket.start_send_unpin(frame)?;
                self.unflushed = true;
            }
        }
        if self.pongs > 0 {
            // What the codec has waiting leaves here; flushing alone does not send it.
            ready!(socket.poll_ready_unpin(cx))?;
            self.pongs = 0;
        }
        if self.unflushed {
            ready!(socket.poll_flush_unpin(cx))?;
            self.unflushed = false;
        }
        // Burst of a page is over: an idle socket owns no queue.
        if self.frames.capacity() > 16 {
            self.frames = VecDeque::new();
        }
        Poll::Ready(Ok(()))
    }
}
