//! The directory of spaces as it is stored: which there are, who is a member, what members may do, and who was refused
//! what. Whether a name is a good one, or how long an invite lasts, is decided by callers; what must hold however requests
//! race (one owner, one use of an invite, limits that count) is decided here, in the transaction that writes.

use std::sync::Arc;

use lattice_engine::{Access, Policy, Role, Seq, SpaceId};

pub use lattice_engine::SchemaRule;

use crate::accounts::{TokenHash, UserId};
use crate::spaces::{AuditLine, Space};
use crate::{BoxFuture, StoreError};

/// Views remembered for each user in each space: about as many as clients have filters, with some to spare.
pub const MAX_REMEMBERED_VIEWS: usize = 64;
/// Longest definition of a view that is remembered, in bytes.
pub const MAX_VIEW_BYTES: usize = 64 << 10;

/// What a space is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SpaceKind {
    /// One user's own; made on demand.
    Private,
    /// Its members'.
    Shared,
    /// Its members', and every user reads it as a viewer would.
    Public,
}

impl SpaceKind {
    /// The kind's name on the wire and in storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Shared => "shared",
            Self::Public => "public",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "private" => Some(Self::Private),
            "shared" => Some(Self::Shared),
            "public" => Some(Self::Public),
            _ => None,
        }
    }
}

/// A view that a user had of a space.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RememberedView {
    /// Its number.
    pub id: u64,
    /// What it is made from again.
    pub definition: String,
    /// Rows that were created after this seq were never shown in it: by then the rights of the user had changed. `None`
    /// while they are what they were.
    pub until: Option<Seq>,
}

/// What became of a view that was to be remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ViewMemory {
    /// It is the newest of its user in the space.
    Remembered,
    /// Its definition is too long. Whoever comes with a cursor of it begins anew.
    TooLarge,
    /// It is not what the user's rights show any more, and was not remembered: rows that are created from now on would count as
    /// shown in it.
    Outdated,
}

/// Names a space as clients do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Selector {
    /// The private space of whoever asks.
    Me,
    /// The space with this id.
    Id(SpaceId),
}

/// A space as one user may use it, at the moment of asking.
#[derive(Clone)]
pub struct SpaceAccess {
    /// The space.
    pub space: Arc<Space>,
    /// What it is.
    pub kind: SpaceKind,
    /// As its owner named it; empty for a private one.
    pub name: String,
    /// What the user is in it.
    pub role: Role,
    /// What members may do.
    pub policy: Arc<Policy>,
    /// Which versions may sync it; `None`: all.
    pub schema: Option<SchemaRule>,
    /// It takes no changes any more.
    pub archived: bool,
}

/// What decides whether a user's changes are taken, as of a transaction.
#[derive(Clone, Debug)]
pub struct AccessRecord {
    /// What the user is in the space.
    pub role: Role,
    /// What members may do.
    pub policy: Arc<Policy>,
    /// It takes no changes any more.
    pub archived: bool,
    /// It is the user's private one.
    pub private: bool,
}

impl AccessRecord {
    /// The same, as the engine takes it.
    pub(crate) fn of(&self, user: [u8; 16]) -> Access<'_> {
        Access { user, role: self.role, policy: &self.policy, archived: self.archived, private: self.private }
    }
}

/// A space in a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpaceEntry {
    /// Its public id.
    pub id: SpaceId,
    /// What it is.
    pub kind: SpaceKind,
    /// As its owner named it; empty for a private one.
    pub name: String,
    /// What whoever asked is in it.
    pub role: Role,
    /// When it was archived, in microseconds since 1970.
    pub archived_us: Option<i64>,
    /// When it was made, in microseconds since 1970.
    pub created_us: i64,
}

/// A member of a space.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// What they are in the space.
    pub role: Role,
    /// Their e-mail address; `None` when the account is gone.
    pub email: Option<String>,
    /// Their full name, if they gave one.
    pub full_name: Option<String>,
    /// When they became a member, in microseconds since 1970.
    pub since_us: i64,
}

/// The id of an invite.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct InviteId(pub [u8; 16]);

/// Whom an invite is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Invitee {
    /// The account with this e-mail address, which the caller has normalised.
    Email(String),
    /// Whoever has the token with this hash.
    Link(TokenHash),
}

/// An invite.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invite {
    /// Its id; worth nothing without the token or the account that it is for.
    pub id: InviteId,
    /// The space.
    pub space: SpaceId,
    /// The space's name.
    pub space_name: String,
    /// What whoever accepts becomes.
    pub role: Role,
    /// The address of the account that it is for; `None` for a link.
    pub email: Option<String>,
    /// How many have become members by it.
    pub uses: u32,
    /// How many may.
    pub max_uses: u32,
    /// When it was made, in microseconds since 1970.
    pub created_us: i64,
    /// From when on it is worth nothing, in microseconds since 1970.
    pub expires_us: i64,
}

/// A space to be made.
#[derive(Clone, Debug)]
pub struct NewSpace {
    /// Who makes it, and owns it.
    pub owner: UserId,
    /// Shared or public.
    pub kind: SpaceKind,
    /// Its name.
    pub name: String,
    /// How many spaces a user may own, their private one not counted.
    pub max_owned: u32,
    /// Now, in microseconds since 1970.
    pub now_us: i64,
}

/// What to change about a space; `None` leaves things as they are.
#[derive(Clone, Default, Debug)]
pub struct SpaceChange {
    /// Another name.
    pub name: Option<String>,
    /// Whether it takes no changes.
    pub archived: Option<bool>,
}

/// An invite to be made.
#[derive(Clone, Debug)]
pub struct NewInvite {
    /// Who invites.
    pub actor: UserId,
    /// To which space.
    pub space: SpaceId,
    /// Editor or viewer.
    pub role: Role,
    /// Whom.
    pub invitee: Invitee,
    /// How many may accept; 1 for an e-mail address.
    pub max_uses: u32,
    /// From when on it is worth nothing, in microseconds since 1970.
    pub expires_us: i64,
    /// How many open invites a space may have.
    pub max_open: u32,
    /// Now, in microseconds since 1970.
    pub now_us: i64,
}

/// Which invite somebody accepts.
#[derive(Clone, Copy, Debug)]
pub enum Accept {
    /// The one whose token has this hash.
    Link(TokenHash),
    /// The one with this id, if it is for the e-mail address of their account.
    Id(InviteId),
}

/// Items of a list, and where to go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page<T, C> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// What to pass as `after` for the items that follow; `None` when there are none.
    pub next: Option<C>,
}

impl<T, C> Page<T, C> {
    /// A page of at most `limit` items, of what was read with one item more.
    pub(crate) fn of(mut items: Vec<T>, limit: usize, cursor: impl FnOnce(&T) -> C) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(cursor) } else { None };
        Self { items, next }
    }
}

/// Whose refused changes are listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefusalsOf {
    /// Those that this user made, in spaces that they still see.
    User(UserId),
    /// Those of everybody in this space; for its owner, who asks.
    Space {
        /// Who asks.
        actor: UserId,
        /// The space.
        space: SpaceId,
    },
}

/// A place in a list of refused changes: before what arrived then.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RefusalCursor {
    /// When the change arrived, in microseconds since 1970.
    pub arrived_us: i64,
    /// Its id.
    pub id: [u8; 16],
}

/// A refused change.
#[derive(Clone, Debug)]
pub struct RefusedChange {
    /// The space.
    pub space: SpaceId,
    /// Who made it.
    pub user: UserId,
    /// Its line of the audit log: the change as it came, and the verdict.
    pub line: AuditLine,
}

/// Why the directory did not do what was asked. Nothing of it was kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Denied {
    /// There is no such space, or whoever asks may not see it.
    NotFound,
    /// Whoever asks sees the space and is not its owner, or in the case of lists not a member.
    Forbidden,
    /// A private space has no members, no name, and no end but that of its owner.
    Private,
    /// The user in question is not a member.
    NotMember,
    /// The space's owner stays so until ownership is transferred.
    IsOwner,
    /// There is no such invite, or it is not for whoever asks, has expired or is used up.
    InviteNotFound,
    /// The user owns as many spaces as one may.
    TooManySpaces,
    /// The space has as many members as one may.
    TooManyMembers,
    /// The space has as many open invites as one may.
    TooManyInvites,
    /// The user owns spaces that others are members of.
    OwnsSpaces,
    /// The account of whoever asks is gone.
    NoUser,
}

/// What was asked for, or why it was not done.
pub type Answer<T> = Result<T, Denied>;

/// A storage call that may be denied.
pub type Asked<'a, T> = BoxFuture<'a, Result<Answer<T>, StoreError>>;

/// Stores the directory. Every write that names an `actor` asks in its own transaction whether they are the owner, and has
/// answered only once it is durable.
pub trait Directory: Send + Sync {
    /// Changes whenever something that decides access may have changed: a space, a member, a policy, a session, a user. Is
    /// raised after the commit that changed it and before its caller is answered, so whoever reads the version first and
    /// then asks knows that what they learnt holds for that version at least. Not kept over restarts.
    fn version(&self) -> u64;

    /// A space as a user may use it. `None` when there is none, when it was deleted, and when the user may not see it: by
    /// the same steps, none of which touches a space that the user may not see. [`Selector::Me`] makes the private space
    /// when it is not there yet.
    fn access(
        &self,
        user: UserId,
        selector: Selector,
    ) -> BoxFuture<'_, Result<Option<SpaceAccess>, StoreError>>;

    /// Makes a shared or public space. [`Denied::TooManySpaces`], [`Denied::Private`], [`Denied::NoUser`].
    fn create_space(&self, new: NewSpace) -> Asked<'_, SpaceEntry>;

    /// A space as a user sees it. [`Denied::NotFound`].
    fn space(&self, user: UserId, space: SpaceId) -> Asked<'_, SpaceEntry>;

    /// The private space of a user, if it was made, and then those that they are a member of, by id.
    fn spaces_of(
        &self,
        user: UserId,
        after: Option<SpaceId>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Page<SpaceEntry, SpaceId>, StoreError>>;

    /// Public spaces by id, as `user` sees them.
    fn public_spaces(
        &self,
        user: UserId,
        after: Option<SpaceId>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Page<SpaceEntry, SpaceId>, StoreError>>;

    /// Renames a space, archives it or takes it out of the archive. [`Denied::NotFound`], [`Denied::Forbidden`],
    /// [`Denied::Private`].
    fn change_space(
        &self,
        actor: UserId,
        space: SpaceId,
        change: SpaceChange,
        now_us: i64,
    ) -> Asked<'_, SpaceEntry>;

    /// Deletes a space: from this commit on nobody sees it. Its content is erased by
    /// [`purge_deleted`](Self::purge_deleted). [`Denied::NotFound`], [`Denied::Forbidden`], [`Denied::Private`].
    fn delete_space(&self, actor: UserId, space: SpaceId, now_us: i64) -> Asked<'_, ()>;

    /// Erases at most `limit` records of deleted spaces in one write and says how many. Call again while it answers `limit`:
    /// the writer is never held for long.
    fn purge_deleted(&self, limit: u32) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Replaces what members may do, and which versions may sync. [`Denied::NotFound`], [`Denied::Forbidden`].
    fn set_policy(
        &self,
        actor: UserId,
        space: SpaceId,
        policy: Policy,
        schema: Option<SchemaRule>,
    ) -> Asked<'_, ()>;

    /// Members by user id, for a member. [`Denied::NotFound`]; [`Denied::Forbidden`] for those who merely read a public
    /// space; [`Denied::Private`].
    fn members(
        &self,
        actor: UserId,
        space: SpaceId,
        after: Option<UserId>,
        limit: u32,
    ) -> Asked<'_, Page<Member, UserId>>;

    /// Makes a member an editor or a viewer. [`Denied::NotFound`], [`Denied::Forbidden`], [`Denied::Private`],
    /// [`Denied::NotMember`]; [`Denied::IsOwner`] when the member is the owner, or is to become one.
    fn set_role(&self, actor: UserId, space: SpaceId, user: UserId, role: Role) -> Asked<'_, ()>;

    /// Removes a member. [`Denied::NotFound`], [`Denied::Forbidden`], [`Denied::Private`], [`Denied::NotMember`],
    /// [`Denied::IsOwner`].
    fn remove_member(&self, actor: UserId, space: SpaceId, user: UserId) -> Asked<'_, ()>;

    /// A member leaves. [`Denied::NotFound`], [`Denied::Private`], [`Denied::IsOwner`]; [`Denied::NotMember`] for those who
    /// merely read a public space.
    fn leave(&self, user: UserId, space: SpaceId) -> Asked<'_, ()>;

    /// Makes another member the owner and the owner an editor. [`Denied::NotFound`], [`Denied::Forbidden`],
    /// [`Denied::Private`], [`Denied::NotMember`]; [`Denied::TooManySpaces`] when the new owner has `max_owned` already.
    fn transfer(&self, actor: UserId, space: SpaceId, to: UserId, max_owned: u32) -> Asked<'_, ()>;

    /// Makes an invite. [`Denied::NotFound`], [`Denied::Forbidden`], [`Denied::Private`], [`Denied::TooManyInvites`].
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the token's hash is taken.
    fn create_invite(&self, new: NewInvite) -> Asked<'_, Invite>;

    /// Open invites of a space by id, for its owner. [`Denied::NotFound`], [`Denied::Forbidden`], [`Denied::Private`].
    fn invites(
        &self,
        actor: UserId,
        space: SpaceId,
        after: Option<InviteId>,
        limit: u32,
        now_us: i64,
    ) -> Asked<'_, Page<Invite, InviteId>>;

    /// Takes an invite back. [`Denied::NotFound`], [`Denied::Forbidden`], [`Denied::Private`], [`Denied::InviteNotFound`].
    fn revoke_invite(&self, actor: UserId, space: SpaceId, invite: InviteId) -> Asked<'_, ()>;

    /// Open invites for the e-mail address of a user's account, by id.
    fn invites_for(
        &self,
        user: UserId,
        after: Option<InviteId>,
        limit: u32,
        now_us: i64,
    ) -> BoxFuture<'_, Result<Page<Invite, InviteId>, StoreError>>;

    /// Makes a user a member. The use is counted in the same transaction. For a member it changes nothing and uses nothing
    /// up, whatever the invite's role. Answers the space as they see it now. [`Denied::InviteNotFound`],
    /// [`Denied::TooManyMembers`], [`Denied::NoUser`].
    fn accept_invite(
        &self,
        user: UserId,
        accept: Accept,
        max_members: u32,
        now_us: i64,
    ) -> Asked<'_, SpaceEntry>;

    /// Forgets at most `limit` invites that expired before `before_us`, and says how many those were.
    fn delete_expired_invites(&self, before_us: i64, limit: u32) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// The views that a user had of a space, the newest first. Whatever changes what members may do ends those that it
    /// concerns, in its own transaction; a view that is remembered again goes on.
    fn views<'a>(
        &'a self,
        space: &'a Space,
        user: UserId,
    ) -> BoxFuture<'a, Result<Vec<RememberedView>, StoreError>>;

    /// Remembers a view as the newest of a user in a space, and forgets all but the newest [`MAX_REMEMBERED_VIEWS`]. A
    /// definition longer than [`MAX_VIEW_BYTES`] is not remembered; neither is a view ([`lattice_engine::View::parse`]) that is not
    /// what the user's rights show in the transaction that writes it. Costs no write when it is the newest already.
    fn remember_view<'a>(
        &'a self,
        space: &'a Space,
        user: UserId,
        id: u64,
        definition: String,
    ) -> BoxFuture<'a, Result<ViewMemory, StoreError>>;

    /// Refused changes, the last that arrived first. [`Denied::NotFound`], [`Denied::Forbidden`] when a space's are asked
    /// for.
    fn refusals(
        &self,
        of: RefusalsOf,
        before: Option<RefusalCursor>,
        limit: u32,
    ) -> Asked<'_, Page<RefusedChange, RefusalCursor>>;

    /// Deletes an account with its sessions, memberships and spaces, and says which spaces those were. [`Denied::OwnsSpaces`] while it owns shared or public
    /// spaces that others are members of; [`Denied::NoUser`] when there is no such account.
    fn delete_account(&self, user: UserId, now_us: i64) -> Asked<'_, Vec<SpaceId>>;
}
