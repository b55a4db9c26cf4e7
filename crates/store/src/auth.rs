//! Everything that is kept for signing in, as one.

use crate::access_log::AccessLog;
use crate::accounts::AccountStore;
use crate::anonymous::AnonymousAccounts;
use crate::factors::Factors;
use crate::hashes::PasswordHashes;
use crate::identities::Identities;
use crate::one_time::OneTimeTokens;

/// Everything that is kept for signing in.
pub trait AuthStore:
    AccountStore + OneTimeTokens + AnonymousAccounts + PasswordHashes + Identities + Factors + AccessLog
{
}

impl<T: AccountStore + OneTimeTokens + AnonymousAccounts + PasswordHashes + Identities + Factors + AccessLog>
    AuthStore for T
{
}
