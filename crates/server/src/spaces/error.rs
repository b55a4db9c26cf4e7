//! Why something about spaces was refused.

use lattice_store::StoreError;
use lattice_store::directory::Denied;

/// Why something about spaces was refused. Each has a stable [`code`](Self::code) and a sentence.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpaceError {
    /// The directory did not do it.
    #[error("{}", sentence(*.0))]
    Denied(Denied),
    /// The name is empty, too long or holds control characters.
    #[error("a name has 1 to 200 characters, none of them a control character")]
    BadName,
    /// The e-mail address is none.
    #[error("this is not an e-mail address")]
    BadEmail,
    /// The invite is not one that can be made.
    #[error("{0}")]
    BadInvite(&'static str),
    /// The policy is not one that can be kept.
    #[error("{0}")]
    BadPolicy(&'static str),
    /// The store failed.
    #[error("the server failed")]
    Store(#[source] StoreError),
}

impl SpaceError {
    /// There is no such space, or whoever asks may not see it.
    pub const NOT_FOUND: Self = Self::Denied(Denied::NotFound);
    /// There is no such invite for whoever asks.
    pub const NO_INVITE: Self = Self::Denied(Denied::InviteNotFound);

    /// The error's stable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Denied(denied) => match denied {
                Denied::NotFound => "space_not_found",
                Denied::Forbidden => "forbidden",
                Denied::Private => "private_space",
                Denied::NotMember => "member_not_found",
                Denied::IsOwner => "is_owner",
                Denied::InviteNotFound => "invite_not_found",
                Denied::TooManySpaces => "too_many_spaces",
                Denied::TooManyMembers => "too_many_members",
                Denied::TooManyInvites => "too_many_invites",
                Denied::OwnsSpaces => "owns_spaces",
                Denied::NoUser => "session_revoked",
            },
            Self::BadName => "bad_name",
            Self::BadEmail => "bad_email",
            Self::BadInvite(_) => "bad_invite",
            Self::BadPolicy(_) => "bad_policy",
            Self::Store(_) => "internal",
        }
    }
}

fn sentence(denied: Denied) -> &'static str {
    match denied {
        Denied::NotFound => "there is no such space",
        Denied::Forbidden => "your role in the space does not permit this",
        Denied::Private => "a private space has no members, no name and no end but that of its account",
        Denied::NotMember => "this user is not a member of the space",
        Denied::IsOwner => "the owner stays one until ownership is transferred",
        Denied::InviteNotFound => "there is no such invite, or it has expired or is used up",
        Denied::TooManySpaces => "a user owns at most 1000 spaces",
        Denied::TooManyMembers => "a space has at most 10000 members",
        Denied::TooManyInvites => "a space has at most 1000 open invites",
        Denied::OwnsSpaces => "the account owns spaces with other members: transfer or delete those first",
        Denied::NoUser => "the session was revoked; log in again",
    }
}

impl From<Denied> for SpaceError {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<StoreError> for SpaceError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
