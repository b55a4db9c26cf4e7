//! What somebody tries who means harm, against the real server over real sockets. Each file is one kind of attempt; the list of
//! what is covered where is docs/asvs.md.

#[path = "../common/mod.rs"]
mod common;

mod browsers;
mod enumeration;
mod forgery;
mod requests;
mod sessions;
