//! Attempts counted in this process.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::Key;
use super::rate::{Allowance, Rate};

/// Keys that one class remembers before those are forgotten that may do all again.
const MAX_KEYS: usize = 50_000;
/// Keys that share an allowance with others once so many are remembered, and none of them may do all again: somebody has more
/// addresses, or names of accounts, than are to be remembered. All keys fall to so many.
const SHARED_KEYS: u16 = 4_096;
/// Attempts after which it is looked again which keys may be forgotten: each look goes over all of them.
const ATTEMPTS_PER_SWEEP: usize = 1_000;
/// Most attempts that may come at once; rates beyond it are no limit to anybody.
const MAX_BURST: u64 = u32::MAX as u64;

type Limiter<C> = RateLimiter<Key, HashMapStateStore<Key>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// One class of attempts.
pub(super) struct Memory<C: Clock = DefaultClock> {
    limiter: Option<Limiter<C>>,
    /// Attempts since it was looked which keys may be forgotten, while there are too many.
    unswept: AtomicUsize,
    clock: C,
}

impl Memory {
    pub(super) fn new(rate: Rate) -> Self {
        Self::with_clock(rate, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Memory<C> {
    fn with_clock(rate: Rate, clock: C) -> Self {
        let limiter = rate
            .0
            .and_then(quota)
            .map(|quota| RateLimiter::new(quota, HashMapStateStore::new(HashMap::default()), clock.clone()));
        Self { limiter, unswept: AtomicUsize::new(ATTEMPTS_PER_SWEEP), clock }
    }

    /// Counts an attempt, or says after which time it may be made.
    pub(super) fn check(&self, key: Key) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        let mut key = key;
        if limiter.len() >= MAX_KEYS {
            if self.unswept.fetch_add(1, Ordering::Relaxed) >= ATTEMPTS_PER_SWEEP {
                self.unswept.store(0, Ordering::Relaxed);
                limiter.retain_recent();
                limiter.shrink_to_fit();
            }
            if limiter.len() >= MAX_KEYS {
                key = key.shared(SHARED_KEYS);
            }
        } else {
            self.unswept.store(ATTEMPTS_PER_SWEEP, Ordering::Relaxed);
        }
        limiter.check_key(&key).map_err(|denied| denied.wait_time_from(self.clock.now()))
    }
}

fn quota(Allowance { amount, period }: Allowance) -> Option<Quota> {
    let burst = NonZeroU32::new(u32::try_from(amount.min(MAX_BURST)).unwrap_or(u32::MAX))?;
    let interval = period / burst.get();
    Quota::with_period(interval).map(|quota| quota.allow_burst(burst))
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn key(n: u64) -> Key {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&n.to_be_bytes());
        Key(key)
    }

    #[test]
    fn so_much_in_such_a_time() {
        let clock = FakeRelativeClock::default();
        let class = Memory::with_clock(Rate::new(3, 60), clock.clone());
        for _ in 0..3 {
            assert_eq!(class.check(key(1)), Ok(()));
        }
        assert_eq!(class.check(key(1)), Err(Duration::from_secs(20)));
        assert_eq!(class.check(key(2)), Ok(()), "each key for itself");
        clock.advance(Duration::from_secs(19));
        assert_eq!(class.check(key(1)), Err(Duration::from_secs(1)), "refused attempts do not count");
        clock.advance(Duration::from_secs(1));
        assert_eq!(class.check(key(1)), Ok(()));
        assert!(class.check(key(1)).is_err());
        clock.advance(Duration::from_secs(60));
        for _ in 0..3 {
            assert_eq!(class.check(key(1)), Ok(()));
        }
        assert_eq!(Memory::new(Rate::OFF).check(key(1)), Ok(()));
    }

    #[test]
    fn memory_is_bounded_where_keys_are_used_once() {
        let clock = FakeRelativeClock::default();
        let class = Memory::with_clock(Rate::new(1, 1), clock.clone());
        for n in 0..3 * MAX_KEYS as u64 {
            assert_eq!(class.check(key(n)), Ok(()));
            if n % 10_000 == 0 {
                clock.advance(Duration::from_secs(2));
            }
        }
        assert!(class.limiter.as_ref().is_some_and(|limiter| limiter.len() <= MAX_KEYS));
    }

    #[test]
    fn nor_is_it_used_up_or_anything_let_through_where_there_are_too_many() {
        let class = Memory::with_clock(Rate::new(1, 60), FakeRelativeClock::default());
        // Keys are hashes.
        let spread = |n: u64| key(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let passed = (0..3 * MAX_KEYS as u64).filter(|n| class.check(spread(*n)).is_ok()).count();
        let most = MAX_KEYS + usize::from(SHARED_KEYS);
        assert!(class.limiter.as_ref().is_some_and(|limiter| limiter.len() <= most));
        assert!((MAX_KEYS..=most).contains(&passed), "{passed}");
    }
}
