//! Handshakes of the JSON dialect that are refused. Browsers tell a page nothing about the HTTP answer to one, so the socket is opened, and
//! closed with a code that says why.

use std::pin::Pin;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::{Sink, SinkExt};
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;
use tracing::Instrument;
use yawc::close::CloseCode;
use yawc::{Frame, Role, WebSocket, WebSocketError};

use super::SyncState;
use super::handshake::{options, switching};
use crate::http::problem::Problem;
use crate::net::io::SocketIo;
use crate::net::listen::Place;
use crate::net::stream::Stream;

/// Sockets that may be open only to be told why they close. Whoever comes beyond is answered by HTTP.
const MAX_FAREWELLS: usize = 256;
/// How long the close frame may take to leave.
const MAX_CLOSE_TIME: Duration = Duration::from_secs(2);
/// Longest reason of a close frame (RFC 6455, section 5.5): 125 bytes with the code.
const MAX_REASON_BYTES: usize = 123;
/// Close codes of an application begin here (RFC 6455, section 7.4.2); a status of HTTP is added.
const OWN_CODES: u16 = 4_000;

static FAREWELLS: Semaphore = Semaphore::const_new(MAX_FAREWELLS);

/// Opens a socket and closes it for this reason.
pub(super) fn refuse(
    state: &SyncState,
    key: &HeaderValue,
    mut request: Request,
    problem: Problem,
) -> Response {
    let (Ok(permit), Ok(answer)) = (FAREWELLS.try_acquire(), switching(key, None, true)) else {
        return problem.into_response();
    };
    let (code, reason) = (close_code(problem.status()), reason(&problem));
    let place = request.extensions().get::<Place>().cloned();
    let upgrade = hyper::upgrade::on(&mut request);
    let options = options(&state.deflate, state.limits.max_frame_bytes);
    let farewell = async move {
        let _held = (place, permit);
        let upgraded = upgrade.await.map(hyper::upgrade::Upgraded::downcast::<TokioIo<Stream>>);
        let Ok(Ok(parts)) = upgraded else { return };
        let io = SocketIo::new(parts.io.into_inner(), parts.read_buf);
        let handle = io.handle();
        let Ok(websocket) = WebSocket::from_stream_with_extensions(io, Role::Server, None, options) else {
            return;
        };
        if let Ok(Ok(())) = tokio::time::timeout(MAX_CLOSE_TIME, close(websocket, code, reason)).await {
            handle.linger().await;
        }
    };
    state.tracker.spawn(farewell.in_current_span());
    problem.told_by(answer)
}

async fn close(
    mut websocket: WebSocket<SocketIo>,
    code: CloseCode,
    reason: String,
) -> Result<(), WebSocketError> {
    Pin::new(&mut websocket).start_send(Frame::close(code, reason))?;
    websocket.flush().await
}

fn close_code(status: StatusCode) -> CloseCode {
    match status.as_u16() {
        status @ 400..=499 => CloseCode::from(OWN_CODES + status),
        503 => CloseCode::Again,
        _ => CloseCode::Error,
    }
}

/// The code, then a sentence for people, as far as there is room.
fn reason(problem: &Problem) -> String {
    let again = problem.retry_after_s().map_or_else(String::new, |seconds| format!("; again in {seconds} s"));
    let mut text = format!("{}: {}", problem.code(), problem.detail().trim_end_matches('.'));
    let room = MAX_REASON_BYTES.saturating_sub(again.len()).min(text.len());
    text.truncate((0..=room).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default());
    text + &again
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_begin_with_the_code_and_fit_into_a_frame() {
        let long = "ä".repeat(200);
        for (problem, code, told) in [
            (Problem::no_token(), 4401, "token_missing: A token is needed: Authorization: Bearer TOKEN"),
            (
                Problem::rate_limited(1_234),
                4429,
                "rate_limited: This was tried too often; try again when Retry-After says; again in 1234 s",
            ),
            (Problem::unavailable_for("overloaded", "No.", 7), 1013, "overloaded: No; again in 7 s"),
            (
                Problem::internal("secret"),
                1011,
                "internal: The server failed; the same request may succeed later",
            ),
        ] {
            assert_eq!((u16::from(close_code(problem.status())), &*reason(&problem)), (code, told));
        }
        let told = reason(&Problem::unavailable_for("overloaded", long, 7));
        assert!(told.len() <= MAX_REASON_BYTES && told.ends_with("ä; again in 7 s"), "{told}");
    }
}
