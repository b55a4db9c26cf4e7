//! What happens to instances, PostgreSQL and Redis in the field, done on purpose while clients write: nothing that was
//! acknowledged is lost, all replicas become equal, and `/readyz` tells the truth meanwhile.

#[path = "../common/mod.rs"]
mod common;

mod crew;
mod database;
mod instances;
mod redis;
mod storm;
