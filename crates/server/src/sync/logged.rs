//! What the log says of sync: each socket that ends by our decision, each frame that is refused, and how many changes of an upload.
//!
//! Who it is about stands in the span of the request, in which a socket lives. Nothing that a client has sent is in any line.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use axum::http::Extensions;
use lattice_protocol::Code;
use lattice_protocol::plain::Space;
use tokio::time::Instant;
use tracing::field::display;

use crate::net::listen::PeerAddress;
use crate::refusal_log::{Cause, RefusalLog, log_refusal};

/// Where what a connection or a request is refused is logged.
pub(super) struct Logged {
    refusals: Arc<RefusalLog>,
    address: Option<IpAddr>,
}

/// A socket that is open.
pub(super) struct SocketLog {
    logged: Logged,
    opened: Instant,
    /// Data frames that came, and their bytes.
    frames: u64,
    bytes: u64,
}

impl Logged {
    /// Of a request.
    pub(super) fn of(extensions: &Extensions) -> Self {
        let refusals = extensions.get::<Arc<RefusalLog>>().cloned().unwrap_or_default();
        Self { refusals, address: extensions.get::<PeerAddress>().map(|peer| peer.0.ip()) }
    }

    /// A frame was refused, or a space; `space` where the connection has several.
    pub(super) fn frame_refused(&self, code: Code, space: Option<Space>) {
        let (cause, code, space) = (cause_of(code), code.as_str(), space.map(display));
        log_refusal!(self.refusals, cause, code, self.address, space, "a frame was refused");
    }

    /// Changes of one upload were refused, for these reasons.
    pub(super) fn changes_refused(&self, codes: impl IntoIterator<Item = Code>, space: Option<Space>) {
        let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
        for code in codes {
            *counts.entry(code.as_str()).or_default() += 1;
        }
        // The first of the most frequent ones stands for all where lines are counted.
        let Some(code) = counts.iter().rev().max_by_key(|(_, count)| **count).map(|(code, _)| *code) else {
            return;
        };
        let changes: u64 = counts.values().sum();
        let mut codes = String::new();
        for (code, count) in counts {
            let separator = if codes.is_empty() { "" } else { " " };
            let _ = write!(codes, "{separator}{code}={count}");
        }
        let space = space.map(display);
        let cause = Cause::Client;
        log_refusal!(self.refusals, cause, code, self.address, changes, codes, space, "changes were refused");
    }
}

impl SocketLog {
    /// Of a socket that was opened just now.
    pub(super) fn new(logged: Logged) -> Self {
        Self { logged, opened: Instant::now(), frames: 0, bytes: 0 }
    }

    /// Where what it is refused is logged.
    pub(super) fn refusals(&self) -> &Logged {
        &self.logged
    }

    /// A data frame has come.
    pub(super) fn came(&mut self, bytes: usize) {
        self.frames += 1;
        self.bytes += bytes as u64;
    }

    /// We end it with this close code (RFC 6455, section 7.4). `told` is what the client is told, with the stable code in front;
    /// `reason` is what failed, where something did.
    pub(super) fn closed(&self, close_code: u16, told: &str, reason: Option<&str>) {
        let known = |text: &str| match text {
            // No refusals: nobody but the log is told.
            "closing" => Some("closing"),
            "silent" => Some("silent"),
            text => Code::parse(text).map(Code::as_str),
        };
        let code = told.split(':').next().and_then(known).unwrap_or("none");
        let cause = match close_code {
            1_011 => Cause::Failure,
            1_013 => Cause::Load,
            _ => Cause::Client,
        };
        let Self { frames, bytes, .. } = *self;
        let duration_ms = self.opened.elapsed().as_millis() as u64;
        let Logged { refusals, address } = &self.logged;
        log_refusal!(
            refusals,
            cause,
            code,
            *address,
            close_code,
            duration_ms,
            frames,
            bytes,
            reason,
            "a socket was closed"
        );
    }
}

fn cause_of(code: Code) -> Cause {
    match code {
        Code::Internal => Cause::Failure,
        Code::Overloaded | Code::QuotaExceeded | Code::ProviderUnavailable => Cause::Load,
        _ => Cause::Client,
    }
}
