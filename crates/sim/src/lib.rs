//! Deterministic simulation: many model clients, a faulty network and disk, virtual time, one seed per run.
//!
//! A seed is a history: the same seed always plays the same steps. Everything that decides whether replicas converge is
//! the real thing: the sessions of both dialects, the engine, the protocol's codec, and the SQLite statements. Only clients, network
//! and clocks are models.

mod audit;
pub mod client;
pub mod config;
pub mod driver;
mod edits;
pub mod history;
mod hosts;
pub mod json_client;
mod mixed;
mod oracle;
pub mod people;
pub mod rng;
pub mod runner;
mod settle;
mod shared;
pub mod wire;
pub mod world;
