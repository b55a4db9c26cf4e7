//! A standby takes over from PostgreSQL's primary while a server runs: it may lack what was acknowledged.

use lattice_testkit::PostgresServer;
use serde_json::json;

use crate::common::PATIENCE;
use crate::common::http::{device_token, sign_up};
use crate::common::json_client::{Poller, change};
use crate::common::server::TestServer;

#[test]
fn a_server_ends_when_a_standby_takes_over_and_its_clients_start_over() {
    let mut postgres = PostgresServer::start();
    let mut server = TestServer::start_on(postgres.database(), &[("DATABASE_WAIT_SECONDS", "30")], 1);
    let ann = sign_up(&server, "ann");
    let mut poller = Poller::new(&ann, "me");
    poller.store(&server, &[change("insert", "Item", "a", json!({"name": "x"}))]);
    poller.catch_up(&server);
    postgres.promote();
    let status = server.wait_for_end(PATIENCE);
    assert_eq!(status.code(), Some(1), "{}", server.log());
    assert!(server.log().contains("went back to an older state"), "{}", server.log());
    server.start_again();
    poller.token = device_token(&server, &ann);
    poller.poll(&server, "");
    assert_eq!(poller.replica.resets, ["no_cursor", "restored"]);
}

/// Nothing of it is lost: it is the same history.
#[test]
fn a_database_that_only_restarts_is_the_same() {
    let mut postgres = PostgresServer::start();
    let mut server = TestServer::start_on(postgres.database(), &[("DATABASE_WAIT_SECONDS", "30")], 1);
    let ann = sign_up(&server, "ann");
    let mut poller = Poller::new(&ann, "me");
    poller.store(&server, &[change("insert", "Item", "a", json!({"name": "x"}))]);
    poller.catch_up(&server);
    postgres.kill();
    postgres.start_again();
    server.restart_same_folder();
    poller.token = device_token(&server, &ann);
    poller.poll(&server, "");
    assert_eq!(poller.replica.resets, ["no_cursor"]);
}
