//! Keys of one issuer, kept for as long as they are good.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lattice_store::time::Clock;
use openidconnect::http::HeaderMap;
use serde_json::{Map, Value};
use tokio::sync::watch;
use url::Url;

use super::discovery;
use super::fetch::HttpFetch;
use super::freshness::fresh_for_s;
use super::key_set::{KeySet, read_header};
use crate::AuthError;

/// For how long keys are used that are no longer fresh, while the issuer cannot be reached, in seconds. After that its tokens are
/// refused: a key that was withdrawn for a reason must not be trusted because somebody keeps the news away.
pub const MAX_STALE_S: i64 = 24 * 3_600;
/// Shortest time between two looks for keys that nobody knows, in seconds: whoever invents names cannot make us ask for each.
pub const UNKNOWN_KEY_PAUSE_S: i64 = 30;
/// How long an issuer that has failed is left alone, in seconds.
pub const FAILURE_PAUSE_S: i64 = 5;
/// After how much of their time keys are fetched anew, in the background, in percent: nobody waits for it.
pub const REFRESH_AHEAD_PERCENT: i64 = 80;

const SECOND_US: i64 = 1_000_000;
/// How far a clock may step back before its word on freshness is no longer taken.
const MAX_STEP_BACK_US: i64 = 60 * SECOND_US;

/// Where the keys of an issuer are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum JwksSource {
    /// At this address.
    Url(Url),
    /// Where the issuer of this name says, in its discovery document. It must call itself by that very name.
    Issuer(String),
}

/// The keys of one issuer. They are fetched when they are first needed, anew when the cache headers of the answer say so, and once,
/// at most every [`UNKNOWN_KEY_PAUSE_S`], when a token names a key that is not among them. However many ask at once, the issuer is
/// asked once. Clones are cheap and share the keys.
#[derive(Clone)]
pub struct JwksCache(Arc<Inner>);

struct Inner {
    source: JwksSource,
    fetch: Arc<dyn HttpFetch>,
    clock: Arc<dyn Clock>,
    max_stale_us: i64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    /// Under way, or over; says whether it brought keys.
    flight: Option<watch::Receiver<Option<bool>>>,
    /// When the last failure was, unless keys came since.
    failed_us: Option<i64>,
    /// When an unknown key was last looked for.
    looked_us: Option<i64>,
}

#[derive(Clone)]
struct Held {
    keys: Arc<KeySet>,
    fetched_us: i64,
    ahead_us: i64,
    stale_us: i64,
}

impl Held {
    fn is_fresh(&self, now_us: i64) -> bool {
        (self.fetched_us - MAX_STEP_BACK_US..self.stale_us).contains(&now_us)
    }
}

impl State {
    /// Whether something happened less than so many seconds ago.
    fn is_recent(happened_us: Option<i64>, now_us: i64, pause_s: i64) -> bool {
        happened_us.is_some_and(|at_us| (at_us..at_us + pause_s * SECOND_US).contains(&now_us))
    }
}

impl JwksCache {
    /// A cache that holds nothing yet.
    #[must_use]
    pub fn new(source: JwksSource, fetch: Arc<dyn HttpFetch>, clock: Arc<dyn Clock>) -> Self {
        Self::with_max_stale(source, fetch, clock, MAX_STALE_S)
    }

    /// One that uses keys for another time than [`MAX_STALE_S`] after they were fresh, in seconds.
    #[must_use]
    pub fn with_max_stale(
        source: JwksSource,
        fetch: Arc<dyn HttpFetch>,
        clock: Arc<dyn Clock>,
        max_stale_s: i64,
    ) -> Self {
        let max_stale_us = max_stale_s.saturating_mul(SECOND_US);
        Self(Arc::new(Inner { source, fetch, clock, max_stale_us, state: Mutex::default() }))
    }

    /// The keys as they are now.
    ///
    /// # Errors
    /// [`AuthError::ProviderUnavailable`] when there are none, or none that may still be used.
    pub async fn keys(&self) -> Result<Arc<KeySet>, AuthError> {
        let now_us = self.0.clock.now_us();
        let flight = {
            let mut state = self.0.lock();
            let usable = state.held.clone().filter(|held| self.0.is_usable(held, now_us));
            match usable {
                Some(held) if held.is_fresh(now_us) => {
                    if now_us >= held.ahead_us {
                        self.start(&mut state, now_us);
                    }
                    return Ok(held.keys);
                }
                // An outage makes nobody wait but the first who notices it.
                Some(held) if state.failed_us.is_some() => {
                    self.start(&mut state, now_us);
                    return Ok(held.keys);
                }
                _ => self.start(&mut state, now_us),
            }
        };
        if let Some(flight) = flight {
            landed(flight).await;
        }
        self.0.held()
    }

    /// The keys, with the one that this token names, if its issuer has it at all. The token is not verified.
    ///
    /// # Errors
    /// [`AuthError::TokenInvalid`] when the issuer has no such key; [`AuthError::ProviderUnavailable`] when it cannot be asked.
    pub async fn keys_for(&self, token: &str) -> Result<Arc<KeySet>, AuthError> {
        let header = read_header(token)?;
        let kid = header.kid.as_deref();
        let mut keys = self.keys().await?;
        // Twice: what was under way already may have begun before the issuer had the key.
        for _ in 0..2 {
            if keys.knows(kid) {
                return Ok(keys);
            }
            if kid.is_none() {
                break;
            }
            let Some(flight) = self.look_for_unknown()? else { break };
            if !landed(flight).await {
                return Err(AuthError::ProviderUnavailable);
            }
            keys = self.0.held()?;
        }
        if keys.knows(kid) { Ok(keys) } else { Err(AuthError::TokenInvalid) }
    }

    /// Checks the signature of a token, and that alone, and gives its claims.
    ///
    /// # Errors
    /// Those of [`keys_for`](Self::keys_for).
    pub async fn verify_signature(&self, token: &str) -> Result<Map<String, Value>, AuthError> {
        self.keys_for(token).await?.verify_signature(token)
    }

    /// Asks the issuer whether it has new keys, unless that was done a moment ago.
    fn look_for_unknown(&self) -> Result<Option<watch::Receiver<Option<bool>>>, AuthError> {
        let now_us = self.0.clock.now_us();
        let mut state = self.0.lock();
        if let Some(flight) = state.flight.clone() {
            return Ok(Some(flight));
        }
        if State::is_recent(state.looked_us, now_us, UNKNOWN_KEY_PAUSE_S) {
            // Whether the issuer has the key is not known while it does not answer.
            return if state.failed_us.is_some() { Err(AuthError::ProviderUnavailable) } else { Ok(None) };
        }
        let flight = self.start(&mut state, now_us).ok_or(AuthError::ProviderUnavailable)?;
        state.looked_us = Some(now_us);
        Ok(Some(flight))
    }

    /// Asks the issuer, unless it is being asked or has just failed. It is a task of its own: whoever waits for it may leave.
    fn start(&self, state: &mut State, now_us: i64) -> Option<watch::Receiver<Option<bool>>> {
        if state.flight.is_some() {
            return state.flight.clone();
        }
        if State::is_recent(state.failed_us, now_us, FAILURE_PAUSE_S) {
            return None;
        }
        let (landing, flight) = watch::channel(None);
        state.flight = Some(flight.clone());
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            // Whatever happens in here, the next one may start.
            let over = Over(&inner);
            let fetched = inner.fetch().await;
            let succeeded = inner.keep(fetched);
            drop(over);
            // Nobody may be waiting any more.
            let _ = landing.send(Some(succeeded));
        });
        Some(flight)
    }
}

/// Ends a flight, also one that panics.
struct Over<'a>(&'a Inner);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.lock().flight = None;
    }
}

/// Waits for an answer, and says whether it had keys.
async fn landed(mut flight: watch::Receiver<Option<bool>>) -> bool {
    flight.wait_for(Option::is_some).await.is_ok_and(|landed| *landed == Some(true))
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_usable(&self, held: &Held, now_us: i64) -> bool {
        now_us < held.stale_us.saturating_add(self.max_stale_us)
    }

    fn held(&self) -> Result<Arc<KeySet>, AuthError> {
        let now_us = self.clock.now_us();
        let held = self.lock().held.clone().filter(|held| self.is_usable(held, now_us));
        held.map(|held| held.keys).ok_or(AuthError::ProviderUnavailable)
    }

    /// Takes in what came, and says whether it was keys.
    fn keep(&self, fetched: Result<(KeySet, HeaderMap), String>) -> bool {
        let now_us = self.clock.now_us();
        let mut state = self.lock();
        match fetched {
            Ok((keys, headers)) => {
                let fresh_us = fresh_for_s(&headers, now_us / SECOND_US) * SECOND_US;
                if state.failed_us.take().is_some() {
                    tracing::info!(source = %self.source.host(), "the issuer's keys can be fetched again");
                }
                state.held = Some(Held {
                    keys: Arc::new(keys),
                    fetched_us: now_us,
                    ahead_us: now_us + fresh_us / 100 * REFRESH_AHEAD_PERCENT,
                    stale_us: now_us + fresh_us,
                });
                true
            }
            Err(reason) => {
                // Once for an outage, not for each attempt.
                if state.failed_us.is_none() {
                    tracing::warn!(source = %self.source.host(), reason, "the issuer's keys cannot be fetched");
                }
                state.failed_us = Some(now_us);
                false
            }
        }
    }

    async fn fetch(&self) -> Result<(KeySet, HeaderMap), String> {
        let address = match &self.source {
            JwksSource::Url(url) => url.clone(),
            JwksSource::Issuer(issuer) => self.discover(issuer).await?,
        };
        let (body, headers) = discovery::get(&*self.fetch, &address).await?;
        let keys = KeySet::parse(&body).map_err(|error| error.to_string())?;
        Ok((keys, headers))
    }

    /// Where the issuer says that its keys are.
    async fn discover(&self, issuer: &str) -> Result<Url, String> {
        let document = discovery::discover(&*self.fetch, issuer).await?;
        discovery::endpoint(issuer, &document.jwks_uri)
    }
}

impl JwksSource {
    /// What may stand in the log.
    fn host(&self) -> String {
        let url = match self {
            Self::Url(url) => Some(url.clone()),
            Self::Issuer(issuer) => Url::parse(issuer).ok(),
        };
        url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
    }
}
