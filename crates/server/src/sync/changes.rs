//! The JSON dialect over HTTP: `POST /sync/changes` uploads, `GET /sync/changes` reads a page, and waits for one.
//!
//! A request is a connection of its own: what it wrote itself comes back to its client with the next page, which changes
//! nothing there. Refusals: those of the token, `space_not_found` (404), `schema_version` (409), `bad_frame` and others of the
//! dialect (400), `body_too_large` (413), `rate_limited` (429), `quota_exceeded` (507).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use lattice_auth::{AuthError, Identity};
use lattice_protocol::limits::{MAX_CHANGES_PER_FRAME, MAX_POLL_CHANGES};
use lattice_protocol::plain::{self, IdSource, decode_upload};
use lattice_protocol::{Code, FrameError, Incoming};
use lattice_session::{
    Answer, HttpEffect, HttpPoll, HttpUpload, MAX_PAGE_ROWS, Refusal, Request as StoreRequest,
    SubscribeRequest,
};
use lattice_store::spaces::Origin;
use lattice_store::time::random_id;
use tokio::time::Instant;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};
use utoipa::{IntoParams, ToSchema};

use super::connection::ACCESS_CHECK_INTERVAL;
use super::handshake::{origin_of, query_value, schema_version, space_name};
use super::logged::Logged;
use super::space::{self, NewUpload, SpaceLink, off_thread, refused_codes};
use super::{SyncState, audited};
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
    let subscribe = SubscribeRequest { filter: None, schema_version };
    let session = HttpUpload::new(identity.user.0, subscribe, upload.id.clone());
    let request = HttpRequest { state: &state, origin, space: upload.space, link: None };
    let log = Logged::of(&parts.extensions);
    request.upload(session, (upload, bytes), &identity, &log).await
}

/// A request that is being served.
struct HttpRequest<'a> {
    state: &'a SyncState,
    origin: Arc<Origin>,
    space: plain::Space,
    /// Its space, once that is open.
    link: Option<SpaceLink>,
}

impl HttpRequest<'_> {
    async fn upload(
        mut self,
        mut session: HttpUpload,
        (upload, bytes): (plain::Upload, usize),
        identity: &Identity,
        log: &Logged,
    ) -> Result<Response, Problem> {
        while let Some(effect) = session.next_effect() {
            match effect {
                HttpEffect::Store(request) => {
                    let answer = match &request {
                        StoreRequest::Enter { .. } => {
                            let _permit = self.state.admission.handshake().await?;
                            self.answer(request, session.schema_version()).await
                        }
                        _ => self.answer(request, None).await,
                    };
                    session.answer(answer);
                }
                HttpEffect::Upload => {
                    let Some(link) = &mut self.link else {
                        return Err(Problem::internal("a request over HTTP has no answer"));
                    };
                    let incoming = read_changes(self.state, identity, link, &upload);
                    let permit = self.state.upload_permit(bytes).await?;
                    let Identity { user, session: of, .. } = *identity;
                    let _ = self.state.rates.uploaded(user, of, incoming.len(), bytes);
                    let terms = session.uploading(&incoming, bytes);
                    let new = NewUpload { incoming, plain: true, terms, bytes };
                    link.upload(self.state, new, permit).await?;
                    let result = std::future::poll_fn(|cx| link.uploads.poll(cx)).await;
                    session.hint(link.hint(self.state).0);
                    if let Ok(outcomes) = &result {
                        log.changes_refused(refused_codes(outcomes), None);
                    }
                    session.uploaded(result);
                }
                HttpEffect::Wait => {}
                HttpEffect::Answer(body) => return Ok(json_answer(body)),
                HttpEffect::Refused(refusal) => return Err(refusal.into()),
            }
        }
        Err(Problem::internal("a request over HTTP has no answer"))
    }

    async fn poll(
        mut self,
        mut session: HttpPoll,
        identity: &Identity,
        until: Instant,
    ) -> Result<Response, Problem> {
        loop {
            let Some(effect) = session.next_effect() else {
                return Err(Problem::internal("a request over HTTP has no answer"));
            };
            match effect {
                HttpEffect::Store(request) => {
                    if let (Some(link), StoreRequest::Pull(_)) = (&mut self.link, &request) {
                        // In this order: what changes after the look is signalled, also what changed before the page was read.
                        link.hint(self.state);
                    }
                    let answer = match &request {
                        StoreRequest::Enter { .. } => {
                            let _permit = self.state.admission.page().await?;
                            self.answer(request, session.schema_version()).await
                        }
                        _ => self.answer(request, None).await,
                    };
                    session.answer(answer);
                }
                HttpEffect::Wait => {
                    let Some(link) = &mut self.link else {
                        return Err(Problem::internal("a request over HTTP has no answer"));
                    };
                    if !self.state.stop.is_cancelled() && wait(self.state, link, until).await {
                        self.state.auth.recheck(identity).await?;
                        session.look_again();
                    } else {
                        session.give_up();
                    }
                    session.hint(link.hint(self.state).0);
                }
                HttpEffect::Upload => return Err(Problem::internal("a request over HTTP has no answer")),
                HttpEffect::Answer(body) => return Ok(json_answer(body)),
                HttpEffect::Refused(refusal) => return Err(refusal.into()),
            }
        }
    }

    /// Carries out a request of the session.
    async fn answer(&mut self, request: StoreRequest, schema_version: Option<u64>) -> Answer {
        let StoreRequest::Enter { receipt_of } = request else {
            return match &self.link {
                Some(link) => link.answer(self.state, request).await,
                None => Answer::Refused(Refusal::Store),
            };
        };
        let (selector, origin) = (space::selector(self.space), Arc::clone(&self.origin));
        let refusal = match space::enter(self.state, origin, selector, receipt_of).await {
            Ok(Some((link, entered))) => {
                let refused = entered.access.refuses(schema_version);
                self.link = Some(link);
                let Some(refusal) = refused else { return Answer::Entered(Some(entered)) };
                refusal
            }
            Ok(None) => Refusal::NotFound,
            Err(refusal) => return Answer::Refused(refusal),
        };
        Answer::Refused(audited::refused(self.state, &self.origin, selector, refusal))
    }
}

/// The changes of an upload, each with the id that it gave or one that is derived for it.
fn read_changes(
    state: &SyncState,
    identity: &Identity,
    link: &SpaceLink,
    upload: &plain::Upload,
) -> Vec<Incoming> {
    let mut random = || random_id(&*state.random);
    let mut source = IdSource {
        key: state.derivation_key,
        user: identity.user.0,
        client_id: upload.client_id.as_deref(),
        space: link.id().0,
        random: &mut random,
    };
    upload.changes.read(upload.id.as_ref(), &mut source)
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
    /// With `restored`: what was acknowledged at this time or later, in seconds since 1970, may be lost and is to be sent again.
    since: Option<f64>,
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
    let subscribe = SubscribeRequest { filter: None, schema_version: asked.schema_version };
    let cursor = asked.cursor.as_deref();
    let mut session = HttpPoll::new(identity.user.0, asked.space, subscribe, cursor, asked.limit);
    if asked.wait.is_zero() {
        session.give_up();
    }
    let until = Instant::now() + asked.wait;
    let request = HttpRequest { state: &state, origin, space: asked.space, link: None };
    request.poll(session, &identity, until).await
}

/// Waits until something may have changed in the space, or it is time to look whether it has. False when it is time to answer.
async fn wait(state: &SyncState, link: &mut SpaceLink, until: Instant) -> bool {
    if until <= Instant::now() {
        return false;
    }
    tokio::select! {
        changed = link.signal.changed() => changed.is_ok(),
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
