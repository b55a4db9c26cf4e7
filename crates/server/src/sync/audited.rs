//! What is noted of sockets and of the sync API: that a session uses them, what they were refused, and why they were closed.
//!
//! A change that a policy refuses is not noted here but in the space's audit log, with the change.

use lattice_auth::audit::{AccessAudit, Event, Kind, Origin as From, REFUSAL_INTERVAL_S, USE_INTERVAL_S};
use lattice_engine::SpaceId;
use lattice_session::Refusal;
use lattice_store::accounts::{SessionId, UserId};
use lattice_store::directory::Selector;
use lattice_store::spaces::Origin;
use yawc::close::CloseCode;

use super::SyncState;
use super::connection::End;

/// An event of whoever stands behind a connection, which outlives the request that it began as.
fn event(kind: Kind, origin: &Origin) -> Event {
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let from = From { address: known(&origin.address), user_agent: known(&origin.user_agent) };
    Event::new(kind).actor(UserId(origin.user)).session(SessionId(origin.session)).origin(from)
}

/// A socket was opened; those of the JSON dialect name their spaces later.
pub(super) fn opened(state: &SyncState, origin: &Origin, space: Option<SpaceId>) {
    let event = event(Kind::SocketOpened, origin).at_most_every(USE_INTERVAL_S);
    state.auth.audit().record(match space {
        Some(space) => event.space(space),
        None => event.detail("dialect", "json"),
    });
}

/// A socket ends; noted if that is because its session or its rights have ended.
pub(super) fn closed(audit: &dyn AccessAudit, origin: &Origin, end: &End) {
    let End::Close(CloseCode::Policy, reason) = end else { return };
    let code = reason.split(':').next().unwrap_or_default();
    // Codes are ours; their names alone are of static life.
    let known = ["session_revoked", "token_expired", "space_not_found", "schema_version", "access_changed"];
    if let Some(code) = known.into_iter().find(|known| *known == code) {
        audit.record(event(Kind::SocketClosed, origin).code(code));
    }
}

/// A space was refused.
pub(super) fn refused(state: &SyncState, origin: &Origin, space: Selector, refusal: Refusal) -> Refusal {
    let event = event(Kind::AccessRefused, origin).code(refusal.code().as_str()).detail("asked", "sync");
    let event = event.at_most_every(REFUSAL_INTERVAL_S);
    state.auth.audit().record(match space {
        Selector::Id(space) => event.space(space),
        Selector::Me => event,
    });
    refusal
}
