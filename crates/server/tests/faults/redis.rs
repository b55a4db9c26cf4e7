//! Redis that is gone for a minute.

use std::time::{Duration, Instant};

use lattice_testkit::RedisServer;

use crate::common::server::TestServer;
use crate::crew::{Crew, until_ready};

const AWAY: Duration = Duration::from_secs(60);

#[test]
fn nothing_is_lost_and_nobody_waits_for_ever_while_redis_is_gone() {
    let mut redis = RedisServer::start();
    let server = TestServer::start_shared(&[("REDIS_URL", &redis.url()), ("LOG", "error")], 3);
    let mut crew = Crew::new(&server, 91);
    crew.work_during(&server, |progress| {
        progress.wait_for(100);
        redis.kill();
        let gone = Instant::now();
        while gone.elapsed() < AWAY {
            progress.wait_for(100);
        }
    });
    // Redis carries hints: without it instances serve, look for themselves, and say so.
    until_ready(&server, 0, true);
    crew.assert_whole(&server, 500);
    redis.start_again();
    crew.work_during(&server, |progress| progress.wait_for(200));
    crew.assert_whole(&server, 500);
}
