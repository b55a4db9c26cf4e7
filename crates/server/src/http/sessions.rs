//! `/auth/sessions`: where one is logged in.

pub(super) mod list;
pub(super) mod revoke;
pub(super) mod revoke_all;
pub(super) mod revoke_others;
