//! What the client's frames do.

use bytestring::ByteString;
use lattice_protocol::plain::{ClientFrame, Hello, Subscribe, encode_auth, encode_pong};
use lattice_protocol::{Code, FrameError};

use super::{JsonEffect, JsonSession, Switched};

impl JsonSession {
    /// Takes a frame of `bytes` bytes. Only while [`JsonSession::takes_frames`].
    pub fn frame(&mut self, frame: Result<ClientFrame, FrameError>, bytes: usize) {
        match self.switched.take() {
            Some(switched) => self.first_frame(switched, frame, bytes),
            None => self.decoded(frame, bytes),
        }
    }

    /// The frame by which a native connection has turned out to speak JSON, subscribed to a space. What it does to the space is
    /// done by the subscription: its uploads do not come back to it.
    fn first_frame(&mut self, switched: Switched, frame: Result<ClientFrame, FrameError>, bytes: usize) {
        let Switched { space, cursor } = switched;
        let subscribe = Subscribe { space, cursor, ..Subscribe::default() };
        match frame {
            Ok(ClientFrame::Hello(hello)) => {
                self.hello(hello);
                self.subscribe(subscribe);
            }
            Ok(ClientFrame::Subscribe(own)) if own.space == space => {
                self.decoded(Ok(ClientFrame::Subscribe(own)), bytes);
            }
            frame => {
                self.welcome();
                self.subscribe(subscribe);
                self.after_subscribe = Some((frame, bytes));
            }
        }
    }

    /// The frame that had to wait for the subscription of the address.
    pub(super) fn begin_waiting_frame(&mut self) -> bool {
        let Some((frame, bytes)) = self.after_subscribe.take() else { return false };
        self.decoded(frame, bytes);
        true
    }

    fn decoded(&mut self, frame: Result<ClientFrame, FrameError>, bytes: usize) {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return self.refuse_frame(&error),
        };
        if !self.welcomed && !matches!(frame, ClientFrame::Hello(_)) {
            self.welcome();
        }
        match frame {
            ClientFrame::Hello(hello) => self.hello(hello),
            ClientFrame::Subscribe(subscribe) => self.subscribe(subscribe),
            ClientFrame::Unsubscribe { space } => {
                self.pending.remove(space);
                if let Some(at) = self.find(space) {
                    let held = &mut self.subscriptions[at];
                    (held.muted, held.present) = (true, false);
                    self.out.push_back(JsonEffect::Mute { slot: held.slot });
                }
            }
            ClientFrame::Upload(upload) if !self.client.can_write => {
                let message = "the token may only read";
                self.refuse_named(Code::PermissionDenied, message, Some(upload.space), upload.id.as_ref());
            }
            ClientFrame::Upload(upload) => self.upload(upload, bytes),
            ClientFrame::Poll(poll) => self.poll(poll),
            // What a client has stored is its own affair: it says so when it subscribes again.
            ClientFrame::Ack { .. } => {}
            ClientFrame::Presence { space, state } => self.show(space, state),
            ClientFrame::Auth { token } => self.out.push_back(JsonEffect::Authenticate { token }),
            ClientFrame::Ping => self.send(encode_pong(self.now_us)),
        }
    }

    fn hello(&mut self, hello: Hello) {
        if !self.subscriptions.is_empty() {
            self.refuse(Code::BadFrame, "hello comes before anything of a space", None);
            return;
        }
        // A copy: the frame that it is a part of may be much larger.
        self.client.id = hello.client_id.map(|id| ByteString::from(&*id));
        self.client.schema_version = hello.schema_version.or(self.client.schema_version);
        self.client.format = hello.format;
        self.welcome();
    }

    /// What became of [`JsonEffect::Authenticate`]: the connection goes on with the new token, which may write or not and is good
    /// for so many seconds, if it expires; or as before.
    pub fn authenticated(&mut self, result: Result<(bool, Option<u64>), (Code, &str)>) {
        match result {
            Ok((can_write, expires_in_s)) => {
                self.client.can_write = can_write;
                self.send(encode_auth(expires_in_s));
            }
            Err((code, message)) => self.refuse(code, message, None),
        }
    }
}
