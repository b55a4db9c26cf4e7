//! The directory of spaces in SQLite. The functions of the modules below work on one connection; [`Directory`] for
//! [`SqliteStore`] sends the writing ones to the writer thread and the reading ones to a reader.

mod invites;
mod lists;
mod members;
#[cfg(test)]
mod plans;
pub(super) mod purge;
pub(super) mod refusals;
mod seen;
mod spaces;
pub(super) mod users;
pub(super) mod views;

use std::sync::atomic::Ordering;

use lattice_engine::{Policy, Role, SpaceId};

use super::SqliteStore;
use crate::accounts::UserId;
use crate::directory::{
    Accept, Asked, Directory, Invite, InviteId, Member, NewInvite, NewSpace, Page, RefusalCursor, RefusalsOf,
    RefusedChange, RememberedView, SchemaRule, Selector, SpaceAccess, SpaceChange, SpaceEntry, SpaceKind,
    ViewMemory,
};
use crate::rules::departure::Others;
use crate::spaces::Space;
use crate::stored::rules;
use crate::time::random_id;
use crate::{BoxFuture, StoreError};

pub use seen::access_in;

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

/// Statements of the directory, for drivers that hold a connection of their own.
pub mod statements {
    pub use super::members::{add as add_member, remove as remove_member, set_role, transfer};
    pub use super::spaces::{change as change_space, create as create_space, set_policy};
    pub use super::views::{list as views, newest as newest_view, remember as remember_view};
}

impl SqliteStore {
    fn access_of(&self, found: seen::Numbered) -> Result<SpaceAccess, StoreError> {
        let seen::Numbered { no, seen } = found;
        Ok(SpaceAccess {
            policy: seen.policy()?,
            schema: seen.schema()?,
            space: self.space_of((no, seen.id.0, seen.rules), seen.standing.kind == SpaceKind::Private)?,
            kind: seen.standing.kind,
            name: seen.name,
            role: seen.standing.role,
            archived: seen.archived_us.is_some(),
        })
    }

    async fn own_space(&self, user: UserId) -> Result<Option<seen::Numbered>, StoreError> {
        if let Some(found) = self.read(move |connection| seen::private(connection, user)).await? {
            return Ok(Some(found));
        }
        let (id, now_us) = (random_id(&*self.inner.random), self.inner.clock.now_us());
        let rules = rules::text(&self.inner.new_space_rules);
        // Nobody's access changes by it: no other user sees it, and its owner has been refused nothing.
        self.write(move |transaction| {
            super::spaces::create_private(transaction, user.0, id, &rules, now_us)?;
            seen::private(transaction, user)
        })
        .await
    }
}

impl Directory for SqliteStore {
    fn version(&self) -> u64 {
        self.inner.version.load(Ordering::Acquire)
    }

    fn access(
        &self,
        user: UserId,
        selector: Selector,
    ) -> BoxFuture<'_, Result<Option<SpaceAccess>, StoreError>> {
        Box::pin(async move {
            let found = match selector {
                Selector::Me => self.own_space(user).await?,
                Selector::Id(id) => self.read(move |connection| seen::seen(connection, user, id)).await?,
            };
            found.map(|seen| self.access_of(seen)).transpose()
        })
    }

    fn create_space(&self, new: NewSpace) -> Asked<'_, SpaceEntry> {
        let (id, rules) = (random_id(&*self.inner.random), rules::text(&self.inner.new_space_rules));
        Box::pin(self.write_access(move |transaction| spaces::create(transaction, &new, id, &rules)))
    }

    fn space(&self, user: UserId, space: SpaceId) -> Asked<'_, SpaceEntry> {
        Box::pin(self.read(move |connection| spaces::entry(connection, user, space)))
    }

    fn spaces_of(
        &self,
        user: UserId,
        after: Option<SpaceId>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Page<SpaceEntry, SpaceId>, StoreError>> {
        Box::pin(self.read(move |connection| lists::of_user(connection, user, after, limit)))
    }

    fn public_spaces(
        &self,
        user: UserId,
        after: Option<SpaceId>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Page<SpaceEntry, SpaceId>, StoreError>> {
        Box::pin(self.read(move |connection| lists::public(connection, user, after, limit)))
    }

    fn change_space(
        &self,
        actor: UserId,
        space: SpaceId,
        change: SpaceChange,
        now_us: i64,
    ) -> Asked<'_, SpaceEntry> {
        Box::pin(
            self.write_access(move |transaction| spaces::change(transaction, actor, space, &change, now_us)),
        )
    }

    fn delete_space(&self, actor: UserId, space: SpaceId, now_us: i64) -> Asked<'_, ()> {
        Box::pin(self.write_access(move |transaction| spaces::delete(transaction, actor, space, now_us)))
    }

    fn purge_deleted(&self, limit: u32) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let (job, answer) = purge::Purge::new(limit);
            self.submit(Box::new(job)).await?;
            answer.await.map_err(|_| StoreError::Closed)?
        })
    }

    fn set_policy(
        &self,
        actor: UserId,
        space: SpaceId,
        policy: Policy,
        schema: Option<SchemaRule>,
    ) -> Asked<'_, ()> {
        Box::pin(
            self.write_access(move |transaction| {
                spaces::set_policy(transaction, actor, space, &policy, schema)
            }),
        )
    }

    fn members(
        &self,
        actor: UserId,
        space: SpaceId,
        after: Option<UserId>,
        limit: u32,
    ) -> Asked<'_, Page<Member, UserId>> {
        Box::pin(self.read(move |connection| members::list(connection, actor, space, after, limit)))
    }

    fn set_role(&self, actor: UserId, space: SpaceId, user: UserId, role: Role) -> Asked<'_, ()> {
        Box::pin(
            self.write_access(move |transaction| members::set_role(transaction, actor, space, user, role)),
        )
    }

    fn remove_member(&self, actor: UserId, space: SpaceId, user: UserId) -> Asked<'_, ()> {
        Box::pin(self.write_access(move |transaction| members::remove(transaction, actor, space, user)))
    }

    fn leave(&self, user: UserId, space: SpaceId) -> Asked<'_, ()> {
        Box::pin(self.write_access(move |transaction| members::leave(transaction, user, space)))
    }

    fn transfer(&self, actor: UserId, space: SpaceId, to: UserId, max_owned: u32) -> Asked<'_, ()> {
        Box::pin(
            self.write_access(move |transaction| members::transfer(transaction, actor, space, to, max_owned)),
        )
    }

    fn create_invite(&self, new: NewInvite) -> Asked<'_, Invite> {
        let id = InviteId(random_id(&*self.inner.random));
        Box::pin(self.write(move |transaction| invites::create(transaction, &new, id)))
    }

    fn invites(
        &self,
        actor: UserId,
        space: SpaceId,
        after: Option<InviteId>,
        limit: u32,
        now_us: i64,
    ) -> Asked<'_, Page<Invite, InviteId>> {
        Box::pin(
            self.read(move |connection| invites::of_space(connection, actor, space, after, limit, now_us)),
        )
    }

    fn revoke_invite(&self, actor: UserId, space: SpaceId, invite: InviteId) -> Asked<'_, ()> {
        Box::pin(self.write(move |transaction| invites::revoke(transaction, actor, space, invite)))
    }

    fn invites_for(
        &self,
        user: UserId,
        after: Option<InviteId>,
        limit: u32,
        now_us: i64,
    ) -> BoxFuture<'_, Result<Page<Invite, InviteId>, StoreError>> {
        Box::pin(self.read(move |connection| invites::for_user(connection, user, after, limit, now_us)))
    }

    fn accept_invite(
        &self,
        user: UserId,
        accept: Accept,
        max_members: u32,
        now_us: i64,
    ) -> Asked<'_, SpaceEntry> {
        Box::pin(
            self.write_access(move |transaction| {
                invites::accept(transaction, user, accept, max_members, now_us)
            }),
        )
    }

    fn delete_expired_invites(&self, before_us: i64, limit: u32) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.write(move |transaction| invites::delete_expired(transaction, before_us, limit)))
    }

    fn views<'a>(
        &'a self,
        space: &'a Space,
        user: UserId,
    ) -> BoxFuture<'a, Result<Vec<RememberedView>, StoreError>> {
        let no = space.no;
        Box::pin(self.read(move |connection| views::list(connection, no, user)))
    }

    fn remember_view<'a>(
        &'a self,
        space: &'a Space,
        user: UserId,
        id: u64,
        definition: String,
    ) -> BoxFuture<'a, Result<ViewMemory, StoreError>> {
        let no = space.no;
        Box::pin(async move {
            if definition.len() > crate::directory::MAX_VIEW_BYTES {
                return Ok(ViewMemory::TooLarge);
            }
            let newest = self.read(move |connection| views::newest(connection, no, user)).await?;
            if newest == Some(id) {
                return Ok(ViewMemory::Remembered);
            }
            self.write(move |transaction| {
                // Nobody would come to erase what is kept for somebody who is gone.
                match users::exists(transaction, user)? {
                    true => views::remember(transaction, no, user, id, &definition),
                    false => Ok(ViewMemory::Remembered),
                }
            })
            .await
        })
    }

    fn refusals(
        &self,
        of: RefusalsOf,
        before: Option<RefusalCursor>,
        limit: u32,
    ) -> Asked<'_, Page<RefusedChange, RefusalCursor>> {
        Box::pin(
            self.read_spaces(move |connection, recent| refusals::list(connection, recent, of, before, limit)),
        )
    }

    fn delete_account(&self, user: UserId, now_us: i64) -> Asked<'_, Vec<SpaceId>> {
        let tombstone = random_id(&*self.inner.random);
        Box::pin(self.write_access(move |transaction| {
            users::delete(transaction, user, tombstone, now_us, Others::KeepIt)
        }))
    }
}
