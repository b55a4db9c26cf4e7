//! The conformance suite that every backend must pass.

mod accounts;
mod directory;
mod spaces;

pub use accounts::accounts;
pub use directory::{Store, directory};
pub use spaces::{RecordingSink, closed, spaces};
