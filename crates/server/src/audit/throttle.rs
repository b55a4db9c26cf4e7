//! What is noted once in a while.

use std::collections::HashMap;

use lattice_auth::audit::Throttle;

/// What is remembered of what was noted; one is about 200 bytes.
const MAX_REMEMBERED: usize = 20_000;

const SECOND_US: i64 = 1_000_000;

/// When what was noted last, and how often it has happened since.
#[derive(Default)]
pub(super) struct Throttled(HashMap<Throttle, Last>);

struct Last {
    /// Until when nothing like it is noted, in microseconds since 1970.
    until_us: i64,
    suppressed: u64,
}

impl Throttled {
    /// How many like it were left out since the last one, if this one is to be noted.
    pub(super) fn pass(&mut self, alike: Throttle, now_us: i64, interval_s: u32) -> Option<u64> {
        let until_us = now_us + i64::from(interval_s) * SECOND_US;
        if let Some(last) = self.0.get_mut(&alike) {
            if now_us < last.until_us {
                last.suppressed += 1;
                return None;
            }
            return Some(std::mem::replace(last, Last { until_us, suppressed: 0 }).suppressed);
        }
        if self.0.len() >= MAX_REMEMBERED {
            self.0.retain(|_, last| now_us < last.until_us);
            // Rather too many events than too much memory.
            if self.0.len() >= MAX_REMEMBERED {
                self.0.clear();
            }
        }
        self.0.insert(alike, Last { until_us, suppressed: 0 });
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use lattice_auth::audit::{Event, Kind};
    use lattice_store::accounts::UserId;

    use super::*;

    fn alike(user: u32) -> Throttle {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&user.to_be_bytes());
        let event = Event::new(Kind::TokenUsed).actor(UserId(id)).at_most_every(10);
        event.throttle().expect("a key").1
    }

    #[test]
    fn it_counts_what_it_leaves_out() {
        let mut throttled = Throttled::default();
        let mut pass = |user, at_s: i64| throttled.pass(alike(user), at_s * SECOND_US, 10);
        assert_eq!((pass(1, 0), pass(1, 1), pass(2, 1), pass(1, 9)), (Some(0), None, Some(0), None));
        assert_eq!((pass(1, 10), pass(1, 11), pass(1, 20)), (Some(2), None, Some(1)));
    }

    #[test]
    fn it_does_not_grow_for_ever() {
        let mut throttled = Throttled::default();
        for user in 0..u32::try_from(3 * MAX_REMEMBERED).expect("few") {
            assert_eq!(throttled.pass(alike(user), 0, 10), Some(0));
            assert!(throttled.0.len() <= MAX_REMEMBERED);
        }
    }
}
