//! An OpenID provider for tests, as a process of its own: plain HTTP on a free port of 127.0.0.1.
//!
//! The first line on its standard output is its address, which is also its `iss`. It ends when its standard input does, and so with
//! whoever started it. What it does wrong on purpose is said at `/control/…` (`control.rs`); it keeps nothing.

mod control;
mod keys;
mod provider;
mod token;
mod world;

use std::io::{Read, Write};
use std::net::Ipv4Addr;

use axum::Router;
use axum::routing::{get, post};
use tokio::net::TcpListener;

use crate::world::Shared;

#[tokio::main]
async fn main() {
    std::thread::spawn(end_with_parent);
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let shared = Shared::new(url.clone());
    let router = Router::new()
        .route("/.well-known/openid-configuration", get(provider::discovery))
        .route("/jwks", get(provider::jwks))
        .route("/jwks-elsewhere", get(provider::jwks_elsewhere))
        .route("/authorize", get(provider::authorize))
        .route("/token", post(provider::token))
        .route("/userinfo", get(provider::userinfo))
        .route("/control/{what}", post(control::control))
        .with_state(shared);
    writeln!(std::io::stdout(), "{url}").expect("somebody reads");
    axum::serve(listener, router).await.expect("a server");
}

/// Whoever has started this process holds the other end of its standard input.
fn end_with_parent() {
    let mut rest = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut rest);
    std::process::exit(0);
}
