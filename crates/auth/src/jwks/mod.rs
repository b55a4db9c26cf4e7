//! The public keys of other issuers (JSON Web Key Sets, RFC 7517): fetched, kept, and used to verify their tokens.
//!
//! [`JwksCache`] asks an issuer as seldom as its cache headers allow, and lives through its outages. [`KeySet`] is what it holds: only keys
//! that may verify signatures, each with the algorithms that are its own.

mod cache;
mod client;
pub(crate) mod discovery;
mod fetch;
mod freshness;
mod key_set;

pub use cache::{
    FAILURE_PAUSE_S, JwksCache, JwksSource, MAX_STALE_S, REFRESH_AHEAD_PERCENT, UNKNOWN_KEY_PAUSE_S,
};
pub use client::{HttpClient, MAX_CONNECT_TIME, MAX_EXCHANGE_TIME, MAX_RESPONSE_BYTES};
pub use fetch::{FetchError, HttpFetch, check_address};
pub use freshness::{FRESH_S, MAX_FRESH_S, MIN_FRESH_S};
pub use key_set::{KeySet, KeySetError, MAX_KEY_ID_BYTES, MAX_KEYS, MAX_SIGNED_TOKEN_BYTES};

pub use openidconnect::{HttpRequest, HttpResponse};
