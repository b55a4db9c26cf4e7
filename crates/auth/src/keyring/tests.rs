use std::sync::atomic::{AtomicUsize, Ordering};

use lattice_store::accounts::UserId;
use lattice_store::time::{SystemRandom, random_id};
use secrecy::{ExposeSecret, SecretString};

use super::*;
use crate::testing::{Bench, TestClock};
use crate::{
    ACCESS_TOKEN_LIFE_S, CLOCK_LEEWAY_S, Claims, Client, FileKeys, ISSUER, KEY_ACTIVATION_DELAY_S, KeyState,
};

/// Counts how often the keys are read, and can be out of reach.
struct Counted {
    file: FileKeys,
    reads: AtomicUsize,
    out_of_reach: std::sync::atomic::AtomicBool,
}

impl KeyStore for Counted {
    fn read(&self) -> BoxFuture<'_, Result<StoredKeys, KeyError>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.out_of_reach.load(Ordering::SeqCst) {
            return Box::pin(async { Err(KeyError::Unreachable("a test".to_owned())) });
        }
        self.file.read()
    }

    fn replace(&self, expected: &StoredKeys, new: &StoredKeys) -> BoxFuture<'_, Result<bool, KeyError>> {
        self.file.replace(expected, new)
    }
}

/// Two instances on one key file.
struct Instances {
    clock: TestClock,
    store: Arc<Counted>,
    rings: [KeyRing; 2],
    folder: tempfile::TempDir,
}

impl Instances {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Keys::load_or_create(folder.path(), &SystemRandom).expect("keys");
        let file = FileKeys::new(folder.path(), Arc::new(SystemRandom));
        let store = Arc::new(Counted { file, reads: AtomicUsize::new(0), out_of_reach: false.into() });
        let open = || async { KeyRing::open(store.clone()).await.expect("keys") };
        let rings = [open().await, open().await];
        Self { clock: TestClock::new(1_800_000_000_000_000), store, rings, folder }
    }

    async fn rotate(&self, rotation: Rotation) -> Rotated {
        rotate_keys(&*self.store, rotation, &self.clock, &SystemRandom).await.expect("rotated")
    }

    fn sign(&self, at: usize) -> SecretString {
        let iat = self.clock.now_us() / 1_000_000;
        let claims = Claims {
            sub: "u".to_owned(),
            sid: "s".to_owned(),
            iat,
            exp: iat + ACCESS_TOKEN_LIFE_S,
            iss: ISSUER.to_owned(),
            aud: crate::AUDIENCE.to_owned(),
            permissions: crate::Permissions::ALL,
        };
        self.rings[at].current().sign(&claims).expect("signed")
    }

    async fn takes(&self, at: usize, token: &SecretString) -> bool {
        self.rings[at].verify(token.expose_secret(), self.clock.now_us()).await.is_ok()
    }
}

fn kid_of(token: &SecretString) -> String {
    jsonwebtoken::decode_header(token.expose_secret()).expect("a header").kid.expect("a kid")
}

#[tokio::test]
async fn a_rotation_voids_no_token_and_every_instance_follows_it() {
    let instances = Instances::start().await;
    let old = instances.sign(0);
    let rotated = instances.rotate(Rotation::Announced).await;
    for ring in &instances.rings {
        assert!(ring.pick_up().await.expect("read"));
        assert!(!ring.pick_up().await.expect("read"), "only once");
    }
    // Published, and not used yet.
    assert_eq!(kid_of(&instances.sign(0)), kid_of(&old));
    instances.clock.forward_s(KEY_ACTIVATION_DELAY_S - 1);
    let last = instances.sign(0);
    assert_eq!(kid_of(&last), kid_of(&old));
    instances.clock.forward_s(1);
    let new = instances.sign(0);
    assert_eq!(kid_of(&new), rotated.kid);
    // The last token of the old key is good as long as any other.
    instances.clock.forward_s(ACCESS_TOKEN_LIFE_S + CLOCK_LEEWAY_S - 2);
    for at in 0..2 {
        assert!(instances.takes(at, &last).await && instances.takes(at, &new).await);
    }
    instances.clock.forward_s(1);
    assert!(!instances.takes(0, &last).await, "expired");
    // Long after, the old key is not even named.
    instances.clock.forward_s(3_600);
    let jwks = instances.rings[0].current().jwks(instances.clock.now_us() / 1_000_000);
    assert_eq!(jwks["keys"].as_array().map(Vec::len), Some(1));
    assert_eq!(instances.rotate(Rotation::Announced).await.dropped, 1);
}

#[tokio::test]
async fn a_token_of_an_instance_that_was_quicker_is_taken() {
    let instances = Instances::start().await;
    instances.rotate(Rotation::Immediate).await;
    assert!(instances.rings[0].pick_up().await.expect("read"));
    let token = instances.sign(0);
    let reads = || instances.store.reads.load(Ordering::SeqCst);
    let before = reads();
    assert!(instances.takes(1, &token).await);
    assert!(instances.takes(1, &token).await);
    assert_eq!(reads() - before, 1, "read once, known from then on");
}

#[tokio::test]
async fn made_up_keys_are_looked_for_once_a_second() {
    let instances = Instances::start().await;
    let foreign = Instances::start().await;
    let made_up = foreign.sign(0);
    let reads = || instances.store.reads.load(Ordering::SeqCst);
    let before = reads();
    let tries = (0..50).map(|_| instances.takes(1, &made_up));
    for taken in futures(tries).await {
        assert!(!taken);
    }
    assert_eq!(reads() - before, 1);
    instances.clock.forward_s(1);
    assert!(!instances.takes(1, &made_up).await);
    assert_eq!(reads() - before, 2);
    // What is no token at all, or of a key of ours and forged, is no reason to look.
    instances.clock.forward_s(1);
    let own = instances.sign(1);
    let forged = SecretString::from(format!("{}A", own.expose_secret()));
    assert!(!instances.takes(1, &forged).await && !instances.takes(1, &"nonsense".into()).await);
    assert_eq!(reads() - before, 2);
    // A store that does not answer refuses what it does not know, and nothing else.
    instances.store.out_of_reach.store(true, Ordering::SeqCst);
    assert!(!instances.takes(1, &made_up).await && instances.takes(1, &own).await);
    assert!(instances.rings[1].pick_up().await.is_err());
}

/// Runs all of them at once.
async fn futures<F: Future<Output = bool>>(tries: impl Iterator<Item = F>) -> Vec<bool> {
    let mut tries: Vec<_> = tries.map(Box::pin).collect();
    let mut taken = vec![None; tries.len()];
    std::future::poll_fn(|cx| {
        for (at, attempt) in tries.iter_mut().enumerate() {
            if taken[at].is_none()
                && let std::task::Poll::Ready(result) = attempt.as_mut().poll(cx)
            {
                taken[at] = Some(result);
            }
        }
        if taken.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    taken.into_iter().flatten().collect()
}

#[tokio::test]
async fn a_leaked_key_is_worth_nothing_once_it_is_revoked() {
    let instances = Instances::start().await;
    let leaked = instances.sign(0);
    assert_eq!(instances.rotate(Rotation::Revoking).await.dropped, 1);
    assert!(instances.takes(0, &leaked).await, "until it is picked up");
    instances.rings[0].pick_up().await.expect("read");
    assert!(!instances.takes(0, &leaked).await);
    let new = instances.sign(0);
    assert!(instances.takes(1, &new).await, "which a token of the new key is a reason for");
    assert!(!instances.takes(1, &leaked).await);
}

#[tokio::test]
async fn whoever_was_let_in_by_a_revoked_key_has_to_leave() {
    let bench = Bench::new();
    let client = Client::default;
    let signed_up = bench.auth.signup("ann@example.com", "correct horse".into(), None, client()).await;
    let tokens = signed_up.expect("an account");
    let identity = bench.auth.authenticate(&tokens.access).await.expect("good");
    assert!(bench.auth.recheck(&identity).await.is_ok());
    let other = Instances::start().await;
    let token = other.sign(0);
    let (_, key) = other.rings[0].verify(token.expose_secret(), other.clock.now_us()).await.expect("good");
    let foreign = crate::Identity { key: Some(key), ..identity };
    assert_eq!(bench.auth.recheck(&foreign).await, Err(AuthError::TokenInvalid));
    let device = crate::Identity { key: None, ..identity };
    assert!(bench.auth.recheck(&device).await.is_ok());
    assert!(UserId(random_id(&SystemRandom)) != identity.user);
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_at_the_same_time_lose_no_key() {
    let instances = Arc::new(Instances::start().await);
    let rotations: Vec<_> = (0..8)
        .map(|_| {
            let instances = Arc::clone(&instances);
            tokio::spawn(async move { instances.rotate(Rotation::Announced).await.kid })
        })
        .collect();
    let mut made = Vec::new();
    for rotation in rotations {
        made.push(rotation.await.expect("rotated"));
    }
    instances.rings[0].pick_up().await.expect("read");
    let held = instances.rings[0].current().list(0);
    assert_eq!(held.len(), 9);
    assert!(made.iter().all(|kid| held.iter().any(|info| info.kid == *kid)));
    assert!(matches!(held[8].state, KeyState::Signs));
    // Nothing is left behind, and nobody else may read what is there.
    for entry in std::fs::read_dir(instances.folder.path()).expect("a folder") {
        let entry = entry.expect("a file");
        let name = entry.file_name().into_string().expect("a name");
        assert!(["keys.json", "keys.json.lock"].contains(&&*name), "{name}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(entry.metadata().expect("a file").permissions().mode() & 0o777, 0o600, "{name}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_read_changes_nothing() {
    let instances = Instances::start().await;
    let token = instances.sign(0);
    let path = instances.folder.path().join("keys.json");
    let good = std::fs::read(&path).expect("a file");
    for damaged in [&b"{\"version\":2,\"ke"[..], b""] {
        std::fs::write(&path, damaged).expect("written");
        assert!(instances.rings[0].pick_up().await.is_err());
        assert!(instances.takes(0, &token).await);
    }
    std::fs::remove_file(&path).expect("removed");
    assert!(instances.rings[0].pick_up().await.is_err());
    std::fs::write(&path, good).expect("written");
    assert!(!instances.rings[0].pick_up().await.expect("read"));
}

#[tokio::test]
async fn keys_of_the_settings_are_not_looked_for() {
    let ring = KeyRing::from(Keys::from_secrets(&"a".repeat(32).into(), None).expect("keys"));
    assert!(!ring.pick_up().await.expect("nothing to do"));
    let foreign = Instances::start().await;
    let made_up = foreign.sign(0);
    let refused = ring.verify(made_up.expose_secret(), foreign.clock.now_us()).await;
    assert!(matches!(refused, Err(AuthError::TokenInvalid)));
}
