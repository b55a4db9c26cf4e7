//! Everything that is kept for signing in, as one.

use crate::accounts::AccountStore;
use crate::anonymous::AnonymousAccounts;
use crate::hashes::PasswordHashes;
use crate::one_time::OneTimeTokens;

/// Everything that is kept for signing in.
pub trait AuthStore: AccountStore + OneTimeTokens + AnonymousAccounts + PasswordHashes {}

impl<T: AccountStore + OneTimeTokens + AnonymousAccounts + PasswordHashes> AuthStore for T {}
