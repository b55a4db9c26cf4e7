//! The secret that all instances of a deployment share, and what is derived from it.

use hmac::{Hmac, KeyInit, Mac};
use lattice_store::time::Random;
use secrecy::{ExposeSecret, SecretBox};
use sha2::Sha256;

/// A secret that all instances on one database share and that outlives them. Each use derives its own key from it.
pub struct ServerSecret(SecretBox<[u8; 32]>);

impl ServerSecret {
    /// From a secret of the database's own. What comes out says nothing about what went in.
    #[must_use]
    pub fn from_root(root: &[u8]) -> Self {
        Self(SecretBox::new(Box::new(mac(root, &[b"lattice-server secret of sign-in"]))))
    }

    /// A secret of this process alone.
    #[must_use]
    pub fn random(random: &dyn Random) -> Self {
        Self(SecretBox::init_with_mut(|bytes: &mut [u8; 32]| random.fill(bytes)))
    }

    /// A keyed hash (HMAC-SHA-256) of some parts, for one purpose. Parts are told apart by their lengths.
    #[must_use]
    pub fn derive(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let key = mac(self.0.expose_secret(), &[purpose.as_bytes()]);
        mac(&key, parts)
    }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::ServerSecret;

    #[test]
    fn every_purpose_and_every_part_counts() {
        let secret = ServerSecret::from_root(b"root");
        let known = secret.derive("a", &[b"bc", b"d"]);
        assert_eq!(known, ServerSecret::from_root(b"root").derive("a", &[b"bc", b"d"]));
        for other in [
            ServerSecret::from_root(b"toor").derive("a", &[b"bc", b"d"]),
            secret.derive("b", &[b"bc", b"d"]),
            secret.derive("a", &[b"b", b"cd"]),
            secret.derive("a", &[b"bcd"]),
            secret.derive("a", &[b"bc", b"d", b""]),
        ] {
            assert_ne!(known, other);
        }
    }
}
