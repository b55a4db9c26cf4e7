//! The keys while the server runs: they are replaced when those that are stored have changed, without a restart.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use lattice_store::BoxFuture;
use lattice_store::time::{Clock, Random};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::keys::{Claims, KeyTag, StoredKeys, Unverified, plan};
use crate::{AuthError, KeyError, Keys, Rotated, Rotation};

/// How often keys are looked for because of a token that names one that is not known, in microseconds at least: anybody
/// can send such tokens.
const UNKNOWN_KEY_PAUSE_US: i64 = 1_000_000;
/// How often a rotation begins anew because another one was quicker.
const MAX_ROTATION_TRIES: usize = 20;

/// Where generated keys are kept.
pub trait KeyStore: Send + Sync {
    /// What is stored.
    fn read(&self) -> BoxFuture<'_, Result<StoredKeys, KeyError>>;

    /// Replaces what is stored, if that is `expected`, and says whether it was: of several that do so at once one does.
    fn replace(&self, expected: &StoredKeys, new: &StoredKeys) -> BoxFuture<'_, Result<bool, KeyError>>;
}

/// Adds a key to those that are stored.
///
/// # Errors
/// When they cannot be read, written or understood, are too many, or others do the same all the time.
pub async fn rotate_keys(
    store: &dyn KeyStore,
    rotation: Rotation,
    clock: &dyn Clock,
    random: &dyn Random,
) -> Result<Rotated, KeyError> {
    for _ in 0..MAX_ROTATION_TRIES {
        let held = store.read().await?;
        let now_s = clock.now_us().div_euclid(1_000_000);
        let (new, rotated) = plan(&held, rotation, now_s, random)?;
        // Where an answer was lost and the call was made again, what is there is what was to be put there.
        if store.replace(&held, &new).await? || store.read().await? == new {
            return Ok(rotated);
        }
    }
    Err(KeyError::Contended)
}

/// The keys that are in use.
pub struct KeyRing {
    keys: RwLock<Arc<Keys>>,
    /// Where they come from; `None`: from the settings, for good.
    store: Option<Arc<dyn KeyStore>>,
    /// Held by whoever reads them anew.
    look: Mutex<Look>,
}

#[derive(Default)]
struct Look {
    /// What the keys in use were made of.
    digest: Option<[u8; 32]>,
    /// When an unknown key was last looked for, in microseconds since 1970.
    searched_us: Option<i64>,
    /// They have changed since [`KeyRing::pick_up`] said so last.
    changed: bool,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.current().fmt(f)
    }
}

impl From<Keys> for KeyRing {
    /// Keys that stay as they are.
    fn from(keys: Keys) -> Self {
        Self { keys: RwLock::new(Arc::new(keys)), store: None, look: Mutex::default() }
    }
}

impl KeyRing {
    /// The keys of a store.
    ///
    /// # Errors
    /// When they cannot be read or understood.
    pub async fn open(store: Arc<dyn KeyStore>) -> Result<Self, KeyError> {
        let held = store.read().await?;
        let look = Look { digest: Some(Sha256::digest(&held).into()), ..Look::default() };
        let keys = RwLock::new(Arc::new(Keys::from_stored(&held)?));
        Ok(Self { keys, store: Some(store), look: Mutex::new(look) })
    }

    /// The keys as they are now.
    #[must_use]
    pub fn current(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads what is stored, and says whether it has changed since this was called last. To be called every
    /// [`KEY_PICKUP_INTERVAL_S`](crate::KEY_PICKUP_INTERVAL_S).
    ///
    /// # Errors
    /// When it cannot be read or understood: the keys in use stay.
    pub async fn pick_up(&self) -> Result<bool, KeyError> {
        let mut look = self.look.lock().await;
        self.read_again(&mut look).await?;
        Ok(std::mem::take(&mut look.changed))
    }

    /// Verifies an access token. One of a key that is not known is a reason to look for that key at once: another instance
    /// may have been quicker to learn of it.
    pub(crate) async fn verify(&self, token: &str, now_us: i64) -> Result<(Claims, KeyTag), AuthError> {
        match self.current().examine(token, now_us) {
            Err(Unverified::UnknownKey) if self.store.is_some() => {}
            result => return Ok(result?),
        }
        let mut look = self.look.lock().await;
        // Whoever waited finds what the one before has read.
        match self.current().examine(token, now_us) {
            Err(Unverified::UnknownKey) => {}
            result => return Ok(result?),
        }
        let since = look.searched_us.map(|last_us| now_us - last_us);
        if since.is_some_and(|since_us| (0..UNKNOWN_KEY_PAUSE_US).contains(&since_us)) {
            return Err(AuthError::TokenInvalid);
        }
        look.searched_us = Some(now_us);
        match self.read_again(&mut look).await {
            Ok(true) => Ok(self.current().examine(token, now_us)?),
            Ok(false) => Err(AuthError::TokenInvalid),
            Err(error) => {
                tracing::warn!(%error, "a token names a key that is not known, and keys cannot be read");
                Err(AuthError::TokenInvalid)
            }
        }
    }

    async fn read_again(&self, look: &mut Look) -> Result<bool, KeyError> {
        let Some(store) = &self.store else { return Ok(false) };
        let held = store.read().await?;
        let digest = Some(Sha256::digest(&held).into());
        if digest == look.digest {
            return Ok(false);
        }
        let keys = Keys::from_stored(&held)?;
        tracing::info!(keys = keys.len(), "the keys that sign tokens have changed");
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        (look.digest, look.changed) = (digest, true);
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
