//! Attempts counted in Redis, so that it does not matter which instance they reach.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::rate::Allowance;
use super::{Class, Key};

/// How long an attempt waits for Redis before it is counted here alone.
const MAX_ANSWER_TIME: Duration = Duration::from_millis(500);
/// How long Redis is left alone after it has failed.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The generic cell rate algorithm, by the clock of Redis, which all instances share. `KEYS[1]` holds when all would have been
/// made if they came evenly; `ARGV` the microseconds that one takes, and how many may come at once. Answers 0, or after how
/// many microseconds.
const SCRIPT: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local arrival = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local wait = arrival + interval - interval * burst - now
if wait > 0 then return math.ceil(wait) end
local next = arrival + interval
redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000) + 1)
return 0";

/// Redis cannot be asked.
pub(super) struct Away;

/// Counts in Redis.
pub(super) struct Shared {
    client: Client,
    prefix: String,
    link: Mutex<Link>,
}

enum Link {
    Up(MultiplexedConnection),
    /// `said`: it is in the log.
    Down {
        until: Instant,
        said: bool,
    },
}

impl Shared {
    /// `deployment` tells instances of one database from others that share the Redis.
    pub(super) fn new(client: Client, deployment: &str) -> Self {
        let link = Mutex::new(Link::Down { until: Instant::now(), said: false });
        Self { client, prefix: format!("lattice:{deployment}:limit"), link }
    }

    /// Counts an attempt, or says after which time it may be made.
    pub(super) async fn check(
        &self,
        class: Class,
        key: Key,
        allowance: Allowance,
    ) -> Result<Result<(), Duration>, Away> {
        let mut connection = self.connection().await.ok_or(Away)?;
        let interval_us = allowance.period.as_micros() as f64 / allowance.amount as f64;
        let mut command = redis::cmd("EVAL");
        command.arg(SCRIPT).arg(1).arg(format!("{}:{}:{}", self.prefix, class.name(), key.hex()));
        command.arg(format!("{interval_us:.3}")).arg(allowance.amount);
        match command.query_async::<u64>(&mut connection).await {
            Ok(0) => Ok(Ok(())),
            Ok(wait_us) => Ok(Err(Duration::from_micros(wait_us))),
            Err(error) => {
                self.failed(&error).await;
                Err(Away)
            }
        }
    }

    async fn connection(&self) -> Option<MultiplexedConnection> {
        let mut link = self.link.lock().await;
        match &*link {
            Link::Up(connection) => return Some(connection.clone()),
            Link::Down { until, .. } if *until > Instant::now() => return None,
            Link::Down { .. } => {}
        }
        let was_said = matches!(&*link, Link::Down { said: true, .. });
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(MAX_ANSWER_TIME)
            .set_response_timeout(MAX_ANSWER_TIME);
        match self.client.get_multiplexed_async_connection_with_config(&config).await {
            Ok(connection) => {
                if was_said {
                    tracing::info!("Redis is back; rates are limited by all instances together");
                }
                *link = Link::Up(connection.clone());
                Some(connection)
            }
            Err(error) => {
                if !was_said {
                    tracing::warn!(%error, "Redis cannot be reached; rates are limited by each instance for itself");
                }
                *link = Link::Down { until: Instant::now() + RETRY_AFTER, said: true };
                None
            }
        }
    }

    async fn failed(&self, error: &redis::RedisError) {
        let mut link = self.link.lock().await;
        if matches!(&*link, Link::Up(_)) {
            tracing::warn!(%error, "Redis does not answer; rates are limited by each instance for itself");
            *link = Link::Down { until: Instant::now() + RETRY_AFTER, said: true };
        }
    }
}
