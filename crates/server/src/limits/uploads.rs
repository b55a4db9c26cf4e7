//! Uploads above their rate: taken, and paid for by not being read from for a while. Nothing is refused and nothing is lost; TCP
//! tells the client to wait.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lattice_store::accounts::{SessionId, UserId};
use tokio::time::Instant;

use super::rate::{Allowance, Rate};

/// Longest pause at once. Then it is looked whether more is owed.
pub const MAX_PAUSE: Duration = Duration::from_secs(20);
/// Most that is ever owed: however large a frame is, its sender is read from again after so long.
const MAX_DEBT: Duration = Duration::from_secs(600);
/// Accounts and sessions that are remembered before those are forgotten that owe nothing.
const MAX_KEYS: usize = 50_000;

/// Rates of uploads: for all that an account sends to this instance, and for each of its sessions.
#[derive(Clone, Copy, Debug)]
pub struct UploadRates {
    /// Changes of an account.
    pub account_changes: Rate,
    /// Bytes of an account.
    pub account_bytes: Rate,
    /// Changes of a session.
    pub session_changes: Rate,
    /// Bytes of a session.
    pub session_bytes: Rate,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Owner {
    AccountChanges(UserId),
    AccountBytes(UserId),
    SessionChanges(SessionId),
    SessionBytes(SessionId),
}

/// What was uploaded lately.
pub(super) struct Uploads {
    rates: UploadRates,
    /// When everything that was sent would have been sent at an even pace.
    paid_at: Mutex<HashMap<Owner, Instant>>,
}

impl Uploads {
    pub(super) fn new(rates: UploadRates) -> Self {
        Self { rates, paid_at: Mutex::default() }
    }

    /// Notes an upload that was taken: how long its sender is not to be read from.
    pub(super) fn take(&self, user: UserId, session: SessionId, changes: usize, bytes: usize) -> Duration {
        let parts = self.parts(user, session, changes, bytes);
        if parts.iter().all(|(_, rate, _)| rate.0.is_none()) {
            return Duration::ZERO;
        }
        let now = Instant::now();
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        if paid_at.len() >= MAX_KEYS {
            paid_at.retain(|_, paid| *paid > now);
        }
        let mut pause = Duration::ZERO;
        for (owner, rate, amount) in parts {
            let Some(allowance) = rate.0 else { continue };
            let paid = paid_at.entry(owner).or_insert(now);
            let most = allowance.period + MAX_DEBT;
            *paid = ((*paid).max(now) + cost(allowance, amount).min(most)).min(now + most);
            pause = pause.max(owed(*paid, allowance, now));
        }
        pause.min(MAX_PAUSE)
    }

    /// How long before an upload may be sent that waits nowhere: by HTTP.
    pub(super) fn wait(&self, user: UserId, session: SessionId) -> Duration {
        let now = Instant::now();
        let paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = |(owner, rate, _): (Owner, Rate, usize)| match (paid_at.get(&owner), rate.0) {
            (Some(paid), Some(allowance)) => owed(*paid, allowance, now),
            _ => Duration::ZERO,
        };
        self.parts(user, session, 0, 0).into_iter().map(wait).max().unwrap_or_default()
    }

    fn parts(
        &self,
        user: UserId,
        session: SessionId,
        changes: usize,
        bytes: usize,
    ) -> [(Owner, Rate, usize); 4] {
        [
            (Owner::AccountChanges(user), self.rates.account_changes, changes),
            (Owner::AccountBytes(user), self.rates.account_bytes, bytes),
            (Owner::SessionChanges(session), self.rates.session_changes, changes),
            (Owner::SessionBytes(session), self.rates.session_bytes, bytes),
        ]
    }
}

/// The time that so much takes at an even pace.
fn cost(Allowance { amount, period }: Allowance, sent: usize) -> Duration {
    Duration::try_from_secs_f64(period.as_secs_f64() * sent as f64 / amount as f64).unwrap_or(Duration::MAX)
}

/// The time until no more is owed than may come at once.
fn owed(paid: Instant, allowance: Allowance, now: Instant) -> Duration {
    paid.saturating_duration_since(now).saturating_sub(allowance.period)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: UserId = UserId([1; 16]);
    const BOB: UserId = UserId([2; 16]);
    const PHONE: SessionId = SessionId([1; 16]);
    const LAPTOP: SessionId = SessionId([2; 16]);

    fn uploads(account_changes: Rate, session_bytes: Rate) -> Uploads {
        Uploads::new(UploadRates {
            account_changes,
            account_bytes: Rate::OFF,
            session_changes: Rate::OFF,
            session_bytes,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_faster_is_paid_for_by_waiting() {
        let uploads = uploads(Rate::new(100, 10), Rate::OFF);
        assert_eq!(uploads.take(ANN, PHONE, 100, 0), Duration::ZERO, "all of it may come at once");
        assert_eq!(
            uploads.take(ANN, LAPTOP, 10, 0),
            Duration::from_secs(1),
            "another session of the account"
        );
        assert_eq!(uploads.take(BOB, LAPTOP, 10, 0), Duration::ZERO);
        assert_eq!(uploads.wait(ANN, PHONE), Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(uploads.wait(ANN, PHONE), Duration::ZERO);
        assert_eq!(uploads.take(ANN, PHONE, 20, 0), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn no_frame_waits_for_ever_and_nothing_is_forgiven() {
        let uploads = uploads(Rate::OFF, Rate::new(1_000, 1));
        assert_eq!(uploads.take(ANN, PHONE, 0, 61_000), MAX_PAUSE);
        tokio::time::advance(MAX_PAUSE).await;
        assert_eq!(uploads.take(ANN, PHONE, 0, 0), MAX_PAUSE, "forty of sixty seconds are still owed");
        tokio::time::advance(MAX_PAUSE).await;
        tokio::time::advance(MAX_PAUSE).await;
        assert_eq!(uploads.take(ANN, PHONE, 0, 0), Duration::ZERO);
        assert_eq!(uploads.take(ANN, LAPTOP, 0, 1_000), Duration::ZERO, "a session of its own");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_owed_has_an_end() {
        let uploads = uploads(Rate::OFF, Rate::new(1, 86_400));
        for _ in 0..3 {
            assert_eq!(uploads.take(ANN, PHONE, 0, usize::MAX), MAX_PAUSE);
            assert_eq!(uploads.wait(ANN, PHONE), MAX_DEBT);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let uploads = uploads(Rate::new(1, 1), Rate::OFF);
        for n in 0..3 * MAX_KEYS as u64 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&n.to_be_bytes());
            uploads.take(UserId(id), PHONE, 1, 0);
            if n % 10_000 == 0 {
                tokio::time::advance(Duration::from_secs(2)).await;
            }
        }
        assert!(uploads.paid_at.lock().expect("a lock").len() <= MAX_KEYS);
    }
}
