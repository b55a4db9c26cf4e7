//! The access log in PostgreSQL.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::PostgresStore;
use super::error::PgError;
use super::transaction::{Connection, Mode, attempt, execute, query};
use super::values::{id, uuid};
use crate::access_log::{AccessEvent, AccessLog, EventCursor, EventQuery};
use crate::accounts::{SessionId, UserId};
use crate::directory::Page;
use crate::stored::access_log;
use crate::{BoxFuture, StoreError};

/// `$1` users, by id, as whoever else locks several does: those that are there stay until the events are.
const STAY: &str = "SELECT 1 FROM users WHERE id = ANY($1::uuid[]) ORDER BY id FOR KEY SHARE";
/// `$1` … the columns. Address and user agent stay out when whoever has them is gone.
const APPEND: &str = "INSERT INTO access_log (at_us, id, kind, code, actor, subject, space_id, session_id, address, user_agent, detail)
     SELECT e.at_us, e.id, e.kind, e.code, e.actor, e.subject, e.space_id, e.session_id,
            CASE WHEN t.there THEN e.address END, CASE WHEN t.there THEN e.user_agent END, e.detail
     FROM unnest($1::int8[], $2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::uuid[], $7::uuid[], $8::uuid[],
                 $9::text[], $10::text[], $11::text[])
          AS e (at_us, id, kind, code, actor, subject, space_id, session_id, address, user_agent, detail)
     CROSS JOIN LATERAL (
         SELECT coalesce(e.actor, e.subject) IS NULL
                OR EXISTS (SELECT 1 FROM users WHERE id = coalesce(e.actor, e.subject)) AS there) t
     ON CONFLICT DO NOTHING";
/// `$1` before when, `$2` the limit.
const DELETE: &str = "WITH old AS MATERIALIZED (
         SELECT at_us, id FROM access_log WHERE at_us < $1 ORDER BY at_us, id LIMIT $2 FOR UPDATE SKIP LOCKED)
     DELETE FROM access_log l USING old WHERE l.at_us = old.at_us AND l.id = old.id";

async fn append(connection: &Connection, events: &[AccessEvent]) -> Result<(), PgError> {
    let whose = |event: &AccessEvent| event.actor.or(event.subject).map(|user| uuid(user.0));
    let users: Vec<Uuid> = events.iter().filter_map(whose).collect();
    query(connection, STAY, &[&users]).await?;
    let text = |of: fn(&AccessEvent) -> Option<&str>| events.iter().map(of).collect::<Vec<Option<&str>>>();
    let ids = |of: fn(&AccessEvent) -> Option<[u8; 16]>| {
        events.iter().map(|event| of(event).map(uuid)).collect::<Vec<Option<Uuid>>>()
    };
    let at_us: Vec<i64> = events.iter().map(|event| event.at_us).collect();
    let columns: [&(dyn ToSql + Sync); 11] = [
        &at_us,
        &ids(|event| Some(event.id)),
        &text(|event| Some(&event.kind)),
        &text(|event| event.code.as_deref()),
        &ids(|event| event.actor.map(|user| user.0)),
        &ids(|event| event.subject.map(|user| user.0)),
        &ids(|event| event.space.map(|space| space.0)),
        &ids(|event| event.session.map(|session| session.0)),
        &text(|event| event.address.as_deref()),
        &text(|event| event.user_agent.as_deref()),
        &text(|event| event.detail.as_deref()),
    ];
    execute(connection, APPEND, &columns).await?;
    Ok(())
}

async fn list(connection: &Connection, of: &EventQuery) -> Result<Page<AccessEvent, EventCursor>, PgError> {
    let (sql, values) = access_log::page(of, '$');
    let params: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
    let rows = query(connection, &sql, &params).await?;
    let events = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok(Page::of(events, of.limit.max(1) as usize, AccessEvent::cursor))
}

fn read(row: &Row) -> Result<AccessEvent, PgError> {
    let maybe = |at: usize| row.try_get::<_, Option<Uuid>>(at).map(|id| id.map(Uuid::into_bytes));
    Ok(AccessEvent {
        at_us: row.try_get(0)?,
        id: id(row, 1)?,
        kind: row.try_get(2)?,
        code: row.try_get(3)?,
        actor: maybe(4)?.map(UserId),
        subject: maybe(5)?.map(UserId),
        space: maybe(6)?.map(lattice_engine::SpaceId),
        session: maybe(7)?.map(SessionId),
        address: row.try_get(8)?,
        user_agent: row.try_get(9)?,
        detail: row.try_get(10)?,
    })
}

impl AccessLog for PostgresStore {
    fn append_events(&self, events: Vec<AccessEvent>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Write, |c| append(c, &events).await) })
    }

    fn events(&self, query: EventQuery) -> BoxFuture<'_, Result<Page<AccessEvent, EventCursor>, StoreError>> {
        Box::pin(async move { attempt!(self, Mode::Single, |c| list(c, &query).await) })
    }

    fn delete_events(&self, before_us: i64, limit: u32) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            attempt!(self, Mode::Single, |c| execute(c, DELETE, &[&before_us, &i64::from(limit)]).await)
        })
    }
}
