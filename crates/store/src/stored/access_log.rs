//! How the access log is asked: the same statement in both backends but for how they write parameters.

use crate::access_log::EventQuery;
use crate::copy::Value;

/// Columns, in the order in which events are read and written.
pub(crate) const COLUMNS: &str =
    "at_us, id, kind, code, actor, subject, space_id, session_id, address, user_agent, detail";

/// A page of events and one more, with its parameters. `mark` begins a parameter: `?` in SQLite, `$` in PostgreSQL.
pub(crate) fn page(query: &EventQuery, mark: char) -> (String, Vec<Value>) {
    let mut values = Vec::new();
    let mut parameter = |value| {
        values.push(value);
        format!("{mark}{}", values.len())
    };
    let (at_us, id) = query.after.map_or((i64::MAX, [0xFF; 16]), |after| (after.at_us, after.id));
    let mut conditions =
        vec![format!("(at_us, id) < ({}, {})", parameter(Value::Integer(at_us)), parameter(Value::Id(id)))];
    if let Some(since_us) = query.since_us {
        conditions.push(format!("at_us >= {}", parameter(Value::Integer(since_us))));
    }
    if let Some(until_us) = query.until_us {
        conditions.push(format!("at_us < {}", parameter(Value::Integer(until_us))));
    }
    if let Some(space) = query.space {
        conditions.push(format!("space_id = {}", parameter(Value::Id(space.0))));
    }
    if let Some(kind) = &query.kind {
        conditions.push(format!("kind = {}", parameter(Value::Text(kind.clone()))));
    }
    let user = query.user.map(|user| parameter(Value::Id(user.0)));
    let one_more = parameter(Value::Integer(i64::from(query.limit.max(1)) + 1));
    let order = format!("ORDER BY at_us DESC, id DESC LIMIT {one_more}");
    let select = |more: String| {
        let conditions = conditions.join(" AND ");
        format!("SELECT {COLUMNS} FROM access_log WHERE {more}{conditions} {order}")
    };
    let sql = match user {
        None => select(String::new()),
        // Each by its own index, in the order of the list.
        Some(user) => format!(
            "SELECT {COLUMNS} FROM (SELECT * FROM ({}) own UNION SELECT * FROM ({}) about) both_of_them {order}",
            select(format!("actor = {user} AND ")),
            select(format!("subject = {user} AND ")),
        ),
    };
    (sql, values)
}
