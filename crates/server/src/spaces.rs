//! The rules of spaces: what a name is, how long an invite lasts, how many of anything one may have, and who is told when
//! access changes. It knows no HTTP and no driver. Who may do what is decided by the store, in the transaction that does it.

mod audited;
mod error;
mod hints;

use std::sync::Arc;

use lattice_auth::audit::{AccessAudit, Event, Kind, NoAudit};
use lattice_auth::{InviteToken, normalise_email};
use lattice_engine::{Policy, Role, SpaceId};
use lattice_store::accounts::UserId;
use lattice_store::directory::{
    Accept, Answer, Directory, Invite, InviteId, Invitee, Member, NewInvite, NewSpace, Page, RefusalCursor,
    RefusalsOf, RefusedChange, SchemaRule, Selector, SpaceAccess, SpaceChange, SpaceEntry, SpaceKind,
};
use lattice_store::time::{Clock, Random};
use lattice_store::{BoxFuture, StoreError};
use secrecy::SecretString;

use audited::noted;
pub use error::SpaceError;
pub use hints::{AccessHints, NoHints};

/// Longest name of a space, in characters.
pub const MAX_SPACE_NAME_CHARS: usize = 200;
/// Spaces that a user may own, their private one not counted.
pub const MAX_OWNED_SPACES: u32 = 1_000;
/// Members that a space may have: a list of them is read when it is counted.
pub const MAX_MEMBERS: u32 = 10_000;
/// Invites of a space that may be open at a time.
pub const MAX_OPEN_INVITES: u32 = 1_000;
/// How many may accept one link.
pub const MAX_INVITE_USES: u32 = MAX_MEMBERS;
/// How long an invite may last at least, in seconds.
pub const MIN_INVITE_LIFE_S: i64 = 60;
/// How long an invite may last at most, in seconds: links get around.
pub const MAX_INVITE_LIFE_S: i64 = 90 * 24 * 3_600;
/// How long an invite lasts when nothing else is said, in seconds.
pub const DEFAULT_INVITE_LIFE_S: i64 = 7 * 24 * 3_600;
/// Largest policy, in bytes of its JSON: it is read again for connections whenever access changes.
pub const MAX_POLICY_BYTES: usize = 64 << 10;
/// For how long an invite that has expired is kept, in seconds: whoever became a member by it may send the same again.
const EXPIRED_INVITE_RETENTION_S: i64 = 24 * 3_600;
/// Records of deleted spaces that one write erases: some milliseconds of the writer.
const PURGE_BATCH: u32 = 200;
/// Invites that one write forgets.
const SWEEP_BATCH: u32 = 500;

const SECOND_US: i64 = 1_000_000;

/// An invite to be made, as it is asked for.
#[derive(Debug)]
pub struct InviteRequest {
    /// Editor or viewer.
    pub role: Role,
    /// Whose account it is for; `None` makes a link.
    pub email: Option<String>,
    /// How many may accept a link; 1 when nothing is said.
    pub max_uses: Option<u32>,
    /// How long it lasts, in seconds.
    pub life_s: Option<i64>,
}

/// Spaces and who is in them.
pub struct Spaces {
    directory: Arc<dyn Directory>,
    hints: Arc<dyn AccessHints>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    max_owned: u32,
    audit: Arc<dyn AccessAudit>,
}

impl Spaces {
    /// Puts the service together.
    #[must_use]
    pub fn new(
        directory: Arc<dyn Directory>,
        hints: Arc<dyn AccessHints>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        Self { directory, hints, clock, random, max_owned: MAX_OWNED_SPACES, audit: Arc::new(NoAudit) }
    }

    /// With another limit for the spaces that a user owns, where none is set for one.
    #[must_use]
    pub fn with_max_owned(self, max_owned: u32) -> Self {
        Self { max_owned, ..self }
    }

    /// With somebody who notes whose rights are changed by whom.
    #[must_use]
    pub fn with_audit(self, audit: Arc<dyn AccessAudit>) -> Self {
        Self { audit, ..self }
    }

    /// Where the directory is kept.
    #[must_use]
    pub fn directory(&self) -> &Arc<dyn Directory> {
        &self.directory
    }

    /// Who is told when access changes.
    #[must_use]
    pub fn hints(&self) -> &Arc<dyn AccessHints> {
        &self.hints
    }

    /// Makes a shared or public space.
    ///
    /// # Errors
    /// [`SpaceError::BadName`], a denial, or the store's.
    pub async fn create(&self, owner: UserId, kind: SpaceKind, name: &str) -> Result<SpaceEntry, SpaceError> {
        let new = NewSpace {
            owner,
            kind,
            name: good_name(name)?,
            max_owned: self.max_owned,
            now_us: self.clock.now_us(),
        };
        let event = Event::new(Kind::SpaceCreated).actor(owner).detail("kind", kind.as_str());
        let entry = match self.directory.create_space(new).await? {
            Ok(entry) => noted(&*self.audit, event.space(entry.id), Ok(entry))?,
            Err(denied) => noted(&*self.audit, event, Err(denied.into()))?,
        };
        self.hints.user_changed(owner);
        Ok(entry)
    }

    /// The spaces of a user, their private one first.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(
        &self,
        user: UserId,
        after: Option<SpaceId>,
        limit: u32,
    ) -> Result<Page<SpaceEntry, SpaceId>, SpaceError> {
        if after.is_none() {
            // It is made on demand, and a list without it would say that there is none.
            self.directory.access(user, Selector::Me).await?;
        }
        Ok(self.directory.spaces_of(user, after, limit).await?)
    }

    /// Public spaces.
    ///
    /// # Errors
    /// The store's.
    pub async fn list_public(
        &self,
        user: UserId,
        after: Option<SpaceId>,
        limit: u32,
    ) -> Result<Page<SpaceEntry, SpaceId>, SpaceError> {
        Ok(self.directory.public_spaces(user, after, limit).await?)
    }

    /// A space as a user may use it.
    ///
    /// # Errors
    /// A denial, or the store's.
    pub async fn access(&self, user: UserId, space: Selector) -> Result<SpaceAccess, SpaceError> {
        let access = self.directory.access(user, space).await?.ok_or(SpaceError::NOT_FOUND);
        self.looked(user, space, "space", access)
    }

    /// A space as it is listed.
    ///
    /// # Errors
    /// A denial, or the store's.
    pub async fn show(&self, user: UserId, space: Selector) -> Result<SpaceEntry, SpaceError> {
        let id = self.id_of(user, space).await?;
        let shown = self.directory.space(user, id).await?.map_err(SpaceError::from);
        self.looked(user, space, "space", shown)
    }

    /// Renames a space, archives it or takes it out of the archive.
    ///
    /// # Errors
    /// [`SpaceError::BadName`], a denial, or the store's.
    pub async fn change(
        &self,
        actor: UserId,
        space: Selector,
        change: SpaceChange,
    ) -> Result<SpaceEntry, SpaceError> {
        let name = change.name.as_deref().map(good_name).transpose()?;
        let change = SpaceChange { name, ..change };
        let (id, now_us) = (self.id_of(actor, space).await?, self.clock.now_us());
        let event = Event::new(Kind::SpaceChanged).actor(actor);
        let event = match change.archived {
            Some(archived) => event.detail("archived", archived),
            None => event,
        };
        self.write(id, event, move |directory| directory.change_space(actor, id, change, now_us)).await
    }

    /// Deletes a space.
    ///
    /// # Errors
    /// A denial, or the store's.
    pub async fn delete(&self, actor: UserId, space: Selector) -> Result<(), SpaceError> {
        let (id, now_us) = (self.id_of(actor, space).await?, self.clock.now_us());
        let event = Event::new(Kind::SpaceDeleted).actor(actor);
        self.write(id, event, move |directory| directory.delete_space(actor, id, now_us)).await
    }

    /// Members of a space.
    ///
    /// # Errors
    /// A denial, or the store's.
    pub async fn members(
        &self,
        actor: UserId,
        space: Selector,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Page<Member, UserId>, SpaceError> {
        let id = self.id_of(actor, space).await?;
        let members = self.directory.members(actor, id, after, limit).await?.map_err(SpaceError::from);
        self.looked(actor, space, "members", members)
    }

    /// Makes a member an editor or a viewer.
    ///
    /// # Errors
    /// A denial, or the store's.
    pub async fn set_role(
        &self,
        actor: UserId,
        space: Selector,
        user: UserId,
        role: Role,
    ) -> Result<(), SpaceError> {
        let id = self.id_of(actor, space).await?;
        let event = Event::new(Kind::RoleChanged).actor(actor).subject(user);
        let event = event.detail("role", role.as_str());
        self.write(id, event, move |directory| directory.set_role(actor, id, user, role)).await
    }

    /// Removes a member.
    ///
    /// # Errors
    /// A denial, or the store's.
    pub async fn remove_member(
        &self,
        actor: UserId,
        space: Selector,
        user: UserId,
    ) -> Result<(), SpaceError> {
        let id = self.id_of(actor, space).await?;
        let event = Event::new(Kind::MemberRemoved).actor(actor).subject(user);
        self.write(id, event, move |directory| directory.remove_member(actor, id, user)).await
    }

    /// A member leaves.
    ///
    /// # Errors
    /// A denial, or the store's.
    pub async fn leave(&self, user: UserId, space: Selector) -> Result<(), SpaceError> {
        let id = self.id_of(user, space).await?;
        let event = Event::new(Kind::MemberLeft).actor(user);
        self.write(id, event, move |directory| directory.leave(user, id)).await
    }

    /// Makes another member the owner.
    ///
    /// # Errors
    /// A denial, or the store's.
    pub async fn transfer(&self, actor: UserId, space: Selector, to: UserId) -> Result<(), SpaceError> {
        let id = self.id_of(actor, space).await?;
        let max_owned = self.max_owned;
        let event = Event::new(Kind::SpaceTransferred).actor(actor).subject(to);
        self.write(id, event, move |directory| directory.transfer(actor, id, to, max_owned)).await
    }

    /// Makes an invite; with it comes the token of a link, which nobody can ask for again.
    ///
    /// # Errors
    /// [`SpaceError::BadInvite`], [`SpaceError::BadEmail`], a denial, or the store's.
    pub async fn invite(
        &self,
        actor: UserId,
        space: Selector,
        request: InviteRequest,
    ) -> Result<(Invite, Option<SecretString>), SpaceError> {
        let life_s = request.life_s.unwrap_or(DEFAULT_INVITE_LIFE_S);
        let max_uses = request.max_uses.unwrap_or(1);
        let email = request.email.as_deref().map(normalise_email).transpose();
        let email = email.map_err(|_| SpaceError::BadEmail)?;
        if !(MIN_INVITE_LIFE_S..=MAX_INVITE_LIFE_S).contains(&life_s) {
            return Err(SpaceError::BadInvite("an invite lasts 60 to 7776000 seconds"));
        }
        if !(1..=MAX_INVITE_USES).contains(&max_uses) {
            return Err(SpaceError::BadInvite("a link is for 1 to 10000 uses"));
        }
        if email.is_some() && max_uses != 1 {
            return Err(SpaceError::BadInvite("an invite for an e-mail address is for one use"));
        }
        if request.role == Role::Owner {
            return Err(SpaceError::BadInvite("an owner is made by a transfer"));
        }
        let (invitee, token) = match email {
            Some(email) => (Invitee::Email(email), None),
            None => {
                let token = InviteToken::random(&*self.random);
                (Invitee::Link(token.hash()), Some(token.to_text()))
            }
        };
        let (space, now_us) = (self.id_of(actor, space).await?, self.clock.now_us());
        let new = NewInvite {
            actor,
            space,
            role: request.role,
            invitee,
            max_uses,
            expires_us: now_us + life_s * SECOND_US,
            max_open: MAX_OPEN_INVITES,
            now_us,
        };
        let event = Event::new(Kind::InviteCreated).actor(actor).space(space);
        let event = event.detail("role", request.role.as_str()).detail("maxUses", max_uses);
        let event = event.detail("for", if token.is_some() { "link" } else { "email" });
        let made = self.directory.create_invite(new).await?.map_err(SpaceError::from);
        Ok((noted(&*self.audit, event, made)?, token))
    }

    /// Open invites of a space.
    ///
    /// # Errors
    /// A denial, or the store's.
    pub async fn invites(
        &self,
        actor: UserId,
        space: Selector,
        after: Option<InviteId>,
        limit: u32,
    ) -> Result<Page<Invite, InviteId>, SpaceError> {
        let id = self.id_of(actor, space).await?;
        let invites = self.directory.invites(actor, id, after, limit, self.clock.now_us()).await?;
        self.looked(actor, space, "invites", invites.map_err(SpaceError::from))
    }

    /// Takes an invite back.
    ///
    /// # Errors
    /// A denial, or the store's.
    pub async fn revoke_invite(
        &self,
        actor: UserId,
        space: Selector,
        invite: InviteId,
    ) -> Result<(), SpaceError> {
        let id = self.id_of(actor, space).await?;
        let event = Event::new(Kind::InviteRevoked).actor(actor).space(id);
        let revoked = self.directory.revoke_invite(actor, id, invite).await?.map_err(SpaceError::from);
        noted(&*self.audit, event, revoked)
    }

    /// Open invites for a user's e-mail address.
    ///
    /// # Errors
    /// The store's.
    pub async fn invites_for(
        &self,
        user: UserId,
        after: Option<InviteId>,
        limit: u32,
    ) -> Result<Page<Invite, InviteId>, SpaceError> {
        Ok(self.directory.invites_for(user, after, limit, self.clock.now_us()).await?)
    }

    /// Accepts the link with this token.
    ///
    /// # Errors
    /// A denial, or the store's.
    pub async fn accept_link(&self, user: UserId, token: &SecretString) -> Result<SpaceEntry, SpaceError> {
        let token = InviteToken::parse(token).ok_or(SpaceError::NO_INVITE);
        let token = match token {
            Err(error) => noted(&*self.audit, Event::new(Kind::InviteAccepted).actor(user), Err(error))?,
            Ok(token) => token,
        };
        self.accept(user, Accept::Link(token.hash())).await
    }

    /// Accepts an invite for the user's e-mail address.
    ///
    /// # Errors
    /// A denial, or the store's.
    pub async fn accept_invite(&self, user: UserId, invite: InviteId) -> Result<SpaceEntry, SpaceError> {
        self.accept(user, Accept::Id(invite)).await
    }

    async fn accept(&self, user: UserId, accept: Accept) -> Result<SpaceEntry, SpaceError> {
        let (directory, hints) = (Arc::clone(&self.directory), Arc::clone(&self.hints));
        let (audit, event) = (Arc::clone(&self.audit), Event::new(Kind::InviteAccepted).actor(user));
        let now_us = self.clock.now_us();
        finished(async move {
            let entry = match directory.accept_invite(user, accept, MAX_MEMBERS, now_us).await? {
                Ok(entry) => noted(&*audit, event.space(entry.id), Ok(entry))?,
                Err(denied) => noted(&*audit, event, Err(denied.into()))?,
            };
            hints.access_changed(entry.id);
            hints.user_changed(user);
            Ok(entry)
        })
        .await
    }

    /// Replaces what members may do, and which versions may sync.
    ///
    /// # Errors
    /// [`SpaceError::BadPolicy`], a denial, or the store's.
    pub async fn set_policy(
        &self,
        actor: UserId,
        space: Selector,
        policy: Policy,
        schema: Option<SchemaRule>,
    ) -> Result<(), SpaceError> {
        if let Some(problem) = policy.problem() {
            return Err(SpaceError::BadPolicy(problem));
        }
        let bytes = serde_json::to_vec(&policy).map_or(usize::MAX, |json| json.len());
        if bytes > MAX_POLICY_BYTES {
            return Err(SpaceError::BadPolicy("a policy has at most 65536 bytes of JSON"));
        }
        let id = self.id_of(actor, space).await?;
        let event = Event::new(Kind::PolicyChanged).actor(actor).detail("tables", policy.tables.len());
        self.write(id, event, move |directory| directory.set_policy(actor, id, policy, schema)).await
    }

    /// Refused changes of everybody in a space, for its owner.
    ///
    /// # Errors
    /// A denial, or the store's.
    pub async fn refusals_in(
        &self,
        actor: UserId,
        space: Selector,
        before: Option<RefusalCursor>,
        limit: u32,
    ) -> Result<Page<RefusedChange, RefusalCursor>, SpaceError> {
        let id = self.id_of(actor, space).await?;
        let refusals = self.directory.refusals(RefusalsOf::Space { actor, space: id }, before, limit).await?;
        self.looked(actor, space, "refusals", refusals.map_err(SpaceError::from))
    }

    /// Refused changes of a user.
    ///
    /// # Errors
    /// The store's.
    pub async fn refusals_of(
        &self,
        user: UserId,
        before: Option<RefusalCursor>,
        limit: u32,
    ) -> Result<Page<RefusedChange, RefusalCursor>, SpaceError> {
        Ok(self.directory.refusals(RefusalsOf::User(user), before, limit).await??)
    }

    /// Deletes an account with everything that is its own alone. The caller has made sure that it is its owner who asks.
    ///
    /// # Errors
    /// A denial, or the store's.
    pub async fn delete_account(&self, user: UserId) -> Result<(), SpaceError> {
        let (directory, hints) = (Arc::clone(&self.directory), Arc::clone(&self.hints));
        let (audit, event) = (Arc::clone(&self.audit), Event::new(Kind::AccountDeleted).actor(user));
        let now_us = self.clock.now_us();
        finished(async move {
            let deleted = directory.delete_account(user, now_us).await?.map_err(SpaceError::from);
            let spaces = noted(&*audit, event, deleted)?;
            spaces.into_iter().for_each(|space| hints.access_changed(space));
            hints.user_changed(user);
            Ok(())
        })
        .await
    }

    /// Erases what deleted spaces held, in small writes, and says how much. To be called now and then.
    ///
    /// # Errors
    /// The store's.
    pub async fn purge(&self) -> Result<u64, StoreError> {
        let mut erased = 0;
        loop {
            let batch = self.directory.purge_deleted(PURGE_BATCH).await?;
            erased += batch;
            if batch < u64::from(PURGE_BATCH) {
                return Ok(erased);
            }
        }
    }

    /// Forgets invites that expired long ago, in small writes, and says how many. To be called now and then.
    ///
    /// # Errors
    /// The store's.
    pub async fn forget_invites(&self) -> Result<u64, StoreError> {
        let before_us = self.clock.now_us() - EXPIRED_INVITE_RETENTION_S * SECOND_US;
        let mut forgotten = 0;
        loop {
            let batch = self.directory.delete_expired_invites(before_us, SWEEP_BATCH).await?;
            forgotten += batch;
            if batch < u64::from(SWEEP_BATCH) {
                return Ok(forgotten);
            }
        }
    }

    async fn id_of(&self, user: UserId, space: Selector) -> Result<SpaceId, SpaceError> {
        match space {
            Selector::Id(id) => Ok(id),
            Selector::Me => self.access(user, Selector::Me).await.map(|access| access.space.id),
        }
    }

    /// A write that may change access to a space, with those told whom that concerns.
    async fn write<T: Send + 'static>(
        &self,
        space: SpaceId,
        event: Event,
        call: impl for<'a> FnOnce(&'a dyn Directory) -> BoxFuture<'a, Result<Answer<T>, StoreError>>
        + Send
        + 'static,
    ) -> Result<T, SpaceError> {
        let (directory, hints) = (Arc::clone(&self.directory), Arc::clone(&self.hints));
        let audit = Arc::clone(&self.audit);
        finished(async move {
            let done = call(&*directory).await?.map_err(SpaceError::from);
            let done = noted(&*audit, event.space(space), done)?;
            hints.access_changed(space);
            Ok(done)
        })
        .await
    }
}

/// Runs to its end what was begun, also when whoever asked for it leaves: a change whose hint is lost is seen late.
async fn finished<T: Send + 'static>(
    work: impl Future<Output = Result<T, SpaceError>> + Send + 'static,
) -> Result<T, SpaceError> {
    tokio::spawn(work).await.unwrap_or(Err(SpaceError::Store(StoreError::Closed)))
}

fn good_name(name: &str) -> Result<String, SpaceError> {
    let name = name.trim();
    let good = !name.is_empty()
        && name.chars().count() <= MAX_SPACE_NAME_CHARS
        && !name.chars().any(char::is_control);
    if good { Ok(name.to_owned()) } else { Err(SpaceError::BadName) }
}
