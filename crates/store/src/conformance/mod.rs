//! The conformance suite that every backend must pass.

mod access_log;
mod accounts;
mod anonymous;
mod directory;
mod hashes;
mod one_time;
mod quotas;
mod spaces;

pub use access_log::access_log;
pub use accounts::accounts;
pub use anonymous::anonymous_accounts;
pub use directory::{Store, directory};
pub use hashes::password_hashes;
pub use one_time::one_time_tokens;
pub use quotas::quotas;
pub use spaces::{RecordingSink, closed, spaces};
