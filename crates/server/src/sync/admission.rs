//! Admission: how much of a storm of clients reaches the database at a time. The rest waits in line, for a while; whoever
//! has waited too long, or finds the line full, is told when to come again, each at another time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lattice_session::Overloaded;
use lattice_store::time::Random;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Handshakes that may wait for their turn, for each that may have it.
const WAITING_PER_TURN: usize = 64;
/// How long a handshake waits for its turn. Clients, and proxies in between, commonly give up after 10 s to 60 s.
const MAX_HANDSHAKE_WAIT: Duration = Duration::from_secs(8);
/// How long a connection that is open waits to read its next page.
const MAX_PAGE_WAIT: Duration = Duration::from_secs(30);
/// Clients that are sent away come again after this at the earliest, in seconds.
const MIN_RETRY_S: u32 = 2;
/// Clients that are sent away come again after this at the latest, in seconds.
const MAX_RETRY_S: u32 = 20;

/// Turns at the database.
pub struct Admission {
    handshakes: Semaphore,
    waiting: AtomicUsize,
    max_waiting: usize,
    pages: Semaphore,
    random: Arc<dyn Random>,
}

impl Admission {
    /// So many handshakes, and so many pages, at a time.
    #[must_use]
    pub fn new(max_handshakes: usize, max_pages: usize, random: Arc<dyn Random>) -> Self {
        Self {
            handshakes: Semaphore::new(max_handshakes.max(1)),
            waiting: AtomicUsize::new(0),
            max_waiting: max_handshakes.max(1).saturating_mul(WAITING_PER_TURN),
            pages: Semaphore::new(max_pages.max(1)),
            random,
        }
    }

    /// Waits for the turn of a handshake or of a request: until it is dropped, the database may be asked.
    ///
    /// # Errors
    /// When the line is full, or has not moved fast enough.
    pub async fn handshake(&self) -> Result<SemaphorePermit<'_>, Overloaded> {
        if let Ok(turn) = self.handshakes.try_acquire() {
            return Ok(turn);
        }
        let _waiting = self.wait_in_line().ok_or_else(|| self.overloaded())?;
        match tokio::time::timeout(MAX_HANDSHAKE_WAIT, self.handshakes.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(self.overloaded()),
        }
    }

    /// Waits for the turn of a connection to read a page.
    ///
    /// # Errors
    /// When it has not come in time.
    pub async fn page(&self) -> Result<SemaphorePermit<'_>, Overloaded> {
        match tokio::time::timeout(MAX_PAGE_WAIT, self.pages.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(self.overloaded()),
        }
    }

    fn wait_in_line(&self) -> Option<Waiting<'_>> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        // If the line is full, dropping the place takes the count back.
        let place = Waiting(&self.waiting);
        (before < self.max_waiting).then_some(place)
    }

    fn overloaded(&self) -> Overloaded {
        let mut byte = [0];
        self.random.fill(&mut byte);
        Overloaded { retry_after_s: MIN_RETRY_S + u32::from(byte[0]) % (MAX_RETRY_S - MIN_RETRY_S + 1) }
    }
}

/// A place in the line.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lattice_store::time::SystemRandom;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_gets_a_turn_or_is_told_when_to_come_again() {
        let admission = Arc::new(Admission::new(1, 1, Arc::new(SystemRandom)));
        let turn = admission.handshake().await.expect("a turn");
        let others: Vec<_> = (0..=WAITING_PER_TURN)
            .map(|_| {
                let admission = Arc::clone(&admission);
                tokio::spawn(async move { admission.handshake().await.map(drop) })
            })
            .collect();
        // All have been polled once as many turns of the runtime have passed.
        for _ in 0..=WAITING_PER_TURN {
            tokio::task::yield_now().await;
        }
        // The line is full: one of them was sent away at once.
        let (mut away, mut waiting) = (Vec::new(), Vec::new());
        for other in others {
            if other.is_finished() { away.push(other.await.expect("no panic")) } else { waiting.push(other) }
        }
        assert!(matches!(&away[..], [Err(_)]), "{away:?}");
        drop(turn);
        for other in waiting {
            other.await.expect("no panic").expect("a turn");
        }
        assert_eq!(admission.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_and_all_come_again_at_other_times() {
        let admission = Admission::new(1, 1, Arc::new(SystemRandom));
        let _turn = admission.handshake().await.expect("a turn");
        let _page = admission.page().await.expect("a turn");
        let mut times = BTreeSet::new();
        for _ in 0..50 {
            times.insert(admission.handshake().await.expect_err("no turn").retry_after_s);
            times.insert(admission.page().await.expect_err("no turn").retry_after_s);
        }
        assert!(times.len() > 5 && times.iter().all(|time| (MIN_RETRY_S..=MAX_RETRY_S).contains(time)));
    }
}
