//! HTTPS of our own: certificates from files, sockets on it, the port that redirects to it.

#[path = "../common/mod.rs"]
mod common;

mod authority;
mod certificates;
mod client;
mod protocol;
mod redirect;
mod tunnel;
