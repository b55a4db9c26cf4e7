//! PostgreSQL that is restarted, killed, paused, or loses its connections.

use lattice_testkit::PostgresServer;

use crate::common::server::TestServer;
use crate::crew::{Crew, until_ready};

/// Two instances on a PostgreSQL of the test's own.
fn start() -> (PostgresServer, TestServer) {
    let postgres = PostgresServer::start();
    // What fails is told in warnings; the tests look at results.
    let server = TestServer::start_on(postgres.database(), &[("LOG", "error")], 2);
    (postgres, server)
}

fn until_all(server: &TestServer, ready: bool) {
    for at in 0..2 {
        until_ready(server, at, ready);
    }
}

#[test]
fn nothing_is_lost_when_postgres_is_restarted_or_killed() {
    let (mut postgres, server) = start();
    let mut crew = Crew::new(&server, 81);
    crew.work_during(&server, |progress| {
        for round in 0..4 {
            progress.wait_for(100);
            if round % 2 == 0 {
                postgres.stop()
            } else {
                postgres.kill()
            }
            until_all(&server, false);
            postgres.start_again();
            until_all(&server, true);
        }
        progress.wait_for(100);
    });
    crew.assert_whole(&server, 200);
}

#[test]
fn nothing_is_lost_when_postgres_stands_still() {
    let (postgres, server) = start();
    let mut crew = Crew::new(&server, 82);
    crew.work_during(&server, |progress| {
        for _ in 0..2 {
            progress.wait_for(100);
            postgres.pause();
            // Connections stay open and nothing is answered: that has to be noticed as well.
            until_all(&server, false);
            postgres.resume();
            until_all(&server, true);
        }
        progress.wait_for(100);
    });
    crew.assert_whole(&server, 100);
}

#[test]
fn nothing_is_lost_when_connections_are_cut() {
    let (postgres, server) = start();
    let admin = postgres.database();
    let mut crew = Crew::new(&server, 83);
    crew.work_during(&server, |progress| {
        for _ in 0..15 {
            progress.wait_for(40);
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lattice-server'",
            );
        }
        progress.wait_for(100);
    });
    until_all(&server, true);
    crew.assert_whole(&server, 200);
}
