//! A server that stores nothing: what WebSockets cost by themselves, with the options of the real server's sockets.
//!
//! `/sync`: an upload is acknowledged and goes to all other sockets as it is. `/keep`: uploads are kept and acknowledged.
//! `/replay`: everything that was kept is sent.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use sha1::{Digest, Sha1};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use yawc::{CompressionLevel, DeflatePool, Frame, OpCode, Options, Role, WebSocket, WebSocketError};

use crate::Failure;
use crate::frames::Acker;

/// Frames that wait for the slowest socket: more than ever are in flight.
const MAX_WAITING_FRAMES: usize = 4_096;
const MAX_FRAME_BYTES: usize = 64 << 20;
const MAX_HEAD_BYTES: usize = 4_096;
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[derive(Clone)]
struct Shared {
    frames: broadcast::Sender<(u64, Bytes)>,
    kept: Arc<Mutex<Vec<Bytes>>>,
    deflate: DeflatePool,
}

/// Serves until standard input ends.
pub(crate) async fn serve() -> Result<(), Failure> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await;
    let listener = listener.map_err(|error| format!("cannot listen: {error}"))?;
    let address = listener.local_addr().map_err(|error| format!("cannot listen: {error}"))?;
    let (gone, parent) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        drop(gone);
    });
    let said = writeln!(std::io::stdout(), "lattice-bench listens on http://{address} (nothing is stored)");
    said.map_err(|error| format!("cannot say where it listens: {error}"))?;
    let shared = Shared {
        frames: broadcast::Sender::new(MAX_WAITING_FRAMES),
        kept: Arc::default(),
        deflate: DeflatePool::new(8),
    };
    let accept = async {
        for number in 0.. {
            let Ok((tcp, _)) = listener.accept().await else { break };
            let shared = shared.clone();
            tokio::spawn(async move {
                let _ = socket(tcp, number, shared).await;
            });
        }
    };
    tokio::select! {
        () = accept => {}
        _ = parent => {}
    }
    Ok(())
}

/// As in the server's `sync/handshake.rs`.
fn options(pool: &DeflatePool) -> Options {
    Options::default()
        .with_limits(MAX_FRAME_BYTES + 1, MAX_FRAME_BYTES + 1)
        .with_utf8()
        .with_read_buffer_capacity(1_024)
        .with_write_buffer_capacity(1_024)
        .with_compression_level(CompressionLevel::new(1))
        .server_no_context_takeover()
        .client_no_context_takeover()
        .with_deflate_pool(pool.clone())
        .with_compression_threshold(256)
}

async fn socket(tcp: TcpStream, number: u64, shared: Shared) -> Result<(), WebSocketError> {
    tcp.set_nodelay(true)?;
    let path = handshake(&tcp).await?;
    let mut websocket =
        WebSocket::from_stream_with_extensions(tcp, Role::Server, None, options(&shared.deflate))?;
    if path == "/replay" {
        return replay(websocket, &shared).await;
    }
    let mut frames = shared.frames.subscribe();
    let mut acker = Acker::new();
    loop {
        tokio::select! {
            frame = websocket.next_frame() => {
                let frame = frame?;
                match frame.opcode() {
                    OpCode::Close => return Ok(()),
                    OpCode::Text | OpCode::Binary => {}
                    _ => continue,
                }
                let payload = frame.into_payload();
                if !payload.starts_with(br#"{"auditLog""#) {
                    continue;
                }
                let ack = Bytes::copy_from_slice(acker.plain(&payload));
                if path == "/keep" {
                    shared.kept.lock().unwrap_or_else(PoisonError::into_inner).push(payload);
                } else {
                    let _ = shared.frames.send((number, payload));
                }
                websocket.send(Frame::binary(ack)).await?;
            }
            received = frames.recv() => {
                let mut next = match received {
                    Ok(frame) => Some(frame),
                    Err(RecvError::Lagged(_) | RecvError::Closed) => return Ok(()),
                };
                // What waits goes out in one write.
                while let Some((from, payload)) = next {
                    if from != number {
                        websocket.feed(Frame::binary(payload)).await?;
                    }
                    next = match frames.try_recv() {
                        Ok(frame) => Some(frame),
                        Err(TryRecvError::Empty) => None,
                        Err(_) => return Ok(()),
                    };
                }
                websocket.flush().await?;
            }
        }
    }
}

/// Reads while it writes, as the real server does: the acks of the client have to go somewhere.
async fn replay(websocket: WebSocket<TcpStream>, shared: &Shared) -> Result<(), WebSocketError> {
    let kept = shared.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (mut sink, mut stream) = websocket.split();
    let write = async {
        for frame in kept {
            sink.send(Frame::binary(frame)).await?;
        }
        Ok::<(), WebSocketError>(())
    };
    let read = async { while stream.next().await.is_some() {} };
    let (written, ()) = tokio::join!(write, read);
    written
}

/// Answers the handshake of our own client, which sends nothing before it has the answer.
async fn handshake(tcp: &TcpStream) -> std::io::Result<String> {
    let (mut head, mut used) = ([0; MAX_HEAD_BYTES], 0);
    while !head[..used].ends_with(b"\r\n\r\n") {
        tcp.ready(Interest::READABLE).await?;
        match tcp.try_read(&mut head[used..]) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => used += count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    let head = String::from_utf8_lossy(&head[..used]);
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap_or_default();
    let hash = Sha1::new().chain_update(key).chain_update(ACCEPT_GUID).finalize();
    let accept = base64::engine::general_purpose::STANDARD.encode(hash);
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    // The buffer of a fresh connection takes these bytes at once.
    tcp.try_write(answer.as_bytes())?;
    Ok(path)
}
