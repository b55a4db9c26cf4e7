//! A minimal WebSocket client: RFC 6455 without extensions, one frame a message.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::ops::Range;

use memchr::memmem;
use tokio::net::TcpStream;

use crate::Failure;
use crate::frames::push_masked;

const OP_CLOSE: u8 = 8;
const OP_PING: u8 = 9;
/// Pong.
pub(crate) const OP_PONG: u8 = 10;
/// Largest frame that is expected of a server, in bytes.
const MAX_FRAME_BYTES: usize = 64 << 20;

/// A connection.
pub(crate) struct Conn {
    tcp: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// A frame in the buffer of its connection: valid until the next one is read.
pub(crate) struct Received {
    pub(crate) opcode: u8,
    pub(crate) range: Range<usize>,
}

fn lost(error: &std::io::Error) -> Failure {
    format!("the connection to the server was lost: {error}")
}

impl Conn {
    /// Connects, with a read buffer of this many bytes that grows when a frame needs it.
    pub(crate) async fn open(
        address: SocketAddr,
        path: &str,
        token: &str,
        buffer_bytes: usize,
    ) -> Result<Self, Failure> {
        let tcp = TcpStream::connect(address).await;
        let tcp = tcp.map_err(|error| format!("cannot connect to {address}: {error}"))?;
        tcp.set_nodelay(true).map_err(|error| lost(&error))?;
        let mut conn = Self { tcp, buffer: vec![0; buffer_bytes], start: 0, end: 0 };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        );
        conn.send(request.as_bytes()).await?;
        loop {
            let head = &conn.buffer[..conn.end];
            if let Some(at) = memmem::find(head, b"\r\n\r\n") {
                if !head.starts_with(b"HTTP/1.1 101") {
                    let line = String::from_utf8_lossy(head).lines().next().unwrap_or_default().to_owned();
                    return Err(format!("the server refused {path}: {line}"));
                }
                conn.start = at + 4;
                return Ok(conn);
            }
            conn.fill(1_024).await?;
        }
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&self, mut bytes: &[u8]) -> Result<(), Failure> {
        while !bytes.is_empty() {
            match self.tcp.try_write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.tcp.writable().await.map_err(|error| lost(&error))?;
                }
                Err(error) => return Err(lost(&error)),
            }
        }
        Ok(())
    }

    /// The next frame; pings are answered here. Nothing is lost when this is dropped while it waits.
    pub(crate) async fn next(&mut self) -> Result<Received, Failure> {
        loop {
            match self.split()? {
                Ok(received) if received.opcode == OP_PING => {
                    let mut pong = Vec::new();
                    push_masked(&mut pong, 0x80 | OP_PONG, self.payload(&received));
                    self.send(&pong).await?;
                }
                Ok(received) => return Ok(received),
                Err(missing) => self.fill(missing).await?,
            }
        }
    }

    /// The next frame if it was read already.
    pub(crate) fn buffered(&mut self) -> Result<Option<Received>, Failure> {
        let start = self.start;
        match self.split()? {
            Ok(received) if received.opcode == OP_PING => {
                self.start = start;
                Ok(None)
            }
            Ok(received) => Ok(Some(received)),
            Err(_) => Ok(None),
        }
    }

    /// What a frame holds.
    pub(crate) fn payload(&self, received: &Received) -> &[u8] {
        &self.buffer[received.range.clone()]
    }

    /// Cuts a frame off the buffer, or says how many bytes are missing at least.
    fn split(&mut self) -> Result<Result<Received, usize>, Failure> {
        let bytes = &self.buffer[self.start..self.end];
        let [first, second, rest @ ..] = bytes else { return Ok(Err(2 - bytes.len())) };
        let (header, length) = match (second & 0x7f, rest) {
            (126, [a, b, ..]) => (4, usize::from(u16::from_be_bytes([*a, *b]))),
            (127, [a, b, c, d, e, f, g, h, ..]) => {
                (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) as usize)
            }
            (126 | 127, _) => return Ok(Err(1)),
            (length, _) => (2, usize::from(length)),
        };
        if first & 0xf0 != 0x80 || second & 0x80 != 0 || length > MAX_FRAME_BYTES {
            return Err("the server sent a frame that this client does not read".into());
        }
        if bytes.len() < header + length {
            return Ok(Err(header + length - bytes.len()));
        }
        let opcode = first & 15;
        let start = self.start + header;
        let range = start..start + length;
        if opcode == OP_CLOSE {
            let reason =
                String::from_utf8_lossy(self.buffer[range].get(2..).unwrap_or_default()).into_owned();
            return Err(format!("the server closed the connection: {reason:?}"));
        }
        self.start = range.end;
        Ok(Ok(Received { opcode, range }))
    }

    async fn fill(&mut self, missing: usize) -> Result<(), Failure> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.buffer.len() - self.end < missing {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.buffer.len() - self.end < missing {
                self.buffer.resize(self.end + missing, 0);
            }
        }
        loop {
            match self.tcp.try_read(&mut self.buffer[self.end..]) {
                Ok(0) => return Err("the server closed the connection".into()),
                Ok(count) => {
                    self.end += count;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.tcp.readable().await.map_err(|error| lost(&error))?;
                }
                Err(error) => return Err(lost(&error)),
            }
        }
    }
}
