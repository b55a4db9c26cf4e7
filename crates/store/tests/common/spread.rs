//! Two instances on one database as one store: each call goes to another of them than the call before.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lattice_engine::{Policy, PullData, PullRequest, Receipt, Role, Seq, SpaceHead, SpaceId};
use lattice_protocol::{EntryId, Spelling};
use lattice_store::access_log::{AccessEvent, AccessLog, EventCursor, EventQuery};
use lattice_store::accounts::{
    AccountStore, IdentityId, PasskeyId, RefreshRotation, Session, SessionId, TokenHash, User, UserId,
};
use lattice_store::anonymous::{Abandoned, AnonymousAccounts, Upgrade};
use lattice_store::directory::{
    Accept, Asked, Directory, Invite, InviteId, Member, NewInvite, NewSpace, Page, RefusalCursor, RefusalsOf,
    RefusedChange, RememberedView, SchemaRule, Selector, SpaceAccess, SpaceChange, SpaceEntry, ViewMemory,
};
use lattice_store::factors::{Added, Factors, SecondFactors, StoredPasskey, Totp};
use lattice_store::hashes::PasswordHashes;
use lattice_store::identities::{Identities, Link, LinkedIdentity, Removal};
use lattice_store::one_time::{OneTimeToken, OneTimeTokens};
use lattice_store::postgres::PostgresStore;
use lattice_store::spaces::{AuditLine, Space, SpaceStore, Upload, UploadAnswer};
use lattice_store::{BoxFuture, StoreError};

/// Two instances on one database. Races between calls are races between instances.
pub(crate) struct Spread {
    instances: [PostgresStore; 2],
    calls: AtomicUsize,
}

impl Spread {
    pub(crate) fn over(instances: [PostgresStore; 2]) -> Self {
        Self { instances, calls: AtomicUsize::new(0) }
    }

    fn next(&self) -> &PostgresStore {
        &self.instances[self.calls.fetch_add(1, Ordering::Relaxed) % 2]
    }
}

/// Methods that another instance answers each time.
macro_rules! spread {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {$(
        fn $name(&self, $($argument: $type),*) -> $answer {
            self.next().$name($($argument),*)
        }
    )*};
}

impl AccountStore for Spread {
    spread! {
        fn create_user(user: User) -> BoxFuture<'_, Result<(), StoreError>>;
        fn user_by_email(email: &str) -> BoxFuture<'_, Result<Option<User>, StoreError>>;
        fn user_by_id(id: UserId) -> BoxFuture<'_, Result<Option<User>, StoreError>>;
        fn set_password_hash(id: UserId, hash: String) -> BoxFuture<'_, Result<bool, StoreError>>;
        fn set_email(id: UserId, email: String, verified_us: i64) -> BoxFuture<'_, Result<bool, StoreError>>;
        fn verify_email(id: UserId, email: String, now_us: i64) -> BoxFuture<'_, Result<bool, StoreError>>;
        fn delete_user(id: UserId) -> BoxFuture<'_, Result<bool, StoreError>>;
        fn create_session(session: Session) -> BoxFuture<'_, Result<bool, StoreError>>;
        fn replace_session(dead: SessionId, session: Session) -> BoxFuture<'_, Result<bool, StoreError>>;
        fn session_by_id(id: SessionId) -> BoxFuture<'_, Result<Option<Session>, StoreError>>;
        fn session_by_token_hash(hash: TokenHash) -> BoxFuture<'_, Result<Option<Session>, StoreError>>;
        fn rotate_refresh(rotation: RefreshRotation) -> BoxFuture<'_, Result<bool, StoreError>>;
        fn revoke_session(id: SessionId, now_us: i64) -> BoxFuture<'_, Result<bool, StoreError>>;
        fn revoke_all_sessions(user: UserId, now_us: i64) -> BoxFuture<'_, Result<u64, StoreError>>;
        fn revoke_other_sessions(user: UserId, keep: SessionId, now_us: i64) -> BoxFuture<'_, Result<u64, StoreError>>;
        fn touch_session(id: SessionId, now_us: i64) -> BoxFuture<'_, Result<(), StoreError>>;
        fn list_sessions(user: UserId, limit: u32) -> BoxFuture<'_, Result<Vec<Session>, StoreError>>;
        fn live_sessions(user: UserId, now_us: i64, limit: u32) -> BoxFuture<'_, Result<Vec<Session>, StoreError>>;
        fn delete_expired_sessions(before_us: i64, limit: u32) -> BoxFuture<'_, Result<u64, StoreError>>;
    }
}

impl AccessLog for Spread {
    spread! {
        fn append_events(events: Vec<AccessEvent>) -> BoxFuture<'_, Result<(), StoreError>>;
        fn events(query: EventQuery) -> BoxFuture<'_, Result<Page<AccessEvent, EventCursor>, StoreError>>;
        fn delete_events(before_us: i64, limit: u32) -> BoxFuture<'_, Result<u64, StoreError>>;
    }
}

impl OneTimeTokens for Spread {
    spread! {
        fn put_token(token: OneTimeToken) -> BoxFuture<'_, Result<bool, StoreError>>;
        fn find_token(hash: TokenHash, purpose: &'static str, now_us: i64) -> BoxFuture<'_, Result<Option<OneTimeToken>, StoreError>>;
        fn take_token(hash: TokenHash, purpose: &'static str, now_us: i64) -> BoxFuture<'_, Result<Option<OneTimeToken>, StoreError>>;
        fn update_token(hash: TokenHash, current: String, next: String) -> BoxFuture<'_, Result<bool, StoreError>>;
        fn delete_tokens(user: UserId, purpose: &'static str) -> BoxFuture<'_, Result<u64, StoreError>>;
        fn delete_expired_tokens(before_us: i64, limit: u32) -> BoxFuture<'_, Result<u64, StoreError>>;
    }
}

impl AnonymousAccounts for Spread {
    spread! {
        fn create_anonymous(user: User, look_us: i64) -> BoxFuture<'_, Result<(), StoreError>>;
        fn is_anonymous(id: UserId) -> BoxFuture<'_, Result<bool, StoreError>>;
        fn upgrade_anonymous(id: UserId, upgrade: Upgrade) -> BoxFuture<'_, Result<bool, StoreError>>;
        fn end_anonymity(id: UserId) -> BoxFuture<'_, Result<bool, StoreError>>;
        fn note_ended_anonymous(now_us: i64, limit: u32) -> BoxFuture<'_, Result<u64, StoreError>>;
        fn abandoned_anonymous(before_us: i64, after: Option<Abandoned>, limit: u32) -> BoxFuture<'_, Result<Vec<Abandoned>, StoreError>>;
    }
}

impl PasswordHashes for Spread {
    spread! {
        fn replace_hash(id: UserId, current: String, next: String) -> BoxFuture<'_, Result<bool, StoreError>>;
        fn highest_bcrypt_cost() -> BoxFuture<'_, Result<Option<u32>, StoreError>>;
    }
}

impl Identities for Spread {
    spread! {
        fn create_user_by_identity(user: User, identity: LinkedIdentity) -> BoxFuture<'_, Result<(), StoreError>>;
        fn link_identity(identity: LinkedIdentity, limit: u32) -> BoxFuture<'_, Result<Link, StoreError>>;
        fn identity(issuer: &str, subject: &str) -> BoxFuture<'_, Result<Option<LinkedIdentity>, StoreError>>;
        fn identities(user: UserId, limit: u32) -> BoxFuture<'_, Result<Vec<LinkedIdentity>, StoreError>>;
        fn unlink_identity(user: UserId, id: IdentityId) -> BoxFuture<'_, Result<Removal, StoreError>>;
    }
}

impl Factors for Spread {
    spread! {
        fn second_factors(user: UserId) -> BoxFuture<'_, Result<SecondFactors, StoreError>>;
        fn totp(user: UserId) -> BoxFuture<'_, Result<Option<Totp>, StoreError>>;
        fn offer_totp(totp: Totp) -> BoxFuture<'_, Result<bool, StoreError>>;
        fn confirm_totp(user: UserId, secret: Vec<u8>, step: i64, now_us: i64) -> BoxFuture<'_, Result<bool, StoreError>>;
        fn take_totp_step(user: UserId, step: i64) -> BoxFuture<'_, Result<bool, StoreError>>;
        fn delete_totp(user: UserId) -> BoxFuture<'_, Result<bool, StoreError>>;
        fn set_recovery_codes(user: UserId, hashes: Vec<TokenHash>) -> BoxFuture<'_, Result<bool, StoreError>>;
        fn take_recovery_code(user: UserId, hash: TokenHash) -> BoxFuture<'_, Result<bool, StoreError>>;
        fn add_passkey(passkey: StoredPasskey, limit: u32) -> BoxFuture<'_, Result<Added, StoreError>>;
        fn passkeys(user: UserId, limit: u32) -> BoxFuture<'_, Result<Vec<StoredPasskey>, StoreError>>;
        fn passkey(credential_id: Vec<u8>) -> BoxFuture<'_, Result<Option<StoredPasskey>, StoreError>>;
        fn use_passkey(id: PasskeyId, current: String, next: String, now_us: i64) -> BoxFuture<'_, Result<bool, StoreError>>;
        fn delete_passkey(user: UserId, id: PasskeyId) -> BoxFuture<'_, Result<Removal, StoreError>>;
    }
}

impl Directory for Spread {
    /// Changes with that of each instance.
    fn version(&self) -> u64 {
        self.instances.iter().map(Directory::version).sum()
    }

    spread! {
        fn access(user: UserId, selector: Selector) -> BoxFuture<'_, Result<Option<SpaceAccess>, StoreError>>;
        fn create_space(new: NewSpace) -> Asked<'_, SpaceEntry>;
        fn space(user: UserId, space: SpaceId) -> Asked<'_, SpaceEntry>;
        fn spaces_of(user: UserId, after: Option<SpaceId>, limit: u32) -> BoxFuture<'_, Result<Page<SpaceEntry, SpaceId>, StoreError>>;
        fn public_spaces(user: UserId, after: Option<SpaceId>, limit: u32) -> BoxFuture<'_, Result<Page<SpaceEntry, SpaceId>, StoreError>>;
        fn change_space(actor: UserId, space: SpaceId, change: SpaceChange, now_us: i64) -> Asked<'_, SpaceEntry>;
        fn delete_space(actor: UserId, space: SpaceId, now_us: i64) -> Asked<'_, ()>;
        fn purge_deleted(limit: u32) -> BoxFuture<'_, Result<u64, StoreError>>;
        fn set_policy(actor: UserId, space: SpaceId, policy: Policy, schema: Option<SchemaRule>) -> Asked<'_, ()>;
        fn members(actor: UserId, space: SpaceId, after: Option<UserId>, limit: u32) -> Asked<'_, Page<Member, UserId>>;
        fn set_role(actor: UserId, space: SpaceId, user: UserId, role: Role) -> Asked<'_, ()>;
        fn remove_member(actor: UserId, space: SpaceId, user: UserId) -> Asked<'_, ()>;
        fn leave(user: UserId, space: SpaceId) -> Asked<'_, ()>;
        fn transfer(actor: UserId, space: SpaceId, to: UserId, max_owned: u32) -> Asked<'_, ()>;
        fn create_invite(new: NewInvite) -> Asked<'_, Invite>;
        fn invites(actor: UserId, space: SpaceId, after: Option<InviteId>, limit: u32, now_us: i64) -> Asked<'_, Page<Invite, InviteId>>;
        fn revoke_invite(actor: UserId, space: SpaceId, invite: InviteId) -> Asked<'_, ()>;
        fn invites_for(user: UserId, after: Option<InviteId>, limit: u32, now_us: i64) -> BoxFuture<'_, Result<Page<Invite, InviteId>, StoreError>>;
        fn accept_invite(user: UserId, accept: Accept, max_members: u32, now_us: i64) -> Asked<'_, SpaceEntry>;
        fn delete_expired_invites(before_us: i64, limit: u32) -> BoxFuture<'_, Result<u64, StoreError>>;
        fn refusals(of: RefusalsOf, before: Option<RefusalCursor>, limit: u32) -> Asked<'_, Page<RefusedChange, RefusalCursor>>;
        fn delete_account(user: UserId, now_us: i64) -> Asked<'_, Vec<SpaceId>>;
    }

    fn views<'a>(
        &'a self,
        space: &'a Space,
        user: UserId,
    ) -> BoxFuture<'a, Result<Vec<RememberedView>, StoreError>> {
        self.next().views(space, user)
    }

    fn remember_view<'a>(
        &'a self,
        space: &'a Space,
        user: UserId,
        id: u64,
        definition: String,
    ) -> BoxFuture<'a, Result<ViewMemory, StoreError>> {
        self.next().remember_view(space, user, id, definition)
    }
}

impl SpaceStore for Spread {
    spread! {
        fn private_space(user: [u8; 16]) -> BoxFuture<'_, Result<Arc<Space>, StoreError>>;
        fn upload(upload: Upload) -> BoxFuture<'_, Result<UploadAnswer, StoreError>>;
    }

    fn restored_since_us(&self) -> Option<i64> {
        self.next().restored_since_us()
    }

    fn pull<'a>(
        &'a self,
        space: &'a Space,
        request: &'a PullRequest,
    ) -> BoxFuture<'a, Result<PullData, StoreError>> {
        self.next().pull(space, request)
    }

    fn receipt<'a>(
        &'a self,
        space: &'a Space,
        id: EntryId,
    ) -> BoxFuture<'a, Result<Option<Receipt>, StoreError>> {
        self.next().receipt(space, id)
    }

    fn head<'a>(&'a self, space: &'a Space) -> BoxFuture<'a, Result<SpaceHead, StoreError>> {
        self.next().head(space)
    }

    fn heads<'a>(&'a self, spaces: &'a [SpaceId]) -> BoxFuture<'a, Result<Vec<(SpaceId, Seq)>, StoreError>> {
        self.next().heads(spaces)
    }

    fn newest_accepted<'a>(
        &'a self,
        space: &'a Space,
    ) -> BoxFuture<'a, Result<Option<(EntryId, Spelling)>, StoreError>> {
        self.next().newest_accepted(space)
    }

    fn audit<'a>(
        &'a self,
        space: &'a Space,
        after: Seq,
        max_lines: usize,
    ) -> BoxFuture<'a, Result<Vec<AuditLine>, StoreError>> {
        self.next().audit(space, after, max_lines)
    }
}
