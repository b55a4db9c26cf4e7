//! `GET /sync`: who is it, where did it stop, and the switch to WebSocket.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use hyper_util::rt::TokioIo;
use lattice_engine::{Cursor, WriterId};
use lattice_protocol::EntryId;
use lattice_store::StoreError;
use lattice_store::spaces::{Origin, Space};
use sha1::{Digest, Sha1};
use tokio::net::TcpStream;
use yawc::{CompressionLevel, DeflatePool, Options, Role, WebSocket};

use super::SyncState;
use super::socket::{Socket, Start};
use crate::http::bearer;
use crate::http::problem::Problem;
use crate::net::io::SocketIo;
use crate::net::listen::{PeerAddress, Place};

/// Longest `User-Agent` kept with the audit log, in bytes.
const MAX_USER_AGENT_BYTES: usize = 256;
/// Messages below this size are not compressed. Never less than 64: see [`options`].
const COMPRESSION_THRESHOLD_BYTES: usize = 256;
/// What RFC 6455 appends to the client's key.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The handler.
pub async fn sync(State(state): State<SyncState>, request: Request) -> Result<Response, Problem> {
    let key = websocket_key(request.headers())?;
    let token = bearer::token(request.headers(), request.uri()).ok_or_else(Problem::no_token)?;
    let identity = state.auth.authenticate(&token).await?;
    let space = state.store.private_space(identity.user.0).await?;
    let checkpoint = query_value(request.uri(), "last-event-id").filter(|id| !id.is_empty());
    let (cursor, lost_checkpoint) = resolve(&state, &space, checkpoint).await?;

    let mut writer = [0; 16];
    state.random.fill(&mut writer);
    let extensions = request.extensions();
    let address = extensions.get::<PeerAddress>().map_or_else(String::new, |peer| peer.0.ip().to_string());
    let place = extensions.get::<Place>().cloned();
    let origin = Arc::new(Origin {
        writer: WriterId(writer),
        user: identity.user.0,
        session: identity.session.0,
        address,
        user_agent: user_agent(request.headers()),
        opened_us: state.clock.now_us(),
    });
    let start = Start { space, origin, cursor, lost_checkpoint, identity };
    let agreed = agree_on_deflate(request.headers());
    let upgrade = hyper::upgrade::on(request);
    let tracker = state.tracker.clone();
    let answer = switching(&key, agreed)?;
    tracker.spawn(async move {
        let _place = place;
        match upgrade.await.map(hyper::upgrade::Upgraded::downcast::<TokioIo<TcpStream>>) {
            Ok(Ok(parts)) => {
                let io = SocketIo::new(parts.io.into_inner(), parts.read_buf);
                let handle = io.handle();
                let options = options(&state.deflate, state.limits.max_frame_bytes);
                match WebSocket::from_stream_with_extensions(io, Role::Server, agreed, options) {
                    Ok(websocket) => Socket::new(state, websocket, handle, start).run().await,
                    Err(error) => tracing::error!(%error, "cannot set up a WebSocket"),
                }
            }
            Ok(Err(_)) => tracing::error!("an upgraded connection is not a TCP stream"),
            Err(error) => tracing::debug!(%error, "the client left during the handshake"),
        }
    });
    Ok(answer)
}

/// Settings of a socket. Takeover of the compression context is off both ways: it would cost 300 KB for each socket, and
/// with it an empty message after a compressed one makes the codec spin.
fn options(pool: &DeflatePool, max_frame_bytes: usize) -> Options {
    // Limits are exclusive.
    Options::default()
        .with_limits(max_frame_bytes + 1, max_frame_bytes + 1)
        .with_utf8()
        .with_read_buffer_capacity(1_024)
        .with_write_buffer_capacity(1_024)
        .with_compression_level(CompressionLevel::new(1))
        .server_no_context_takeover()
        .client_no_context_takeover()
        .with_deflate_pool(pool.clone())
        .with_compression_threshold(COMPRESSION_THRESHOLD_BYTES)
}

/// The first offer of permessage-deflate that can be met as it stands, as the answer to it. An offer that limits our
/// window is left: the sizes that matter here gain nothing from a smaller one.
fn agree_on_deflate(headers: &HeaderMap) -> Option<&'static str> {
    let offers = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).into_iter();
    let offers = offers.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    for offer in offers {
        let mut words = offer.split(';').map(str::trim);
        if words.next() != Some("permessage-deflate") {
            continue;
        }
        let names: Vec<&str> = words.collect();
        let known = |word: &&str| {
            let name = word.split('=').next().unwrap_or_default().trim();
            matches!(
                name,
                "server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits"
            )
        };
        if names.iter().all(known) {
            return Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover");
        }
    }
    None
}

fn websocket_key(headers: &HeaderMap) -> Result<HeaderValue, Problem> {
    let has = |name: header::HeaderName, word: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(word))
    };
    if !has(header::UPGRADE, "websocket") || !has(header::CONNECTION, "upgrade") {
        return Err(Problem::new(
            StatusCode::UPGRADE_REQUIRED,
            "websocket_required",
            "This address speaks WebSocket only.",
        ));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| key.len() <= 64).cloned();
    key.filter(|_| has(header::SEC_WEBSOCKET_VERSION, "13")).ok_or_else(|| {
        Problem::new(StatusCode::BAD_REQUEST, "bad_handshake", "Sec-WebSocket-Key or version 13 is missing.")
    })
}

fn switching(key: &HeaderValue, agreed: Option<&'static str>) -> Result<Response, Problem> {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(ACCEPT_GUID);
    let accept = base64::engine::general_purpose::STANDARD.encode(hash.finalize());
    let accept = HeaderValue::from_str(&accept).map_err(|_| Problem::internal())?;
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(agreed) = agreed {
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(agreed));
    }
    Ok(response)
}

/// The cursor of a checkpoint. One that cannot be resolved means full state, and the client is told.
async fn resolve(
    state: &SyncState,
    space: &Space,
    checkpoint: Option<String>,
) -> Result<(Cursor, Option<String>), StoreError> {
    let Some(text) = checkpoint else { return Ok((Cursor::default(), None)) };
    if let Some((id, _)) = EntryId::parse(&text) {
        let cursor = match space.minter.verify(id) {
            Some(cursor) => Some(cursor),
            None => state.store.receipt(space, id).await?.map(|receipt| Cursor::complete(receipt.seq)),
        };
        let head = state.store.head(space).await?.seq;
        // A cursor beyond the head is from a future that a restored backup does not have.
        if let Some(cursor) = cursor.filter(|cursor| cursor.position <= head) {
            return Ok((cursor, None));
        }
    }
    Ok((Cursor::default(), Some(text)))
}

fn query_value(uri: &Uri, name: &str) -> Option<String> {
    let pairs = form_urlencoded::parse(uri.query()?.as_bytes());
    pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn user_agent(headers: &HeaderMap) -> String {
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // A header value that is text is ASCII, so any cut falls between characters.
    agent[..agent.len().min(MAX_USER_AGENT_BYTES)].to_owned()
}
