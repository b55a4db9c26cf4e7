//! `GET /profile/export`: everything that is kept of whoever asks, one JSON object a line (`application/x-ndjson`).
//!
//! For sessions that began within the last 15 minutes. Refusals: `session_not_fresh` (403), `overloaded` (503).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use lattice_auth::AuthService;
use lattice_auth::audit::{Event, Kind};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::bearer::{authenticate, header_token};
use super::openapi::problems;
use super::problem::Problem;
use crate::export::{Asker, ExportError, Exporter};

/// Exports that may run at the same time: each reads all that somebody has.
const MAX_EXPORTS: usize = 4;
/// After how long whoever finds no place may come again, in seconds.
const RETRY_AFTER_S: u32 = 10;
/// How long a client may take to hear that an export was cut short.
const MAX_FAREWELL_TIME: Duration = Duration::from_secs(1);
/// Pieces of an export that wait for the client to take them.
const MAX_WAITING_PIECES: usize = 2;

/// What the endpoint needs.
#[derive(Clone)]
pub struct ExportState {
    auth: Arc<AuthService>,
    exporter: Arc<Exporter>,
    places: Arc<Semaphore>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl ExportState {
    /// Puts the state together. `tracker` counts exports that run, `stop` ends them.
    #[must_use]
    pub fn new(
        auth: Arc<AuthService>,
        exporter: Exporter,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let places = Arc::new(Semaphore::new(MAX_EXPORTS));
        Self { auth, exporter: Arc::new(exporter), places, tracker, stop }
    }

    /// The route, with what it needs.
    pub fn routes(self) -> OpenApiRouter {
        OpenApiRouter::new().routes(routes!(export_profile)).with_state(self)
    }
}

problems!(Problems, [TOKEN], 403 "session_not_fresh", 503 "overloaded");

/// Exports everything that is kept of one.
///
/// The kinds of lines are told in README.md. An export whose last line is not of the kind `end` was cut short.
#[utoipa::path(
    get,
    path = "/profile/export",
    tag = "accounts",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "JSON objects, one a line.", body = String, content_type = "application/x-ndjson"),
        Problems
    )
)]
pub(super) async fn export_profile(
    State(state): State<ExportState>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let token = header_token(&headers).ok_or_else(Problem::no_token)?;
    let identity = authenticate(&state.auth, &token).await?;
    state.auth.require_fresh(&identity).await?;
    let place = Arc::clone(&state.places).try_acquire_owned().map_err(|_| {
        let detail = "Too many exports run at the moment; come again when Retry-After says.";
        Problem::unavailable_for("overloaded", detail, RETRY_AFTER_S)
    })?;
    let event = Event::new(Kind::AccountExported).actor(identity.user).session(identity.session);
    state.auth.audit().record(event);
    state.auth.audit().flush().await;

    let (to, mut pieces) = mpsc::channel(MAX_WAITING_PIECES);
    let ExportState { auth, exporter, tracker, stop, .. } = state;
    tracker.spawn(async move {
        let _place = place;
        let ends = to.clone();
        let asker = Some(Asker { auth, identity });
        let written = tokio::select! {
            written = exporter.write(identity.user, asker, to) => written,
            () = stop.cancelled() => Err(ExportError::Closing),
        };
        match written {
            Ok(lines) => tracing::info!(user = %identity.user, lines, "an account was exported"),
            Err(error) => {
                tracing::warn!(user = %identity.user, %error, "an export was cut short");
                // The client sees a body that does not end, if it still looks.
                let _ = tokio::time::timeout(MAX_FAREWELL_TIME, ends.send(Err(error))).await;
            }
        }
    });
    let body = Body::from_stream(stream::poll_fn(move |cx| pieces.poll_recv(cx)));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::CONTENT_DISPOSITION,
            HeaderValue::from_static("attachment; filename=\"lattice-export.ndjson\""),
        ),
    ];
    Ok((headers, body).into_response())
}
