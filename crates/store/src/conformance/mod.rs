//! The conformance suite that every backend must pass.

mod accounts;
mod spaces;

pub use accounts::accounts;
pub use spaces::{RecordingSink, closed, spaces};
