//! Signing in by identity providers. Apps that have an ID token send it; a browser is sent to the provider and comes back with a code
//! that the app exchanges.

pub(super) mod callback;
mod cookie;
pub(super) mod exchange;
pub(super) mod identities;
pub(super) mod link;
pub(super) mod list;
pub(super) mod sign_in;
pub(super) mod start;
pub(super) mod unlink;
