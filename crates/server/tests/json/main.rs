//! The JSON dialect over real sockets and over HTTP, beside native clients.

#[path = "../common/mod.rs"]
mod common;

mod auth;
mod cursors;
mod dialects;
mod filters;
mod frames;
mod http;
mod order;
mod presence;
mod unions;
mod uploads;
