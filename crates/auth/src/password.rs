//! Passwords: Argon2id (RFC 9106), off the async threads, a bounded number at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{self, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use crate::{AuthError, legacy};

/// Shortest password, in bytes of UTF-8 (NIST SP 800-63B, section 5.1.1.2).
pub const MIN_PASSWORD_BYTES: usize = 8;
/// Longest password, in bytes of UTF-8: hashing costs memory and time anyhow, reading should not.
pub const MAX_PASSWORD_BYTES: usize = 1_024;
/// Hashes computed at the same time: each takes its 19 MiB and a core.
pub const MAX_CONCURRENT_HASHES: usize = 2;
/// Hashes that may wait for a permit; whoever comes later is told to come again.
pub const MAX_WAITING_HASHES: usize = 64;

const SALT_BYTES: usize = 16;
const OUTPUT_BYTES: usize = 32;

/// What one hash costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PasswordCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for PasswordCost {
    /// OWASP's recommendation (Password Storage Cheat Sheet): 19 MiB, two passes, one lane.
    fn default() -> Self {
        Self { memory_kib: 19_456, passes: 2, lanes: 1 }
    }
}

/// Hashes and verifies passwords.
#[derive(Debug)]
pub struct Passwords {
    params: Params,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    hashes_computed: AtomicU64,
    /// What a password is verified against when there is no account: the same work, never right.
    dummy: String,
}

/// What a password is to a hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Wrong,
    Right,
    /// Right, but hashed at another cost than is asked for today.
    RightButOutdated,
}

impl Passwords {
    /// Hashes at this cost from now on. Older hashes verify at the cost they were made with.
    ///
    /// # Errors
    /// [`AuthError::Internal`] when Argon2 does not allow such a cost.
    pub fn new(cost: PasswordCost) -> Result<Self, AuthError> {
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(OUTPUT_BYTES))
            .map_err(|_| AuthError::Internal("Argon2 does not allow this cost of passwords"))?;
        let PasswordCost { memory_kib, passes, lanes } = cost;
        // Nobody knows a password whose hash is 32 zero bytes, and none needs to be hashed to write this.
        let (salt, output) =
            (STANDARD_NO_PAD.encode([0; SALT_BYTES]), STANDARD_NO_PAD.encode([0; OUTPUT_BYTES]));
        Ok(Self {
            params,
            permits: Arc::new(Semaphore::new(MAX_CONCURRENT_HASHES)),
            waiting: AtomicUsize::new(0),
            hashes_computed: AtomicU64::new(0),
            dummy: format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${output}"),
        })
    }

    /// How many hashes were computed so far. Two calls that must not be told apart compute equally many.
    #[must_use]
    pub fn hashes_computed(&self) -> u64 {
        self.hashes_computed.load(Ordering::Relaxed)
    }

    /// The PHC string of a password.
    pub(crate) async fn hash(
        &self,
        password: SecretString,
        salt: [u8; SALT_BYTES],
    ) -> Result<String, AuthError> {
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone());
        let hash = self
            .run(move || {
                let hash: password_hash::Result<PasswordHash> =
                    argon2.hash_password_with_salt(password.expose_secret().as_bytes(), &salt);
                hash.map(|hash| hash.to_string())
            })
            .await?;
        hash.map_err(|_| AuthError::Internal("a password could not be hashed"))
    }

    /// Compares a password with the hash of an account, or does the same work when there is none.
    pub(crate) async fn verify(
        &self,
        password: SecretString,
        hash: Option<&str>,
    ) -> Result<Verdict, AuthError> {
        self.verify_alike(password, hash, None).await
    }

    /// The same, and as much work whether the hash is one of Argon2id's, one of bcrypt's or none. Of bcrypt's the greatest cost
    /// that any account has is `bcrypt_cost`.
    pub(crate) async fn verify_alike(
        &self,
        password: SecretString,
        hash: Option<&str>,
        bcrypt_cost: Option<u32>,
    ) -> Result<Verdict, AuthError> {
        let (hash, dummy) = (hash.map(str::to_owned), self.dummy.clone());
        let params = self.params.clone();
        let verdict = self
            .run(move || {
                let password = password.expose_secret().as_bytes();
                let legacy = hash.as_deref().filter(|hash| legacy::is_legacy(hash));
                let own = hash.as_deref().filter(|_| legacy.is_none());
                let imported = legacy.map(|hash| verify_legacy(password, hash));
                if let Some(cost) = bcrypt_cost {
                    legacy::catch_up(password, legacy.and_then(|hash| legacy::cost(hash).ok()), cost);
                }
                let verdict = verify_own(password, own.unwrap_or(&dummy), &params);
                imported.map_or(verdict, Ok)
            })
            .await?;
        verdict.map_err(|_| AuthError::Internal("a stored password hash cannot be read"))
    }

    /// Runs one hash as soon as there is a permit.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AuthError> {
        let Some(_slot) = QueueSlot::enter(&self.waiting) else {
            return Err(AuthError::Busy);
        };
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|_| AuthError::Internal("the password workers are gone"))?;
        self.hashes_computed.fetch_add(1, Ordering::Relaxed);
        // The permit goes with the work: a caller who gives up does not make room for a third hash.
        let work = move || {
            let _permit = permit;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| AuthError::Internal("hashing a password failed"))
    }
}

/// Compares a password with a PHC string.
fn verify_own(password: &[u8], hash: &str, params: &Params) -> Result<Verdict, password_hash::Error> {
    let hash = PasswordHash::new(hash)?;
    match Argon2::default().verify_password(password, &hash) {
        Ok(()) if is_current(&hash, params) => Ok(Verdict::Right),
        Ok(()) => Ok(Verdict::RightButOutdated),
        Err(password_hash::Error::PasswordInvalid) => Ok(Verdict::Wrong),
        Err(error) => Err(error),
    }
}

/// Compares a password with an imported hash. One that cannot be taken is nobody's password: its owner sets a new one.
fn verify_legacy(password: &[u8], hash: &str) -> Verdict {
    match legacy::verify(password, hash) {
        Ok(true) => Verdict::RightButOutdated,
        Ok(false) => Verdict::Wrong,
        Err(error) => {
            tracing::warn!(%error, "an account has a bcrypt hash that is not verified; its owner has to reset the password");
            Verdict::Wrong
        }
    }
}

fn is_current(hash: &PasswordHash, params: &Params) -> bool {
    hash.algorithm == argon2::ARGON2ID_IDENT
        && Params::try_from(hash).is_ok_and(|made_with| {
            (made_with.m_cost(), made_with.t_cost(), made_with.p_cost())
                == (params.m_cost(), params.t_cost(), params.p_cost())
        })
}

/// A slot among the hashes that wait or are computed.
struct QueueSlot<'a>(&'a AtomicUsize);

impl<'a> QueueSlot<'a> {
    fn enter(count: &'a AtomicUsize) -> Option<Self> {
        let limit = MAX_CONCURRENT_HASHES + MAX_WAITING_HASHES;
        let more = |waiting| (waiting < limit).then_some(waiting + 1);
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Self(count))
    }
}

impl Drop for QueueSlot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: PasswordCost = PasswordCost { memory_kib: 8, passes: 1, lanes: 1 };

    #[tokio::test]
    async fn only_the_right_password_is_right() {
        let passwords = Passwords::new(CHEAP).expect("allowed");
        let hash = passwords.hash("correct horse".into(), [1; 16]).await.expect("hashed");
        assert!(hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{hash}");
        assert_eq!(passwords.verify("correct horse".into(), Some(&hash)).await, Ok(Verdict::Right));
        assert_eq!(passwords.verify("correct horse ".into(), Some(&hash)).await, Ok(Verdict::Wrong));
        assert_eq!(passwords.verify("".into(), Some(&hash)).await, Ok(Verdict::Wrong));
        let salted = passwords.hash("correct horse".into(), [2; 16]).await.expect("hashed");
        assert_ne!(hash, salted);
    }

    #[tokio::test]
    async fn without_an_account_the_work_is_the_same() {
        let passwords = Passwords::new(CHEAP).expect("allowed");
        assert_eq!(passwords.verify("correct horse".into(), None).await, Ok(Verdict::Wrong));
        assert_eq!(passwords.hashes_computed(), 1);
        let dummy = PasswordHash::new(&passwords.dummy).expect("a PHC string");
        assert!(is_current(&dummy, &passwords.params), "at the same cost");
        let real = passwords.hash("x".into(), [1; 16]).await.expect("hashed");
        assert_eq!(passwords.dummy.len(), real.len());
    }

    #[tokio::test]
    async fn the_default_cost_is_owasp_s() {
        let passwords = Passwords::new(PasswordCost::default()).expect("allowed");
        assert!(passwords.dummy.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        let hash = passwords.hash("correct horse".into(), [1; 16]).await.expect("hashed");
        assert_eq!(passwords.verify("correct horse".into(), Some(&hash)).await, Ok(Verdict::Right));
    }

    #[tokio::test]
    async fn a_hash_of_another_cost_is_outdated() {
        let old = Passwords::new(CHEAP).expect("allowed");
        let hash = old.hash("correct horse".into(), [1; 16]).await.expect("hashed");
        let new = Passwords::new(PasswordCost { passes: 2, ..CHEAP }).expect("allowed");
        assert_eq!(new.verify("correct horse".into(), Some(&hash)).await, Ok(Verdict::RightButOutdated));
        assert_eq!(new.verify("wrong horse".into(), Some(&hash)).await, Ok(Verdict::Wrong));
        assert_eq!(
            new.verify("x".into(), Some("plain")).await.map_err(|error| error.code()),
            Err("internal")
        );
    }

    /// `correct horse`, at the least cost.
    fn imported() -> String {
        bcrypt::hash_with_salt("correct horse", 4, [1; 16]).expect("hashed").to_string()
    }

    #[tokio::test]
    async fn an_imported_hash_is_right_but_outdated() {
        let passwords = Passwords::new(CHEAP).expect("allowed");
        let hash = imported();
        for cost in [None, Some(4), Some(6)] {
            let verify = |password: &str, hash: &str| {
                let (password, hash) = (SecretString::from(password), hash.to_owned());
                let passwords = &passwords;
                async move { passwords.verify_alike(password, Some(&hash), cost).await }
            };
            assert_eq!(verify("correct horse", &hash).await, Ok(Verdict::RightButOutdated));
            assert_eq!(verify("wrong horse", &hash).await, Ok(Verdict::Wrong));
            let absurd = hash.replacen("$04$", "$31$", 1);
            assert_eq!(verify("correct horse", &absurd).await, Ok(Verdict::Wrong), "and not in an hour");
            let own = passwords.hash("correct horse".into(), [1; 16]).await.expect("hashed");
            assert_eq!(verify("correct horse", &own).await, Ok(Verdict::Right));
        }
        assert_eq!(passwords.verify_alike("x".into(), None, Some(4)).await, Ok(Verdict::Wrong));
    }

    #[tokio::test]
    async fn the_queue_has_an_end() {
        let passwords = Passwords::new(CHEAP).expect("allowed");
        let permits: Vec<_> = (0..MAX_CONCURRENT_HASHES + MAX_WAITING_HASHES)
            .map(|_| QueueSlot::enter(&passwords.waiting).expect("room"))
            .collect();
        assert_eq!(passwords.verify("x".into(), None).await, Err(AuthError::Busy));
        drop(permits);
        assert_eq!(passwords.verify("x".into(), None).await, Ok(Verdict::Wrong));
        assert_eq!(passwords.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn an_impossible_cost_is_refused() {
        assert!(Passwords::new(PasswordCost { memory_kib: 1, passes: 0, lanes: 0 }).is_err());
    }
}
