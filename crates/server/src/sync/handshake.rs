//! `GET /sync` and `GET /sync/{space}`: who is it, which space, where did it stop, and the switch to WebSocket.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use hyper_util::rt::TokioIo;
use lattice_auth::Identity;
use lattice_engine::WriterId;
use lattice_protocol::Code;
use lattice_protocol::plain::{SUBPROTOCOL, Space};
use lattice_session::{Opening, Overloaded, Refusal, ResumeFrom, SubscribeRequest, Switched};
use lattice_store::spaces::Origin;
use sha1::{Digest, Sha1};
use tracing::Instrument;
use utoipa::IntoParams;
use yawc::{CompressionLevel, DeflatePool, Options, Role, WebSocket};

use super::connection::{Connection, End};
use super::json::Json;
use super::logged::{Logged, SocketLog};
use super::native::{self, Finished};
use super::{SyncState, audited, farewell, space};
use crate::http::bearer;
use crate::http::openapi::problems;
use crate::http::problem::{Problem, sentence};
use crate::http::request_log;
use crate::limits::Class;
use crate::net::io::SocketIo;
use crate::net::listen::{PeerAddress, Place};
use crate::net::stream::Stream;
use crate::spaces::SpaceError;

/// Declare the version of the app's schema. The second is what the clients' own server reads.
const SCHEMA_VERSION_HEADERS: [&str; 2] = ["lattice-schema-version", "x-lattice-schema"];
/// The same where no header can be set: native clients set none but `Authorization`, and apps put it into their URL.
const SCHEMA_VERSION_QUERIES: [&str; 2] = ["schema-version", "schema"];
/// Longest `User-Agent` kept with the audit log, in bytes.
const MAX_USER_AGENT_BYTES: usize = 256;
/// Messages below this size are not compressed. Never less than 64: see [`options`].
const COMPRESSION_THRESHOLD_BYTES: usize = 256;
/// What RFC 6455 appends to the client's key.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

problems!(
    SyncProblems,
    [TOKEN, SPACE],
    426 "websocket_required",
    400 "bad_handshake",
    400 "bad_schema_version",
    409 "schema_version",
    429 "rate_limited",
    503 "overloaded"
);

/// What a sync socket is opened with.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documentation")]
struct SocketQuery {
    /// The last entry that was received; without it state is sent from the start.
    #[param(rename = "last-event-id")]
    last_event_id: Option<String>,
    /// The token, for clients that cannot set headers.
    token: Option<String>,
    /// The version of the app's schema that the client was built for; `schema` and the headers `Lattice-Schema-Version` and
    /// `X-Lattice-Schema` say the same. Whoever comes with a later one than before is sent all rows again.
    #[param(rename = "schema-version")]
    schema_version: Option<u64>,
}

/// Opens the sync socket of one's private space, or of the one that `space` names.
///
/// The protocol is told in PROTOCOL.md.
#[utoipa::path(
    get,
    path = "/sync",
    tag = "sync",
    security(("bearer" = [])),
    params(SocketQuery, ("space" = Option<String>, Query, description = "`me` or the id of a space.")),
    responses((status = 101, description = "It is a WebSocket from here on."), SyncProblems)
)]
pub(crate) async fn sync_socket(
    State(state): State<SyncState>,
    request: Request,
) -> Result<Response, Problem> {
    let named = query_value(request.uri(), "space");
    open(state, named, request).await
}

/// Opens the sync socket of a space.
#[utoipa::path(
    get,
    path = "/sync/{space}",
    tag = "sync",
    security(("bearer" = [])),
    params(SocketQuery, ("space" = String, Path, description = "`me` or the id of a space.")),
    responses((status = 101, description = "It is a WebSocket from here on."), SyncProblems)
)]
pub(crate) async fn sync_space_socket(
    State(state): State<SyncState>,
    Path(named): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    open(state, Some(named), request).await
}

/// Opens a socket, or refuses it: in the JSON dialect by a close code, since browsers tell pages nothing else.
async fn open(state: SyncState, named: Option<String>, request: Request) -> Result<Response, Problem> {
    let key = websocket_key(request.headers())?;
    let (parts, body) = request.into_parts();
    let admitted = admit(&state, named, &parts).await;
    let speaks_json = offers_json(&parts.headers);
    let request = Request::from_parts(parts, body);
    match admitted {
        Ok(opened) => upgrade(opened, &key, request),
        Err(problem) if speaks_json => Ok(farewell::refuse(&state, &key, request, problem)),
        Err(problem) => Err(problem),
    }
}

/// Whether a client is let in, and as whom.
async fn admit(state: &SyncState, named: Option<String>, request: &Parts) -> Result<Box<Opened>, Problem> {
    let token = bearer::token(&request.headers, &request.uri).ok_or_else(Problem::no_token)?;
    let address = request.extensions.get::<PeerAddress>().map(|peer| peer.0.ip());
    state.rates.address(Class::HandshakeAddress, address).await?;
    state.auth.prepare(&token).await?;
    let turn = state.admission.handshake().await?;
    let identity = bearer::authenticate(&state.auth, &token).await?;
    state.rates.user(Class::HandshakeAccount, identity.user).await?;
    let version = state.directory.version();
    let origin = origin_of(state, &identity, &request.extensions, &request.headers);
    let name = space_name(named.as_deref())?;
    let schema_version = schema_version(&request.headers, &request.uri)?;
    let checkpoint = query_value(&request.uri, "last-event-id").filter(|id| !id.is_empty());
    let native = if offers_json(&request.headers) {
        None
    } else {
        request_log::note_space(name);
        let subscribe = SubscribeRequest { filter: None, schema_version };
        let resume = checkpoint.clone().map_or(ResumeFrom::Unknown, ResumeFrom::Checkpoint);
        let opening = Opening::keeping(identity.user.0, subscribe, resume);
        let mut opened = space::open(state, &origin, space::selector(name), opening).await?;
        opened.name_newest_accepted(state).await?;
        Some(Box::new(opened))
    };
    drop(turn);
    audited::opened(state, &origin, native.as_ref().map(|opened| opened.link.id()));
    // On the heap, as the parts are that it is made of: a future keeps room for whatever was moved through it.
    let state = state.clone();
    let opened = Opened { state, identity, version, origin, name, schema_version, checkpoint, native };
    Ok(Box::new(opened))
}

fn upgrade(opened: Box<Opened>, key: &HeaderValue, request: Request) -> Result<Response, Problem> {
    let log = SocketLog::new(Logged::of(request.extensions()));
    let speaks_json = offers_json(request.headers());
    let place = request.extensions().get::<Place>().cloned();
    let agreed = agree_on_deflate(request.headers());
    let upgrade = hyper::upgrade::on(request);
    let tracker = opened.state.tracker.clone();
    let answer = switching(key, agreed, speaks_json)?;
    let serving = async move {
        let _place = place;
        match upgrade.await.map(hyper::upgrade::Upgraded::downcast::<TokioIo<Stream>>) {
            Ok(Ok(parts)) => {
                let io = SocketIo::new(parts.io.into_inner(), parts.read_buf);
                let handle = io.handle();
                let options = options(&opened.state.deflate, opened.state.limits.max_frame_bytes);
                match WebSocket::from_stream_with_extensions(io, Role::Server, agreed, options) {
                    Ok(websocket) => opened.serve(websocket, handle, log).await,
                    Err(error) => tracing::error!(%error, "cannot set up a WebSocket"),
                }
            }
            Ok(Err(_)) => tracing::error!("an upgraded connection is of another kind"),
            Err(error) => tracing::debug!(%error, "the client left during the handshake"),
        }
    };
    // What is logged of the socket has the id of its handshake.
    tracker.spawn(serving.in_current_span());
    Ok(answer)
}

/// A connection that was let in.
struct Opened {
    state: SyncState,
    identity: Identity,
    version: u64,
    origin: Arc<Origin>,
    /// The space that the address names.
    name: Space,
    schema_version: Option<u64>,
    checkpoint: Option<String>,
    /// The space of a client that did not ask for the JSON dialect.
    native: Option<Box<space::Opened>>,
}

impl Opened {
    /// What is spoken on the connection until it ends. Each part of it is on the heap, and gone once it is over: few
    /// connections speak both dialects.
    fn serve(
        self: Box<Self>,
        websocket: WebSocket<SocketIo>,
        io: SocketIo,
        log: SocketLog,
    ) -> impl Future<Output = ()> {
        let connection = Connection::new(&self.state, websocket, io, self.identity, self.version, log);
        let mut connection = Box::new(connection);
        let (audit, origin) = (Arc::clone(self.state.auth.audit()), Arc::clone(&self.origin));
        async move {
            let end = self.speak(&mut connection).await;
            audited::closed(&*audit, &origin, &end);
            end.log(&connection.log);
            Box::pin(connection.close(end)).await;
        }
    }

    async fn speak(mut self: Box<Self>, connection: &mut Connection) -> End {
        let (mut first, mut switched) = (None, None);
        if let Some(opened) = self.native.take() {
            match Box::pin(native::serve(&self.state, connection, opened)).await {
                Finished::End(end) => return end,
                Finished::Json(frame) => {
                    let cursor = self.checkpoint.take().map(bytestring::ByteString::from);
                    (first, switched) = (Some(frame), Some(Switched { space: self.name, cursor }));
                }
            }
        }
        let origin = Arc::clone(&self.origin);
        let json = Json::new(&self.state, connection, origin, self.schema_version, switched);
        Box::pin(json.serve(first)).await
    }
}

/// Who stands behind a request.
pub(super) fn origin_of(
    state: &SyncState,
    identity: &Identity,
    extensions: &axum::http::Extensions,
    headers: &HeaderMap,
) -> Arc<Origin> {
    let peer = extensions.get::<PeerAddress>();
    let origin = Origin {
        writer: WriterId([0; 16]),
        user: identity.user.0,
        session: identity.session.0,
        address: peer.map_or_else(String::new, |peer| peer.0.ip().to_string()),
        user_agent: user_agent(headers),
        opened_us: 0,
    };
    space::new_writer(state, &origin)
}

/// The space that a request names; the private one where it names none.
pub(super) fn space_name(named: Option<&str>) -> Result<Space, Problem> {
    match named {
        None | Some("") => Ok(Space::Me),
        // A name that no space can have is as unknown as any other.
        Some(text) => Space::parse(text).ok_or_else(|| Refusal::NotFound.into()),
    }
}

/// The version of the app's schema that a request declares.
pub(super) fn schema_version(headers: &HeaderMap, uri: &Uri) -> Result<Option<u64>, Problem> {
    let header = SCHEMA_VERSION_HEADERS.iter().find_map(|name| headers.get(*name));
    let header = header.map(|value| value.to_str().unwrap_or("?").to_owned());
    let declared = header.or_else(|| SCHEMA_VERSION_QUERIES.iter().find_map(|name| query_value(uri, name)));
    let Some(text) = declared else { return Ok(None) };
    let bad = || {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "bad_schema_version",
            "The version of the schema is not a number.",
        )
    };
    text.parse().map(Some).map_err(|_| bad())
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound => SpaceError::NOT_FOUND.into(),
            Refusal::Schema { .. } => {
                let code = refusal.code().as_str();
                Self::new(StatusCode::CONFLICT, code, sentence(&refusal.to_string()))
            }
            Refusal::AccessChanged => {
                Self::unavailable(refusal.code().as_str(), sentence(&refusal.to_string()))
            }
            Refusal::Overloaded(overloaded) => overloaded.into(),
            Refusal::OverQuota => {
                let code = refusal.code().as_str();
                Self::new(StatusCode::INSUFFICIENT_STORAGE, code, sentence(&refusal.to_string()))
            }
            Refusal::Store => Self::internal("the store failed"),
        }
    }
}

impl From<Overloaded> for Problem {
    fn from(overloaded: Overloaded) -> Self {
        let detail = "The server has too much to do; come again when Retry-After says.";
        Self::unavailable_for(Code::Overloaded.as_str(), detail, overloaded.retry_after_s)
    }
}

/// Whether a client asks for the JSON dialect.
fn offers_json(headers: &HeaderMap) -> bool {
    let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    let mut offers = offers.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    offers.any(|offer| offer.trim() == SUBPROTOCOL)
}

/// Settings of a socket. Takeover of the compression context is off both ways: it would cost 300 KB for each socket, and
/// with it an empty message after a compressed one makes the codec spin.
pub(super) fn options(pool: &DeflatePool, max_frame_bytes: usize) -> Options {
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

pub(super) fn switching(
    key: &HeaderValue,
    agreed: Option<&'static str>,
    speaks_json: bool,
) -> Result<Response, Problem> {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(ACCEPT_GUID);
    let accept = base64::engine::general_purpose::STANDARD.encode(hash.finalize());
    let accept =
        HeaderValue::from_str(&accept).map_err(|_| Problem::internal("a handshake cannot be answered"))?;
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if speaks_json {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    if let Some(agreed) = agreed {
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(agreed));
    }
    Ok(response)
}

pub(super) fn query_value(uri: &Uri, name: &str) -> Option<String> {
    let pairs = form_urlencoded::parse(uri.query()?.as_bytes());
    pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn user_agent(headers: &HeaderMap) -> String {
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // A header value that is text is ASCII, so any cut falls between characters.
    agent[..agent.len().min(MAX_USER_AGENT_BYTES)].to_owned()
}
