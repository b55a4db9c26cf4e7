//! Shared and public spaces over real sockets: three users, both dialects, permissions that move.

#[path = "../common/mod.rs"]
mod common;

mod cast;
mod converge;
mod ends;
mod hidden;
mod links;
mod members;
mod moves;
mod refused;
mod schema;
