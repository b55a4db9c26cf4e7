//! The secret of a client that is a JWT: whoever has the key of a team signs it anew for each exchange.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::AuthError;

/// How long such a secret is good, in seconds. It is used at once; Apple allows six months.
pub const CLIENT_SECRET_LIFE_S: i64 = 5 * 60;

/// What such secrets are signed with.
#[derive(Clone, Debug)]
pub struct KeyedSecret {
    /// The team (`iss`).
    pub team_id: String,
    /// How the provider calls the key.
    pub key_id: String,
    /// The private key, P-256 in PEM of PKCS #8: Apple's `.p8` file.
    pub private_key: SecretString,
}

impl KeyedSecret {
    /// A secret for this client at this issuer.
    ///
    /// # Errors
    /// [`AuthError::Internal`] when the key cannot sign.
    pub(super) fn sign(&self, client_id: &str, issuer: &str, now_s: i64) -> Result<SecretString, AuthError> {
        let failed = || AuthError::Internal("the key of the client secret cannot sign");
        crate::install_crypto_provider();
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::ES256) };
        let claims = json!({
            "iss": self.team_id,
            "sub": client_id,
            "aud": issuer,
            "iat": now_s,
            "exp": now_s + CLIENT_SECRET_LIFE_S,
        });
        let key = PrivatePkcs8KeyDer::from_pem_slice(self.private_key.expose_secret().as_bytes());
        let key = EncodingKey::from_ec_der(key.map_err(|_| failed())?.secret_pkcs8_der());
        jsonwebtoken::encode(&header, &claims, &key).map(Into::into).map_err(|_| failed())
    }

    /// What cannot be used, as the end of a sentence.
    pub(super) fn problem(&self) -> Option<String> {
        if self.team_id.is_empty() || self.key_id.is_empty() {
            return Some("has a private key without a team or without a name for the key".to_owned());
        }
        let signed = self.sign("client", "https://example.com", 0);
        signed.err().map(|_| "has a private key that is no P-256 key in PEM of PKCS #8".to_owned())
    }
}
