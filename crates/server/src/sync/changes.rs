//! The JSON dialect over HTTP: `POST /sync/changes` uploads, `GET /sync/changes` reads a page, and waits for one.
//!
//! A request is a connection of its own: what it wrote itself comes back to its client with the next page, which changes
//! nothing there. Refusals: those of the token, `space_not_found` (404), `schema_version` (409), `bad_frame` and others of the
//! dialect (400), `body_too_large` (413), `rate_limited` (429), `quota_exceeded` (507).

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use lattice_auth::AuthError;
use lattice_protocol::limits::{MAX_CHANGES_PER_FRAME, MAX_POLL_CHANGES};
use lattice_protocol::plain::{
    self, Format, IdSource, Page, decode_upload, encode_entry, encode_page, encode_upload_answer,
};
use lattice_protocol::{Code, FrameError, Spelling};
use lattice_store::time::random_id;
use tokio::time::Instant;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};
use utoipa::{IntoParams, ToSchema};

use super::SyncState;
use super::answer::refused_codes;
use super::handshake::{origin_of, query_value, schema_version, space_name};
use super::json;
use super::line::ACCESS_CHECK_INTERVAL;
use super::logged::Logged;
use super::native::off_thread;
use super::seat::{self, Ask, MAX_PAGE_ROWS, Refusal, Seat};
use crate::http::bearer;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::request_log;

/// Longest time that a poll may wait, in seconds: proxies end requests that take much longer.
const MAX_WAIT_S: u64 = 55;

problems!(UploadProblems, [TOKEN, SPACE, SYNC], 429 "rate_limited", 413 "body_too_large", 413 "too_many_changes", 507 "quota_exceeded");

/// Uploads changes to a space: the JSON dialect's `upload`, over HTTP.
#[utoipa::path(
    post,
    path = "/sync/changes",
    tag = "sync",
    security(("bearer" = [])),
    params(Declared),
    request_body(content = UploadBody, description = "The changes; those that are refused keep no other from being stored."),
    responses((status = 200, description = "What became of each, and what the client must hold instead.", body = UploadAnswer), UploadProblems)
)]
pub(crate) async fn upload_changes(
    State(state): State<SyncState>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let token = bearer::header_token(&parts.headers).ok_or_else(Problem::no_token)?;
    state.auth.prepare(&token).await?;
    let turn = state.admission.handshake().await?;
    let identity = bearer::authenticate(&state.auth, &token).await?;
    if !identity.permissions.can_write() {
        return Err(AuthError::PermissionDenied.into());
    }
    // Not while the body is on its way: that is the client's time.
    drop(turn);
    state.rates.may_upload(identity.user, identity.session)?;
    let schema_version = schema_version(&parts.headers, &parts.uri)?;
    let body =
        axum::body::to_bytes(body, state.limits.max_frame_bytes).await.map_err(|_| too_large(&state))?;
    let (bytes, body) = (body.len(), body);
    let decoded = off_thread(body, |body| decode_upload(body, MAX_CHANGES_PER_FRAME)).await;
    let upload = decoded.map_err(|error| frame_problem(&error))?;
    request_log::note_space(upload.space);

    let origin = origin_of(&state, &identity, &parts.extensions, &parts.headers);
    let ask = Ask { selector: seat::selector(upload.space), filter: None, schema_version, plain: true };
    let turn = state.admission.handshake().await?;
    let (mut seat, _) = Seat::open(&state, origin, ask, seat::Came::New).await?;
    drop(turn);
    let incoming = {
        let mut random = || random_id(&*state.random);
        let mut source = IdSource {
            key: state.derivation_key,
            user: identity.user.0,
            client_id: upload.client_id.as_deref(),
            space: seat.space.id.0,
            random: &mut random,
        };
        upload.changes.read(upload.id.as_ref(), &mut source)
    };
    let awaited = json::Awaited::new(upload.id, &incoming);
    let permit = state.upload_permit(bytes).await?;
    let _ = state.rates.uploaded(identity.user, identity.session, incoming.len(), bytes);
    seat.upload(&state, incoming, bytes, permit).await?;
    let answer = std::future::poll_fn(|cx| seat.uploads.poll(cx)).await;
    let outcomes = answer.map_err(Refusal::from)?;
    Logged::of(&parts.extensions).changes_refused(refused_codes(&outcomes), None);
    // The upload may have been taken by rights that the seat has not looked at yet, and nothing looks later: what its sender
    // holds from now on must be known to have been shown.
    seat.recheck(&state).await?;
    let verdicts: Vec<_> = outcomes.iter().map(|outcome| outcome.verdict).collect();
    let _ = seat.stream.outcomes(outcomes);
    let mut current = Vec::new();
    while seat.stream.pending() > 0 {
        let delivery = seat.pull_corrections(&state).await?;
        current.extend(delivery.corrections.iter().map(|entry| encode_entry(entry, Format::default())));
    }
    let results = awaited.changes.iter().zip(verdicts);
    let results = results.map(|((id, detail), verdict)| json::result(id, detail, verdict));
    Ok(json_answer(encode_upload_answer(awaited.id.as_ref(), None, results, &current)))
}

/// What a request declares.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documentation")]
struct Declared {
    /// The version of the app's schema that the client was built for; the header `Lattice-Schema-Version` says the same.
    #[param(rename = "schema-version")]
    schema_version: Option<u64>,
}

/// What a poll asks for, as it is written.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documentation")]
struct PollQuery {
    /// `me`, which is the default, or the id of a space.
    space: Option<String>,
    /// The cursor of the last page; without one the state is read from its beginning.
    #[param(max_length = 128)]
    cursor: Option<String>,
    /// Most changes of the page; more than 10,000 are cut to that.
    #[param(minimum = 1)]
    limit: Option<u64>,
    /// Most seconds to wait when there is no change; more than 55 are cut to that.
    wait: Option<u64>,
    /// The version of the app's schema that the client was built for; the header `Lattice-Schema-Version` says the same.
    #[param(rename = "schema-version")]
    schema_version: Option<u64>,
}

/// An upload.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "documentation")]
struct UploadBody {
    /// What the client calls the upload: a string or an integer.
    id: Option<serde_json::Value>,
    /// `me`, which is the default, or the id of a space.
    space: Option<String>,
    /// The replica, always the same for it.
    client_id: Option<String>,
    /// The changes.
    changes: Vec<serde_json::Value>,
}

/// What became of an upload.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documentation")]
struct UploadAnswer {
    /// The upload's id as it came.
    id: Option<serde_json::Value>,
    /// Always null: a poll says how far the client is.
    cursor: Option<String>,
    /// One for each change, in their order.
    results: Vec<ChangeResult>,
    /// What the client must hold instead of what it uploaded, to be applied like a page.
    current: Vec<serde_json::Value>,
}

/// What became of a change.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documentation")]
struct ChangeResult {
    /// The id that it gave, or the one derived for it.
    id: String,
    #[schema(schema_with = statuses)]
    status: String,
    /// Why it was rejected.
    code: Option<String>,
    /// One sentence for people.
    detail: Option<String>,
}

/// A page of changes.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documentation")]
struct ChangesPage {
    /// The space, as the request named it.
    space: String,
    /// Why the stream starts over, on its first page.
    #[schema(schema_with = reset_reasons)]
    reset: Option<String>,
    /// The changes, to be applied in their order.
    changes: Vec<serde_json::Value>,
    /// Where the client is once it has them.
    cursor: Option<String>,
    /// Whether others are waiting.
    more: bool,
}

fn words(words: impl IntoIterator<Item = &'static str>, description: &str) -> Object {
    let text = ObjectBuilder::new().schema_type(SchemaType::new(Type::String));
    text.enum_values(Some(words)).description(Some(description)).build()
}

fn statuses() -> Object {
    words(plain::Status::ALL.map(plain::Status::as_str), "What became of it.")
}

fn reset_reasons() -> Object {
    words(
        plain::ResetReason::ALL.map(plain::ResetReason::as_str),
        "Why the stream starts over, on its first page.",
    )
}

/// What a poll asks for.
struct Asked {
    space: plain::Space,
    cursor: Option<String>,
    limit: usize,
    wait: Duration,
    schema_version: Option<u64>,
}

impl Asked {
    fn read(headers: &HeaderMap, uri: &Uri) -> Result<Self, Problem> {
        let number = |name: &str, default: u64| match query_value(uri, name) {
            None => Ok(default),
            Some(text) => {
                text.parse::<u64>().map_err(|_| bad_query(format!("{name} is not a whole number").into()))
            }
        };
        let cursor = query_value(uri, "cursor").filter(|cursor| !cursor.is_empty());
        if cursor.as_ref().is_some_and(|cursor| !plain::is_cursor(cursor)) {
            let detail = "The cursor is none that a server has made; ask without one.";
            return Err(Problem::new(StatusCode::BAD_REQUEST, Code::BadCursor.as_str(), detail));
        }
        let limit = number("limit", MAX_PAGE_ROWS as u64)?;
        if limit == 0 {
            return Err(bad_query("limit is at least 1".into()));
        }
        Ok(Self {
            space: space_name(query_value(uri, "space").as_deref())?,
            cursor,
            limit: limit.min(u64::from(MAX_POLL_CHANGES)) as usize,
            wait: Duration::from_secs(number("wait", 0)?.min(MAX_WAIT_S)),
            schema_version: schema_version(headers, uri)?,
        })
    }
}

problems!(PollProblems, [TOKEN, SPACE, SYNC], 400 "bad_query", 400 "bad_cursor");

/// A page of what is in a space after a cursor; waits for one if there is none.
#[utoipa::path(
    get,
    path = "/sync/changes",
    tag = "sync",
    security(("bearer" = [])),
    params(PollQuery),
    responses((status = 200, description = "The page.", body = ChangesPage), PollProblems)
)]
pub(crate) async fn poll_changes(
    State(state): State<SyncState>,
    request: Request,
) -> Result<Response, Problem> {
    let token = bearer::header_token(request.headers()).ok_or_else(Problem::no_token)?;
    state.auth.prepare(&token).await?;
    let turn = state.admission.handshake().await?;
    let identity = bearer::authenticate(&state.auth, &token).await?;
    drop(turn);
    let asked = Asked::read(request.headers(), request.uri())?;
    request_log::note_space(asked.space);
    let origin = origin_of(&state, &identity, request.extensions(), request.headers());
    let ask = Ask {
        selector: seat::selector(asked.space),
        filter: None,
        schema_version: asked.schema_version,
        plain: true,
    };
    let (mut seat, reset) = json::open(&state, origin, ask, json::came(asked.cursor.as_deref())).await?;
    let until = Instant::now() + asked.wait;
    loop {
        // In this order: what changes after the look is signalled, also what changed while the seat was taken.
        seat.signal.borrow_and_update();
        seat.recheck(&state).await?;
        let (delivery, more) = seat.pull(&state, asked.limit).await?;
        let waits = delivery.entries.is_empty() && !more && reset.is_none();
        if waits && !state.stop.is_cancelled() && wait(&state, &mut seat, until).await {
            state.auth.recheck(&identity).await?;
            continue;
        }
        let changes: Vec<_> =
            delivery.entries.iter().map(|entry| encode_entry(entry, Format::default())).collect();
        let cursor = seat.cursor().to_text(Spelling::default());
        return Ok(json_answer(encode_page(&Page {
            space: asked.space,
            changes: &changes,
            cursor: Some(&cursor),
            more,
            reset,
        })));
    }
}

/// Waits until something may have changed in the space, or it is time to look whether it has. False when it is time to answer.
async fn wait(state: &SyncState, seat: &mut Seat, until: Instant) -> bool {
    if until <= Instant::now() {
        return false;
    }
    tokio::select! {
        changed = seat.signal.changed() => changed.is_ok(),
        () = state.stop.cancelled() => false,
        () = tokio::time::sleep_until(until) => false,
        // Signals may be lost, and not all that ends a session is signalled.
        () = tokio::time::sleep(ACCESS_CHECK_INTERVAL) => true,
    }
}

fn json_answer(body: Bytes) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, body).into_response()
}

fn bad_query(detail: std::borrow::Cow<'static, str>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_query", detail)
}

fn frame_problem(error: &FrameError) -> Problem {
    let status = match error.code {
        Code::SpaceNotFound => return Refusal::NotFound.into(),
        Code::TooManyChanges => StatusCode::PAYLOAD_TOO_LARGE,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    };
    Problem::new(status, error.code.as_str(), crate::http::problem::sentence(&error.detail))
}

fn too_large(state: &SyncState) -> Problem {
    let limit = state.limits.max_frame_bytes;
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        format!("The body is larger than {limit} bytes, or did not arrive whole."),
    )
}
