//! The end-to-end suites on PostgreSQL: the harness starts one instance for each server of a test.

#![allow(
    clippy::duplicate_mod,
    reason = "each suite brings the harness along, as it does where it runs alone"
)]

#[path = "../common/mod.rs"]
mod common;

#[path = "../access_log.rs"]
mod access_log;
#[path = "../anonymous.rs"]
mod anonymous;
#[path = "../converge.rs"]
mod converge;
#[path = "../deletion.rs"]
mod deletion;
#[path = "../export.rs"]
mod export;
#[path = "../external.rs"]
mod external;
#[path = "../factors/main.rs"]
mod factors;
#[path = "../json/main.rs"]
mod json;
#[path = "../kill.rs"]
mod kill;
#[path = "../lifecycle.rs"]
mod lifecycle;
#[path = "../limits.rs"]
mod limits;
mod promoted;
#[path = "../providers/main.rs"]
mod providers;
#[path = "../refusals.rs"]
mod refusals;
#[path = "../restored.rs"]
mod restored;
#[path = "../secrets.rs"]
mod secrets;
#[path = "../shared/main.rs"]
mod shared;
#[path = "../sync.rs"]
mod sync;
