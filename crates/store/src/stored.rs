//! How things are written that every backend keeps in the same form.

pub(crate) mod keys;
pub(crate) mod rules;
pub(crate) mod verdict;
