//! Invites: made, listed, taken back, accepted.

use lattice_engine::{Role, SpaceId};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::seen::{self, locked};
use super::{granted, members, spaces, users};
use crate::StoreError;
use crate::accounts::UserId;
use crate::directory::{Accept, Answer, Denied, Invite, InviteId, Invitee, NewInvite, Page, SpaceEntry};
use crate::postgres::access;
use crate::postgres::error::PgError;
use crate::postgres::transaction::{Connection, execute, query, query_opt};
use crate::postgres::values::{corrupt, id, space, uuid};
use crate::rules::invites::Acceptance;
use crate::rules::{self, standing};

macro_rules! columns {
    () => {
        "i.id, i.space_id, s.name, i.role, i.email, i.uses, i.max_uses, i.created_us, i.expires_us"
    };
}

/// `$1` the space, `$2` the invite before, `$3` the limit, `$4` now.
pub(super) const OF_SPACE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM invite i JOIN space s ON s.space_id = i.space_id
     WHERE i.space_id = $1 AND i.id > $2 AND i.expires_us > $4 AND i.uses < i.max_uses ORDER BY i.id LIMIT $3"
);

/// `$1` the address, `$2` the invite before, `$3` the limit, `$4` now.
pub(super) const FOR_EMAIL: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM invite i JOIN space s ON s.space_id = i.space_id
     WHERE i.email = $1 AND i.id > $2 AND i.expires_us > $4 AND i.uses < i.max_uses AND s.deleted_us IS NULL
     ORDER BY i.id LIMIT $3"
);

const BY_ID: &str =
    concat!("SELECT ", columns!(), " FROM invite i JOIN space s ON s.space_id = i.space_id WHERE i.id = $1");

/// `$1` the space, `$2` now, `$3` the address, `$4` the limit: open invites, but for that of the address.
pub(super) const COUNT: &str = "SELECT count(*) FROM (
         SELECT 1 FROM invite WHERE space_id = $1 AND expires_us > $2 AND uses < max_uses
           AND ($3::text IS NULL OR email IS DISTINCT FROM $3) LIMIT $4) open";

/// `$1` the hash of the token.
pub(super) const BY_LINK: &str =
    "SELECT i.id, i.space_id, i.role, i.uses, i.max_uses, i.expires_us FROM invite i
     JOIN space s ON s.space_id = i.space_id AND s.deleted_us IS NULL WHERE i.token_hash = $1";
/// `$1` the id, `$2` the user. `OFFSET 0` keeps the planner from going through the index of addresses.
pub(super) const BY_ADDRESS: &str = "SELECT i.id, i.space_id, i.role, i.uses, i.max_uses, i.expires_us
     FROM (SELECT * FROM invite WHERE id = $1 OFFSET 0) i
     JOIN users u ON u.id = $2 AND u.email = i.email
     JOIN space s ON s.space_id = i.space_id AND s.deleted_us IS NULL";

/// `$1` before when, `$2` the limit.
pub(super) const DELETE_EXPIRED: &str = "WITH dead AS MATERIALIZED (
         SELECT id FROM invite WHERE expires_us < $1 ORDER BY expires_us LIMIT $2 FOR UPDATE SKIP LOCKED)
     DELETE FROM invite i USING dead WHERE i.id = dead.id";

fn read(row: &Row) -> Result<Invite, PgError> {
    let id = InviteId(id(row, 0)?);
    Ok(Invite {
        id,
        space: space(row, 1)?,
        space_name: row.try_get(2)?,
        role: role(row, 3, id)?,
        email: row.try_get(4)?,
        uses: uses(row, 5, id)?,
        max_uses: uses(row, 6, id)?,
        created_us: row.try_get(7)?,
        expires_us: row.try_get(8)?,
    })
}

fn role(row: &Row, at: usize, invite: InviteId) -> Result<Role, PgError> {
    Role::parse(row.try_get(at)?).ok_or_else(|| corrupt("invite", "role", UserId(invite.0)))
}

fn uses(row: &Row, at: usize, invite: InviteId) -> Result<u32, PgError> {
    u32::try_from(row.try_get::<_, i32>(at)?).map_err(|_| corrupt("invite", "uses", UserId(invite.0)))
}

/// Makes an invite. An address has one at a time for each space: the one that was made last.
pub(super) async fn create(
    connection: &Connection,
    new: &NewInvite,
    id: InviteId,
) -> Result<Answer<Invite>, PgError> {
    granted!(locked(connection, new.actor, new.space, standing::owns_with_members).await?);
    let (email, hash) = match &new.invitee {
        Invitee::Email(email) => (Some(email), None),
        Invitee::Link(hash) => (None, Some(hash.0.to_vec())),
    };
    let space = uuid(new.space.0);
    let values: [&(dyn ToSql + Sync); 4] = [&space, &new.now_us, &email, &i64::from(new.max_open)];
    let open: i64 = query_opt(connection, COUNT, &values).await?.map_or(Ok(0), |row| row.try_get(0))?;
    granted!(rules::invites::make(u32::try_from(open).unwrap_or(u32::MAX), new.max_open));
    let sql = "DELETE FROM invite WHERE email = $1 AND space_id = $2";
    execute(connection, sql, &[&email, &space]).await?;
    let sql = "INSERT INTO invite (id, space_id, role, email, token_hash, max_uses, created_by, created_us, expires_us)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
    let inserted = execute(
        connection,
        sql,
        &[
            &uuid(id.0),
            &space,
            &new.role.as_str(),
            &email,
            &hash,
            &i32::try_from(new.max_uses).unwrap_or(i32::MAX),
            &uuid(new.actor.0),
            &new.now_us,
            &new.expires_us,
        ],
    )
    .await?;
    match query_opt(connection, BY_ID, &[&uuid(id.0)]).await? {
        Some(made) if inserted > 0 => Ok(Ok(read(&made)?)),
        _ => Err(StoreError::Conflict("invite").into()),
    }
}

/// Open invites of a space, for its owner.
pub(super) async fn of_space(
    connection: &Connection,
    actor: UserId,
    space: SpaceId,
    after: Option<InviteId>,
    limit: u32,
    now_us: i64,
) -> Result<Answer<Page<Invite, InviteId>>, PgError> {
    granted!(seen::granted(connection, actor, space, standing::owns_with_members).await?);
    list(connection, OF_SPACE, &uuid(space.0), after, limit, now_us).await.map(Ok)
}

/// Open invites for the address of a user's account.
pub(super) async fn for_user(
    connection: &Connection,
    user: UserId,
    after: Option<InviteId>,
    limit: u32,
    now_us: i64,
) -> Result<Page<Invite, InviteId>, PgError> {
    match users::email_of(connection, user).await? {
        Some(email) => list(connection, FOR_EMAIL, &email, after, limit, now_us).await,
        None => Ok(Page { items: Vec::new(), next: None }),
    }
}

async fn list(
    connection: &Connection,
    sql: &str,
    key: &(dyn ToSql + Sync),
    after: Option<InviteId>,
    limit: u32,
    now_us: i64,
) -> Result<Page<Invite, InviteId>, PgError> {
    let limit = limit.max(1) as usize;
    let after = after.unwrap_or(InviteId([0; 16]));
    let rows = query(connection, sql, &[key, &uuid(after.0), &super::one_more(limit), &now_us]).await?;
    let items = rows.iter().map(read).collect::<Result<_, _>>()?;
    Ok(Page::of(items, limit, |item: &Invite| item.id))
}

/// Takes an invite back. Somebody who accepts it at the same time holds the space's lock, or finds it gone.
pub(super) async fn revoke(
    connection: &Connection,
    actor: UserId,
    space: SpaceId,
    invite: InviteId,
) -> Result<Answer<()>, PgError> {
    granted!(locked(connection, actor, space, standing::owns_with_members).await?);
    let sql = "DELETE FROM invite WHERE id = $1 AND space_id = $2";
    let deleted = execute(connection, sql, &[&uuid(invite.0), &uuid(space.0)]).await?;
    Ok(if deleted == 0 { Err(Denied::InviteNotFound) } else { Ok(()) })
}

/// An invite that was found for whoever accepts it, open or not.
struct Offer {
    id: InviteId,
    space: SpaceId,
    role: Role,
    uses: u32,
    max_uses: u32,
    expires_us: i64,
}

/// The invite that a user may accept by what they have: the token, or the address of their account.
async fn offer(connection: &Connection, user: UserId, accept: Accept) -> Result<Option<Offer>, PgError> {
    let found = match accept {
        Accept::Link(hash) => query_opt(connection, BY_LINK, &[&hash.0.as_slice()]).await?,
        Accept::Id(id) => query_opt(connection, BY_ADDRESS, &[&uuid(id.0), &uuid(user.0)]).await?,
    };
    let Some(row) = found else { return Ok(None) };
    let invite = InviteId(id(&row, 0)?);
    Ok(Some(Offer {
        id: invite,
        space: space(&row, 1)?,
        role: role(&row, 2, invite)?,
        uses: uses(&row, 3, invite)?,
        max_uses: uses(&row, 4, invite)?,
        expires_us: row.try_get(5)?,
    }))
}

/// Makes a user a member, and counts that in the same transaction: of two that race for the last use one wins.
pub(super) async fn accept(
    connection: &Connection,
    user: UserId,
    accept: Accept,
    max_members: u32,
    now_us: i64,
) -> Result<Answer<SpaceEntry>, PgError> {
    if !access::user_stays(connection, user).await? {
        return Ok(Err(Denied::NoUser));
    }
    let Some(found) = offer(connection, user, accept).await? else {
        return Ok(Err(Denied::InviteNotFound));
    };
    let Some(head) = access::space(connection, found.space).await? else {
        return Ok(Err(Denied::InviteNotFound));
    };
    // Once more, under the lock: invite and space may both be gone.
    let Some(offer) = offer(connection, user, accept).await?.filter(|offer| offer.space == found.space)
    else {
        return Ok(Err(Denied::InviteNotFound));
    };
    let facts = rules::invites::Facts {
        member: members::role_of(connection, offer.space, user).await?,
        uses: offer.uses,
        max_uses: offer.max_uses,
        expires_us: offer.expires_us,
        members: members::count(connection, offer.space, max_members).await?,
        max_members,
        now_us,
    };
    match granted!(rules::invites::accept(facts)) {
        Acceptance::AlreadyMember => {}
        Acceptance::Joins => {
            // What sweeps expired invites does not take the space's lock: it may be gone.
            let sql = "UPDATE invite SET uses = uses + 1 WHERE id = $1";
            if execute(connection, sql, &[&uuid(offer.id.0)]).await? == 0 {
                return Ok(Err(Denied::InviteNotFound));
            }
            members::add(connection, (offer.space, head), user, offer.role, now_us).await?;
        }
    }
    spaces::entry(connection, user, offer.space).await
}

/// Forgets invites that expired before `before_us`, but for those that are in use.
pub(super) async fn delete_expired(
    connection: &Connection,
    before_us: i64,
    limit: u32,
) -> Result<u64, PgError> {
    execute(connection, DELETE_EXPIRED, &[&before_us, &i64::from(limit)]).await
}
