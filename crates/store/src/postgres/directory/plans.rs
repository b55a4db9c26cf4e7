//! How PostgreSQL finds things: what may not be slow, and what may not tell.

use std::sync::Arc;

use lattice_testkit::Database;
use tokio_postgres::SimpleQueryMessage;

use super::{invites, lists, members, purge, refusals, seen, spaces, users};
use crate::postgres::accounts::sessions;
use crate::postgres::transaction::Connection;
use crate::postgres::{PostgresOptions, PostgresStore, anonymous, factors, hashes, identities};
use crate::spaces::NoSink;
use crate::time::{SystemClock, SystemRandom};

async fn open(database: &Database) -> PostgresStore {
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let options = PostgresOptions::default();
    PostgresStore::open(&database.url(), options, Arc::new(NoSink), clock, random).await.expect("it opens")
}

/// The plan of a prepared statement, for whatever values.
async fn plan(connection: &Connection, sql: &str) -> String {
    let values = (1..=9).rev().find(|n| sql.contains(&format!("${n}"))).unwrap_or(0);
    let values = vec!["NULL"; values].join(", ");
    let values = if values.is_empty() { values } else { format!("({values})") };
    let explain = format!(
        "SET plan_cache_mode = force_generic_plan; PREPARE p AS {sql}; EXPLAIN (COSTS OFF) EXECUTE p{values}"
    );
    let messages = connection.simple_query(&explain).await.expect("it is SQL");
    connection.batch_execute("DEALLOCATE p").await.expect("it was prepared");
    let line = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    messages.iter().filter_map(line).collect::<Vec<_>>().join("\n")
}

/// The conditions by which a plan finds things in an index, and the indexes.
fn found_by(plan: &str) -> Vec<(&str, &str)> {
    let mut index = "";
    let mut found = Vec::new();
    for line in plan.lines() {
        if let Some((_, rest)) =
            line.split_once("Index Scan using ").or(line.split_once("Index Only Scan using "))
        {
            index = rest.split(' ').next().unwrap_or_default();
        } else if let Some((_, rest)) = line.split_once("Bitmap Index Scan on ") {
            index = rest;
        }
        if let Some((_, condition)) = line.split_once("Index Cond: ") {
            found.push((index, condition));
        }
    }
    found
}

#[tokio::test]
async fn every_list_and_look_up_uses_an_index() {
    let database = Database::create();
    let store = open(&database).await;
    let connection = store.inner.pool.get().await.expect("a connection");
    let lookups = [
        (seen::SEEN, "public_space"),
        (lists::OF_USER, "member_of_user"),
        (lists::PUBLIC, "public_space"),
        (members::LIST, "member_pkey"),
        (members::COUNT, "member_pkey"),
        (spaces::OWNED_BY, "space_owned_by"),
        (invites::OF_SPACE, "invite_of_space"),
        (invites::FOR_EMAIL, "invite_of_email"),
        (invites::COUNT, "invite_of_space"),
        (invites::BY_LINK, "invite_token_hash_key"),
        (invites::BY_ADDRESS, "invite_pkey"),
        (invites::DELETE_EXPIRED, "invite_by_end"),
        (refusals::OF_USER, "refusal_of_user"),
        (refusals::OF_SPACE, "refusal_pkey"),
        (refusals::LINES, "entry_pkey"),
        (users::CONCERNED, "remembered_view_of_user"),
        (users::OF_OTHERS, "space_owned_by"),
        (users::DELETE_INVITES, "invite_of_email"),
        (sessions::LIST, "sessions_of_user"),
        (sessions::BY_TOKEN_HASH, "sessions_token_hash_key"),
        (sessions::REVOKE_ALL, "sessions_of_user"),
        (sessions::REVOKE_OTHERS, "sessions_of_user"),
        (sessions::LIVE, "sessions_of_user"),
        (sessions::DELETE_OF_USER, "sessions_of_user"),
        (sessions::DELETE_EXPIRED, "sessions_by_end"),
        (purge::NEXT, "space_to_purge"),
        (anonymous::NOTE_ENDED, "anonymous_account_to_look_at"),
        (anonymous::NOTE_ENDED, "sessions_of_user"),
        (anonymous::ABANDONED, "anonymous_account_by_end"),
        (identities::FIND, "identity_by_subject"),
        (identities::LIST, "identity_by_user"),
        (factors::PASSKEY, "passkey_credential_id_key"),
        (factors::PASSKEYS, "passkey_by_user"),
        (hashes::HIGHEST_BCRYPT_COST, "user_by_bcrypt_cost"),
    ];
    for (sql, index) in lookups.into_iter().chain(purge::ERASE.map(|sql| (sql, "_"))) {
        let plan = plan(&connection, sql).await;
        assert!(plan.contains(index) && !plan.contains("Seq Scan"), "{index}: {sql}\n{plan}");
    }
    // Pages come in the order of the index: what is beyond them is not read.
    for sql in [lists::OF_USER, lists::PUBLIC, members::LIST, refusals::OF_USER, refusals::OF_SPACE] {
        let plan = plan(&connection, sql).await;
        assert!(!plan.contains("Sort"), "{sql}\n{plan}");
    }
    drop(connection);
    store.close().await;
}

#[tokio::test]
async fn a_space_that_one_may_not_see_is_not_touched() {
    let database = Database::create();
    let store = open(&database).await;
    let connection = store.inner.pool.get().await.expect("a connection");
    let plan = plan(&connection, seen::SEEN).await;
    let [membership, member_s_space, public, own] = found_by(&plan)[..] else { panic!("{plan}") };
    assert!(["member_of_user", "member_pkey"].contains(&membership.0), "{plan}");
    assert!(membership.1.contains("user_id = $1") && membership.1.contains("space_id = $2"), "{plan}");
    assert_eq!(member_s_space, ("space_pkey", "(space_id = m.space_id)"), "{plan}");
    assert_eq!(public, ("public_space", "(public_id = $2)"), "{plan}");
    assert_eq!(own, ("space_of_owner", "(owner = $1)"), "{plan}");
    drop(connection);
    store.close().await;
}
