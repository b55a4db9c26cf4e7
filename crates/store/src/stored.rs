//! How things are written that every backend keeps in the same form.

pub(crate) mod access_log;
pub(crate) mod keys;
pub(crate) mod rules;
pub(crate) mod seen;
pub(crate) mod verdict;

/// For how long after the end of an account it is looked whether more of its addresses were written, in microseconds: much
/// longer than a connection outlives its account.
pub(crate) const PERSONAL_DATA_GRACE_US: i64 = 10 * 60 * 1_000_000;
