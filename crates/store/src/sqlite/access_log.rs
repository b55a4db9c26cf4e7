//! The access log in SQLite.

use rusqlite::{Connection, Row, params, params_from_iter};

use super::SqliteStore;
use super::columns::{Columns, execute};
use crate::access_log::{AccessEvent, AccessLog, EventCursor, EventQuery};
use crate::accounts::{SessionId, UserId};
use crate::directory::Page;
use crate::stored::access_log;
use crate::{BoxFuture, StoreError};

/// `?1` … the columns. Address and user agent stay out when whoever has them is gone.
const APPEND: &str = "INSERT INTO access_log (at_us, id, kind, code, actor, subject, space_id, session_id, address, user_agent, detail)
     SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, iif(there, ?9, NULL), iif(there, ?10, NULL), ?11
     FROM (SELECT ifnull(?5, ?6) IS NULL OR EXISTS (SELECT 1 FROM users WHERE id = ifnull(?5, ?6)) AS there)
     WHERE true ON CONFLICT DO NOTHING";
/// `?1` before when, `?2` the limit.
const DELETE: &str = "DELETE FROM access_log WHERE (at_us, id) IN (
         SELECT at_us, id FROM access_log WHERE at_us < ?1 ORDER BY at_us, id LIMIT ?2)";

pub(super) fn append(connection: &Connection, events: &[AccessEvent]) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(APPEND)?;
    for event in events {
        statement.execute(params![
            event.at_us,
            event.id,
            event.kind,
            event.code,
            event.actor.map(|user| user.0),
            event.subject.map(|user| user.0),
            event.space.map(|space| space.0),
            event.session.map(|session| session.0),
            event.address,
            event.user_agent,
            event.detail,
        ])?;
    }
    Ok(())
}

pub(super) fn list(
    connection: &Connection,
    query: &EventQuery,
) -> Result<Page<AccessEvent, EventCursor>, StoreError> {
    let (sql, values) = access_log::page(query, '?');
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        events.push(read(row)?);
    }
    Ok(Page::of(events, query.limit.max(1) as usize, AccessEvent::cursor))
}

fn read(row: &Row<'_>) -> Result<AccessEvent, StoreError> {
    let columns = Columns { table: "access_log", row };
    Ok(AccessEvent {
        at_us: columns.integer("at_us")?,
        id: columns.bytes("id")?,
        kind: columns.text("kind")?.ok_or_else(|| columns.corrupt("kind"))?,
        code: columns.text("code")?,
        actor: columns.maybe_bytes("actor")?.map(UserId),
        subject: columns.maybe_bytes("subject")?.map(UserId),
        space: columns.maybe_bytes("space_id")?.map(lattice_engine::SpaceId),
        session: columns.maybe_bytes("session_id")?.map(SessionId),
        address: columns.text("address")?,
        user_agent: columns.text("user_agent")?,
        detail: columns.text("detail")?,
    })
}

impl AccessLog for SqliteStore {
    fn append_events(&self, events: Vec<AccessEvent>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.write(move |transaction| append(transaction, &events)))
    }

    fn events(&self, query: EventQuery) -> BoxFuture<'_, Result<Page<AccessEvent, EventCursor>, StoreError>> {
        Box::pin(self.read(move |connection| list(connection, &query)))
    }

    fn delete_events(&self, before_us: i64, limit: u32) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.write(move |transaction| execute(transaction, DELETE, params![before_us, limit])))
    }
}

#[cfg(test)]
mod tests {
    use lattice_engine::SpaceId;

    use super::*;
    use crate::sqlite::personal_data;

    #[test]
    fn whatever_is_looked_for_is_found_by_an_index() {
        let connection = Connection::open_in_memory().expect("memory");
        for schema in [
            include_str!("migrations/V1__spaces.sql"),
            include_str!("migrations/V2__accounts.sql"),
            include_str!("migrations/V8__access_log.sql"),
        ] {
            connection.execute_batch(schema).expect("the schema is SQL");
        }
        let user = EventQuery { user: Some(UserId([1; 16])), ..EventQuery::default() };
        let space =
            EventQuery { space: Some(SpaceId([1; 16])), kind: Some("x".to_owned()), ..EventQuery::default() };
        let between = EventQuery { since_us: Some(1), until_us: Some(2), ..EventQuery::default() };
        let pages = [user, space, between].map(|query| access_log::page(&query, '?').0);
        let fixed = [DELETE, personal_data::WRITERS, personal_data::OF_ACTOR, personal_data::OF_SUBJECT]
            .map(str::to_owned);
        for sql in pages.into_iter().chain(fixed) {
            let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("SQL");
            let values = params_from_iter(vec![rusqlite::types::Null; explain.parameter_count()]);
            let lines = explain.query_map(values, |row| row.get::<_, String>("detail")).expect("a plan");
            let plan = lines.map(|line| line.expect("a line")).collect::<Vec<_>>().join("\n");
            // What both lists of a user are merged from is a page of each.
            let merged =
                plan.replace("SCAN own", "").replace("SCAN about", "").replace("SCAN both_of_them", "");
            assert!(!merged.contains("SCAN"), "{sql}\n{plan}");
            assert!(plan.contains("INDEX") || plan.contains("PRIMARY KEY"), "{sql}\n{plan}");
        }
    }
}
