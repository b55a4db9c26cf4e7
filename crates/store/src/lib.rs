//! The storage traits of Lattice Server, its backends on SQLite and PostgreSQL, and the conformance suite that every backend must pass.

pub mod access_log;
pub mod accounts;
pub mod anonymous;
pub mod auth;
pub mod backup;
pub mod conformance;
pub mod copy;
pub mod directory;
pub mod error;
pub mod factors;
pub mod hashes;
pub mod identities;
pub mod one_time;
pub mod postgres;
pub mod quotas;
mod restores;
mod rules;
pub mod spaces;
pub mod sqlite;
mod stored;
pub mod time;

use std::{future::Future, pin::Pin};

pub use error::StoreError;

/// A future of a storage call.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
