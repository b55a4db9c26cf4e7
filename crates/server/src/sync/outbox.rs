//! Frames on their way to the socket.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Sink, SinkExt};
use yawc::{Frame, WebSocketError};

/// Frames that wait for the socket. What fills it looks first whether it is empty, so it never holds more than one page
/// of deliveries and the acks of the uploads in flight.
#[derive(Default)]
pub(super) struct Outbox {
    frames: VecDeque<Frame>,
    unflushed: bool,
}

impl Outbox {
    pub(super) fn push(&mut self, frame: Bytes) {
        self.frames.push_back(Frame::binary(frame));
    }

    pub(super) fn push_ping(&mut self) {
        self.frames.push_back(Frame::ping(Bytes::new()));
    }

    /// Whether everything has been handed to the system.
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty() && !self.unflushed
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
