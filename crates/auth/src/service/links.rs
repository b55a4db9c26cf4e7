//! What is done by links in e-mails: verifying an address, setting a new password, changing the address.
//!
//! A link is a token that is good once, for one purpose, for a while, and for the address that it was sent to. A new one voids
//! those before it.

use lattice_store::StoreError;
use lattice_store::accounts::{SessionId, User, UserId};
use lattice_store::one_time::OneTimeToken;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::{AuthService, Identity, SECOND_US};
use crate::audit::{Event, Kind};
use crate::guessing::is_guessed_first;
use crate::mailer::{Letter, LetterContent};
use crate::token::LinkToken;
use crate::{AuthError, MAX_PASSWORD_BYTES, MIN_PASSWORD_BYTES, normalise_email};

/// How long a link that verifies an address is good, in seconds.
pub const VERIFY_LINK_LIFE_S: i64 = 24 * 3_600;
/// How long a link that sets a new password is good, in seconds.
pub const RESET_LINK_LIFE_S: i64 = 3_600;
/// How long a link that changes the address is good, in seconds.
pub const EMAIL_LINK_LIFE_S: i64 = 3_600;

const VERIFY: &str = "verify_email";
const RESET: &str = "reset_password";
const CHANGE_EMAIL: &str = "change_email";

/// What a link is for.
#[derive(Serialize, Deserialize)]
struct Payload {
    /// The address that it was sent to.
    email: String,
    /// The session that asked for it, as a UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<String>,
}

impl AuthService {
    /// Whether links can be sent.
    #[must_use]
    pub fn sends_mail(&self) -> bool {
        self.mailer.is_on()
    }

    /// That the account's address is verified, where mail is sent at all: what is meant for the owner of an address is for nobody
    /// who merely says that it is theirs.
    ///
    /// # Errors
    /// [`AuthError::EmailUnverified`], [`AuthError::SessionRevoked`], or the store's.
    pub async fn require_verified_email(&self, user: UserId) -> Result<(), AuthError> {
        if !self.mailer.is_on() {
            return Ok(());
        }
        let user = self.store.user_by_id(user).await?.ok_or(AuthError::SessionRevoked)?;
        if user.email.is_none() || user.email_verified_us.is_some() {
            return Ok(());
        }
        Err(AuthError::EmailUnverified)
    }

    /// Sends a link by which the user shows that the account's address is theirs. Nothing is sent when they have, or when there is
    /// none.
    ///
    /// # Errors
    /// [`AuthError::MailUnavailable`], [`AuthError::SessionRevoked`], or the store's.
    pub async fn send_verification(&self, user: UserId) -> Result<(), AuthError> {
        self.require_mail()?;
        let user = self.store.user_by_id(user).await?.ok_or(AuthError::SessionRevoked)?;
        self.send_verification_to(&user).await
    }

    pub(super) async fn send_verification_to(&self, user: &User) -> Result<(), AuthError> {
        let Some(email) = user.email.clone().filter(|_| user.email_verified_us.is_none()) else {
            return Ok(());
        };
        let payload = Payload { email: email.clone(), session: None };
        if let Some(token) = self.new_link(user.id, VERIFY, &payload, VERIFY_LINK_LIFE_S).await? {
            self.mailer.send(Letter { to: email, content: LetterContent::VerifyEmail(token) });
        }
        Ok(())
    }

    /// Takes the link of [`send_verification`](Self::send_verification).
    ///
    /// # Errors
    /// [`AuthError::LinkInvalid`], or the store's.
    pub async fn verify_email(&self, token: &SecretString) -> Result<UserId, AuthError> {
        let (user, payload) = self.take_link(token, VERIFY).await?;
        if self.store.verify_email(user, payload.email, self.clock.now_us()).await? {
            self.audit.record(Event::new(Kind::EmailVerified).actor(user));
            Ok(user)
        } else {
            Err(AuthError::LinkInvalid)
        }
    }

    /// Sends a link for a new password if there is an account with this address, and says nothing of it. To be run where nobody
    /// waits for it.
    ///
    /// # Errors
    /// The store's.
    pub async fn send_reset(&self, email: &str) -> Result<(), AuthError> {
        let Ok(email) = normalise_email(email) else { return Ok(()) };
        let Some(user) = self.store.user_by_email(&email).await? else { return Ok(()) };
        let payload = Payload { email: email.clone(), session: None };
        self.audit.record(Event::new(Kind::PasswordResetRequested).subject(user.id));
        if let Some(token) = self.new_link(user.id, RESET, &payload, RESET_LINK_LIFE_S).await? {
            self.mailer.send(Letter { to: email, content: LetterContent::ResetPassword(token) });
        }
        Ok(())
    }

    /// Takes the link of [`send_reset`](Self::send_reset): sets the password and ends every session. Whoever has the link reads the
    /// mail of the address, so that is verified as well. A password that is refused leaves the link good.
    ///
    /// # Errors
    /// [`AuthError::LinkInvalid`], [`AuthError::WeakPassword`], [`AuthError::CommonPassword`], [`AuthError::Busy`], or the store's.
    pub async fn reset_password(
        &self,
        token: &SecretString,
        password: SecretString,
    ) -> Result<UserId, AuthError> {
        let link = LinkToken::parse(token).ok_or(AuthError::LinkInvalid)?;
        let now_us = self.clock.now_us();
        let found = self.store.find_token(link.hash(), RESET, now_us).await?.ok_or(AuthError::LinkInvalid)?;
        let user = match found.user {
            Some(user) => self.store.user_by_id(user).await?.ok_or(AuthError::LinkInvalid)?,
            None => return Err(AuthError::LinkInvalid),
        };
        let hash = self.hash_new_password(&user, password).await?;
        let (id, payload) = self.take_link(token, RESET).await?;
        // An account that has another address by now is not that of whoever reads the mail of this one.
        if user.email.as_ref() != Some(&payload.email) || !self.store.set_password_hash(id, hash).await? {
            return Err(AuthError::LinkInvalid);
        }
        self.store.verify_email(id, payload.email.clone(), now_us).await?;
        self.store.revoke_all_sessions(id, now_us).await?;
        self.store.delete_tokens(id, RESET).await?;
        self.store.delete_tokens(id, CHANGE_EMAIL).await?;
        self.audit.record(Event::new(Kind::PasswordChanged).actor(id));
        self.mailer.send(Letter { to: payload.email, content: LetterContent::PasswordChanged });
        Ok(id)
    }

    /// Changes the password of somebody who knows it, and ends their other sessions.
    ///
    /// # Errors
    /// [`AuthError::InvalidCredentials`], [`AuthError::WeakPassword`], [`AuthError::CommonPassword`], [`AuthError::Busy`], or the
    /// store's.
    pub async fn change_password(
        &self,
        identity: &Identity,
        current: SecretString,
        new: SecretString,
    ) -> Result<(), AuthError> {
        self.confirm_password(identity.user, current).await?;
        let user = self.store.user_by_id(identity.user).await?.ok_or(AuthError::SessionRevoked)?;
        let hash = self.hash_new_password(&user, new).await?;
        if !self.store.set_password_hash(user.id, hash).await? {
            return Err(AuthError::SessionRevoked);
        }
        self.store.revoke_other_sessions(user.id, identity.session, self.clock.now_us()).await?;
        self.store.delete_tokens(user.id, RESET).await?;
        self.store.delete_tokens(user.id, CHANGE_EMAIL).await?;
        self.audit.record(Event::new(Kind::PasswordChanged).actor(user.id));
        if let Some(email) = user.email {
            self.mailer.send(Letter { to: email, content: LetterContent::PasswordChanged });
        }
        Ok(())
    }

    /// Sends a link to another address, by which it becomes that of the account. Whether somebody else has it is not said.
    ///
    /// # Errors
    /// [`AuthError::MailUnavailable`], [`AuthError::BadEmail`], [`AuthError::InvalidCredentials`], [`AuthError::Busy`], or the store's.
    pub async fn send_email_change(
        &self,
        identity: &Identity,
        password: SecretString,
        email: &str,
    ) -> Result<(), AuthError> {
        self.require_mail()?;
        let email = normalise_email(email)?;
        self.confirm_password(identity.user, password).await?;
        let payload = Payload { email: email.clone(), session: Some(identity.session.to_string()) };
        let token = self.new_link(identity.user, CHANGE_EMAIL, &payload, EMAIL_LINK_LIFE_S).await?;
        let token = token.ok_or(AuthError::SessionRevoked)?;
        self.mailer.send(Letter { to: email, content: LetterContent::ConfirmNewEmail(token) });
        Ok(())
    }

    /// Takes the link of [`send_email_change`](Self::send_email_change): the account has that address from now on, the session
    /// that asked for it goes on, and all others end.
    ///
    /// # Errors
    /// [`AuthError::LinkInvalid`], [`AuthError::EmailTaken`], or the store's.
    pub async fn confirm_email_change(&self, token: &SecretString) -> Result<UserId, AuthError> {
        let (id, payload) = self.take_link(token, CHANGE_EMAIL).await?;
        let before = self.store.user_by_id(id).await?.ok_or(AuthError::LinkInvalid)?;
        let now_us = self.clock.now_us();
        match self.store.set_email(id, payload.email, now_us).await {
            Err(StoreError::Conflict(_)) => return Err(AuthError::EmailTaken),
            changed => {
                if !changed? {
                    return Err(AuthError::LinkInvalid);
                }
            }
        }
        let keep = payload.session.as_deref().and_then(SessionId::parse);
        self.revoke_sessions(id, keep).await?;
        for purpose in [VERIFY, RESET, CHANGE_EMAIL] {
            self.store.delete_tokens(id, purpose).await?;
        }
        self.audit.record(Event::new(Kind::EmailChanged).actor(id));
        if let Some(email) = before.email {
            self.mailer.send(Letter { to: email, content: LetterContent::EmailChanged });
        }
        Ok(id)
    }

    fn require_mail(&self) -> Result<(), AuthError> {
        if self.mailer.is_on() { Ok(()) } else { Err(AuthError::MailUnavailable) }
    }

    /// The hash of a password that is good enough for this user.
    async fn hash_new_password(&self, user: &User, password: SecretString) -> Result<String, AuthError> {
        if !(MIN_PASSWORD_BYTES..=MAX_PASSWORD_BYTES).contains(&password.expose_secret().len()) {
            return Err(AuthError::WeakPassword);
        }
        if is_guessed_first(password.expose_secret(), user.email.as_deref(), user.full_name.as_deref()) {
            return Err(AuthError::CommonPassword);
        }
        let mut salt = [0; 16];
        self.random.fill(&mut salt);
        self.passwords.hash(password, salt).await
    }

    /// A new link in place of those before it; none when the user is gone.
    async fn new_link(
        &self,
        user: UserId,
        purpose: &'static str,
        payload: &Payload,
        life_s: i64,
    ) -> Result<Option<SecretString>, AuthError> {
        self.store.delete_tokens(user, purpose).await?;
        let (link, now_us) = (LinkToken::random(&*self.random), self.clock.now_us());
        let payload =
            serde_json::to_string(payload).map_err(|_| AuthError::Internal("a link could not be written"))?;
        let token = OneTimeToken {
            hash: link.hash(),
            purpose: purpose.to_owned(),
            user: Some(user),
            payload,
            created_us: now_us,
            expires_us: now_us + life_s * SECOND_US,
        };
        Ok(self.store.put_token(token).await?.then(|| link.to_text()))
    }

    async fn take_link(
        &self,
        token: &SecretString,
        purpose: &'static str,
    ) -> Result<(UserId, Payload), AuthError> {
        let link = LinkToken::parse(token).ok_or(AuthError::LinkInvalid)?;
        let taken = self.store.take_token(link.hash(), purpose, self.clock.now_us()).await?;
        let taken = taken.ok_or(AuthError::LinkInvalid)?;
        let payload = serde_json::from_str(&taken.payload).ok();
        taken.user.zip(payload).ok_or(AuthError::LinkInvalid)
    }
}

#[cfg(test)]
#[path = "links_tests.rs"]
mod tests;
