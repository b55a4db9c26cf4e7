//! What stands in a route's address: `{space}`, `{user}`, `{session}`, `{invite}`. What cannot be read names nothing, and is answered
//! like what does not exist.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use lattice_auth::AuthError;
use lattice_engine::SpaceId;
use lattice_protocol::id::parse_uuid;
use lattice_store::accounts::{IdentityId, PasskeyId, SessionId, UserId};
use lattice_store::directory::{Denied, InviteId, Selector};

use super::page::uuid;
use super::problem::Problem;
use super::request_log;
use crate::spaces::SpaceError;

/// `{space}`: `me`, or the id of a space.
pub(super) struct InSpace(pub(super) Selector);
/// `{user}`.
pub(super) struct OfUser(pub(super) UserId);
/// `{session}`.
pub(super) struct OfSession(pub(super) SessionId);
/// `{provider}`: any text; what names none is refused by whoever looks for it.
pub(super) struct OfProvider(pub(super) String);
/// `{identity}`.
pub(super) struct OfIdentity(pub(super) IdentityId);
/// `{passkey}`.
pub(super) struct OfPasskey(pub(super) PasskeyId);
/// `{invite}`.
pub(super) struct OfInvite(pub(super) InviteId);

async fn named<S: Send + Sync>(parts: &mut Parts, state: &S, name: &str) -> Option<String> {
    let all = RawPathParams::from_request_parts(parts, state).await.ok()?;
    all.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}

fn id(text: Option<String>) -> Option<[u8; 16]> {
    parse_uuid(&text?).map(|(bytes, _)| bytes)
}

impl<S: Send + Sync> FromRequestParts<S> for InSpace {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = named(parts, state, "space").await;
        if text.as_deref() == Some("me") {
            request_log::note_space("me");
            return Ok(Self(Selector::Me));
        }
        let space = id(text).ok_or(SpaceError::NOT_FOUND)?;
        request_log::note_space(uuid(&space));
        Ok(Self(Selector::Id(SpaceId(space))))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OfUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = id(named(parts, state, "user").await);
        id.map(|id| Self(UserId(id))).ok_or_else(|| SpaceError::from(Denied::NotMember).into())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OfSession {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = id(named(parts, state, "session").await);
        id.map(|id| Self(SessionId(id))).ok_or_else(|| AuthError::SessionNotFound.into())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OfProvider {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let name = named(parts, state, "provider").await;
        name.map(Self).ok_or_else(|| AuthError::ProviderUnknown.into())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OfIdentity {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = id(named(parts, state, "identity").await);
        id.map(|id| Self(IdentityId(id))).ok_or_else(|| AuthError::IdentityNotFound.into())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OfPasskey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = id(named(parts, state, "passkey").await);
        id.map(|id| Self(PasskeyId(id))).ok_or_else(|| AuthError::PasskeyNotFound.into())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OfInvite {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = id(named(parts, state, "invite").await);
        id.map(|id| Self(InviteId(id))).ok_or_else(|| SpaceError::NO_INVITE.into())
    }
}
