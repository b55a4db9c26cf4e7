//! Accounts of those who do not show who they are: made with a session, and lost with it, unless their owner chooses another way
//! in meanwhile. There is no device token for them: it could not be renewed, and the account would end with it.

use lattice_store::StoreError;
use lattice_store::accounts::{User, UserId};
use lattice_store::anonymous::{Abandoned, Upgrade};
use lattice_store::time::random_id;
use secrecy::SecretString;

use super::passwords::{Checked, checked};
use super::{AuthService, Client, REFRESH_TOKEN_LIFE_S, SECOND_US, SWEEP_BATCH, SessionTokens, method};
use crate::AuthError;

impl AuthService {
    /// Makes an account that nothing leads to but the session that is answered.
    ///
    /// # Errors
    /// [`AuthError::AnonymousOff`], or the store's.
    pub async fn sign_up_anonymously(&self, client: Client) -> Result<SessionTokens, AuthError> {
        if !self.makes_anonymous {
            return Err(AuthError::AnonymousOff);
        }
        let now_us = self.clock.now_us();
        let user = User {
            id: UserId(random_id(&*self.random)),
            email: None,
            email_verified_us: None,
            full_name: None,
            password_hash: None,
            created_us: now_us,
        };
        let look_us = now_us + REFRESH_TOKEN_LIFE_S * SECOND_US;
        self.store.create_anonymous(user.clone(), look_us).await?;
        self.begin_session(user, method::ANONYMOUS, client).await
    }

    /// Gives an anonymous account an address and a password. It stays the same account; its sessions end for one that is answered,
    /// since from now on it is to be shown who one is. What is refused leaves everything as it was.
    ///
    /// # Errors
    /// [`AuthError::NotAnonymous`], those of [`signup`](Self::signup), [`AuthError::SessionRevoked`] when the user is gone.
    pub async fn upgrade(
        &self,
        user: UserId,
        email: &str,
        password: SecretString,
        full_name: Option<&str>,
        client: Client,
    ) -> Result<SessionTokens, AuthError> {
        // Before any work is done for it.
        if !self.store.is_anonymous(user).await? {
            return Err(AuthError::NotAnonymous);
        }
        let Checked { email, full_name } = checked(email, &password, full_name)?;
        let mut salt = [0; 16];
        self.random.fill(&mut salt);
        let password_hash = self.passwords.hash(password, salt).await?;
        match self.store.upgrade_anonymous(user, Upgrade { email, password_hash, full_name }).await {
            Err(StoreError::Conflict(_)) => return Err(AuthError::EmailTaken),
            upgraded => {
                if !upgraded? {
                    return Err(AuthError::NotAnonymous);
                }
            }
        }
        self.store.revoke_all_sessions(user, self.clock.now_us()).await?;
        let user = self.store.user_by_id(user).await?.ok_or(AuthError::SessionRevoked)?;
        self.greet_new_address(&user).await?;
        self.begin_session(user, method::PASSWORD, client).await
    }

    /// Whether somebody's account is anonymous.
    ///
    /// # Errors
    /// The store's.
    pub async fn is_anonymous(&self, user: UserId) -> Result<bool, AuthError> {
        Ok(self.store.is_anonymous(user).await?)
    }

    /// At most `limit` anonymous accounts whose last session ended more than `retention_us` microseconds ago, after this one, in
    /// order: nobody can come back to them.
    ///
    /// # Errors
    /// The store's.
    pub async fn abandoned(
        &self,
        retention_us: i64,
        after: Option<Abandoned>,
        limit: u32,
    ) -> Result<Vec<Abandoned>, AuthError> {
        let before_us = self.clock.now_us() - retention_us;
        Ok(self.store.abandoned_anonymous(before_us, after, limit).await?)
    }

    /// Notes which anonymous accounts have lost their session.
    pub(super) async fn note_ended_anonymous(&self, now_us: i64) -> Result<(), AuthError> {
        while self.store.note_ended_anonymous(now_us, SWEEP_BATCH).await? == u64::from(SWEEP_BATCH) {}
        Ok(())
    }
}
