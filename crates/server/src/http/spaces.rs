//! `/spaces…`: what is shared, with whom, and what they may do. `{space}` is `me` or the id of a space.
//!
//! Who is refused what is decided by the store. A space that one may not see is answered like one that does not exist, to
//! the byte; what one sees but may not do is `forbidden`.

pub(super) mod access_log;
pub(super) mod change;
pub(super) mod create;
pub(super) mod create_invite;
pub(super) mod delete;
pub(super) mod invites;
pub(super) mod leave;
pub(super) mod list;
pub(super) mod list_public;
pub(super) mod members;
pub(super) mod policy;
pub(super) mod refusals;
pub(super) mod remove_member;
pub(super) mod revoke_invite;
pub(super) mod set_policy;
pub(super) mod set_role;
pub(super) mod show;
pub(super) mod transfer;

use lattice_engine::{Role, SpaceId};
use lattice_store::directory::{Page, SpaceEntry, SpaceKind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::page::{Cursor, uuid};

/// A time as it is written everywhere: seconds since 1970, exact to the microsecond.
pub(crate) fn seconds(time_us: i64) -> f64 {
    // Below 2^53 microseconds, which is the year 2255, no digit is lost.
    time_us as f64 / 1e6
}

/// What a space is.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = SpaceKind)]
pub(super) enum Kind {
    /// One user's own.
    Private,
    /// Its members'.
    Shared,
    /// Its members', and every user reads it.
    Public,
}

impl From<SpaceKind> for Kind {
    fn from(kind: SpaceKind) -> Self {
        match kind {
            SpaceKind::Private => Self::Private,
            SpaceKind::Shared => Self::Shared,
            SpaceKind::Public => Self::Public,
        }
    }
}

/// What a member is.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Role)]
pub(super) enum RoleName {
    /// Reads.
    Viewer,
    /// Reads and writes.
    Editor,
    /// Decides who else may.
    Owner,
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        match role {
            Role::Viewer => Self::Viewer,
            Role::Editor => Self::Editor,
            Role::Owner => Self::Owner,
        }
    }
}

/// What a member can be made: an owner is made by a transfer.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum GivenRole {
    /// Reads.
    Viewer,
    /// Reads and writes.
    Editor,
}

impl From<GivenRole> for Role {
    fn from(role: GivenRole) -> Self {
        match role {
            GivenRole::Viewer => Self::Viewer,
            GivenRole::Editor => Self::Editor,
        }
    }
}

/// A space as whoever asks sees it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Space)]
pub(super) struct SpaceView {
    /// Its id.
    #[schema(format = "uuid")]
    id: String,
    kind: Kind,
    /// As its owner named it; empty for a private one.
    name: String,
    /// What whoever asks is in it.
    role: RoleName,
    /// It takes no changes.
    archived: bool,
    /// When it was archived, in seconds since 1970.
    #[schema(required)]
    archived_at: Option<f64>,
    /// When it was made, in seconds since 1970.
    created_at: f64,
}

impl From<SpaceEntry> for SpaceView {
    fn from(entry: SpaceEntry) -> Self {
        Self {
            id: uuid(&entry.id.0),
            kind: entry.kind.into(),
            name: entry.name,
            role: entry.role.into(),
            archived: entry.archived_us.is_some(),
            archived_at: entry.archived_us.map(seconds),
            created_at: seconds(entry.created_us),
        }
    }
}

/// Spaces, and where the list goes on.
#[derive(Serialize, ToSchema)]
pub(super) struct SpacePage {
    /// The spaces of this page.
    spaces: Vec<SpaceView>,
    /// `after` of the next page; null at the end.
    #[schema(required)]
    next: Option<String>,
}

impl From<Page<SpaceEntry, SpaceId>> for SpacePage {
    fn from(page: Page<SpaceEntry, SpaceId>) -> Self {
        Self {
            next: page.next.map(|next| next.write()),
            spaces: page.items.into_iter().map(SpaceView::from).collect(),
        }
    }
}
