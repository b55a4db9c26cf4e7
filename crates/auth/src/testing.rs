//! What the tests of this crate share: a clock that stands still and a service on a database in a folder of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use lattice_store::auth::AuthStore;
use lattice_store::spaces::NoSink;
use lattice_store::sqlite::{SqliteOptions, SqliteStore};
use lattice_store::time::{Clock, SystemRandom};

use crate::{AuthService, Keys, PasswordCost, Passwords};

/// Goes when it is told to.
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn new(now_us: i64) -> Self {
        Self(AtomicI64::new(now_us))
    }

    pub(crate) fn forward_s(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now_us(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A service with its clock and its store.
pub(crate) struct Bench {
    pub(crate) auth: AuthService,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) store: Arc<dyn AuthStore>,
    pub(crate) _folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(TestClock::new(1_800_000_000_000_000));
        let random = Arc::new(SystemRandom);
        let path = folder.path().join("lattice.db");
        let store = SqliteStore::open(
            &path,
            SqliteOptions::default(),
            Arc::new(NoSink),
            clock.clone(),
            random.clone(),
        )
        .expect("a new database");
        let store: Arc<dyn AuthStore> = Arc::new(store);
        let keys = Keys::load_or_create(folder.path(), &SystemRandom).expect("keys");
        let passwords = Passwords::new(cheap()).expect("allowed");
        let auth = AuthService::new(store.clone(), keys, passwords, clock.clone(), random);
        Self { auth, clock, store, _folder: folder }
    }

    /// With another service on the same store.
    pub(crate) fn with(self, change: impl FnOnce(AuthService) -> AuthService) -> Self {
        Self { auth: change(self.auth), ..self }
    }
}

/// A cost that tests can pay.
pub(crate) fn cheap() -> PasswordCost {
    PasswordCost { memory_kib: 8, passes: 1, lanes: 1 }
}

/// A key of a provider's, Ed25519.
pub(crate) fn signing_key() -> jsonwebtoken::EncodingKey {
    crate::install_crypto_provider();
    // PKCS #8 around a seed (RFC 8410, section 7).
    let mut der =
        vec![0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    der.extend([7; 32]);
    jsonwebtoken::EncodingKey::from_ed_der(&der)
}
