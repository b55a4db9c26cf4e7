//! HTTPS of our own: certificates from files, sockets on it, the port that redirects to it.

#[path = "../common/mod.rs"]
mod common;

mod acme;
mod authority;
mod certificates;
mod client;
mod directory;
mod http2;
mod protocol;
mod redirect;
mod tunnel;
