//! The keys that sign access tokens, and the access tokens themselves: JWTs (RFC 7519).

mod file;
mod rotation;
mod stored;

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::Once;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use lattice_store::time::Random;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{AuthError, MAX_TOKEN_BYTES, Permissions};

pub use file::FileKeys;
pub(crate) use rotation::plan;
pub use rotation::{
    JWKS_MAX_AGE_S, KEY_ACTIVATION_DELAY_S, KEY_PICKUP_INTERVAL_S, KeyInfo, KeyState, MAX_KEYS, Rotated,
    Rotation,
};
pub use stored::StoredKeys;

/// Who signs: the `iss` of every access token.
pub const ISSUER: &str = "lattice-server";
/// For whom: the `aud` of every access token.
pub const AUDIENCE: &str = "lattice";
/// How long a token is still taken after its `exp`, in seconds: clocks of several instances differ a little.
pub const CLOCK_LEEWAY_S: i64 = 5;
/// Shortest secret for HS256: the length of its output (RFC 7518, section 3.2).
pub const MIN_SECRET_BYTES: usize = 32;

/// PKCS #8 around a 32-byte Ed25519 seed (RFC 8410, section 7).
const ED25519_PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// What an access token says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// The user's id, a UUID.
    pub sub: String,
    /// The session's id, a UUID.
    pub sid: String,
    /// When it was made, in seconds since 1970.
    pub iat: i64,
    /// When it expires, in seconds since 1970.
    pub exp: i64,
    /// [`ISSUER`].
    pub iss: String,
    /// [`AUDIENCE`].
    pub aud: String,
    /// What it may be used for; everything, in tokens that do not say.
    #[serde(default = "Permissions::all")]
    pub permissions: Permissions,
}

/// Why there are no keys. Each is a sentence for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A secret is too short.
    #[error(
        "{name} has {length_bytes} bytes; it needs at least {MIN_SECRET_BYTES}, for example from `openssl rand -base64 48`"
    )]
    ShortSecret {
        /// The setting.
        name: &'static str,
        /// Its length.
        length_bytes: usize,
    },
    /// What is stored as keys is something else. It is left as it is.
    #[error("what the database holds as keys is none ({0}); restore it, or set JWT_SECRET")]
    Stored(&'static str),
    /// The key file cannot be read or written.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The key file holds something else. It is left as it is.
    #[error(
        "{path} is not a key file of lattice-server ({reason}); restore it, or remove it to have new keys made"
    )]
    Corrupt {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Where keys are shared, they cannot be read or written.
    #[error("the keys cannot be reached: {0}")]
    Unreachable(String),
    /// Keys were rotated too often in too short a time.
    #[error(
        "there are {MAX_KEYS} keys already; wait until tokens of the older ones have expired, or revoke them"
    )]
    TooMany,
    /// Others replace the keys all the time.
    #[error("others are rotating the keys at this moment; try again")]
    Contended,
    /// The cryptographic library refused.
    #[error("the cryptographic library refused: {0}")]
    Crypto(&'static str),
}

/// One key. Its algorithm is its own: the header of a token chooses a key, never an algorithm.
struct Key {
    kid: String,
    algorithm: Algorithm,
    signing: EncodingKey,
    verifying: DecodingKey,
    /// Ed25519's public key, base64url; none for a shared secret.
    public: Option<String>,
    /// When it was made, in seconds since 1970, if that is known.
    created_s: Option<i64>,
    /// From when on it signs, in seconds since 1970.
    signs_from_s: i64,
    /// Until when it verifies, in seconds since 1970: by then every token that it signed has expired.
    verifies_until_s: i64,
}

/// Which key a token was signed with, small enough to be kept with every connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyTag(u32);

/// Why a token is not taken.
pub(crate) enum Unverified {
    /// It names a key that is not among ours.
    UnknownKey,
    /// Anything else.
    Refused(AuthError),
}

impl From<Unverified> for AuthError {
    fn from(unverified: Unverified) -> Self {
        match unverified {
            Unverified::UnknownKey => Self::TokenInvalid,
            Unverified::Refused(error) => error,
        }
    }
}

/// The keys of the server: one signs, all verify.
pub struct Keys {
    keys: Vec<Key>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| (&key.kid, key.algorithm))).finish()
    }
}

/// Installs the cryptography that signs and verifies JWTs, once per process; more calls do nothing. [`Keys`] calls it.
pub fn install_crypto_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error says that the embedding program has installed one already; that one serves as well.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    });
}

impl Keys {
    /// Keys from `JWT_SECRET` (HS256) and, while tokens signed with it may live, `JWT_SECRET_PREVIOUS`.
    ///
    /// # Errors
    /// [`KeyError::ShortSecret`].
    pub fn from_secrets(current: &SecretString, previous: Option<&SecretString>) -> Result<Self, KeyError> {
        install_crypto_provider();
        // Both from the beginning: the first signs.
        let mut keys = vec![Key::hs256("JWT_SECRET", current)?];
        if let Some(previous) = previous {
            let key = Key::hs256("JWT_SECRET_PREVIOUS", previous)?;
            if key.kid != keys[0].kid {
                keys.push(key);
            }
        }
        Ok(Self { keys })
    }

    /// Keys from `keys.json` in the data folder (Ed25519). It is made, readable by its owner only, when it is not there;
    /// of several processes that start at once one makes it, and all use it.
    ///
    /// # Errors
    /// When the file cannot be read, made, or understood.
    pub fn load_or_create(folder: &Path, random: &dyn Random) -> Result<Self, KeyError> {
        install_crypto_provider();
        rotation::keys(&file::load_or_create(folder, random)?)
    }

    /// New keys, in the form in which they are stored where instances share them.
    #[must_use]
    pub fn fresh(random: &dyn Random) -> Zeroizing<String> {
        stored::fresh(random)
    }

    /// Keys from what [`fresh`](Self::fresh) made.
    ///
    /// # Errors
    /// [`KeyError::Stored`].
    pub fn from_stored(stored: &[u8]) -> Result<Self, KeyError> {
        install_crypto_provider();
        rotation::keys(&stored::parse(stored).map_err(KeyError::Stored)?)
    }

    /// The stored form of the keys in a data folder, if there are any there.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn stored_in(folder: &Path) -> Result<Option<StoredKeys>, KeyError> {
        let stored = file::text_in(folder)?;
        if let Some(stored) = &stored {
            Self::from_stored(stored)?;
        }
        Ok(stored)
    }

    /// Keeps stored keys in a data folder. Those that are there stay.
    ///
    /// # Errors
    /// When they cannot be understood, or the file cannot be made.
    pub fn keep_in(folder: &Path, stored: &[u8], random: &dyn Random) -> Result<(), KeyError> {
        Self::from_stored(stored)?;
        file::keep(folder, stored, random)
    }

    /// Signs an access token, by the key that signs at the moment at which the token is made.
    ///
    /// # Errors
    /// [`AuthError::Internal`].
    pub fn sign(&self, claims: &Claims) -> Result<SecretString, AuthError> {
        let key = self.signing_at(claims.iat).ok_or(AuthError::Internal("there is no key to sign with"))?;
        let header = Header { kid: Some(key.kid.clone()), ..Header::new(key.algorithm) };
        jsonwebtoken::encode(&header, claims, &key.signing)
            .map(SecretString::from)
            .map_err(|_| AuthError::Internal("an access token could not be signed"))
    }

    /// Reads an access token and checks its signature, issuer, audience and, against `now_us`, its expiry.
    ///
    /// # Errors
    /// [`AuthError::TokenExpired`] when that is all that is wrong with it, else [`AuthError::TokenInvalid`].
    pub fn verify(&self, token: &str, now_us: i64) -> Result<Claims, AuthError> {
        Ok(self.examine(token, now_us).map(|(claims, _)| claims)?)
    }

    /// The same, with the key that it was signed with.
    pub(crate) fn examine(&self, token: &str, now_us: i64) -> Result<(Claims, KeyTag), Unverified> {
        let invalid = || Unverified::Refused(AuthError::TokenInvalid);
        if token.len() > MAX_TOKEN_BYTES {
            return Err(invalid());
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| invalid())?;
        let kid = header.kid.ok_or_else(invalid)?;
        let key = self.keys.iter().find(|key| key.kid == kid).ok_or(Unverified::UnknownKey)?;
        if now_us.div_euclid(1_000_000) >= key.verifies_until_s {
            return Err(invalid());
        }
        let mut validation = Validation::new(key.algorithm);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.required_spec_claims = HashSet::from(["exp", "iss", "aud", "sub"].map(str::to_owned));
        // The library would ask the machine's clock; ours is a parameter, see below.
        validation.validate_exp = false;
        let claims: Claims =
            jsonwebtoken::decode(token, &key.verifying, &validation).map_err(|_| invalid())?.claims;
        let last_us = claims.exp.saturating_add(CLOCK_LEEWAY_S).saturating_mul(1_000_000);
        if now_us >= last_us {
            return Err(Unverified::Refused(AuthError::TokenExpired));
        }
        Ok((claims, key.tag()))
    }

    /// Whether this key is still among them.
    #[must_use]
    pub fn has(&self, tag: KeyTag) -> bool {
        self.keys.iter().any(|key| key.tag() == tag)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The public keys as a JSON Web Key Set (RFC 7517): those that sign, those that will, and those whose tokens may
    /// still be good. Shared secrets are not in it.
    #[must_use]
    pub fn jwks(&self, now_s: i64) -> Value {
        let public = |key: &Key| {
            let x = key.public.as_ref()?;
            Some(
                json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.kid, "x": x}),
            )
        };
        let used = self.keys.iter().filter(|key| now_s < key.verifies_until_s);
        json!({"keys": used.filter_map(public).collect::<Vec<_>>()})
    }
}

impl Key {
    fn hs256(name: &'static str, secret: &SecretString) -> Result<Self, KeyError> {
        let secret = secret.expose_secret().as_bytes();
        if secret.len() < MIN_SECRET_BYTES {
            return Err(KeyError::ShortSecret { name, length_bytes: secret.len() });
        }
        // Tells secrets apart and says no more about one than any token signed with it does.
        let digest = Sha256::new().chain_update(b"lattice-server kid\0").chain_update(secret).finalize();
        Ok(Self {
            kid: URL_SAFE_NO_PAD.encode(&digest[..12]),
            algorithm: Algorithm::HS256,
            signing: EncodingKey::from_secret(secret),
            verifying: DecodingKey::from_secret(secret),
            public: None,
            created_s: None,
            signs_from_s: i64::MIN,
            verifies_until_s: i64::MAX,
        })
    }

    fn ed25519(seed: &SecretBox<[u8; 32]>) -> Result<Self, KeyError> {
        let refused = |_| KeyError::Crypto("it does not take an Ed25519 key");
        let mut der = Zeroizing::new(Vec::with_capacity(48));
        der.extend_from_slice(&ED25519_PKCS8_PREFIX);
        der.extend_from_slice(seed.expose_secret());
        let signing = EncodingKey::from_ed_der(&der);
        let jwk = Jwk::from_encoding_key(&signing, Algorithm::EdDSA).map_err(refused)?;
        let AlgorithmParameters::OctetKeyPair(public) = &jwk.algorithm else {
            return Err(KeyError::Crypto("an Ed25519 key has no public half"));
        };
        // The key's thumbprint (RFC 7638; RFC 8037, appendix A.3): the same key has the same name everywhere.
        let thumbprint = Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, public.x));
        Ok(Self {
            kid: URL_SAFE_NO_PAD.encode(thumbprint),
            algorithm: Algorithm::EdDSA,
            verifying: DecodingKey::from_ed_components(&public.x).map_err(refused)?,
            public: Some(public.x.clone()),
            signing,
            created_s: None,
            signs_from_s: i64::MIN,
            verifies_until_s: i64::MAX,
        })
    }

    fn tag(&self) -> KeyTag {
        let digest = Sha256::digest(&self.kid);
        KeyTag(u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]))
    }
}

#[cfg(test)]
mod tests;
