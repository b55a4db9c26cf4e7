//! `/invites…`: invites as those see them who are invited.

pub(super) mod accept;
pub(super) mod accept_link;
pub(super) mod mine;

use lattice_store::directory::{Invite, InviteId, Page};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use utoipa::ToSchema;

use super::page::{Cursor, uuid};
use super::spaces::{RoleName, seconds};

/// An invite.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Invite)]
pub(super) struct InviteView {
    #[schema(format = "uuid")]
    id: String,
    #[schema(format = "uuid")]
    space_id: String,
    /// The space's name.
    space_name: String,
    /// What whoever accepts becomes.
    role: RoleName,
    /// Whose account it is for; null for a link.
    #[schema(required)]
    email: Option<String>,
    /// How many have become members by it.
    uses: u32,
    /// How many may.
    max_uses: u32,
    /// When it was made, in seconds since 1970.
    created_at: f64,
    /// From when on it is worth nothing, in seconds since 1970.
    expires_at: f64,
}

impl From<Invite> for InviteView {
    fn from(invite: Invite) -> Self {
        Self {
            id: uuid(&invite.id.0),
            space_id: uuid(&invite.space.0),
            space_name: invite.space_name,
            role: invite.role.into(),
            email: invite.email,
            uses: invite.uses,
            max_uses: invite.max_uses,
            created_at: seconds(invite.created_us),
            expires_at: seconds(invite.expires_us),
        }
    }
}

/// An invite that was just made.
#[derive(Serialize, ToSchema)]
pub(super) struct MadeInvite<'a> {
    #[serde(flatten)]
    invite: InviteView,
    /// The token of a link, shown this once; null for an e-mail address.
    #[schema(required)]
    token: Option<&'a str>,
}

impl<'a> MadeInvite<'a> {
    pub(super) fn new(invite: Invite, token: Option<&'a SecretString>) -> Self {
        Self { invite: invite.into(), token: token.map(ExposeSecret::expose_secret) }
    }
}

/// Invites, and where the list goes on.
#[derive(Serialize, ToSchema)]
pub(super) struct InvitePage {
    invites: Vec<InviteView>,
    /// `after` of the next page; null at the end.
    #[schema(required)]
    next: Option<String>,
}

impl From<Page<Invite, InviteId>> for InvitePage {
    fn from(page: Page<Invite, InviteId>) -> Self {
        Self {
            next: page.next.map(|next| next.write()),
            invites: page.items.into_iter().map(InviteView::from).collect(),
        }
    }
}
