//! A set of public keys, read as if whoever has written it were careless.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use openidconnect::core::CoreJsonWebKeySet;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::AuthError;

/// Most keys of a set, usable or not: issuers have a handful.
pub const MAX_KEYS: usize = 64;
/// Longest `kid`, in bytes.
pub const MAX_KEY_ID_BYTES: usize = 256;
/// Longest token of another issuer, in bytes: some list all groups of a user.
pub const MAX_SIGNED_TOKEN_BYTES: usize = 8_192;
/// Sizes of RSA keys that verify, in bits: smaller ones can be broken, larger ones cost too much.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;
/// Longest public exponent, in bytes.
const MAX_RSA_EXPONENT_BYTES: usize = 4;

/// Why something is no key set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// It is no JSON object with a list of keys.
    #[error("it is no JSON Web Key Set")]
    Malformed,
    /// It has more than [`MAX_KEYS`].
    #[error("it has more than {MAX_KEYS} keys")]
    TooManyKeys,
    /// None of its keys may verify signatures.
    #[error("it has no key that may verify signatures")]
    NoUsableKey,
}

/// Public keys that may verify signatures: RSA of 2,048 bits and more, P-256, P-384 and Ed25519. All others are left out, so that a
/// provider may add kinds that are not known here.
pub struct KeySet {
    keys: Vec<PublicKey>,
    openid: CoreJsonWebKeySet,
}

struct PublicKey {
    kid: Option<String>,
    /// What it may be used with. A token's header chooses among these, never beyond them.
    algorithms: &'static [Algorithm],
    verifying: DecodingKey,
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| (&key.kid, key.algorithms))).finish()
    }
}

/// The members of a key that matter here (RFC 7517, section 4; RFC 7518, section 6; RFC 8037, section 2).
#[derive(Deserialize)]
struct Parts {
    kty: String,
    kid: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a key set.
    ///
    /// # Errors
    /// [`KeySetError`].
    pub fn parse(json: &[u8]) -> Result<Self, KeySetError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        crate::install_crypto_provider();
        let set: Set = serde_json::from_slice(json).map_err(|_| KeySetError::Malformed)?;
        if set.keys.len() > MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let mut keys = Vec::new();
        let mut taken = Vec::new();
        for value in set.keys {
            if let Some(key) = PublicKey::read(&value) {
                keys.push(key);
                taken.push(value);
            }
        }
        if keys.is_empty() {
            return Err(KeySetError::NoUsableKey);
        }
        let openid = serde_json::from_value(json!({"keys": taken})).map_err(|_| KeySetError::Malformed)?;
        Ok(Self { keys, openid })
    }

    /// The same keys, as the OpenID Connect library wants them.
    #[must_use]
    pub fn openid(&self) -> &CoreJsonWebKeySet {
        &self.openid
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none. There never are.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a token with this `kid` may be verified by a key of this set. A token without one may be only where there is no
    /// doubt which key is meant.
    #[must_use]
    pub fn knows(&self, kid: Option<&str>) -> bool {
        self.named(kid).next().is_some()
    }

    fn named<'a>(&'a self, kid: Option<&'a str>) -> impl Iterator<Item = &'a PublicKey> {
        let is_only = self.keys.len() == 1;
        self.keys.iter().filter(move |key| match kid {
            Some(kid) => key.kid.as_deref() == Some(kid),
            None => is_only,
        })
    }

    /// Checks the signature of a token, and that alone, and gives its claims. The algorithm is one of the key's own.
    ///
    /// # Errors
    /// [`AuthError::TokenInvalid`].
    pub fn verify_signature(&self, token: &str) -> Result<Map<String, Value>, AuthError> {
        let header = read_header(token)?;
        for key in self.named(header.kid.as_deref()).filter(|key| key.algorithms.contains(&header.alg)) {
            let mut validation = Validation::new(header.alg);
            // All of these are checked by whoever knows what to expect, against a clock that is a parameter.
            validation.required_spec_claims.clear();
            validation.validate_exp = false;
            validation.validate_aud = false;
            if let Ok(token) = jsonwebtoken::decode(token, &key.verifying, &validation) {
                return Ok(token.claims);
            }
        }
        Err(AuthError::TokenInvalid)
    }
}

/// The header of a token, which nobody has verified.
///
/// # Errors
/// [`AuthError::TokenInvalid`] also for `alg` `none`, which the library does not know, for extensions that must be understood
/// (RFC 7515, section 4.1.11), and for names that no key has.
pub(super) fn read_header(token: &str) -> Result<Header, AuthError> {
    if token.len() > MAX_SIGNED_TOKEN_BYTES {
        return Err(AuthError::TokenInvalid);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| AuthError::TokenInvalid)?;
    let is_named_well = header.kid.as_ref().is_none_or(|kid| kid.len() <= MAX_KEY_ID_BYTES);
    if header.crit.is_none() && is_named_well { Ok(header) } else { Err(AuthError::TokenInvalid) }
}

impl PublicKey {
    /// The key, or nothing where it may not or cannot verify signatures.
    fn read(value: &Value) -> Option<Self> {
        let parts = Parts::deserialize(value).ok()?;
        // A key for encryption is none for signatures (RFC 7517, sections 4.2 and 4.3).
        if parts.r#use.as_deref().is_some_and(|usage| usage != "sig")
            || parts
                .key_ops
                .as_ref()
                .is_some_and(|operations| !operations.iter().any(|name| name == "verify"))
            || parts.kid.as_ref().is_some_and(|kid| kid.len() > MAX_KEY_ID_BYTES)
        {
            return None;
        }
        let (algorithms, verifying) = match (parts.kty.as_str(), parts.crv.as_deref()) {
            ("RSA", _) => (RSA, rsa(parts.n.as_deref()?, parts.e.as_deref()?)?),
            ("EC", Some("P-256")) => (ES256, curve(parts.x.as_deref()?, parts.y.as_deref()?, 32)?),
            ("EC", Some("P-384")) => (ES384, curve(parts.x.as_deref()?, parts.y.as_deref()?, 48)?),
            ("OKP", Some("Ed25519")) => {
                let x = bytes(parts.x.as_deref()?).filter(|x| x.len() == 32)?;
                (EDDSA, DecodingKey::from_ed_der(&x))
            }
            _ => return None,
        };
        let algorithms = match parts.alg.as_deref() {
            None => algorithms,
            Some(alg) => {
                let position = algorithms.iter().position(|algorithm| name_of(*algorithm, alg))?;
                algorithms.get(position..=position)?
            }
        };
        Some(Self { kid: parts.kid, algorithms, verifying })
    }
}

const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
const ES256: &[Algorithm] = &[Algorithm::ES256];
const ES384: &[Algorithm] = &[Algorithm::ES384];
const EDDSA: &[Algorithm] = &[Algorithm::EdDSA];

/// Whether this is what the algorithm is called; EdDSA has a second name for this curve (RFC 9864).
fn name_of(algorithm: Algorithm, name: &str) -> bool {
    name.parse() == Ok(algorithm) || (algorithm == Algorithm::EdDSA && name == "Ed25519")
}

fn rsa(n: &str, e: &str) -> Option<DecodingKey> {
    let (n, e) = (bytes(n)?, bytes(e)?);
    let n = without_zeros(&n);
    let e = without_zeros(&e);
    let bits = n.len() * 8 - usize::try_from(n.first()?.leading_zeros()).ok()?;
    let is_odd = e.last()? % 2 == 1;
    let is_one = e == [1];
    (RSA_BITS.contains(&bits) && e.len() <= MAX_RSA_EXPONENT_BYTES && is_odd && !is_one)
        .then(|| DecodingKey::from_rsa_raw_components(n, e))
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// A point; whether it lies on the curve is looked at when something is verified.
fn curve(x: &str, y: &str, length_bytes: usize) -> Option<DecodingKey> {
    let (x, y) = (bytes(x)?, bytes(y)?);
    (x.len() == length_bytes && y.len() == length_bytes)
        .then(|| DecodingKey::from_ec_der(&[&[4_u8], x.as_slice(), y.as_slice()].concat()))
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coordinate(length_bytes: usize) -> String {
        URL_SAFE_NO_PAD.encode(vec![0x81; length_bytes])
    }

    fn rsa_key(bits: usize) -> Value {
        json!({"kty": "RSA", "kid": "r", "n": coordinate(bits / 8), "e": "AQAB"})
    }

    fn point(crv: &str, x_bytes: usize, y_bytes: usize) -> Value {
        json!({"kty": "EC", "crv": crv, "kid": "p", "x": coordinate(x_bytes), "y": coordinate(y_bytes)})
    }

    fn okp(crv: &str, length_bytes: usize) -> Value {
        json!({"kty": "OKP", "crv": crv, "kid": "o", "x": coordinate(length_bytes)})
    }

    fn with(mut key: Value, name: &str, value: impl Into<Value>) -> Value {
        key[name] = value.into();
        key
    }

    fn algorithms(key: &Value) -> Option<&'static [Algorithm]> {
        crate::install_crypto_provider();
        PublicKey::read(key).map(|key| key.algorithms)
    }

    #[test]
    fn a_key_has_the_algorithms_of_its_kind() {
        assert_eq!(algorithms(&rsa_key(2_048)), Some(RSA));
        assert_eq!(algorithms(&rsa_key(8_192)), Some(RSA));
        assert_eq!(algorithms(&point("P-256", 32, 32)), Some(ES256));
        assert_eq!(algorithms(&point("P-384", 48, 48)), Some(ES384));
        assert_eq!(algorithms(&okp("Ed25519", 32)), Some(EDDSA));
        assert_eq!(algorithms(&with(rsa_key(2_048), "alg", "PS384")), Some(&[Algorithm::PS384][..]));
        assert_eq!(algorithms(&with(okp("Ed25519", 32), "alg", "Ed25519")), Some(EDDSA));
        assert_eq!(algorithms(&with(rsa_key(2_048), "use", "sig")), Some(RSA));
        assert_eq!(algorithms(&with(rsa_key(2_048), "key_ops", json!(["verify", "new"]))), Some(RSA));
        for set in [RSA, ES256, ES384, EDDSA] {
            let is_hmac = |algorithm: &Algorithm| format!("{algorithm:?}").starts_with("HS");
            assert!(!set.iter().any(is_hmac));
        }
    }

    #[test]
    fn keys_that_may_not_or_cannot_verify_are_left_out() {
        let left = [
            rsa_key(1_024),
            rsa_key(2_040),
            rsa_key(16_384),
            with(rsa_key(2_048), "e", "AQ"),
            with(rsa_key(2_048), "e", "AQAA"),
            with(rsa_key(2_048), "e", ""),
            with(rsa_key(2_048), "e", "AQAAAAAB"),
            with(rsa_key(2_048), "n", "!"),
            with(rsa_key(2_048), "use", "enc"),
            with(rsa_key(2_048), "key_ops", json!(["encrypt"])),
            with(rsa_key(2_048), "key_ops", json!([])),
            with(rsa_key(2_048), "alg", "RSA-OAEP"),
            with(rsa_key(2_048), "alg", "HS256"),
            with(rsa_key(2_048), "alg", "none"),
            with(rsa_key(2_048), "alg", "ES256"),
            with(rsa_key(2_048), "alg", 7),
            with(rsa_key(2_048), "kid", "k".repeat(MAX_KEY_ID_BYTES + 1)),
            point("P-256", 31, 33),
            point("P-256", 48, 48),
            point("P-521", 66, 66),
            point("secp256k1", 32, 32),
            with(point("P-256", 32, 32), "alg", "ES384"),
            okp("Ed25519", 31),
            okp("Ed448", 57),
            okp("X25519", 32),
            json!({"kty": "oct", "kid": "s", "k": "c2VjcmV0"}),
            json!({"kty": "new"}),
            json!({}),
            json!(null),
            json!("key"),
        ];
        for key in &left {
            assert_eq!(algorithms(key), None, "{key}");
        }
        let mut keys = left[..MAX_KEYS.min(left.len())].to_vec();
        assert_eq!(parsed(&keys).err(), Some(KeySetError::NoUsableKey));
        keys.push(okp("Ed25519", 32));
        let set = parsed(&keys).expect("one of them");
        assert_eq!((set.len(), set.openid().keys().len()), (1, 1));
        assert!(set.knows(Some("o")) && set.knows(None) && !set.knows(Some("s")));
    }

    fn parsed(keys: &[Value]) -> Result<KeySet, KeySetError> {
        KeySet::parse(json!({"keys": keys}).to_string().as_bytes())
    }

    #[test]
    fn a_set_has_limits() {
        assert!(parsed(&vec![okp("Ed25519", 32); MAX_KEYS]).is_ok());
        assert_eq!(parsed(&vec![okp("Ed25519", 32); MAX_KEYS + 1]).err(), Some(KeySetError::TooManyKeys));
        for text in ["", "[]", "{}", r#"{"keys":{}}"#, "{\"keys\":[]", "\u{feff}{}"] {
            assert_eq!(KeySet::parse(text.as_bytes()).err(), Some(KeySetError::Malformed), "{text}");
        }
        let nested = "[".repeat(100_000);
        assert_eq!(KeySet::parse(nested.as_bytes()).err(), Some(KeySetError::Malformed));
    }

    #[test]
    fn without_a_kid_there_must_be_no_doubt() {
        let set = parsed(&[okp("Ed25519", 32), rsa_key(2_048)]).expect("keys");
        assert!(!set.knows(None));
    }
}
