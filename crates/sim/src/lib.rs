//! Deterministic simulation: many model clients, a faulty network and disk, virtual time, one seed per run.
//!
//! A seed is a history: the same seed always plays the same steps. Everything that decides whether replicas converge is
//! the real thing: the engine, its streams, ids and rings, the protocol's codec, and the SQLite statements.

mod audit;
pub mod client;
pub mod config;
mod edits;
pub mod history;
mod hosts;
pub mod json_client;
mod mixed;
mod oracle;
pub mod people;
pub mod rng;
pub mod runner;
pub mod server;
mod settle;
mod shared;
pub mod wire;
pub mod world;
