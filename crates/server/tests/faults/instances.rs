//! Instances that are killed, and instances that are replaced one by one.

use std::time::Duration;

use crate::common::PATIENCE;
use crate::common::server::TestServer;
use crate::crew::Crew;

const INSTANCES: usize = 3;

#[test]
fn nothing_is_lost_when_instances_are_killed_under_load() {
    let redis = lattice_testkit::redis_url();
    let mut server = TestServer::start_shared(&[("REDIS_URL", &redis)], INSTANCES);
    let mut crew = Crew::new(&server, 71);
    for kill in 0..9 {
        let at = kill % INSTANCES;
        crew.work_during(&server, |progress| {
            progress.wait_for(60);
            server.kill_instance_without_waiting(at);
            // The others go on.
            progress.wait_for(200);
        });
        server.wait_for_instance(at, PATIENCE);
        server.start_instance(at);
    }
    crew.assert_whole(&server, 500);
}

#[test]
fn nothing_is_lost_when_instances_are_replaced_one_by_one() {
    let mut server = TestServer::start_shared(&[("DRAIN_SECONDS", "1")], 2);
    let mut crew = Crew::new(&server, 72);
    for at in [0, 1, 0, 1] {
        crew.work_during(&server, |progress| {
            progress.wait_for(60);
            server.ask_instance_to_end(at);
            progress.wait_for(200);
        });
        let status = server.wait_for_instance(at, Duration::from_secs(15));
        assert!(status.success(), "it ended with {status}");
        server.start_instance(at);
    }
    crew.assert_whole(&server, 200);
}
