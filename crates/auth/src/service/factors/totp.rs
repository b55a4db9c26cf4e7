//! Codes of authenticator apps (RFC 6238): SHA-1, 6 digits, 30 seconds, which is what all of them know.

use lattice_store::accounts::UserId;
use lattice_store::factors::Totp as StoredTotp;
use secrecy::{ExposeSecret, SecretString};
use totp_rs::{Builder, Totp};

use super::super::{AuthService, Identity, SECOND_US};
use crate::AuthError;
use crate::audit::{Event, Kind};
use crate::mailer::LetterContent;

/// Bytes of a secret: 160 bits, as RFC 4226 recommends.
const SECRET_BYTES: usize = 20;
/// What an app shows where the account has no address.
const NO_NAME: &str = "account";

/// A secret for an authenticator app.
#[derive(Debug)]
pub struct TotpOffer {
    /// The secret, in base32.
    pub secret: SecretString,
    /// The same as an address that apps read from a QR code.
    pub uri: SecretString,
}

impl AuthService {
    /// Offers a secret for an authenticator app, in place of one that was offered before. It asks for nothing until
    /// [`confirm_totp`](Self::confirm_totp).
    ///
    /// # Errors
    /// [`AuthError::SessionNotFresh`], [`AuthError::EmailUnverified`], [`AuthError::TotpOn`], [`AuthError::SessionRevoked`], or the
    /// store's.
    pub async fn offer_totp(&self, identity: &Identity, app: &str) -> Result<TotpOffer, AuthError> {
        self.require_fresh(identity).await?;
        self.require_verified_email(identity.user).await?;
        let user = self.store.user_by_id(identity.user).await?.ok_or(AuthError::SessionRevoked)?;
        let mut secret = vec![0; SECRET_BYTES];
        self.random.fill(&mut secret);
        let offered = StoredTotp {
            user: user.id,
            secret: secret.clone(),
            created_us: self.clock.now_us(),
            confirmed_us: None,
            last_step: 0,
        };
        if !self.store.offer_totp(offered).await? {
            return Err(AuthError::TotpOn);
        }
        // A colon parts the names of app and account.
        let name = user.email.as_deref().unwrap_or(NO_NAME).replace(':', " ");
        let totp = Builder::new()
            .with_secret(secret)
            .with_account_name(name)
            .with_issuer(Some(app.replace(':', " ")))
            .build()
            .map_err(|_| AuthError::Internal("a secret for codes could not be made"))?;
        let uri =
            totp.to_url().map_err(|_| AuthError::Internal("a secret for codes could not be written"))?;
        Ok(TotpOffer { secret: totp.secret().to_base32().into(), uri: uri.into() })
    }

    /// Asks for codes from now on, by one of them, which shows that the app has the secret. Answers new recovery codes.
    ///
    /// # Errors
    /// [`AuthError::SessionNotFresh`], [`AuthError::TotpOff`] when none is offered, [`AuthError::TotpOn`],
    /// [`AuthError::SecondFactorInvalid`], or the store's.
    pub async fn confirm_totp(
        &self,
        identity: &Identity,
        code: &SecretString,
    ) -> Result<Vec<SecretString>, AuthError> {
        self.require_fresh(identity).await?;
        let user = identity.user;
        let offered = self.store.totp(user).await?.ok_or(AuthError::TotpOff)?;
        if offered.confirmed_us.is_some() {
            return Err(AuthError::TotpOn);
        }
        let step = self.step_of(&offered, code).ok_or(AuthError::SecondFactorInvalid)?;
        let now_us = self.clock.now_us();
        if !self.store.confirm_totp(user, offered.secret, step, now_us).await? {
            return Err(AuthError::TotpOn);
        }
        let event = Event::new(Kind::SecondFactorAdded).actor(user).session(identity.session);
        self.audit.record(event.detail("method", "totp"));
        self.new_recovery_codes(user).await
    }

    /// Asks for no codes any more.
    ///
    /// # Errors
    /// [`AuthError::SessionNotFresh`], [`AuthError::TotpOff`], or the store's.
    pub async fn remove_totp(&self, identity: &Identity) -> Result<(), AuthError> {
        self.require_fresh(identity).await?;
        let user = identity.user;
        let was_asked = self.store.second_factors(user).await?.totp;
        if !self.store.delete_totp(user).await? {
            return Err(AuthError::TotpOff);
        }
        if was_asked {
            let event = Event::new(Kind::SecondFactorRemoved).actor(user).session(identity.session);
            self.audit.record(event.detail("method", "totp"));
            self.tell(user, LetterContent::SecondFactorRemoved).await;
        }
        Ok(())
    }

    /// Takes a code: each is good once.
    pub(super) async fn take_totp(&self, user: UserId, code: &SecretString) -> Result<bool, AuthError> {
        let Some(totp) = self.store.totp(user).await?.filter(|totp| totp.confirmed_us.is_some()) else {
            return Ok(false);
        };
        match self.step_of(&totp, code) {
            Some(step) => Ok(self.store.take_totp_step(user, step).await?),
            None => Ok(false),
        }
    }

    /// The time step that a code is of: now, or the one before or after, for clocks that are off.
    fn step_of(&self, totp: &StoredTotp, code: &SecretString) -> Option<i64> {
        let code: String = code.expose_secret().chars().filter(|c| !c.is_whitespace()).collect();
        let now_s = u64::try_from(self.clock.now_us() / SECOND_US).ok()?;
        let totp: Totp = Builder::new().with_secret(totp.secret.clone()).build().ok()?;
        totp.check(&code, now_s).and_then(|step| i64::try_from(step).ok())
    }
}
