//! The conformance suite that every backend must pass.

mod accounts;
mod directory;
mod one_time;
mod quotas;
mod spaces;

pub use accounts::accounts;
pub use directory::{Store, directory};
pub use one_time::one_time_tokens;
pub use quotas::quotas;
pub use spaces::{RecordingSink, closed, spaces};
