//! Opaque tokens: random bytes behind a prefix that says what they are. Only their SHA-256 is stored. They hold at
//! least 256 random bits, so that a plain hash cannot be turned back.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lattice_store::accounts::TokenHash;
use lattice_store::time::Random;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use sha2::{Digest, Sha256};

use crate::ServerSecret;

/// What a device token starts with.
pub const DEVICE_TOKEN_PREFIX: &str = "ldt_";
/// What a refresh token starts with.
pub const REFRESH_TOKEN_PREFIX: &str = "lrt_";
/// What the token of an invite starts with.
pub const INVITE_TOKEN_PREFIX: &str = "lit_";
/// What the token of a link in an e-mail starts with.
pub const LINK_TOKEN_PREFIX: &str = "llt_";
/// What the token of a step of a sign-in starts with.
pub const STEP_TOKEN_PREFIX: &str = "lst_";
/// Longest token that is looked at. Ours are shorter than 500 bytes.
pub const MAX_TOKEN_BYTES: usize = 4_096;

/// 256 random bits.
pub(crate) struct Secret(SecretBox<[u8; 32]>);

impl Secret {
    pub(crate) fn random(random: &dyn Random) -> Self {
        Self(SecretBox::init_with_mut(|bytes: &mut [u8; 32]| random.fill(bytes)))
    }

    pub(crate) fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.0.expose_secret()).into())
    }
}

/// A token that is one secret.
pub(crate) struct Device(pub(crate) Secret);

/// The token of an invite by link: whoever has it may become a member.
pub struct InviteToken(Secret);

impl InviteToken {
    /// A token that nobody can guess.
    #[must_use]
    pub fn random(random: &dyn Random) -> Self {
        Self(Secret::random(random))
    }

    /// The token as it is handed out, once.
    #[must_use]
    pub fn to_text(&self) -> SecretString {
        write(INVITE_TOKEN_PREFIX, &[&self.0])
    }

    /// Reads what was handed out.
    #[must_use]
    pub fn parse(text: &SecretString) -> Option<Self> {
        let [secret] = read(INVITE_TOKEN_PREFIX, text.expose_secret())?;
        Some(Self(secret))
    }

    /// What is stored of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        self.0.hash()
    }
}

/// Tokens that are one secret behind a prefix, and stored as its hash.
macro_rules! plain_tokens {
    ($($(#[$doc:meta])* $name:ident, $prefix:ident;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name(Secret);

        impl $name {
            pub(crate) fn random(random: &dyn Random) -> Self {
                Self(Secret::random(random))
            }

            pub(crate) fn to_text(&self) -> SecretString {
                write($prefix, &[&self.0])
            }

            pub(crate) fn parse(text: &SecretString) -> Option<Self> {
                let [secret] = read($prefix, text.expose_secret())?;
                Some(Self(secret))
            }

            pub(crate) fn hash(&self) -> TokenHash {
                self.0.hash()
            }
        }
    )*};
}

plain_tokens! {
    /// A token of a link in an e-mail.
    LinkToken, LINK_TOKEN_PREFIX;
    /// A token of a step of a sign-in that takes several.
    StepToken, STEP_TOKEN_PREFIX;
}

/// A refresh token: a half that names the session for good, and a half that is exchanged with every use.
///
/// With the first half a token that was exchanged long ago is still known as one of this session's, although the store
/// keeps no more than the last two second halves; and nobody who merely knows a session's id can forge such a one to
/// have the session revoked.
pub(crate) struct Refresh {
    pub(crate) family: Secret,
    pub(crate) rotation: Secret,
}

impl Device {
    pub(crate) fn to_text(&self) -> SecretString {
        write(DEVICE_TOKEN_PREFIX, &[&self.0])
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let [secret] = read(DEVICE_TOKEN_PREFIX, text)?;
        Some(Self(secret))
    }
}

impl Refresh {
    /// The token that replaces this one: always the same, and nobody's to know without the server's secret.
    pub(crate) fn successor(&self, secret: &ServerSecret) -> Self {
        let parts = [self.family.0.expose_secret().as_slice(), self.rotation.0.expose_secret().as_slice()];
        let rotation = SecretBox::init_with_mut(|bytes: &mut [u8; 32]| {
            *bytes = secret.derive("refresh token", &parts);
        });
        let family = SecretBox::init_with_mut(|bytes: &mut [u8; 32]| {
            bytes.copy_from_slice(self.family.0.expose_secret());
        });
        Self { family: Secret(family), rotation: Secret(rotation) }
    }

    pub(crate) fn to_text(&self) -> SecretString {
        write(REFRESH_TOKEN_PREFIX, &[&self.family, &self.rotation])
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let [family, rotation] = read(REFRESH_TOKEN_PREFIX, text)?;
        Some(Self { family, rotation })
    }
}

fn write(prefix: &str, secrets: &[&Secret]) -> SecretString {
    let mut bytes = Zeroizing::new(Vec::with_capacity(64));
    for secret in secrets {
        bytes.extend_from_slice(secret.0.expose_secret());
    }
    // Sized once: a string that grows leaves copies behind.
    let mut text = String::with_capacity(prefix.len() + (bytes.len() * 4).div_ceil(3));
    text.push_str(prefix);
    URL_SAFE_NO_PAD.encode_string(&*bytes, &mut text);
    text.into()
}

fn read<const N: usize>(prefix: &str, text: &str) -> Option<[Secret; N]> {
    let encoded = text.strip_prefix(prefix).filter(|_| text.len() <= MAX_TOKEN_BYTES)?;
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(encoded).ok()?);
    if bytes.len() != 32 * N {
        return None;
    }
    let mut halves = bytes.chunks_exact(32);
    let secrets = std::array::from_fn(|_| {
        Secret(SecretBox::init_with_mut(|bytes: &mut [u8; 32]| {
            if let Some(half) = halves.next() {
                bytes.copy_from_slice(half);
            }
        }))
    });
    Some(secrets)
}

#[cfg(test)]
mod tests {
    use lattice_store::time::SystemRandom;
    use secrecy::ExposeSecret;

    use super::{Device, InviteToken, Refresh, Secret};

    #[test]
    fn tokens_come_back_as_they_went() {
        let device = Device(Secret::random(&SystemRandom));
        let text = device.to_text();
        assert_eq!((&text.expose_secret()[..4], text.expose_secret().len()), ("ldt_", 4 + 43));
        assert_eq!(Device::parse(text.expose_secret()).map(|device| device.0.hash()), Some(device.0.hash()));

        let refresh =
            Refresh { family: Secret::random(&SystemRandom), rotation: Secret::random(&SystemRandom) };
        let text = refresh.to_text();
        assert_eq!((&text.expose_secret()[..4], text.expose_secret().len()), ("lrt_", 4 + 86));
        let read = Refresh::parse(text.expose_secret()).expect("our own token");
        assert_eq!(
            (read.family.hash(), read.rotation.hash()),
            (refresh.family.hash(), refresh.rotation.hash())
        );
        assert_ne!(refresh.family.hash(), refresh.rotation.hash());

        let invite = InviteToken::random(&SystemRandom);
        assert_eq!(&invite.to_text().expose_secret()[..4], "lit_");
        let read = InviteToken::parse(&invite.to_text()).expect("our own token");
        assert_eq!(read.hash(), invite.hash());
        assert!(InviteToken::parse(&device.to_text()).is_none());
    }

    #[test]
    fn other_text_is_no_token() {
        let device = Device(Secret::random(&SystemRandom)).to_text();
        let device = device.expose_secret();
        let huge = format!("ldt_{}", "A".repeat(1 << 20));
        for text in [
            "",
            "ldt_",
            "lrt_",
            &device[4..],
            &device[..46],
            &format!("{device}A"),
            &format!("{device}="),
            &huge,
        ] {
            assert!(Device::parse(text).is_none(), "{text}");
        }
        assert!(Refresh::parse(device).is_none());
        assert!(Refresh::parse(&device.replace("ldt_", "lrt_")).is_none());
    }

    #[test]
    fn debug_output_shows_nothing() {
        let device = Device(Secret::random(&SystemRandom));
        assert!(!format!("{:?}", device.to_text()).contains("ldt_"));
        assert_eq!(format!("{:?}", device.0.hash()), "TokenHash(…)");
    }
}
