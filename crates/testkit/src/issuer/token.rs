//! ID tokens, good ones and others.

use serde_json::{Map, Value, json};

/// How a token is signed.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Signature {
    /// By the key that it names.
    #[default]
    Good,
    /// Not at all: `alg` is `none`.
    Absent,
    /// By the key, with one bit turned.
    Damaged,
    /// By HS256 with the public key's PEM as the secret.
    HmacPem,
    /// By HS256 with the public key's DER as the secret.
    HmacDer,
    /// By HS256 with what the key set gives as `n` or `x` as the secret.
    HmacJwk,
}

/// In what an ID token differs from a good one, which is signed by the newest key, for the user and the client, and lives for an
/// hour.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct IdToken {
    claims: Map<String, Value>,
    header: Map<String, Value>,
    key: Option<String>,
    signature: Signature,
}

impl IdToken {
    /// A good one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says something else, or more.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Does not say this.
    #[must_use]
    pub fn without(self, name: &str) -> Self {
        self.claim(name, Value::Null)
    }

    /// Has this in its header; null takes a member away.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Is signed by the key of this name. Its header says so, unless [`header`](Self::header) says something else.
    #[must_use]
    pub fn key(mut self, kid: &str) -> Self {
        self.key = Some(kid.to_owned());
        self
    }

    /// Is signed in this way.
    #[must_use]
    pub fn signature(mut self, signature: Signature) -> Self {
        self.signature = signature;
        self
    }

    pub(super) fn to_json(&self) -> Value {
        let signature = match self.signature {
            Signature::Good => "good",
            Signature::Absent => "absent",
            Signature::Damaged => "damaged",
            Signature::HmacPem => "hmac_pem",
            Signature::HmacDer => "hmac_der",
            Signature::HmacJwk => "hmac_jwk",
        };
        json!({"claims": self.claims, "header": self.header, "key": self.key, "signature": signature})
    }
}
