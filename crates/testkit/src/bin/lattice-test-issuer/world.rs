//! What the provider knows, and what tests have told it to do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::keys::Key;
use crate::token::Token;

/// How the key set is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeySet {
    /// As it is.
    Good,
    /// 500.
    Fails,
    /// Never.
    Hangs,
    /// 200, and no JSON.
    Garbage,
    /// The key set, and as much space behind it as nobody should read.
    Huge,
    /// 302, to an address that has the key set.
    Redirects,
}

/// A relying party.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) secret: Option<String>,
    #[serde(default)]
    pub(crate) redirect_uris: Vec<String>,
    /// The `iss` of client secrets that are JWTs (Apple calls it the team); they are signed by [`World::client_key`].
    #[serde(default)]
    pub(crate) team: Option<String>,
}

/// What an authorization code stands for.
pub(crate) struct Grant {
    pub(crate) client: String,
    pub(crate) redirect_uri: String,
    pub(crate) challenge: String,
    pub(crate) nonce: Option<String>,
}

pub(crate) struct World {
    pub(crate) url: String,
    /// The last that was published signs.
    pub(crate) keys: Vec<Key>,
    pub(crate) made_keys: usize,
    pub(crate) key_set: KeySet,
    pub(crate) key_set_headers: BTreeMap<String, String>,
    /// Keys that stand in the key set as they are, whatever they are.
    pub(crate) extra_keys: Vec<Value>,
    /// Replaces members of the discovery document; null removes one.
    pub(crate) discovery: Map<String, Value>,
    pub(crate) client: Client,
    pub(crate) client_key: Option<Key>,
    /// Claims of the user who approves everything.
    pub(crate) user: Map<String, Value>,
    /// Sent with the code, beside `state`: Apple's `user`.
    pub(crate) response: Map<String, Value>,
    /// How ID tokens of the token endpoint are bent.
    pub(crate) bent: Token,
    pub(crate) codes: BTreeMap<String, Grant>,
    pub(crate) access_tokens: Vec<String>,
    pub(crate) requests: BTreeMap<String, u64>,
}

/// Clones are cheap.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub(crate) fn new(url: String) -> Self {
        let user = json!({
            "sub": "user-1", "email": "ann@example.com", "email_verified": true, "name": "Ann Example"
        });
        let mut world = World {
            url,
            keys: Vec::new(),
            made_keys: 0,
            key_set: KeySet::Good,
            key_set_headers: BTreeMap::new(),
            extra_keys: Vec::new(),
            discovery: Map::new(),
            client: Client {
                id: "lattice-test".to_owned(),
                secret: Some("test-client-secret".to_owned()),
                redirect_uris: Vec::new(),
                team: None,
            },
            client_key: None,
            user: user.as_object().cloned().unwrap_or_default(),
            response: Map::new(),
            bent: Token::default(),
            codes: BTreeMap::new(),
            access_tokens: Vec::new(),
            requests: BTreeMap::new(),
        };
        world.add_key(Algorithm::RS256).expect("a key");
        Self(Arc::new(Mutex::new(world)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Counts a request.
    pub(crate) fn count(&self, endpoint: &str) {
        *self.lock().requests.entry(endpoint.to_owned()).or_default() += 1;
    }
}

impl World {
    /// Makes a key that signs from now on, and says its name.
    pub(crate) fn add_key(&mut self, algorithm: Algorithm) -> Result<String, String> {
        self.made_keys += 1;
        let kid = format!("key-{}", self.made_keys);
        self.keys.push(Key::generate(&kid, algorithm)?);
        Ok(kid)
    }

    /// The key of that name, or the one that signs.
    pub(crate) fn key(&self, kid: Option<&str>) -> Result<&Key, String> {
        let found = match kid {
            Some(kid) => self.keys.iter().find(|key| key.kid == kid),
            None => self.keys.iter().rfind(|key| key.published),
        };
        found.ok_or_else(|| format!("no key {}", kid.unwrap_or("that signs")))
    }
}

/// Something that nobody guesses.
pub(crate) fn random_text() -> String {
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random).expect("randomness");
    hex::encode(random)
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a process of its own has the clock of the machine")]
pub(crate) fn now_s() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Puts members over others; null takes one away.
pub(crate) fn bend(target: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (name, value) in over {
        if value.is_null() {
            target.remove(name);
        } else {
            target.insert(name.clone(), value.clone());
        }
    }
}
