//! The end-to-end suites on three instances that share PostgreSQL and Redis, with clients spread over them, and what is
//! particular to several instances.

#![allow(
    clippy::duplicate_mod,
    reason = "each suite brings the harness along, as it does where it runs alone"
)]

#[path = "../common/mod.rs"]
mod common;

#[path = "../anonymous.rs"]
mod anonymous;
#[path = "../converge.rs"]
mod converge;
mod instances;
#[path = "../json/main.rs"]
mod json;
#[path = "../lifecycle.rs"]
mod lifecycle;
#[path = "../refusals.rs"]
mod refusals;
#[path = "../shared/main.rs"]
mod shared;
#[path = "../sync.rs"]
mod sync;
