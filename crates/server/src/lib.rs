//! The Lattice sync server: HTTP, WebSocket, hub and configuration. The binary `lattice-server` is a thin shell around it.

pub mod abandonment;
pub mod audit;
pub mod backend;
pub mod bus;
pub mod commands;
pub mod config;
pub mod export;
pub mod external;
pub mod http;
pub mod hub;
pub mod instances;
pub mod limits;
pub mod mail;
pub mod net;
pub mod providers;
pub mod readiness;
pub mod refusal_log;
pub mod run;
pub mod spaces;
pub mod sync;
mod upkeep;
pub mod work;
