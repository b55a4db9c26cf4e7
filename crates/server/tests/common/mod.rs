//! What the end-to-end tests share: the real server in a folder of its own, accounts, sockets, and devices with a model
//! of the deployed client in them. Nothing sleeps: what must happen is awaited, for [`PATIENCE`] at most.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

pub mod caller;
pub mod database;
pub mod device;
pub mod edit;
pub mod entry;
pub mod http;
pub mod json_client;
pub mod raw;
pub mod replica;
pub mod server;
pub mod socket;

use std::time::Duration;

/// How long anything that must happen may take. Far more than it takes on a loaded machine: only a hang gets there.
pub const PATIENCE: Duration = Duration::from_secs(30);
