//! The conformance suite that every backend must pass.

mod access_log;
mod accounts;
mod anonymous;
mod directory;
mod factors;
mod hashes;
mod identities;
mod one_time;
mod quotas;
mod spaces;

pub use access_log::access_log;
pub use accounts::accounts;
pub use anonymous::anonymous_accounts;
pub use directory::{Store, directory};
pub use factors::factors;
pub use hashes::password_hashes;
pub use identities::identities;
pub use one_time::one_time_tokens;
pub use quotas::quotas;
pub use spaces::{RecordingSink, closed, spaces};

use crate::accounts::{User, UserId};
use crate::time::{SystemRandom, random_id};

/// A user without anything, under a random id.
fn anybody() -> User {
    User {
        id: UserId(random_id(&SystemRandom)),
        email: None,
        email_verified_us: None,
        full_name: None,
        password_hash: None,
        created_us: 1,
    }
}

/// An address that nobody has.
fn address() -> String {
    format!("{}@example.com", UserId(random_id(&SystemRandom)))
}
