//! A sync socket, by a WebSocket implementation that is not the server's, and with access to the bytes below it.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use super::PATIENCE;
use super::entry::Entry;
use super::server::TestServer;

/// Key and accept value of RFC 6455, section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// First byte of a whole frame of each kind.
pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const PING: u8 = 0x89;

/// What comes from a server.
#[derive(Debug)]
pub enum Got {
    Frame(Bytes),
    Ping,
    Pong,
    /// The server closed it, with this code and reason.
    Closed(u16, String),
    /// The connection ended without a word.
    Gone,
}

/// The answer to a handshake.
pub struct Handshake {
    pub status: u16,
    pub head: String,
    /// What came behind the head.
    pub rest: Vec<u8>,
    pub stream: TcpStream,
}

/// An open socket.
pub struct Socket {
    websocket: WebSocket<TcpStream>,
    /// What kinds of messages the server may send.
    speaks: Speaks,
}

/// What kinds of messages a server may send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Speaks {
    /// Binary ones: the native dialect.
    Binary,
    /// Text: the JSON dialect.
    Text,
    /// Binary ones until the first text.
    Either,
}

/// Everything that came until an upload was acknowledged.
#[derive(Debug, Default)]
pub struct Heard {
    /// Delivered entries, in order.
    pub entries: Vec<Value>,
    /// Announcements of another view.
    pub announcements: usize,
    /// Acknowledged ids, in order.
    pub acks: Vec<String>,
    /// Other frames, in order.
    pub events: Vec<Value>,
}

impl Heard {
    /// The codes of `nack` events that name no entries.
    pub fn codes(&self) -> Vec<&str> {
        let nacks = self.events.iter().filter(|event| event["nack"].as_array().is_some_and(Vec::is_empty));
        let texts = nacks.filter_map(|event| event["nackReason"].as_str());
        texts.map(|text| text.split(':').next().unwrap_or_default()).collect()
    }

    fn take(&mut self, frame: &Bytes) {
        let frame: Value = serde_json::from_slice(frame).expect("frames are JSON");
        if let Some(entries) = frame["auditLog"].as_array() {
            // The announcement of another view stands alone, and does nothing.
            let announces = entries.iter().any(|entry| entry["tableName"] == "AuditLog");
            assert!(!announces || entries.len() == 1, "{frame}");
            self.announcements += usize::from(announces);
            self.entries.extend(entries.iter().filter(|_| !announces).cloned());
        } else if let Some(ids) = frame["ack"].as_array() {
            assert!(!ids.is_empty(), "an empty ack is never sent");
            self.acks.extend(ids.iter().map(|id| id.as_str().expect("an id").to_owned()));
        } else {
            assert!(frame.get("rejected").is_none(), "it would lose what the client has in flight: {frame}");
            self.events.push(frame);
        }
    }
}

/// Bytes of one WebSocket frame of a client.
pub fn raw_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = raw_head(first, payload.len() as u64);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

const MASK: [u8; 4] = [0x11, 0x22, 0x33, 0x44];

/// The head of a frame of `length` bytes.
pub fn raw_head(first: u8, length: u64) -> Vec<u8> {
    let mut head = vec![first];
    match length {
        0..126 => head.push(0x80 | length as u8),
        126..0x1_0000 => {
            head.push(0x80 | 126);
            head.extend((length as u16).to_be_bytes());
        }
        _ => {
            head.push(0x80 | 127);
            head.extend(length.to_be_bytes());
        }
    }
    head.extend(MASK);
    head
}

/// Asks for a socket, and sends `early` in the same segment.
#[track_caller]
pub fn handshake(server: &TestServer, target: &str, token: Option<&str>, early: &[u8]) -> Handshake {
    handshake_of(server, target, token, early).expect("an answer to the handshake")
}

/// The same against a server that may be dying.
pub fn handshake_of(
    server: &TestServer,
    target: &str,
    token: Option<&str>,
    early: &[u8],
) -> std::io::Result<Handshake> {
    handshake_with(server, target, token, "", early)
}

/// The same with more lines in the head.
pub fn handshake_with(
    server: &TestServer,
    target: &str,
    token: Option<&str>,
    headers: &str,
    early: &[u8],
) -> std::io::Result<Handshake> {
    let mut stream = TcpStream::connect(server.address())?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let mut request = format!(
        "GET {target} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{token}{headers}\r\n",
        server.address()
    )
    .into_bytes();
    request.extend_from_slice(early);
    stream.write_all(&request)?;
    let (mut answer, mut chunk) = (Vec::new(), [0_u8; 4_096]);
    let end = loop {
        if let Some(at) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        match stream.read(&mut chunk)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => answer.extend_from_slice(&chunk[..count]),
        }
    };
    let rest = answer.split_off(end);
    let head = String::from_utf8(answer).expect("a head in ASCII");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Ok(Handshake { status, head, rest, stream })
}

impl Handshake {
    /// A header of the answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(held, _)| held.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// The problem document of a refusal.
    #[track_caller]
    pub fn problem(mut self) -> Value {
        let head = self.head.to_ascii_lowercase();
        assert!(head.contains("content-type: application/problem+json"), "{head}");
        let length = head.split_once("content-length: ").and_then(|(_, rest)| rest.split('\r').next());
        let length: usize = length.and_then(|length| length.parse().ok()).expect("a length");
        while self.rest.len() < length {
            let mut chunk = [0_u8; 1_024];
            let count = self.stream.read(&mut chunk).expect("a body");
            assert!(count > 0, "the body is cut short");
            self.rest.extend_from_slice(&chunk[..count]);
        }
        // Early bytes may have been answered as a second request.
        serde_json::from_slice(&self.rest[..length]).expect("JSON")
    }

    /// The socket, which must have been granted.
    #[track_caller]
    pub fn socket(self) -> Socket {
        assert_eq!(self.status, 101, "{}", self.head);
        assert!(self.head.contains(ACCEPT), "{}", self.head);
        assert!(!self.head.to_ascii_lowercase().contains("sec-websocket-extensions"), "none was offered");
        let config = WebSocketConfig::default().max_frame_size(None).max_message_size(None);
        let websocket = WebSocket::from_partially_read(self.stream, self.rest, Role::Client, Some(config));
        let head = self.head.to_ascii_lowercase();
        let speaks = if head.contains("sec-websocket-protocol") { Speaks::Text } else { Speaks::Binary };
        Socket { websocket, speaks }
    }
}

/// The target of a socket with this checkpoint.
pub fn target(checkpoint: Option<&str>) -> String {
    checkpoint.map_or_else(|| "/sync".to_owned(), |id| format!("/sync?last-event-id={id}"))
}

impl Socket {
    #[track_caller]
    pub fn open(server: &TestServer, token: &str, checkpoint: Option<&str>) -> Self {
        handshake(server, &target(checkpoint), Some(token), b"").socket()
    }

    /// A frame in the JSON dialect is about to be sent: the answers to it are text.
    pub fn switches(&mut self) {
        self.speaks = Speaks::Either;
    }

    /// The stream below, to put any bytes on it.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.websocket.get_mut()
    }

    /// Sends a frame as clients do: binary.
    #[track_caller]
    pub fn send(&mut self, frame: impl Into<Bytes>) {
        self.try_send(frame).expect("the server takes a frame");
    }

    /// Sends a frame to a server that may be gone.
    pub fn try_send(&mut self, frame: impl Into<Bytes>) -> Result<(), Error> {
        self.websocket.send(Message::Binary(frame.into()))
    }

    #[track_caller]
    pub fn send_text(&mut self, frame: &str) {
        self.websocket.send(Message::text(frame)).expect("the server takes a frame");
    }

    #[track_caller]
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream().write_all(bytes).expect("the server takes bytes");
    }

    #[track_caller]
    pub fn upload(&mut self, entries: &[&Entry]) {
        self.send(Entry::frame(entries));
    }

    /// The next thing that comes.
    #[track_caller]
    pub fn next(&mut self) -> Got {
        self.next_within(PATIENCE).unwrap_or_else(|| panic!("nothing came within {PATIENCE:?}"))
    }

    /// The next thing, if it comes in time.
    #[track_caller]
    pub fn next_within(&mut self, patience: Duration) -> Option<Got> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream().set_read_timeout(Some(left)).expect("a time-out");
            return Some(match self.websocket.read() {
                Ok(Message::Binary(frame)) => {
                    assert_ne!(self.speaks, Speaks::Text, "the JSON dialect is text");
                    Got::Frame(frame)
                }
                Ok(Message::Text(text)) => {
                    assert_ne!(self.speaks, Speaks::Binary, "the native dialect is binary: {text}");
                    self.speaks = Speaks::Text;
                    Got::Frame(text.into())
                }
                Ok(Message::Ping(_)) => {
                    let _ = self.websocket.flush();
                    Got::Ping
                }
                Ok(Message::Pong(_)) => Got::Pong,
                Ok(Message::Close(frame)) => {
                    let _ = self.websocket.flush();
                    let CloseFrame { code, reason } = frame.expect("a close frame with a code");
                    Got::Closed(code.into(), reason.to_string())
                }
                Ok(Message::Frame(_)) => continue,
                Err(Error::Io(error))
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if Instant::now() < deadline {
                        continue;
                    }
                    return None;
                }
                Err(Error::Io(_) | Error::ConnectionClosed | Error::AlreadyClosed) => Got::Gone,
                Err(Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => {
                    Got::Gone
                }
                Err(error) => panic!("the server breaks the protocol: {error}"),
            });
        }
    }

    /// The next frame; pings are answered on the way.
    #[track_caller]
    pub fn next_frame(&mut self) -> Bytes {
        loop {
            match self.next() {
                Got::Frame(frame) => return frame,
                Got::Ping | Got::Pong => {}
                end => panic!("a frame was to come, not {end:?}"),
            }
        }
    }

    /// Code and reason of the close frame; frames before it are skipped.
    #[track_caller]
    pub fn closed(&mut self) -> (u16, String) {
        loop {
            match self.next() {
                Got::Closed(code, reason) => return (code, reason),
                Got::Gone => panic!("the connection ended without a close frame"),
                _ => {}
            }
        }
    }

    /// Everything until all of these are acknowledged.
    #[track_caller]
    pub fn until_acked(&mut self, ids: &[&str]) -> Heard {
        let mut heard = Heard::default();
        while !ids.iter().all(|id| heard.acks.iter().any(|acked| acked == id)) {
            heard.take(&self.next_frame());
        }
        heard
    }

    /// Uploads in one frame and listens until all is acknowledged.
    #[track_caller]
    pub fn store(&mut self, entries: &[&Entry]) -> Heard {
        self.upload(entries);
        let ids: Vec<&str> = entries.iter().map(|entry| &*entry.id).collect();
        self.until_acked(&ids)
    }

    /// Everything until there are so many entries.
    #[track_caller]
    pub fn until_entries(&mut self, count: usize) -> Heard {
        self.until(|heard| heard.entries.len() >= count)
    }

    /// Everything until an event.
    #[track_caller]
    pub fn until_event(&mut self) -> Heard {
        self.until(|heard| !heard.events.is_empty())
    }

    /// Everything until it is enough.
    #[track_caller]
    pub fn until(&mut self, enough: impl Fn(&Heard) -> bool) -> Heard {
        let mut heard = Heard::default();
        while !enough(&heard) {
            heard.take(&self.next_frame());
        }
        heard
    }

    /// Closes it as a client does, and waits for the answer.
    #[track_caller]
    pub fn close(mut self) {
        let frame = CloseFrame { code: 1000.into(), reason: "".into() };
        self.websocket.close(Some(frame)).expect("a close frame leaves");
        loop {
            match self.next() {
                Got::Closed(..) => return,
                Got::Gone => panic!("the server did not answer the close frame"),
                _ => {}
            }
        }
    }
}
