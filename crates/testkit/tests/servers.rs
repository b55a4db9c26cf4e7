//! The servers that tests harm come back, and keep what they kept.

use lattice_testkit::{PostgresServer, RedisServer};

#[test]
fn postgres_keeps_what_was_committed_whatever_happens() {
    let mut server = PostgresServer::start();
    let database = server.database();
    database.execute("CREATE TABLE kept (x int); INSERT INTO kept VALUES (1)");
    server.stop();
    server.start_again();
    database.execute("INSERT INTO kept VALUES (2)");
    server.kill();
    server.start_again();
    server.pause();
    server.resume();
    database.execute("DO $$ BEGIN ASSERT (SELECT sum(x) FROM kept) = 3; END $$");
}

#[test]
fn redis_comes_back_on_the_same_port() {
    let mut server = RedisServer::start();
    let url = server.url();
    server.kill();
    server.start_again();
    assert_eq!(server.url(), url);
}
