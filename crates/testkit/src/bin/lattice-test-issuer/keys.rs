//! Keys that sign ID tokens.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde_json::{Value, json};

/// What PKCS #8 puts before an RSA key of 2,048 bits in PKCS #1, which is what the library signs with.
const PKCS8_RSA_2048_HEADER_BYTES: usize = 26;

/// A key pair.
pub(crate) struct Key {
    pub(crate) kid: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) signing: EncodingKey,
    /// The private half, PKCS #8.
    pkcs8: Vec<u8>,
    /// The public half as SubjectPublicKeyInfo.
    public_der: Vec<u8>,
    /// Whether it is in the key set.
    pub(crate) published: bool,
}

impl Key {
    /// Makes one; RS256 with 2,048 bits, ES256 and EdDSA are known.
    pub(crate) fn generate(kid: &str, algorithm: Algorithm) -> Result<Self, String> {
        let refused = |_| "no key could be made".to_owned();
        let (signing, pkcs8, public_der) = match algorithm {
            Algorithm::RS256 => {
                let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).map_err(refused)?;
                let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(refused)?;
                let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(refused)?;
                let pkcs8 = pkcs8.as_ref().to_vec();
                let pkcs1 = pkcs8.get(PKCS8_RSA_2048_HEADER_BYTES..).unwrap_or_default();
                (EncodingKey::from_rsa_der(pkcs1), pkcs8, public.as_ref().to_vec())
            }
            Algorithm::ES256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(refused)?;
                let pkcs8 = pair.to_pkcs8v1().map_err(refused)?.as_ref().to_vec();
                let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(refused)?;
                (EncodingKey::from_ec_der(&pkcs8), pkcs8, public.as_ref().to_vec())
            }
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::generate().map_err(refused)?;
                let pkcs8 = pair.to_pkcs8v1().map_err(refused)?.as_ref().to_vec();
                let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(refused)?;
                (EncodingKey::from_ed_der(&pkcs8), pkcs8, public.as_ref().to_vec())
            }
            other => return Err(format!("no keys for {other:?}")),
        };
        Ok(Self { kid: kid.to_owned(), algorithm, signing, pkcs8, public_der, published: true })
    }

    /// The public half, as it stands in the key set.
    pub(crate) fn jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.signing, self.algorithm).expect("a public half");
        let mut jwk = serde_json::to_value(jwk).expect("JSON");
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }

    /// What verifies its signatures.
    pub(crate) fn verifying(&self) -> DecodingKey {
        let jwk = Jwk::from_encoding_key(&self.signing, self.algorithm).expect("a public half");
        DecodingKey::from_jwk(&jwk).expect("a public key")
    }

    /// The public half, PEM.
    pub(crate) fn public_pem(&self) -> Vec<u8> {
        pem("PUBLIC KEY", &self.public_der)
    }

    /// The public half, DER.
    pub(crate) fn public_der(&self) -> &[u8] {
        &self.public_der
    }

    /// The private half, PEM of PKCS #8: what Apple hands out as a `.p8` file.
    pub(crate) fn private_pem(&self) -> Vec<u8> {
        pem("PRIVATE KEY", &self.pkcs8)
    }
}

fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem.into_bytes()
}
