//! What tests need of the machine: databases, servers of their own that may be harmed, and an OpenID provider. A missing service
//! is a failure that says how to get it.

mod authenticator;
mod database;
mod issuer;
mod postgres_server;
mod process;
mod redis;
mod redis_server;

pub use authenticator::Authenticator;
pub use database::Database;
pub use issuer::{IdToken, Issuer, KeyKind, KeySet, OldKeys, Redirect, Signature};
pub use postgres_server::PostgresServer;
pub use redis::redis_url;
pub use redis_server::RedisServer;
