//! Passwords, sessions, tokens and keys of Lattice Server.
//!
//! [`AuthService`] is what routes and sockets call. It knows no HTTP and no driver: it keeps users and sessions in an
//! [`AuthStore`](lattice_store::auth::AuthStore), and takes its clock and its randomness as parameters.
//!
//! | token | looks like | lives | stored as |
//! | --- | --- | --- | --- |
//! | access | a JWT, signed by [`Keys`] | [`ACCESS_TOKEN_LIFE_S`] | not at all; its session is |
//! | refresh | `lrt_…` | [`REFRESH_TOKEN_LIFE_S`] after its last use | SHA-256 of its two halves |
//! | device | `ldt_…` | [`DEVICE_TOKEN_LIFE_S`] | SHA-256 |
//!
//! Every token belongs to a session in the store, and is worth nothing once that session is revoked.

pub mod audit;
mod claims;
mod email;
mod error;
pub mod external;
mod guessing;
mod import;
pub mod jwks;
mod keyring;
mod keys;
mod legacy;
pub mod mailer;
pub mod openid;
mod password;
mod permissions;
mod secret;
mod service;
#[cfg(test)]
mod testing;
mod token;

pub use email::{MAX_EMAIL_BYTES, normalise_email};
pub use error::AuthError;
pub use import::{ImportError, Imported, Importer};
pub use keyring::{KeyRing, KeyStore, rotate_keys};
pub use keys::{
    AUDIENCE, CLOCK_LEEWAY_S, Claims, FileKeys, ISSUER, JWKS_MAX_AGE_S, KEY_ACTIVATION_DELAY_S,
    KEY_PICKUP_INTERVAL_S, KeyError, KeyInfo, KeyState, KeyTag, Keys, MAX_KEYS, MIN_SECRET_BYTES, Rotated,
    Rotation, StoredKeys, install_crypto_provider,
};
pub use legacy::MAX_BCRYPT_COST;
pub use password::{
    MAX_CONCURRENT_HASHES, MAX_PASSWORD_BYTES, MAX_WAITING_HASHES, MIN_PASSWORD_BYTES, PasswordCost,
    Passwords,
};
pub use permissions::Permissions;
pub use secret::ServerSecret;
pub use service::{
    ACCESS_TOKEN_LIFE_S, Arrival, AuthService, Ceremony, Challenge, Client, DEVICE_TOKEN_LIFE_S, Departure,
    DeviceToken, EMAIL_LINK_LIFE_S, FRESH_SESSION_S, Identity, KnownIdentity, MAX_IDENTITIES,
    MAX_LISTED_SESSIONS, MAX_PASSKEYS, MAX_SECOND_FACTOR_TRIES, MAX_SESSION_LIFE_S, NewPasskey,
    PASSKEY_CEREMONY_LIFE_S, PROVIDER_CODE_LIFE_S, PROVIDER_STATE_LIFE_S, PasskeySettings, Passkeys, Proof,
    RECOVERY_CODES, REFRESH_GRACE_S, REFRESH_TOKEN_LIFE_S, RESET_LINK_LIFE_S, SECOND_FACTOR_LIFE_S,
    SecondFactor, SecondFactorMethod, SessionTokens, SignedIn, TokenKind, TotpOffer, VERIFY_LINK_LIFE_S,
    method,
};
pub use token::{
    DEVICE_TOKEN_PREFIX, INVITE_TOKEN_PREFIX, InviteToken, LINK_TOKEN_PREFIX, MAX_TOKEN_BYTES,
    REFRESH_TOKEN_PREFIX, STEP_TOKEN_PREFIX,
};
pub use webauthn_rs::prelude::{
    CreationChallengeResponse, PublicKeyCredential, RegisterPublicKeyCredential, RequestChallengeResponse,
};
