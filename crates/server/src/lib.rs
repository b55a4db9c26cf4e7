//! The Lattice sync server: HTTP, WebSocket, hub and configuration. The binary `lattice-server` is a thin shell around it.

pub mod bus;
pub mod config;
pub mod http;
pub mod hub;
pub mod net;
pub mod run;
pub mod spaces;
pub mod sync;
