//! Invites: made, listed, taken back, accepted.

use lattice_engine::{Role, SpaceId};
use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::seen::owned_with_members;
use super::{members, spaces, users};
use crate::StoreError;
use crate::accounts::UserId;
use crate::directory::{Accept, Answer, Denied, Invite, InviteId, Invitee, NewInvite, Page, SpaceEntry};

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
    let seen = match owned_with_members(connection, new.actor, new.space)? {
        Ok(seen) => seen,
        Err(denied) => return Ok(Err(denied)),
    };
    let (email, hash) = match &new.invitee {
        Invitee::Email(email) => (Some(email), None),
        Invitee::Link(hash) => (None, Some(hash.0)),
    };
    let sql = "SELECT count(*) FROM (
                   SELECT 1 FROM invite INDEXED BY invite_of_space
                   WHERE space = ?1 AND expires_us > ?2 AND uses < max_uses AND (?3 IS NULL OR email IS NOT ?3)
                   LIMIT ?4)";
    let values = params![seen.no, new.now_us, email, new.max_open];
    let open: u32 = connection.prepare_cached(sql)?.query_row(values, |row| row.get(0))?;
    if open >= new.max_open {
        return Ok(Err(Denied::TooManyInvites));
    }
    let sql = "DELETE FROM invite WHERE email = ?1 AND space = ?2";
    connection.prepare_cached(sql)?.execute(params![email, seen.no])?;
    let sql = "INSERT INTO invite (id, space, role, email, token_hash, max_uses, created_by, created_us, expires_us)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING";
    let inserted = connection.prepare_cached(sql)?.execute(params![
        id.0,
        seen.no,
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
    match owned_with_members(connection, actor, space)? {
        Ok(seen) => list(connection, OF_SPACE, &seen.no, after, limit, now_us).map(Ok),
        Err(denied) => Ok(Err(denied)),
    }
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
    let seen = match owned_with_members(connection, actor, space)? {
        Ok(seen) => seen,
        Err(denied) => return Ok(Err(denied)),
    };
    let sql = "DELETE FROM invite WHERE id = ?1 AND space = ?2";
    let deleted = connection.prepare_cached(sql)?.execute(params![invite.0, seen.no])?;
    Ok(if deleted == 0 { Err(Denied::InviteNotFound) } else { Ok(()) })
}

/// An invite that was found for whoever accepts it.
struct Offer {
    id: [u8; 16],
    space_no: u32,
    space: [u8; 16],
    role: String,
    is_open: bool,
}

/// The invite that a user may accept by what they have: the token, or the address of their account.
fn offer(
    connection: &Connection,
    user: UserId,
    accept: Accept,
    now_us: i64,
) -> Result<Option<Offer>, StoreError> {
    let read = |row: &Row<'_>| {
        Ok(Offer {
            id: row.get(0)?,
            space_no: row.get(1)?,
            space: row.get(2)?,
            role: row.get(3)?,
            is_open: row.get(4)?,
        })
    };
    let found = match accept {
        Accept::Link(hash) => {
            let sql = "SELECT i.id, i.space, s.id, i.role, i.uses < i.max_uses AND i.expires_us > ?2
                       FROM invite i CROSS JOIN space s ON s.no = i.space
                       WHERE i.token_hash = ?1 AND s.deleted_us IS NULL";
            connection.prepare_cached(sql)?.query_row(params![hash.0, now_us], read)
        }
        Accept::Id(id) => {
            let sql = "SELECT i.id, i.space, s.id, i.role, i.uses < i.max_uses AND i.expires_us > ?2
                       FROM invite i CROSS JOIN users u ON u.email = i.email CROSS JOIN space s ON s.no = i.space
                       WHERE i.id = ?1 AND u.id = ?3 AND s.deleted_us IS NULL";
            connection.prepare_cached(sql)?.query_row(params![id.0, now_us, user.0], read)
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
    let Some(offer) = offer(connection, user, accept, now_us)? else {
        return Ok(Err(Denied::InviteNotFound));
    };
    // Before anything else: whoever sends the same request again is answered as the first time.
    if members::role_of(connection, offer.space_no, user)?.is_none() {
        if !offer.is_open {
            return Ok(Err(Denied::InviteNotFound));
        }
        if members::count(connection, offer.space_no, max_members)? >= max_members {
            return Ok(Err(Denied::TooManyMembers));
        }
        let corrupt =
            || StoreError::Corrupt { table: "invite", column: "role", row: UserId(offer.id).to_string() };
        let role = Role::parse(&offer.role).ok_or_else(corrupt)?;
        members::add(connection, (offer.space_no, offer.space), user, role, now_us)?;
        let sql = "UPDATE invite SET uses = uses + 1 WHERE id = ?1";
        connection.prepare_cached(sql)?.execute([offer.id])?;
    }
    spaces::entry(connection, user, SpaceId(offer.space))
}

/// Forgets invites that expired before `before_us`.
pub(super) fn delete_expired(connection: &Connection, before_us: i64, limit: u32) -> Result<u64, StoreError> {
    let sql = "DELETE FROM invite WHERE id IN (
                   SELECT id FROM invite WHERE expires_us < ?1 ORDER BY expires_us LIMIT ?2)";
    Ok(connection.prepare_cached(sql)?.execute(params![before_us, limit])? as u64)
}
