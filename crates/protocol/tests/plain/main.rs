//! The JSON dialect.
#![allow(clippy::unwrap_used, reason = "a failed expectation fails the test")]

mod changes;
mod common;
mod documents;
mod filters;
mod frames;
mod malformed;
mod properties;
mod server;
mod values;
