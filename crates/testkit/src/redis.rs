//! The Redis that tests share. Servers tell their deployments apart, so tests do not hear one another.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Where it is, unless the variable says otherwise.
const DEFAULT_SERVER: &str = "redis://127.0.0.1:6379";
/// Names another one.
const SERVER_VARIABLE: &str = "TEST_REDIS_URL";

/// The address of a Redis that answers: the one that `TEST_REDIS_URL` names, or 127.0.0.1:6379.
///
/// # Panics
/// When there is none.
#[must_use]
#[track_caller]
pub fn redis_url() -> String {
    let url = std::env::var(SERVER_VARIABLE).unwrap_or_else(|_| DEFAULT_SERVER.to_owned());
    let host = url.split("://").last().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default().split('/').next().unwrap_or_default();
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:6379") };
    let addresses = host.to_socket_addrs().map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    let answers =
        addresses.iter().any(|address| TcpStream::connect_timeout(address, Duration::from_secs(5)).is_ok());
    assert!(
        answers,
        "tests need Redis and none answers at {host}.\n\
         Start one (Debian: apt-get install redis-server; service redis-server start), or set {SERVER_VARIABLE}."
    );
    url
}
