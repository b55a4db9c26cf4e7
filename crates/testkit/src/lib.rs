//! What tests need of the machine. A missing service is a failure that says how to get it.

mod database;

pub use database::Database;
