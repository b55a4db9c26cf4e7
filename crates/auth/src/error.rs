//! Why a call was refused.

use lattice_store::StoreError;
use lattice_store::accounts::UserId;

use crate::{Challenge, MAX_PASSWORD_BYTES, MIN_PASSWORD_BYTES};

/// Why a call was refused. Each has a stable [`code`](Self::code) and a sentence; neither ever holds a secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// No account has this e-mail address, or the password is not its own: which of them is not said.
    #[error("the e-mail address or the password is wrong")]
    InvalidCredentials,
    /// An account with this e-mail address exists.
    #[error("an account with this e-mail address exists already")]
    EmailTaken,
    /// The password is too short or too long.
    #[error("a password has {MIN_PASSWORD_BYTES} to {MAX_PASSWORD_BYTES} bytes")]
    WeakPassword,
    /// The password is among those that are guessed first.
    #[error("this password is among the first that anybody would guess; take another one")]
    CommonPassword,
    /// The token of a link was used, has expired, was voided by a newer one, or never was.
    #[error("the link is not good any more; ask for a new one")]
    LinkInvalid,
    /// Nobody has shown yet that the account's e-mail address is theirs.
    #[error("the e-mail address is not verified yet; follow the link that was sent to it")]
    EmailUnverified,
    /// The server sends no e-mail.
    #[error("this server is not set up to send e-mail")]
    MailUnavailable,
    /// The e-mail address is none.
    #[error("this is not an e-mail address")]
    BadEmail,
    /// The full name is too long or holds control characters.
    #[error("a name has at most 200 characters, none of them a control character")]
    BadName,
    /// The token was good once.
    #[error("the token has expired")]
    TokenExpired,
    /// The token is not one of ours.
    #[error("the token is not valid")]
    TokenInvalid,
    /// The session behind the token was revoked, or its user is gone.
    #[error("the session was revoked; log in again")]
    SessionRevoked,
    /// The refresh token was exchanged before: someone else may have it. The session of this user is revoked.
    #[error("the refresh token was used before; the session was revoked, log in again")]
    RefreshReused(UserId),
    /// The user has no such live session.
    #[error("there is no such session")]
    SessionNotFound,
    /// The server makes no accounts for those who do not show who they are.
    #[error("this server makes no anonymous accounts")]
    AnonymousOff,
    /// The account has another way in already.
    #[error("the account is not anonymous")]
    NotAnonymous,
    /// Whoever asks has signed in too long ago for what they ask.
    #[error("sign in again: this is for those who have done so within the last 15 minutes")]
    SessionNotFresh,
    /// The token is good, and not for this.
    #[error("the token does not permit this")]
    PermissionDenied,
    /// The keys of the issuer cannot be fetched, so nobody can say whether its token is good.
    #[error("the identity provider cannot be reached; try again shortly")]
    ProviderUnavailable,
    /// It refuses us, or says what cannot be understood.
    #[error("the identity provider refused the sign-in")]
    ProviderRefused,
    /// There is none of this name.
    #[error("this server knows no such identity provider")]
    ProviderUnknown,
    /// Browsers cannot sign in by it here.
    #[error("this server is not set up for signing in with a browser by this provider")]
    BrowserFlowOff,
    /// Browsers are not sent there.
    #[error("browsers are not sent to this redirect_uri; REDIRECT_URIS names those that they may be sent to")]
    RedirectNotAllowed,
    /// No SHA-256 in base64url.
    #[error("code_challenge must be the SHA-256 of a verifier in base64url, 43 characters")]
    BadChallenge,
    /// The browser has not left for where it comes back from, or long ago, or came back already.
    #[error("this sign-in was not begun here, took too long or has ended; begin again")]
    StateInvalid,
    /// Whoever was asked said no.
    #[error("the sign-in was cancelled")]
    AccessDenied,
    /// A code was used, has expired, never was, or came with another verifier.
    #[error("the code is not good any more; sign in again")]
    CodeInvalid,
    /// The ID token is not good, and why.
    #[error("the ID token is not valid: {0}")]
    IdTokenInvalid(&'static str),
    /// The ID token was good once.
    #[error("the ID token has expired")]
    IdTokenExpired,
    /// The ID token has another nonce than the request, or one of them has none.
    #[error("the nonce of the ID token is not that of the request")]
    NonceMismatch,
    /// An ID token with a nonce is good for one sign-in.
    #[error("the ID token was used before; ask the provider for another")]
    IdTokenUsed,
    /// The address that the provider vouches for is that of an account which does not know this identity.
    #[error("an account with this e-mail address exists; sign in to it, and link the identity to it")]
    AccountExists,
    /// It signs in to another account.
    #[error("this identity belongs to another account")]
    IdentityTaken,
    /// The provider does not vouch for an address.
    #[error("the provider does not vouch for an e-mail address of this identity")]
    IdentityEmailUnverified,
    /// There are as many as there may be.
    #[error("the account has as many identities as it may have")]
    TooManyIdentities,
    /// The user has no such identity.
    #[error("there is no such identity")]
    IdentityNotFound,
    /// Nothing else leads to the account.
    #[error("this is the last way in to the account; add another one first")]
    LastWayIn,
    /// The account has a second factor, which is to be shown with this.
    #[error("a second factor is needed")]
    SecondFactorRequired(Challenge),
    /// The second factor is wrong, or was used before.
    #[error("the second factor is wrong")]
    SecondFactorInvalid,
    /// What was begun is over, or never was.
    #[error("this step took too long or has ended; begin again")]
    ChallengeInvalid,
    /// Codes of an authenticator app are asked for already.
    #[error("the account asks for codes of an authenticator app already")]
    TotpOn,
    /// They are not, and none are offered.
    #[error("the account has no authenticator app")]
    TotpOff,
    /// There is nothing that recovery codes would stand in for.
    #[error("the account has no second factor")]
    NoSecondFactor,
    /// The server takes no passkeys.
    #[error("this server is not set up for passkeys")]
    PasskeysOff,
    /// The answer of the authenticator is not good, or not to what was asked.
    #[error("the passkey is not valid here")]
    PasskeyInvalid,
    /// The passkey is kept already.
    #[error("this passkey is known already")]
    PasskeyKnown,
    /// There are as many as there may be.
    #[error("the account has as many passkeys as it may have")]
    TooManyPasskeys,
    /// The user has no such passkey.
    #[error("there is no such passkey")]
    PasskeyNotFound,
    /// Too many passwords wait to be checked.
    #[error("the server is busy; try again shortly")]
    Busy,
    /// The store failed.
    #[error("the server failed")]
    Store(#[source] StoreError),
    /// Something failed that should not.
    #[error("the server failed")]
    Internal(&'static str),
}

impl AuthError {
    /// The error's stable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InvalidCredentials => "invalid_credentials",
            Self::EmailTaken => "email_taken",
            Self::WeakPassword => "weak_password",
            Self::CommonPassword => "common_password",
            Self::LinkInvalid => "link_invalid",
            Self::EmailUnverified => "email_unverified",
            Self::MailUnavailable => "mail_unavailable",
            Self::BadEmail => "bad_email",
            Self::BadName => "bad_name",
            Self::TokenExpired => "token_expired",
            Self::TokenInvalid => "token_invalid",
            Self::SessionRevoked => "session_revoked",
            Self::RefreshReused(_) => "refresh_reused",
            Self::SessionNotFound => "session_not_found",
            Self::AnonymousOff => "anonymous_off",
            Self::NotAnonymous => "not_anonymous",
            Self::SessionNotFresh => "session_not_fresh",
            Self::PermissionDenied => "permission_denied",
            Self::ProviderUnavailable => "provider_unavailable",
            Self::ProviderRefused => "provider_refused",
            Self::ProviderUnknown => "provider_unknown",
            Self::BrowserFlowOff => "browser_flow_off",
            Self::RedirectNotAllowed => "redirect_not_allowed",
            Self::BadChallenge => "bad_code_challenge",
            Self::StateInvalid => "state_invalid",
            Self::AccessDenied => "access_denied",
            Self::CodeInvalid => "code_invalid",
            Self::IdTokenInvalid(_) => "id_token_invalid",
            Self::IdTokenExpired => "id_token_expired",
            Self::NonceMismatch => "nonce_mismatch",
            Self::IdTokenUsed => "id_token_used",
            Self::AccountExists => "account_exists",
            Self::IdentityTaken => "identity_taken",
            Self::IdentityEmailUnverified => "identity_email_unverified",
            Self::TooManyIdentities => "too_many_identities",
            Self::IdentityNotFound => "identity_not_found",
            Self::LastWayIn => "last_way_in",
            Self::SecondFactorRequired(_) => "second_factor_required",
            Self::SecondFactorInvalid => "second_factor_invalid",
            Self::ChallengeInvalid => "challenge_invalid",
            Self::TotpOn => "totp_on",
            Self::TotpOff => "totp_off",
            Self::NoSecondFactor => "no_second_factor",
            Self::PasskeysOff => "passkeys_off",
            Self::PasskeyInvalid => "passkey_invalid",
            Self::PasskeyKnown => "passkey_known",
            Self::TooManyPasskeys => "too_many_passkeys",
            Self::PasskeyNotFound => "passkey_not_found",
            Self::Busy => "busy",
            Self::Store(_) | Self::Internal(_) => "internal",
        }
    }
}

impl AuthError {
    /// Whether somebody came with an ID token or a code that is not good.
    pub(crate) const fn is_refused_proof(&self) -> bool {
        matches!(
            self,
            Self::CodeInvalid
                | Self::IdTokenInvalid(_)
                | Self::IdTokenExpired
                | Self::NonceMismatch
                | Self::IdTokenUsed
        )
    }
}

impl From<StoreError> for AuthError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy => Self::Busy,
            error => Self::Store(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AuthError, StoreError};

    #[test]
    fn the_store_s_words_do_not_leave() {
        let error = AuthError::from(StoreError::Database("no such table: users".to_owned()));
        assert_eq!((error.code(), error.to_string().as_str()), ("internal", "the server failed"));
        assert_eq!(AuthError::from(StoreError::Busy).code(), "busy");
    }
}
