//! The keys that sign access tokens, and the access tokens themselves: JWTs (RFC 7519).

mod file;

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
}

/// The keys of the server. The first signs, all verify.
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
        let seeds = file::load_or_create(folder, random)?;
        let keys = seeds.iter().map(Key::ed25519).collect::<Result<_, _>>()?;
        Ok(Self { keys })
    }

    /// New keys, in the form in which they are stored where instances share them.
    #[must_use]
    pub fn fresh(random: &dyn Random) -> Zeroizing<String> {
        file::fresh(random)
    }

    /// Keys from what [`fresh`](Self::fresh) made.
    ///
    /// # Errors
    /// [`KeyError::Stored`].
    pub fn from_stored(stored: &[u8]) -> Result<Self, KeyError> {
        install_crypto_provider();
        let seeds = file::parse(stored).map_err(KeyError::Stored)?;
        let keys = seeds.iter().map(Key::ed25519).collect::<Result<_, _>>()?;
        Ok(Self { keys })
    }

    /// The stored form of the keys in a data folder, if there are any there.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn stored_in(folder: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
        let stored = file::stored(folder)?;
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

    /// Signs an access token.
    ///
    /// # Errors
    /// [`AuthError::Internal`].
    pub fn sign(&self, claims: &Claims) -> Result<SecretString, AuthError> {
        let key = self.keys.first().ok_or(AuthError::Internal("there is no key to sign with"))?;
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
        if token.len() > MAX_TOKEN_BYTES {
            return Err(AuthError::TokenInvalid);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| AuthError::TokenInvalid)?;
        let kid = header.kid.ok_or(AuthError::TokenInvalid)?;
        let key = self.keys.iter().find(|key| key.kid == kid).ok_or(AuthError::TokenInvalid)?;
        let mut validation = Validation::new(key.algorithm);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.required_spec_claims = HashSet::from(["exp", "iss", "aud", "sub"].map(str::to_owned));
        // The library would ask the machine's clock; ours is a parameter, see below.
        validation.validate_exp = false;
        let claims: Claims = jsonwebtoken::decode(token, &key.verifying, &validation)
            .map_err(|_| AuthError::TokenInvalid)?
            .claims;
        let last_us = claims.exp.saturating_add(CLOCK_LEEWAY_S).saturating_mul(1_000_000);
        if now_us >= last_us { Err(AuthError::TokenExpired) } else { Ok(claims) }
    }

    /// The public keys as a JSON Web Key Set (RFC 7517). Shared secrets are not in it.
    #[must_use]
    pub fn jwks(&self) -> Value {
        let public = |key: &Key| {
            let x = key.public.as_ref()?;
            Some(
                json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.kid, "x": x}),
            )
        };
        json!({"keys": self.keys.iter().filter_map(public).collect::<Vec<_>>()})
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
        })
    }
}

#[cfg(test)]
mod tests {
    use lattice_store::time::SystemRandom;

    use super::*;

    const NOW_S: i64 = 1_800_000_000;

    fn claims() -> Claims {
        Claims {
            sub: "u".to_owned(),
            sid: "s".to_owned(),
            iat: NOW_S,
            exp: NOW_S + 900,
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            permissions: Permissions::ALL,
        }
    }

    fn secret(letter: &str) -> SecretString {
        letter.repeat(32).into()
    }

    fn generated() -> Keys {
        let folder = tempfile::tempdir().expect("a folder");
        Keys::load_or_create(folder.path(), &SystemRandom).expect("keys")
    }

    fn shared() -> Keys {
        Keys::from_secrets(&secret("a"), None).expect("keys")
    }

    fn verify(keys: &Keys, token: &str) -> Result<Claims, AuthError> {
        keys.verify(token, NOW_S * 1_000_000)
    }

    /// A token with any header and claims, signed by `signature`.
    fn forge(header: &Value, claims: &Value, sign: impl FnOnce(&str) -> String) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        format!("{message}.{}", sign(&message))
    }

    #[test]
    fn what_was_signed_verifies() {
        for keys in [generated(), shared()] {
            let token = keys.sign(&claims()).expect("signed");
            assert_eq!(verify(&keys, token.expose_secret()), Ok(claims()));
            for other in [generated(), Keys::from_secrets(&secret("b"), None).expect("keys")] {
                assert_eq!(verify(&other, token.expose_secret()), Err(AuthError::TokenInvalid));
            }
        }
    }

    #[test]
    fn stored_keys_are_the_same_everywhere() {
        let stored = Keys::fresh(&SystemRandom);
        let instances = [(); 2].map(|()| Keys::from_stored(stored.as_bytes()).expect("keys"));
        let token = instances[0].sign(&claims()).expect("signed");
        assert_eq!(verify(&instances[1], token.expose_secret()), Ok(claims()));
        let other = Keys::from_stored(Keys::fresh(&SystemRandom).as_bytes()).expect("keys");
        assert_eq!(verify(&other, token.expose_secret()), Err(AuthError::TokenInvalid));
        for nonsense in ["", "{}", "{\"version\":1,\"keys\":[]}"] {
            assert!(matches!(Keys::from_stored(nonsense.as_bytes()), Err(KeyError::Stored(_))));
        }
    }

    #[test]
    fn expiry_follows_the_clock_that_is_given() {
        let keys = generated();
        let token = keys.sign(&claims()).expect("signed");
        let at = |seconds: i64| keys.verify(token.expose_secret(), (NOW_S + seconds) * 1_000_000).map(|_| ());
        assert_eq!(at(0), Ok(()));
        assert_eq!(at(900 + CLOCK_LEEWAY_S - 1), Ok(()));
        assert_eq!(at(900 + CLOCK_LEEWAY_S), Err(AuthError::TokenExpired));
        assert_eq!(at(-100_000), Ok(()), "a clock that stepped back expires nothing");
    }

    #[test]
    fn a_changed_token_is_refused() {
        let keys = generated();
        let token = keys.sign(&claims()).expect("signed");
        let token = token.expose_secret();
        let parts: Vec<&str> = token.split('.').collect();
        let other = keys.sign(&Claims { sub: "v".to_owned(), ..claims() }).expect("signed");
        let others: Vec<&str> = other.expose_secret().split('.').collect();
        for changed in [
            String::new(),
            "..".to_owned(),
            parts[..2].join("."),
            format!("{}.", parts[..2].join(".")),
            [parts[0], others[1], parts[2]].join("."),
            [parts[0], parts[1], others[2]].join("."),
            format!("{token}A"),
            format!("{token}.A"),
            format!("{}{token}", "A".repeat(MAX_TOKEN_BYTES)),
        ] {
            assert_eq!(verify(&keys, &changed), Err(AuthError::TokenInvalid), "{changed}");
        }
    }

    #[test]
    fn the_algorithm_is_the_key_s_and_not_the_token_s() {
        let claims = json!(claims());
        let ed25519 = generated();
        let key = &ed25519.keys[0];
        for algorithm in ["none", "None", "", "HS256", "HS512", "RS256", "ES256"] {
            let token = forge(&json!({"alg": algorithm, "kid": key.kid}), &claims, |_| String::new());
            assert_eq!(verify(&ed25519, &token), Err(AuthError::TokenInvalid), "{algorithm}");
        }
        // The classic confusion: the public key, known to all, taken as a shared secret.
        let x = key.public.as_ref().expect("a public key");
        let public = URL_SAFE_NO_PAD.decode(x).expect("base64url");
        for secret in [public.as_slice(), x.as_bytes()] {
            let header = Header { kid: Some(key.kid.clone()), ..Header::new(Algorithm::HS256) };
            let token =
                jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret)).expect("signed");
            assert_eq!(verify(&ed25519, &token), Err(AuthError::TokenInvalid));
        }
        // The other way round: signed by an Ed25519 key, under the name of the shared secret.
        let shared = shared();
        let header = Header { kid: Some(shared.keys[0].kid.clone()), ..Header::new(Algorithm::EdDSA) };
        let token = jsonwebtoken::encode(&header, &claims, &key.signing).expect("signed");
        assert_eq!(verify(&shared, &token), Err(AuthError::TokenInvalid));
        // The right secret with a sibling algorithm.
        let header = Header { kid: Some(shared.keys[0].kid.clone()), ..Header::new(Algorithm::HS512) };
        let token = jsonwebtoken::encode(&header, &claims, &shared.keys[0].signing).expect("signed");
        assert_eq!(verify(&shared, &token), Err(AuthError::TokenInvalid));
        // A key that the token itself brings along.
        let token = forge(&json!({"alg": "HS256", "jwk": {"kty": "oct", "k": "AAAA"}}), &claims, |_| {
            "AAAA".to_owned()
        });
        assert_eq!(verify(&shared, &token), Err(AuthError::TokenInvalid));
    }

    #[test]
    fn every_claim_is_required_and_checked() {
        let keys = shared();
        let sign = |claims: &Value| {
            let header = Header { kid: Some(keys.keys[0].kid.clone()), ..Header::new(Algorithm::HS256) };
            jsonwebtoken::encode(&header, claims, &keys.keys[0].signing).expect("signed")
        };
        assert!(verify(&keys, &sign(&json!(claims()))).is_ok());
        for claim in ["sub", "sid", "iat", "exp", "iss", "aud"] {
            let mut without = json!(claims());
            without.as_object_mut().expect("an object").remove(claim);
            assert_eq!(verify(&keys, &sign(&without)), Err(AuthError::TokenInvalid), "{claim}");
        }
        for (claim, value) in [
            ("iss", json!("someone")),
            ("aud", json!("someone")),
            ("aud", json!(["someone"])),
            ("exp", json!("soon")),
            ("exp", json!(null)),
            ("exp", json!(1e300)),
            ("sub", json!(7)),
        ] {
            let mut with = json!(claims());
            with[claim] = value.clone();
            assert_eq!(verify(&keys, &sign(&with)), Err(AuthError::TokenInvalid), "{claim} = {value}");
        }
        let mut old = json!(claims());
        old["exp"] = json!(i64::MIN);
        assert!(verify(&keys, &sign(&old)).is_err());
    }

    #[test]
    fn a_token_must_name_its_key() {
        let keys = shared();
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(), &keys.keys[0].signing)
            .expect("signed");
        assert_eq!(verify(&keys, &token), Err(AuthError::TokenInvalid));
    }

    #[test]
    fn the_previous_secret_verifies_and_does_not_sign() {
        let old = shared();
        let token = old.sign(&claims()).expect("signed");
        let rotated = Keys::from_secrets(&secret("b"), Some(&secret("a"))).expect("keys");
        assert_eq!(verify(&rotated, token.expose_secret()), Ok(claims()));
        let fresh = rotated.sign(&claims()).expect("signed");
        assert_eq!(verify(&rotated, fresh.expose_secret()), Ok(claims()));
        assert_eq!(verify(&old, fresh.expose_secret()), Err(AuthError::TokenInvalid));
        let same = Keys::from_secrets(&secret("a"), Some(&secret("a"))).expect("keys");
        assert_eq!(same.keys.len(), 1);
    }

    #[test]
    fn short_secrets_are_refused_with_a_sentence() {
        let error = Keys::from_secrets(&"hunter2".into(), None).expect_err("short").to_string();
        assert!(error.starts_with("JWT_SECRET has 7 bytes; it needs at least 32"), "{error}");
        let error = Keys::from_secrets(&secret("a"), Some(&"hunter2".into())).expect_err("short").to_string();
        assert!(error.starts_with("JWT_SECRET_PREVIOUS has 7 bytes"), "{error}");
        assert!(!error.contains("hunter2"));
    }

    #[test]
    fn the_public_keys_and_nothing_else_are_shown() {
        let keys = generated();
        let set = keys.jwks();
        assert_eq!(set["keys"].as_array().map(Vec::len), Some(1));
        let jwk = &set["keys"][0];
        assert_eq!(
            (&jwk["kty"], &jwk["crv"], &jwk["alg"]),
            (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA"))
        );
        // Whoever has the set can verify our tokens with the library's own reading of it.
        let jwk: Jwk = serde_json::from_value(jwk.clone()).expect("a JWK");
        let mut validation = Validation::new(Algorithm::EdDSA);
        (validation.validate_exp, validation.aud) = (false, Some(HashSet::from([AUDIENCE.to_owned()])));
        let token = keys.sign(&claims()).expect("signed");
        let key = DecodingKey::from_jwk(&jwk).expect("a key");
        assert!(jsonwebtoken::decode::<Claims>(token.expose_secret(), &key, &validation).is_ok());
        assert_eq!(shared().jwks(), json!({"keys": []}));
        assert!(!format!("{:?}", shared()).contains("aaaa"));
    }

    #[test]
    fn the_public_key_is_that_of_the_published_vector() {
        // RFC 8037, appendix A.1 to A.3.
        let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").expect("base64url");
        let seed = SecretBox::new(Box::new(<[u8; 32]>::try_from(seed).expect("32 bytes")));
        install_crypto_provider();
        let key = Key::ed25519(&seed).expect("a key");
        assert_eq!(key.public.as_deref(), Some("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"));
        assert_eq!(key.kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }
}
