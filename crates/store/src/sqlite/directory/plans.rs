//! How SQLite finds things: what may not be slow, and what may not tell; and files from before there was a directory.

use rusqlite::Connection;

use super::{access_in, invites, lists, members, purge, refusals, seen};
use crate::accounts::UserId;

fn plan(sql: &str) -> String {
    let connection = Connection::open_in_memory().expect("memory");
    for schema in [
        include_str!("../migrations/V1__spaces.sql"),
        include_str!("../migrations/V2__accounts.sql"),
        include_str!("../migrations/V3__directory.sql"),
        include_str!("../migrations/V4__log.sql"),
    ] {
        connection.execute_batch(schema).expect("the schema is SQL");
    }
    let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("SQL");
    let values = rusqlite::params_from_iter(vec![rusqlite::types::Null; explain.parameter_count()]);
    let lines = explain.query_map(values, |row| row.get::<_, String>("detail")).expect("a plan");
    lines.map(|line| line.expect("a line")).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_list_and_look_up_uses_an_index() {
    let lookups = [
        seen::SEEN,
        lists::OF_USER,
        lists::PUBLIC,
        members::LIST,
        invites::OF_SPACE,
        invites::FOR_EMAIL,
        refusals::OF_USER,
        refusals::OF_SPACE,
    ];
    let blocks = purge::BLOCKS.into_iter().flat_map(|(find, erase)| [find, erase]);
    for sql in lookups.into_iter().chain(purge::ERASE).chain(blocks) {
        let plan = plan(sql);
        // A list of public spaces goes along an index that holds nothing else.
        let scans = plan.replace("SCAN s USING INDEX public_space", "");
        assert!(!scans.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
    }
}

#[test]
fn a_space_that_one_may_not_see_is_not_touched() {
    let plan = plan(seen::SEEN);
    let steps: Vec<&str> = plan.lines().filter(|line| line.contains("SEARCH")).collect();
    let [membership, member_s_space, public, own] = steps[..] else { panic!("{plan}") };
    assert!(membership.contains("SEARCH m USING INDEX member_of_user (user=? AND space_id=?)"), "{plan}");
    assert!(member_s_space.contains("SEARCH s USING INTEGER PRIMARY KEY"), "{plan}");
    assert!(public.contains("SEARCH s USING INDEX public_space (id=?)"), "{plan}");
    assert!(own.contains("SEARCH s USING INDEX space_of_owner (owner=?)"), "{plan}");
}

#[test]
fn spaces_from_before_the_directory_are_their_owners() {
    let connection = Connection::open_in_memory().expect("memory");
    let run = |sql: &str| connection.execute_batch(sql).expect("SQL");
    run(include_str!("../migrations/V1__spaces.sql"));
    run(include_str!("../migrations/V2__accounts.sql"));
    let [owner, other] = [UserId([7; 16]), UserId([8; 16])];
    let id = [9_u8; 16];
    let sql = "INSERT INTO space (id, kind, owner, rules, head, created_us) VALUES (?1, 'private', ?2, 'row', 5, 3)";
    connection.execute(sql, (id, owner.0)).expect("a space of that time");
    run(include_str!("../migrations/V3__directory.sql"));
    let found = seen::private(&connection, owner).expect("an answer").expect("the space");
    let seen = &found.seen;
    assert_eq!((seen.id.0, seen.rules.as_str(), seen.created_us, seen.archived_us), (id, "row", 3, None));
    let access = access_in(&connection, found.no, owner.0).expect("an answer").expect("access");
    assert!(access.private && !access.archived && *access.policy == lattice_engine::Policy::default());
    assert!(access_in(&connection, found.no, other.0).expect("an answer").is_none());
    assert!(seen::private(&connection, other).expect("an answer").is_none());
}
