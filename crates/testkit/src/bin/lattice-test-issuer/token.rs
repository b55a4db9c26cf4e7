//! ID tokens, good ones and others.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::world::{World, bend, now_s};

/// How long an ID token lives, in seconds.
const LIFE_S: i64 = 3_600;

/// In what a token differs from a good one.
#[derive(Clone, Default, Debug, Deserialize)]
#[serde(default)]
pub(crate) struct Token {
    /// Put over the claims; null removes one.
    pub(crate) claims: Map<String, Value>,
    /// Put over the header; null removes a member.
    pub(crate) header: Map<String, Value>,
    /// The key that signs, published or not; its name and algorithm stand in the header.
    pub(crate) key: Option<String>,
    /// How it is signed.
    pub(crate) signature: Signature,
}

/// How a token is signed.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Signature {
    /// By the key.
    #[default]
    Good,
    /// Not at all.
    Absent,
    /// By the key, with one bit turned.
    Damaged,
    /// By HMAC with the public key's PEM as the secret.
    HmacPem,
    /// By HMAC with the public key's DER as the secret.
    HmacDer,
    /// By HMAC with what the JWK gives as `n` or `x` as the secret.
    HmacJwk,
}

impl Token {
    /// The token, for the user and the client that the world knows.
    pub(crate) fn mint(&self, world: &World, nonce: Option<&str>) -> Result<String, String> {
        let key = world.key(self.key.as_deref())?;
        let now_s = now_s();
        let mut claims = world.user.clone();
        let fixed = json!({"iss": world.url, "aud": world.client.id, "iat": now_s, "exp": now_s + LIFE_S});
        bend(&mut claims, fixed.as_object().expect("an object"));
        if let Some(nonce) = nonce {
            claims.insert("nonce".to_owned(), json!(nonce));
        }
        bend(&mut claims, &self.claims);
        let algorithm = match self.signature {
            Signature::Good | Signature::Damaged => json!(key.algorithm),
            Signature::Absent => json!("none"),
            Signature::HmacPem | Signature::HmacDer | Signature::HmacJwk => json!("HS256"),
        };
        let header = json!({"typ": "JWT", "alg": algorithm, "kid": key.kid});
        let mut header = header.as_object().cloned().unwrap_or_default();
        bend(&mut header, &self.header);

        let encode = |part: Map<String, Value>| URL_SAFE_NO_PAD.encode(Value::Object(part).to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        let sign = |key: &EncodingKey, algorithm| {
            jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).map_err(|error| error.to_string())
        };
        let hmac = |secret: &[u8]| sign(&EncodingKey::from_secret(secret), Algorithm::HS256);
        let signature = match self.signature {
            Signature::Good => sign(&key.signing, key.algorithm)?,
            Signature::Absent => String::new(),
            Signature::Damaged => {
                let signature = sign(&key.signing, key.algorithm)?;
                let mut bytes = URL_SAFE_NO_PAD.decode(signature).map_err(|error| error.to_string())?;
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                URL_SAFE_NO_PAD.encode(bytes)
            }
            Signature::HmacPem => hmac(&key.public_pem())?,
            Signature::HmacDer => hmac(key.public_der())?,
            Signature::HmacJwk => {
                let jwk = key.jwk();
                let number =
                    jwk.get("n").or_else(|| jwk.get("x")).and_then(Value::as_str).unwrap_or_default();
                hmac(&URL_SAFE_NO_PAD.decode(number).map_err(|error| error.to_string())?)?
            }
        };
        Ok(format!("{message}.{signature}"))
    }
}
