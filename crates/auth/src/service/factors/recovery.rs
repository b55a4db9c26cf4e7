//! Codes on paper, for whoever has lost their second factor.

use lattice_store::accounts::{TokenHash, UserId};
use secrecy::{ExposeSecret, SecretString};

use super::super::{AuthService, Identity};
use crate::AuthError;
use crate::audit::{Event, Kind};

/// How many are given out.
pub const RECOVERY_CODES: usize = 10;
/// 80 random bits in 16 characters, without those that look alike.
const CODE_CHARS: usize = 16;
const GROUP_CHARS: usize = 4;
const ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz234567890";
/// Longest code that is looked at, in bytes.
const MAX_CODE_BYTES: usize = 64;

impl AuthService {
    /// New recovery codes in place of those before.
    ///
    /// # Errors
    /// [`AuthError::SessionNotFresh`], [`AuthError::NoSecondFactor`], or the store's.
    pub async fn renew_recovery_codes(&self, identity: &Identity) -> Result<Vec<SecretString>, AuthError> {
        self.require_fresh(identity).await?;
        let codes = self.new_recovery_codes(identity.user).await?;
        let event = Event::new(Kind::SecondFactorAdded).actor(identity.user).session(identity.session);
        self.audit.record(event.detail("method", "recovery_code"));
        Ok(codes)
    }

    pub(super) async fn new_recovery_codes(&self, user: UserId) -> Result<Vec<SecretString>, AuthError> {
        let codes: Vec<SecretString> = (0..RECOVERY_CODES).map(|_| self.random_code()).collect();
        let hashes = codes.iter().filter_map(|code| self.recovery_hash(user, code)).collect();
        if self.store.set_recovery_codes(user, hashes).await? {
            Ok(codes)
        } else {
            Err(AuthError::NoSecondFactor)
        }
    }

    pub(super) async fn take_recovery(&self, user: UserId, code: &SecretString) -> Result<bool, AuthError> {
        match self.recovery_hash(user, code) {
            Some(hash) => Ok(self.store.take_recovery_code(user, hash).await?),
            None => Ok(false),
        }
    }

    fn random_code(&self) -> SecretString {
        let mut bytes = [0; CODE_CHARS];
        self.random.fill(&mut bytes);
        let mut code = String::with_capacity(CODE_CHARS + CODE_CHARS / GROUP_CHARS);
        for (at, byte) in bytes.into_iter().enumerate() {
            if at > 0 && at % GROUP_CHARS == 0 {
                code.push('-');
            }
            code.push(char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
        }
        code.into()
    }

    /// What is stored of a code: it is shorter than tokens are, so a plain hash could be turned back.
    fn recovery_hash(&self, user: UserId, code: &SecretString) -> Option<TokenHash> {
        let code = code.expose_secret();
        if code.len() > MAX_CODE_BYTES {
            return None;
        }
        let plain: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
        let plain = plain.to_ascii_lowercase();
        (plain.len() == CODE_CHARS)
            .then(|| TokenHash(self.secret.derive("recovery code", &[&user.0, plain.as_bytes()])))
    }
}
