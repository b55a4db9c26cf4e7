//! Clock and randomness as parameters, so that expiry, ordering and simulation can be tested.

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Microseconds since 1970-01-01T00:00:00Z. May step back; whoever needs order keeps its own.
    fn now_us(&self) -> i64;
}

/// Gives random bytes that nobody can predict.
pub trait Random: Send + Sync {
    /// Fills the whole slice.
    fn fill(&self, bytes: &mut [u8]);
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// The random generator of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the machine's clock is read")]
    fn now_us(&self) -> i64 {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since_epoch.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

impl Random for SystemRandom {
    /// # Panics
    /// When the operating system has no randomness to give: nothing that needs it may go on.
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}

/// A random id: the 16 bytes of a version-4 UUID (RFC 9562, section 5.4).
#[must_use]
pub fn random_id(random: &dyn Random) -> [u8; 16] {
    let mut bytes = [0_u8; 16];
    random.fill(&mut bytes);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    bytes
}

#[cfg(test)]
mod tests {
    use super::{Clock, Random, SystemClock, SystemRandom, random_id};

    struct Fixed(u8);
    impl Random for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    #[test]
    fn ids_are_version_4_uuids() {
        for byte in [0, 0xff] {
            let id = random_id(&Fixed(byte));
            assert_eq!((id[6] >> 4, id[8] >> 6), (4, 0b10));
        }
        assert_ne!(random_id(&SystemRandom), random_id(&SystemRandom));
    }

    #[test]
    fn the_system_clock_counts_microseconds() {
        let year_2020_us = 1_577_836_800_000_000;
        assert!(SystemClock.now_us() > year_2020_us);
        assert!(SystemClock.now_us() < year_2020_us * 4);
    }
}
