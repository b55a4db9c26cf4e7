//! Which identities sign in to which account, and how that changes.

use lattice_store::StoreError;
use lattice_store::accounts::{IdentityId, User, UserId};
use lattice_store::identities::{Link, LinkedIdentity, Removal};
use lattice_store::time::random_id;
use url::Url;

use super::providers::{Proof, Proven};
use super::{AuthService, Client, Identity};
use crate::AuthError;
use crate::audit::{Event, Kind, REFUSAL_INTERVAL_S};
use crate::mailer::{Letter, LetterContent};

/// Most identities of one user.
pub const MAX_IDENTITIES: u32 = 20;
/// How often the first sign-in of an identity is tried again when others are first as well.
const MAX_RACES: usize = 4;

/// An identity as its owner sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownIdentity {
    /// The identity.
    pub identity: LinkedIdentity,
    /// What the provider is called here; the host of its issuer where it is none of this server's any more.
    pub provider: String,
}

impl AuthService {
    /// The account that an identity signs in to; made when there is none. Nobody comes into an account that is there already because
    /// a provider says that they have its address: that account may be somebody else's who was there first.
    pub(super) async fn user_of(&self, proven: &Proven, client: &Client) -> Result<User, AuthError> {
        let (vouched, now_us) = (&proven.vouched, self.clock.now_us());
        for _ in 0..MAX_RACES {
            if let Some(identity) = self.store.identity(&vouched.issuer, &vouched.subject).await? {
                match self.store.user_by_id(identity.user).await? {
                    Some(user) => return Ok(user),
                    // Deleted this very moment.
                    None => continue,
                }
            }
            if let Some(email) = &vouched.email
                && self.store.user_by_email(email).await?.is_some()
            {
                // It may be this very identity's, made since by somebody who came with it at the same time.
                if self.store.identity(&vouched.issuer, &vouched.subject).await?.is_some() {
                    continue;
                }
                return Err(AuthError::AccountExists);
            }
            let user = User {
                id: UserId(random_id(&*self.random)),
                email: vouched.email.clone(),
                email_verified_us: vouched.email.as_ref().map(|_| now_us),
                full_name: vouched.name.clone(),
                password_hash: None,
                created_us: now_us,
            };
            let identity = self.linked(proven, user.id);
            match self.store.create_user_by_identity(user.clone(), identity).await {
                Ok(()) => {
                    let event = Event::new(Kind::SignUp).client(client).actor(user.id);
                    self.audit.record(event.detail("method", proven.provider.as_str()));
                    return Ok(user);
                }
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(AuthError::Busy)
    }

    /// Lets an identity sign in to the account of whoever shows both: a session that is fresh, and the proof. The provider must vouch
    /// for an address of theirs as well.
    ///
    /// # Errors
    /// [`AuthError::SessionNotFresh`], why the proof is not good, [`AuthError::IdentityEmailUnverified`], [`AuthError::IdentityTaken`],
    /// [`AuthError::TooManyIdentities`], [`AuthError::SessionRevoked`], or the store's.
    pub async fn link_identity(&self, identity: &Identity, proof: Proof) -> Result<KnownIdentity, AuthError> {
        self.require_may_add(identity).await?;
        let refused = |error| self.proof_refused(error, &Client::default());
        let proven = self.prove(proof).await.map_err(refused)?;
        if proven.vouched.email.is_none() {
            return Err(AuthError::IdentityEmailUnverified);
        }
        let linked = self.linked(&proven, identity.user);
        match self.store.link_identity(linked.clone(), MAX_IDENTITIES).await? {
            Link::Made => {
                let event = Event::new(Kind::IdentityLinked).actor(identity.user).session(identity.session);
                self.audit.record(event.detail("provider", proven.provider.as_str()));
                self.tell_of_new_way_in(identity.user).await;
            }
            Link::Known => {}
            Link::Taken => return Err(AuthError::IdentityTaken),
            Link::TooMany => return Err(AuthError::TooManyIdentities),
            Link::NoUser => return Err(AuthError::SessionRevoked),
        }
        // It has done what it was for; one who does the same at the same time has done no more.
        let _ = self.use_up(&proven).await;
        let found = self.store.identity(&linked.issuer, &linked.subject).await?;
        let identity = found.ok_or(AuthError::SessionRevoked)?;
        Ok(KnownIdentity { identity, provider: proven.provider })
    }

    /// The identities of a user.
    ///
    /// # Errors
    /// The store's.
    pub async fn identities(&self, user: UserId) -> Result<Vec<KnownIdentity>, AuthError> {
        let identities = self.store.identities(user, MAX_IDENTITIES).await?;
        let known = |identity: LinkedIdentity| {
            let provider = self.name_of(&identity.issuer);
            KnownIdentity { identity, provider }
        };
        Ok(identities.into_iter().map(known).collect())
    }

    /// Lets an identity sign in no more, unless nothing else leads to the account.
    ///
    /// # Errors
    /// [`AuthError::SessionNotFresh`], [`AuthError::IdentityNotFound`], [`AuthError::LastWayIn`], or the store's.
    pub async fn unlink_identity(&self, identity: &Identity, id: IdentityId) -> Result<(), AuthError> {
        self.require_fresh(identity).await?;
        match self.store.unlink_identity(identity.user, id).await? {
            Removal::Removed => {
                let event = Event::new(Kind::IdentityUnlinked).actor(identity.user).session(identity.session);
                self.audit.record(event);
                Ok(())
            }
            Removal::NotFound => Err(AuthError::IdentityNotFound),
            Removal::LastWayIn => Err(AuthError::LastWayIn),
        }
    }

    /// How a user may sign in, by name: `email` for a password, and the providers.
    ///
    /// # Errors
    /// The store's.
    pub async fn ways_in(&self, user: &User) -> Result<Vec<String>, AuthError> {
        let mut ways = Vec::new();
        if user.password_hash.is_some() {
            ways.push("email".to_owned());
        }
        for known in self.identities(user.id).await? {
            if !ways.contains(&known.provider) {
                ways.push(known.provider);
            }
        }
        Ok(ways)
    }

    /// Tells the owner of an account that there is another way into it.
    pub(super) async fn tell_of_new_way_in(&self, user: UserId) {
        self.tell(user, LetterContent::WayInAdded).await;
    }

    /// Tells the owner of an account what was done, where they can be told.
    pub(super) async fn tell(&self, user: UserId, content: LetterContent) {
        if !self.sends_mail() {
            return;
        }
        match self.store.user_by_id(user).await {
            Ok(found) => {
                if let Some(to) = found.and_then(|user| user.email) {
                    self.mailer.send(Letter { to, content });
                }
            }
            // What was done is done.
            Err(error) => tracing::warn!(%user, %error, "the owner of an account was not told of a change"),
        }
    }

    fn linked(&self, proven: &Proven, user: UserId) -> LinkedIdentity {
        LinkedIdentity {
            id: IdentityId(random_id(&*self.random)),
            user,
            issuer: proven.vouched.issuer.clone(),
            subject: proven.vouched.subject.clone(),
            email: proven.vouched.email.clone(),
            created_us: self.clock.now_us(),
        }
    }

    fn name_of(&self, issuer: &str) -> String {
        if let Some(provider) = self.providers.list.iter().find(|provider| provider.issuer() == issuer) {
            return provider.name().to_owned();
        }
        if self.external.as_ref().is_some_and(|external| external.name() == issuer) {
            return super::method::EXTERNAL.to_owned();
        }
        let host = Url::parse(issuer).ok().and_then(|url| url.host_str().map(str::to_owned));
        host.unwrap_or_else(|| issuer.to_owned())
    }

    /// Notes that somebody came with a proof that is not good.
    pub(super) fn proof_refused(&self, error: AuthError, client: &Client) -> AuthError {
        if error.is_refused_proof() {
            let event = Event::new(Kind::SignInFailed).client(client).code(error.code());
            self.audit.record(event.at_most_every(REFUSAL_INTERVAL_S));
        }
        error
    }
}
