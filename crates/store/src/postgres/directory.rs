//! The directory of spaces in PostgreSQL. The functions of the modules below work on one connection; [`Directory`] for
//! [`PostgresStore`] runs them, the writing ones in transactions.

mod invites;
mod lists;
mod members;
#[cfg(test)]
mod plans;
mod purge;
mod refusals;
mod seen;
mod spaces;
pub(super) mod users;
mod views;

use lattice_engine::{Policy, Role, SpaceId};

use super::PostgresStore;
use super::access::change_access;
use super::personal_data;
use super::transaction::{Mode, attempt};
use crate::accounts::UserId;
use crate::directory::{
    Accept, Asked, Directory, Invite, InviteId, MAX_VIEW_BYTES, Member, NewInvite, NewSpace, Page,
    RefusalCursor, RefusalsOf, RefusedChange, RememberedView, SchemaRule, Selector, SpaceAccess, SpaceChange,
    SpaceEntry, SpaceKind, ViewMemory,
};
use crate::rules::departure::Others;
use crate::spaces::Space;
use crate::stored::rules;
use crate::stored::seen::Seen;
use crate::time::random_id;
use crate::{BoxFuture, StoreError};

/// What was asked for; a denial is answered at once.
macro_rules! granted {
    ($answer:expr) => {
        match $answer {
            Ok(granted) => granted,
            Err(denied) => return Ok(Err(denied)),
        }
    };
}
use granted;

/// How many items are read for a page of so many: one more says whether others follow.
fn one_more(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

impl PostgresStore {
    fn access_of(&self, seen: Seen) -> Result<SpaceAccess, StoreError> {
        Ok(SpaceAccess {
            policy: seen.policy()?,
            schema: seen.schema()?,
            space: self.space_of(seen.id, &seen.rules, seen.standing.kind == SpaceKind::Private)?,
            kind: seen.standing.kind,
            name: seen.name,
            role: seen.standing.role,
            archived: seen.archived_us.is_some(),
        })
    }

    async fn own_space(&self, user: UserId) -> Result<Option<Seen>, StoreError> {
        if let Some(found) = attempt!(self, Mode::Single, |c| seen::private(c, user).await)? {
            return Ok(Some(found));
        }
        let (id, now_us) = (SpaceId(random_id(&*self.inner.random)), self.inner.clock.now_us());
        let rules = rules::text(&self.inner.new_space_rules);
        // Nobody's access changes by it: no other user sees it, and its owner has been refused nothing.
        attempt!(self, Mode::Single, |c| {
            super::spaces::create_private(c, user.0, id, &rules, now_us).await?;
            seen::private(c, user).await
        })
    }
}

impl Directory for PostgresStore {
    fn version(&self) -> u64 {
        self.inner.version.get()
    }

    fn access(
        &self,
        user: UserId,
        selector: Selector,
    ) -> BoxFuture<'_, Result<Option<SpaceAccess>, StoreError>> {
        Box::pin(async move {
            let found = match selector {
                Selector::Me => self.own_space(user).await?,
                Selector::Id(id) => attempt!(self, Mode::Single, |c| seen::seen(c, user, id).await)?,
            };
            found.map(|seen| self.access_of(seen)).transpose()
        })
    }

    fn create_space(&self, new: NewSpace) -> Asked<'_, SpaceEntry> {
        let (id, rules) = (SpaceId(random_id(&*self.inner.random)), rules::text(&self.inner.new_space_rules));
        Box::pin(async move { change_access!(self, |c| spaces::create(c, &new, id, &rules).await) })
    }

    fn space(&self, user: UserId, space: SpaceId) -> Asked<'_, SpaceEntry> {
        Box::pin(async move { attempt!(self, Mode::Single, |c| spaces::entry(c, user, space).await) })
    }

    fn spaces_of(
        &self,
        user: UserId,
        after: Option<SpaceId>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Page<SpaceEntry, SpaceId>, StoreError>> {
        Box::pin(
            async move { attempt!(self, Mode::Snapshot, |c| lists::of_user(c, user, after, limit).await) },
        )
    }

    fn public_spaces(
        &self,
        user: UserId,
        after: Option<SpaceId>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Page<SpaceEntry, SpaceId>, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Single, |c| lists::public(c, user, after, limit).await) })
    }

    fn change_space(
        &self,
        actor: UserId,
        space: SpaceId,
        change: SpaceChange,
        now_us: i64,
    ) -> Asked<'_, SpaceEntry> {
        Box::pin(
            async move { change_access!(self, |c| spaces::change(c, actor, space, &change, now_us).await) },
        )
    }

    fn delete_space(&self, actor: UserId, space: SpaceId, now_us: i64) -> Asked<'_, ()> {
        Box::pin(async move { change_access!(self, |c| spaces::delete(c, actor, space, now_us).await) })
    }

    fn purge_deleted(&self, limit: u32) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let (limit, mut erased) = (u64::from(limit.max(1)), 0);
            // A transaction for each space: none waits for the lock of one while it holds that of another.
            while erased < limit {
                let Some(space) = attempt!(self, Mode::Single, |c| purge::next(c).await)? else { break };
                erased += attempt!(self, Mode::Write, |c| purge::erase(c, space, limit - erased).await)?;
            }
            if erased < limit {
                let now_us = self.inner.clock.now_us();
                erased +=
                    attempt!(self, Mode::Single, |c| personal_data::erase(c, limit - erased, now_us).await)?;
            }
            Ok(erased)
        })
    }

    fn set_policy(
        &self,
        actor: UserId,
        space: SpaceId,
        policy: Policy,
        schema: Option<SchemaRule>,
    ) -> Asked<'_, ()> {
        Box::pin(async move {
            change_access!(self, |c| spaces::set_policy(c, actor, space, &policy, schema).await)
        })
    }

    fn members(
        &self,
        actor: UserId,
        space: SpaceId,
        after: Option<UserId>,
        limit: u32,
    ) -> Asked<'_, Page<Member, UserId>> {
        Box::pin(async move {
            attempt!(self, Mode::Snapshot, |c| members::list(c, actor, space, after, limit).await)
        })
    }

    fn set_role(&self, actor: UserId, space: SpaceId, user: UserId, role: Role) -> Asked<'_, ()> {
        Box::pin(
            async move { change_access!(self, |c| members::set_role(c, actor, space, user, role).await) },
        )
    }

    fn remove_member(&self, actor: UserId, space: SpaceId, user: UserId) -> Asked<'_, ()> {
        Box::pin(async move { change_access!(self, |c| members::remove(c, actor, space, user).await) })
    }

    fn leave(&self, user: UserId, space: SpaceId) -> Asked<'_, ()> {
        Box::pin(async move { change_access!(self, |c| members::leave(c, user, space).await) })
    }

    fn transfer(&self, actor: UserId, space: SpaceId, to: UserId, max_owned: u32) -> Asked<'_, ()> {
        Box::pin(
            async move { change_access!(self, |c| members::transfer(c, actor, space, to, max_owned).await) },
        )
    }

    fn create_invite(&self, new: NewInvite) -> Asked<'_, Invite> {
        let id = InviteId(random_id(&*self.inner.random));
        Box::pin(async move { attempt!(self, Mode::Write, |c| invites::create(c, &new, id).await) })
    }

    fn invites(
        &self,
        actor: UserId,
        space: SpaceId,
        after: Option<InviteId>,
        limit: u32,
        now_us: i64,
    ) -> Asked<'_, Page<Invite, InviteId>> {
        Box::pin(async move {
            attempt!(self, Mode::Snapshot, |c| {
                invites::of_space(c, actor, space, after, limit, now_us).await
            })
        })
    }

    fn revoke_invite(&self, actor: UserId, space: SpaceId, invite: InviteId) -> Asked<'_, ()> {
        Box::pin(
            async move { attempt!(self, Mode::Write, |c| invites::revoke(c, actor, space, invite).await) },
        )
    }

    fn invites_for(
        &self,
        user: UserId,
        after: Option<InviteId>,
        limit: u32,
        now_us: i64,
    ) -> BoxFuture<'_, Result<Page<Invite, InviteId>, StoreError>> {
        Box::pin(async move {
            attempt!(self, Mode::Snapshot, |c| invites::for_user(c, user, after, limit, now_us).await)
        })
    }

    fn accept_invite(
        &self,
        user: UserId,
        accept: Accept,
        max_members: u32,
        now_us: i64,
    ) -> Asked<'_, SpaceEntry> {
        Box::pin(async move {
            change_access!(self, |c| invites::accept(c, user, accept, max_members, now_us).await)
        })
    }

    fn delete_expired_invites(&self, before_us: i64, limit: u32) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            attempt!(self, Mode::Single, |c| invites::delete_expired(c, before_us, limit).await)
        })
    }

    fn views<'a>(
        &'a self,
        space: &'a Space,
        user: UserId,
    ) -> BoxFuture<'a, Result<Vec<RememberedView>, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Single, |c| views::list(c, space.id, user).await) })
    }

    fn remember_view<'a>(
        &'a self,
        space: &'a Space,
        user: UserId,
        id: u64,
        definition: String,
    ) -> BoxFuture<'a, Result<ViewMemory, StoreError>> {
        Box::pin(async move {
            if definition.len() > MAX_VIEW_BYTES {
                return Ok(ViewMemory::TooLarge);
            }
            let newest = attempt!(self, Mode::Single, |c| views::newest(c, space.id, user).await)?;
            if newest == Some(id) {
                return Ok(ViewMemory::Remembered);
            }
            attempt!(self, Mode::Write, |c| views::remember(c, space.id, user, id, &definition).await)
        })
    }

    fn refusals(
        &self,
        of: RefusalsOf,
        before: Option<RefusalCursor>,
        limit: u32,
    ) -> Asked<'_, Page<RefusedChange, RefusalCursor>> {
        Box::pin(
            async move { attempt!(self, Mode::Snapshot, |c| refusals::list(c, of, before, limit).await) },
        )
    }

    fn delete_account(&self, user: UserId, now_us: i64) -> Asked<'_, Vec<SpaceId>> {
        let tombstone = random_id(&*self.inner.random);
        Box::pin(async move {
            change_access!(self, |c| { users::delete(c, user, tombstone, now_us, Others::KeepIt).await })
        })
    }
}
