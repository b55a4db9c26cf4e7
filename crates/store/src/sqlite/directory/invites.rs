//! Invites: made, listed, taken back, accepted.

use lattice_engine::{Role, SpaceId};
use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{granted, members, seen, spaces, users};
use crate::StoreError;
use crate::accounts::UserId;
use crate::directory::{Accept, Answer, Denied, Invite, InviteId, Invitee, NewInvite, Page, SpaceEntry};
use crate::rules;
use crate::rules::invites::Acceptance;
use crate::rules::standing;

macro_rules! columns {
    () => {
        "i.id, s.id, s.name, i.role, i.email, i.uses, i.max_uses, i.created_us, i.expires_us"
    };
}

/// `?1` the space, `?2` the invite before, `?3` the limit, `?4` now.
pub(super) const OF_SPACE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM invite i INDEXED BY invite_of_space CROSS JOIN space s ON s.no = i.space
     WHERE i.space = ?1 AND i.id > ?2 AND i.expires_us > ?4 AND i.uses < i.max_uses ORDER BY i.id LIMIT ?3"
);

/// `?1` the address, `?2` the invite before, `?3` the limit, `?4` now.
pub(super) const FOR_EMAIL: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM invite i INDEXED BY invite_of_email CROSS JOIN space s ON s.no = i.space
     WHERE i.email = ?1 AND i.id > ?2 AND i.expires_us > ?4 AND i.uses < i.max_uses AND s.deleted_us IS NULL
     ORDER BY i.id LIMIT ?3"
);

const BY_ID: &str =
    concat!("SELECT ", columns!(), " FROM invite i JOIN space s ON s.no = i.space WHERE i.id = ?1");

fn read(row: &Row<'_>) -> Result<Invite, StoreError> {
    let id: [u8; 16] = row.get(0)?;
    let role: String = row.get(3)?;
    let corrupt = || StoreError::Corrupt { table: "invite", column: "role", row: UserId(id).to_string() };
    Ok(Invite {
        id: InviteId(id),
        space: SpaceId(row.get(1)?),
        space_name: row.get(2)?,
        role: Role::parse(&role).ok_or_else(corrupt)?,
        email: row.get(4)?,
        uses: row.get(5)?,
        max_uses: row.get(6)?,
        created_us: row.get(7)?,
        expires_us: row.get(8)?,
    })
}

/// Makes an invite. An address has one at a time for each space: the one that was made last.
pub(super) fn create(
    connection: &Connection,
    new: &NewInvite,
    id: InviteId,
) -> Result<Answer<Invite>, StoreError> {
    let found = granted!(seen::granted(connection, new.actor, new.space, standing::owns_with_members)?);
    let (email, hash) = match &new.invitee {
        Invitee::Email(email) => (Some(email), None),
        Invitee::Link(hash) => (None, Some(hash.0)),
    };
    let sql = "SELECT count(*) FROM (
                   SELECT 1 FROM invite INDEXED BY invite_of_space
                   WHERE space = ?1 AND expires_us > ?2 AND uses < max_uses AND (?3 IS NULL OR email IS NOT ?3)
                   LIMIT ?4)";
    let values = params![found.no, new.now_us, email, new.max_open];
    let open: u32 = connection.prepare_cached(sql)?.query_row(values, |row| row.get(0))?;
    granted!(rules::invites::make(open, new.max_open));
    let sql = "DELETE FROM invite WHERE email = ?1 AND space = ?2";
    connection.prepare_cached(sql)?.execute(params![email, found.no])?;
    let sql = "INSERT INTO invite (id, space, role, email, token_hash, max_uses, created_by, created_us, expires_us)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING";
    let inserted = connection.prepare_cached(sql)?.execute(params![
        id.0,
        found.no,
        new.role.as_str(),
        email,
        hash,
        new.max_uses,
        new.actor.0,
        new.now_us,
        new.expires_us,
    ])?;
    if inserted == 0 {
        return Err(StoreError::Conflict("invite"));
    }
    Ok(Ok(connection.prepare_cached(BY_ID)?.query_row([id.0], |row| Ok(read(row)))??))
}

/// Open invites of a space, for its owner.
pub(super) fn of_space(
    connection: &Connection,
    actor: UserId,
    space: SpaceId,
    after: Option<InviteId>,
    limit: u32,
    now_us: i64,
) -> Result<Answer<Page<Invite, InviteId>>, StoreError> {
    let found = granted!(seen::granted(connection, actor, space, standing::owns_with_members)?);
    list(connection, OF_SPACE, &found.no, after, limit, now_us).map(Ok)
}

/// Open invites for the address of a user's account.
pub(super) fn for_user(
    connection: &Connection,
    user: UserId,
    after: Option<InviteId>,
    limit: u32,
    now_us: i64,
) -> Result<Page<Invite, InviteId>, StoreError> {
    match users::email_of(connection, user)? {
        Some(email) => list(connection, FOR_EMAIL, &email, after, limit, now_us),
        None => Ok(Page { items: Vec::new(), next: None }),
    }
}

fn list(
    connection: &Connection,
    sql: &str,
    key: &dyn ToSql,
    after: Option<InviteId>,
    limit: u32,
    now_us: i64,
) -> Result<Page<Invite, InviteId>, StoreError> {
    let limit = limit.max(1) as usize;
    let after = after.unwrap_or(InviteId([0; 16]));
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![key, after.0, limit as i64 + 1, now_us])?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        items.push(read(row)?);
    }
    Ok(Page::of(items, limit, |item| item.id))
}

/// Takes an invite back.
pub(super) fn revoke(
    connection: &Connection,
    actor: UserId,
    space: SpaceId,
    invite: InviteId,
) -> Result<Answer<()>, StoreError> {
    let found = granted!(seen::granted(connection, actor, space, standing::owns_with_members)?);
    let sql = "DELETE FROM invite WHERE id = ?1 AND space = ?2";
    let deleted = connection.prepare_cached(sql)?.execute(params![invite.0, found.no])?;
    Ok(if deleted == 0 { Err(Denied::InviteNotFound) } else { Ok(()) })
}

/// An invite that was found for whoever accepts it.
struct Offer {
    id: [u8; 16],
    space_no: u32,
    space: [u8; 16],
    role: String,
    uses: u32,
    max_uses: u32,
    expires_us: i64,
}

/// The invite that a user may accept by what they have: the token, or the address of their account.
fn offer(connection: &Connection, user: UserId, accept: Accept) -> Result<Option<Offer>, StoreError> {
    let read = |row: &Row<'_>| {
        Ok(Offer {
            id: row.get(0)?,
            space_no: row.get(1)?,
            space: row.get(2)?,
            role: row.get(3)?,
            uses: row.get(4)?,
            max_uses: row.get(5)?,
            expires_us: row.get(6)?,
        })
    };
    let found = match accept {
        Accept::Link(hash) => {
            let sql = "SELECT i.id, i.space, s.id, i.role, i.uses, i.max_uses, i.expires_us
                       FROM invite i CROSS JOIN space s ON s.no = i.space
                       WHERE i.token_hash = ?1 AND s.deleted_us IS NULL";
            connection.prepare_cached(sql)?.query_row([hash.0], read)
        }
        Accept::Id(id) => {
            let sql = "SELECT i.id, i.space, s.id, i.role, i.uses, i.max_uses, i.expires_us
                       FROM invite i CROSS JOIN users u ON u.email = i.email CROSS JOIN space s ON s.no = i.space
                       WHERE i.id = ?1 AND u.id = ?2 AND s.deleted_us IS NULL";
            connection.prepare_cached(sql)?.query_row([id.0, user.0], read)
        }
    };
    Ok(found.optional()?)
}

/// Makes a user a member, and counts that in the same transaction: of two that race for the last use one wins.
pub(super) fn accept(
    connection: &Connection,
    user: UserId,
    accept: Accept,
    max_members: u32,
    now_us: i64,
) -> Result<Answer<SpaceEntry>, StoreError> {
    if !users::exists(connection, user)? {
        return Ok(Err(Denied::NoUser));
    }
    let Some(offer) = offer(connection, user, accept)? else {
        return Ok(Err(Denied::InviteNotFound));
    };
    let (no, space) = (offer.space_no, SpaceId(offer.space));
    let facts = rules::invites::Facts {
        member: members::role_of(connection, (no, space), user)?,
        uses: offer.uses,
        max_uses: offer.max_uses,
        expires_us: offer.expires_us,
        members: members::count(connection, no, max_members)?,
        max_members,
        now_us,
    };
    match granted!(rules::invites::accept(facts)) {
        Acceptance::AlreadyMember => {}
        Acceptance::Joins => {
            let corrupt =
                || StoreError::Corrupt { table: "invite", column: "role", row: UserId(offer.id).to_string() };
            let role = Role::parse(&offer.role).ok_or_else(corrupt)?;
            members::add(connection, (no, offer.space), user, role, now_us)?;
            let sql = "UPDATE invite SET uses = uses + 1 WHERE id = ?1";
            connection.prepare_cached(sql)?.execute([offer.id])?;
        }
    }
    spaces::entry(connection, user, space)
}

/// Forgets invites that expired before `before_us`.
pub(super) fn delete_expired(connection: &Connection, before_us: i64, limit: u32) -> Result<u64, StoreError> {
    let sql = "DELETE FROM invite WHERE id IN (
                   SELECT id FROM invite WHERE expires_us < ?1 ORDER BY expires_us LIMIT ?2)";
    Ok(connection.prepare_cached(sql)?.execute(params![before_us, limit])? as u64)
}
