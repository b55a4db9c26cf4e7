//! The conformance suite that every backend must pass.

mod access_log;
mod accounts;
mod directory;
mod one_time;
mod spaces;

pub use access_log::access_log;
pub use accounts::accounts;
pub use directory::{Store, directory};
pub use one_time::one_time_tokens;
pub use spaces::{RecordingSink, closed, spaces};
