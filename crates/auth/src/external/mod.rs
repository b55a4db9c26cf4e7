//! Tokens of another issuer, for apps that have accounts of their own and use this server for sync alone.
//!
//! Such a token is a JWT (RFC 7519) that the issuer has signed by a key of its key set. What it must say, and which of its claims mean what, is
//! set by [`ExternalSettings`].

use std::collections::HashSet;
use std::fmt;

use lattice_store::accounts::TokenHash;
use sha2::{Digest, Sha256};

use crate::claims::Claims;
use crate::jwks::JwksCache;
use crate::{AuthError, Permissions};

/// How much longer a token may live than it is taken for now, in seconds: as long as a session that was ended is remembered, or a token
/// from before that could come back to life.
pub const MAX_EXTERNAL_TOKEN_LIFE_S: i64 = 7 * 24 * 3_600;
/// How far the issuer's clock may be ahead of ours, in seconds.
pub const MAX_CLOCK_AHEAD_S: i64 = 60;
/// Longest id of a user, in bytes (OpenID Connect Core 1.0, section 2: 255 ASCII characters).
pub const MAX_SUBJECT_BYTES: usize = 255;

/// Longer than any secret of ours, so that what is hashed after it is never one of them.
const SESSION_DOMAIN: &[u8] = b"lattice-server: the session of an external token\0";

/// Which tokens of the issuer are taken, and what their claims mean.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExternalSettings {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// A token is for us when its `aud` names one of these.
    pub audiences: Vec<String>,
    /// The claim that tells users apart.
    pub user_claim: String,
    /// The claim with the e-mail address; it counts where `email_verified` is true.
    pub email_claim: Option<String>,
    /// The claim with the full name.
    pub name_claim: Option<String>,
    /// The claim that says what a token may be used for: a list, or words between spaces. Without one a token may be used for everything.
    pub permissions_claim: Option<String>,
}

/// An issuer whose tokens are taken.
pub struct ExternalIssuer {
    settings: ExternalSettings,
    keys: JwksCache,
}

impl fmt::Debug for ExternalIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalIssuer").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What a good token says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ExternalToken {
    /// Who; unique at the issuer and never given to somebody else.
    pub(crate) subject: String,
    /// Tells the sessions of a user apart, for issuers that do.
    pub(crate) session: Option<String>,
    /// When it was made, in microseconds since 1970.
    pub(crate) issued_us: Option<i64>,
    /// When it expires, in microseconds since 1970.
    pub(crate) expires_us: i64,
    /// An e-mail address that the issuer has verified, in its normal form.
    pub(crate) email: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) permissions: Permissions,
}

impl ExternalToken {
    /// Whether it was made after that moment. One that does not say when it was made may be older.
    pub(crate) fn is_newer_than(&self, at_us: i64) -> bool {
        self.issued_us.is_some_and(|issued_us| issued_us > at_us)
    }
}

impl ExternalIssuer {
    /// The issuer with these settings and these keys.
    #[must_use]
    pub fn new(settings: ExternalSettings, keys: JwksCache) -> Self {
        Self { settings, keys }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.issuer
    }

    /// Its keys.
    #[must_use]
    pub fn keys(&self) -> &JwksCache {
        &self.keys
    }

    /// Whether a token says that it is this issuer's. That alone proves nothing.
    pub(crate) fn claims_to_be_ours(&self, token: &str) -> bool {
        #[derive(serde::Deserialize)]
        struct Named {
            iss: String,
        }
        token.len() <= crate::jwks::MAX_SIGNED_TOKEN_BYTES
            && jsonwebtoken::dangerous::insecure_decode_claims::<Named>(token)
                .is_ok_and(|claims| claims.iss == self.settings.issuer)
    }

    /// Checks everything about a token.
    ///
    /// # Errors
    /// [`AuthError::TokenExpired`] when that is all that is wrong with it, [`AuthError::PermissionDenied`] when it permits nothing, else
    /// [`AuthError::TokenInvalid`]; [`AuthError::ProviderUnavailable`] when nobody can say.
    pub(crate) async fn verify(&self, token: &str, now_us: i64) -> Result<ExternalToken, AuthError> {
        let claims = Claims(self.keys.verify_signature(token).await?);
        let settings = &self.settings;
        let audiences: HashSet<&str> = settings.audiences.iter().map(String::as_str).collect();
        if claims.text("iss") != Some(settings.issuer.as_str()) || !claims.is_for(&audiences) {
            return Err(AuthError::TokenInvalid);
        }
        let (issued_us, expires_us) = claims.times(now_us)?;
        let permissions = match &settings.permissions_claim {
            None => Permissions::ALL,
            Some(name) => claims.permissions(name),
        };
        let token = ExternalToken {
            subject: claims.subject(&settings.user_claim)?,
            session: claims.text("sid").map(str::to_owned),
            issued_us,
            expires_us,
            email: settings.email_claim.as_ref().and_then(|name| claims.verified_email(name)),
            name: settings.name_claim.as_ref().and_then(|name| claims.name(name)),
            permissions,
        };
        if permissions.can_read() { Ok(token) } else { Err(AuthError::PermissionDenied) }
    }

    /// Finds the session that a token belongs to.
    pub(crate) fn session_hash(&self, token: &ExternalToken) -> TokenHash {
        let mut hash = Sha256::new().chain_update(SESSION_DOMAIN);
        for part in [Some(&self.settings.issuer), Some(&token.subject), token.session.as_ref()] {
            // Lengths keep one part from reaching into the next; none is told from empty.
            let length = part.map_or(u64::MAX, |part| part.len() as u64);
            hash.update(length.to_be_bytes());
            hash.update(part.map_or(&[][..], |part| part.as_bytes()));
        }
        TokenHash(hash.finalize().into())
    }
}

#[cfg(test)]
mod tests;
