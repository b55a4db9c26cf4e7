//! Everything that is kept for signing in, as one.

use crate::accounts::AccountStore;
use crate::one_time::OneTimeTokens;

/// Everything that is kept for signing in.
pub trait AuthStore: AccountStore + OneTimeTokens {}

impl<T: AccountStore + OneTimeTokens> AuthStore for T {}
