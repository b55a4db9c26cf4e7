//! Everything that is kept for signing in, as one.

use crate::access_log::AccessLog;
use crate::accounts::AccountStore;
use crate::one_time::OneTimeTokens;

/// Everything that is kept for signing in.
pub trait AuthStore: AccountStore + OneTimeTokens + AccessLog {}

impl<T: AccountStore + OneTimeTokens + AccessLog> AuthStore for T {}
