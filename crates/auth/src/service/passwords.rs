//! Signing up and logging in by e-mail address and password.

use lattice_store::StoreError;
use lattice_store::accounts::{User, UserId};
use lattice_store::time::random_id;
use secrecy::{ExposeSecret, SecretString};

use super::{AuthService, Client, DeviceToken, MAX_NAME_CHARS, SessionTokens, method};
use crate::audit::{Event, Kind, REFUSAL_INTERVAL_S};
use crate::guessing::is_guessed_first;
use crate::password::Verdict;
use crate::{AuthError, MAX_PASSWORD_BYTES, MIN_PASSWORD_BYTES, normalise_email};

impl AuthService {
    /// Makes an account and logs in.
    ///
    /// # Errors
    /// [`AuthError::BadEmail`], [`AuthError::WeakPassword`], [`AuthError::CommonPassword`], [`AuthError::BadName`], [`AuthError::EmailTaken`],
    /// [`AuthError::Busy`], or the store's.
    pub async fn signup(
        &self,
        email: &str,
        password: SecretString,
        full_name: Option<&str>,
        client: Client,
    ) -> Result<SessionTokens, AuthError> {
        let user = self.create_user(email, password, full_name, &client).await?;
        self.begin_session(user, method::PASSWORD, client).await
    }

    /// Makes an account and gives out a device token.
    ///
    /// # Errors
    /// Those of [`signup`](Self::signup).
    pub async fn register_device(
        &self,
        email: &str,
        password: SecretString,
        full_name: Option<&str>,
        client: Client,
    ) -> Result<DeviceToken, AuthError> {
        let user = self.create_user(email, password, full_name, &client).await?;
        self.begin_device(user, method::PASSWORD, client).await
    }

    /// Logs in by e-mail address and password.
    ///
    /// # Errors
    /// [`AuthError::InvalidCredentials`], [`AuthError::SecondFactorRequired`], [`AuthError::Busy`], or the store's.
    pub async fn login(
        &self,
        email: &str,
        password: SecretString,
        client: Client,
    ) -> Result<SessionTokens, AuthError> {
        let user = self.check_password(email, password, &client).await?;
        self.open_session(user, method::PASSWORD, client).await
    }

    /// Logs in by e-mail address and password for a device token.
    ///
    /// # Errors
    /// Those of [`login`](Self::login).
    pub async fn login_device(
        &self,
        email: &str,
        password: SecretString,
        client: Client,
    ) -> Result<DeviceToken, AuthError> {
        let user = self.check_password(email, password, &client).await?;
        self.open_device(user, method::PASSWORD, client).await
    }

    /// Whether this is the password of a user who is logged in: asked again before what cannot be undone.
    ///
    /// # Errors
    /// [`AuthError::InvalidCredentials`], [`AuthError::SessionRevoked`], [`AuthError::Busy`], or the store's.
    pub async fn confirm_password(&self, user: UserId, password: SecretString) -> Result<(), AuthError> {
        if password.expose_secret().len() > MAX_PASSWORD_BYTES {
            return Err(AuthError::InvalidCredentials);
        }
        let user = self.store.user_by_id(user).await?.ok_or(AuthError::SessionRevoked)?;
        let hash = user.password_hash.as_deref();
        let verdict = self.passwords.verify(password, hash).await?;
        if hash.is_some() && verdict != Verdict::Wrong {
            return Ok(());
        }
        let error = AuthError::InvalidCredentials;
        self.audit.record(Event::new(Kind::ConfirmationFailed).actor(user.id).code(error.code()));
        Err(error)
    }

    async fn create_user(
        &self,
        email: &str,
        password: SecretString,
        full_name: Option<&str>,
        client: &Client,
    ) -> Result<User, AuthError> {
        let Checked { email, full_name } = checked(email, &password, full_name)?;
        let mut salt = [0; 16];
        self.random.fill(&mut salt);
        // Hashed before the address is looked up: a taken one costs as much as a free one.
        let password_hash = self.passwords.hash(password, salt).await?;
        let user = User {
            id: UserId(random_id(&*self.random)),
            email: Some(email),
            email_verified_us: None,
            full_name,
            password_hash: Some(password_hash),
            created_us: self.clock.now_us(),
        };
        match self.store.create_user(user.clone()).await {
            Err(StoreError::Conflict(_)) => return Err(AuthError::EmailTaken),
            result => result?,
        }
        self.audit.record(Event::new(Kind::SignUp).client(client).actor(user.id));
        self.greet_new_address(&user).await?;
        Ok(user)
    }

    /// Sends the link by which a new address is verified; where that is required, nobody comes in before.
    pub(super) async fn greet_new_address(&self, user: &User) -> Result<(), AuthError> {
        if self.sends_mail() {
            // The account is there; another link can be asked for.
            if let Err(error) = self.send_verification_to(user).await {
                tracing::warn!(user = %user.id, %error, "no link to verify an address was made");
            }
        }
        self.refuse_unverified(user)
    }

    fn refuse_unverified(&self, user: &User) -> Result<(), AuthError> {
        let may_enter = !self.requires_verified_email || user.email_verified_us.is_some();
        if may_enter { Ok(()) } else { Err(AuthError::EmailUnverified) }
    }

    /// The user with these credentials. An address without an account costs the same work as one with.
    async fn check_password(
        &self,
        email: &str,
        password: SecretString,
        client: &Client,
    ) -> Result<User, AuthError> {
        let Some(email) =
            normalise_email(email).ok().filter(|_| password.expose_secret().len() <= MAX_PASSWORD_BYTES)
        else {
            return Err(self.sign_in_failed(None, client));
        };
        let user = self.store.user_by_email(&email).await?;
        let hash = user.as_ref().and_then(|user| user.password_hash.as_deref());
        let has_hash = hash.is_some();
        // While accounts have imported hashes, each sign-in does the work of the most costly of them as well.
        let bcrypt_cost = self.store.highest_bcrypt_cost().await?;
        let verdict = self.passwords.verify_alike(password.clone(), hash, bcrypt_cost).await?;
        let tried = user.as_ref().map(|user| user.id);
        let user = user
            .filter(|_| has_hash && verdict != Verdict::Wrong)
            .ok_or_else(|| self.sign_in_failed(tried, client))?;
        if verdict == Verdict::RightButOutdated {
            let mut salt = [0; 16];
            self.random.fill(&mut salt);
            let hash = self.passwords.hash(password, salt).await?;
            // Whoever has set another password meanwhile has it.
            if let Some(current) = user.password_hash.clone() {
                self.store.replace_hash(user.id, current, hash).await?;
            }
        }
        if let Err(unverified) = self.refuse_unverified(&user) {
            self.send_verification_to(&user).await?;
            return Err(unverified);
        }
        Ok(user)
    }

    /// Notes that somebody was not let in, under the account that was tried. What was typed where no account is known is not
    /// noted in any form: people type their password there.
    pub(super) fn sign_in_failed(&self, tried: Option<UserId>, client: &Client) -> AuthError {
        let error = AuthError::InvalidCredentials;
        let event = Event::new(Kind::SignInFailed).client(client).code(error.code());
        self.audit.record(match tried {
            Some(user) => event.subject(user),
            None => event.at_most_every(REFUSAL_INTERVAL_S),
        });
        error
    }
}

/// What somebody who makes an account, or chooses a password for one, is called.
pub(super) struct Checked {
    /// Normalised.
    pub(super) email: String,
    /// Without spaces around it.
    pub(super) full_name: Option<String>,
}

/// Whether this may be the address, the password and the name of an account.
pub(super) fn checked(
    email: &str,
    password: &SecretString,
    full_name: Option<&str>,
) -> Result<Checked, AuthError> {
    let email = normalise_email(email)?;
    if !(MIN_PASSWORD_BYTES..=MAX_PASSWORD_BYTES).contains(&password.expose_secret().len()) {
        return Err(AuthError::WeakPassword);
    }
    let full_name = checked_name(full_name)?;
    if is_guessed_first(password.expose_secret(), Some(&email), full_name.as_deref()) {
        return Err(AuthError::CommonPassword);
    }
    Ok(Checked { email, full_name })
}

/// Somebody's name without spaces around it; none if nothing is left.
pub(crate) fn checked_name(full_name: Option<&str>) -> Result<Option<String>, AuthError> {
    let full_name = full_name.map(str::trim).filter(|name| !name.is_empty());
    if full_name
        .is_some_and(|name| name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control))
    {
        return Err(AuthError::BadName);
    }
    Ok(full_name.map(str::to_owned))
}
